//! The ways out of a bad version wait behind nothing that it holds up: with hundreds of messages in flight and more coming, all
//! goes on.

use std::time::{Duration, Instant};

use millrace_tests::admin::Admin;

use super::*;

/// Messages that come at once with a bad version: more than may be in flight.
const BACKLOG: usize = 1000;

/// What the log says when a change is made.
const CHANGED: &str = "changed";

/// From a swap to its undoing, at a deadline of one second: a loop needs six of CPU time. Generous, for a busy machine.
const UNDONE_WITHIN: Duration = Duration::from_secs(45);

/// The longest time without a result meanwhile.
const LONGEST_GAP: Duration = Duration::from_secs(20);

fn crowded(deadline: &'static str, pipeline: &'static str) -> Result<Rig> {
    Rig::plain(|scene| Scene {
        prefetch: 256,
        pipeline,
        tables: "[host]\nwatch = false\nadmin = \"127.0.0.1:0\"\nworkers = 2\n".to_owned(),
        preprocess: Plugin {
            lines: format!("deadline = \"{deadline}\"\n"),
            ..scene.preprocess
        },
        ..scene
    })
}

/// Puts a version of `crop` in place under a backlog, and has the host take it up; gives when it did, and how many results
/// there were.
fn swap(rig: &Rig, wasm: &[u8]) -> Result<(Instant, usize)> {
    std::fs::write(rig.mill.path("crop.wasm"), wasm)?;
    rig.flow.burst(BACKLOG);
    let n = rig.host.n_lines(CHANGED);
    let made = rig.mill.run(&["reload", "--wait"])?;
    ensure!(made.code == Some(0), "{made:?}");
    ensure!(rig.host.n_lines(CHANGED) > n, "{}", rig.host.log());
    Ok((Instant::now(), rig.flow.n_results()))
}

/// Puts a bad version in place under a backlog: it is undone soon, and meanwhile the others get their results.
fn check(mode: &str, expected: &[&str]) -> Result<Outcome> {
    let mut rig = crowded("1s", "")?;
    let (began, from) = swap(&rig, &hostile_with(&format!(r#"{{"mode":"{mode}"}}"#))?)?;
    let told = rig.wait_undone()?;
    let took = began.elapsed();
    let gap = rig.flow.longest_gap_from(from);
    println!("{mode}: undone after {took:.1?}, the longest time without a result was {gap:.1?}");
    for part in expected {
        ensure!(told.contains(part), "no {part:?} in {told}");
    }
    ensure!(took < UNDONE_WITHIN, "{mode}: undone after {took:?}");
    ensure!(gap < LONGEST_GAP, "{mode}: {gap:?} without a result");
    rig.wait_version("the first again", &version(&decode_image()?, 1))?;
    rig.finish()
}

#[test]
fn one_that_never_returns_is_undone_under_a_backlog() -> Result<()> {
    check("loop", &["failed for 3 of", "deadline"])?.all_right()
}

#[test]
fn one_that_takes_all_memory_is_undone_under_a_backlog() -> Result<()> {
    check("memory-bomb", &["failed for 3 of", "memory"])?.all_right()
}

#[test]
fn one_that_traps_is_undone_under_a_backlog() -> Result<()> {
    check("trap", &["failed for 3 of", "trap"])?.all_right()
}

#[test]
fn one_that_is_slow_is_undone_under_a_backlog() -> Result<()> {
    check("work", &["its plugins took", "of CPU time", "`slower`"])?;
    Ok(())
}

/// How somebody gets rid of a version that never returns.
#[derive(Debug, Clone, Copy)]
enum Way {
    Rollback,
    Reload,
}

/// A version that never returns, whose deadline is far away: what takes it out of service takes its messages back.
fn check_way(deadline: &'static str, trial: &'static str, way: Way) -> Result<()> {
    let mut rig = crowded(deadline, trial)?;
    let first = version(&decode_image()?, 1);
    swap(&rig, &hostile_with(r#"{"mode":"loop"}"#)?)?;
    let began = Instant::now();
    if trial.is_empty() {
        // Said by whoever is asked, long before the deadline.
        let why = "the version on trial has processed 0 of 100 messages; 1 are in flight, the oldest for";
        millrace_tests::wait_for(why, || {
            let status = rig.mill.run(&["status"]).ok()?;
            status.stdout.contains(why).then_some(())
        })?;
    }
    let made = match way {
        Way::Rollback => rig.mill.run(&["rollback", "crop"])?,
        Way::Reload => {
            std::fs::write(rig.mill.path("crop.wasm"), &first)?;
            rig.mill.run(&["reload", "--wait"])?
        }
    };
    ensure!(made.code == Some(0), "{made:?}");
    rig.wait_version_since("the first again", &first, 3)?;
    // Each of these waits for a result of a message that was in the bad version's hands.
    println!("{way:?}: served again after {:.1?}", began.elapsed());
    let admin = Admin::of(&mut rig.host)?;
    admin.wait_ready(200, "")?;
    rig.finish()?.all_right()
}

#[test]
fn a_rollback_takes_everything_back_from_a_version_on_trial() -> Result<()> {
    check_way("50s", "", Way::Rollback)
}

#[test]
fn a_good_version_takes_everything_back_from_one_on_trial() -> Result<()> {
    check_way("50s", "", Way::Reload)
}

#[test]
fn a_rollback_takes_everything_back_from_a_version_that_serves_alone() -> Result<()> {
    check_way("50s", "trial = { messages = 0 }", Way::Rollback)
}

#[test]
fn a_good_version_takes_everything_back_from_one_that_serves_alone_as_soon_as_it_fails() -> Result<()> {
    check_way("3s", "trial = { messages = 0 }", Way::Reload)
}

#[test]
fn a_breaker_closes_with_the_swap_that_replaces_the_failing_component() -> Result<()> {
    let mut rig = crowded("1s", "trial = { messages = 0 }")?;
    let bad = hostile_with(r#"{"mode":"loop"}"#)?;
    swap(&rig, &bad)?;
    let admin = Admin::of(&mut rig.host)?;
    let told = admin.wait_ready(503, "breaker open")?;
    ensure!(told.contains(&digest(&bad)), "{told}");
    std::fs::write(rig.mill.path("crop.wasm"), version(&decode_image()?, 2))?;
    let made = rig.mill.run(&["reload", "--wait"])?;
    ensure!(made.code == Some(0), "{made:?}");
    // With the answer, and not with a smoke test or a look.
    let (status, ready) = admin.get("/readyz")?;
    ensure!(status == 200 && !ready.contains(&digest(&bad)), "{ready}");
    let status = rig.mill.run(&["status"])?.stdout;
    ensure!(!status.contains("fails for every message"), "{status}");
    rig.flow.wait_more(BACKLOG / 2)?;
    let (_, ready) = admin.get("/readyz")?;
    ensure!(!ready.contains(&digest(&bad)), "{ready}");
    // Four became dead letters before it opened, and those that ran beside them.
    let outcome = rig.flow.finish(rig.host)?;
    ensure!(outcome.dead.len() <= 8, "{} dead letters", outcome.dead.len());
    Ok(())
}

#[test]
fn what_cannot_wait_does_not_wait_for_a_change_that_is_being_made() -> Result<()> {
    let sample = millrace_tests::samples::model().join("samples/star-1.png");
    let rig = Rig::plain(|scene| Scene {
        tables: format!("[host]\nwatch = false\n[[pipeline.images.smoke_test]]\nfile = {sample:?}\n"),
        preprocess: Plugin {
            lines: "deadline = \"300s\"\n".to_owned(),
            ..scene.preprocess
        },
        ..scene
    })?;
    // Its smoke test ends in ten minutes.
    std::fs::write(rig.mill.path("crop.wasm"), hostile_with(r#"{"mode":"loop"}"#)?)?;
    let begun = rig.mill.run(&["reload"])?;
    ensure!(begun.code == Some(0), "{begun:?}");
    rig.flow.wait_more(100)?;
    let paused = rig.mill.run(&["pause", "images"])?;
    ensure!(paused.code == Some(0), "{paused:?}");
    let Rig { host, flow, .. } = rig;
    host.stop()?;
    drop(flow);
    Ok(())
}
