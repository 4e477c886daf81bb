//! Hosts that are drained, cut off, told twice and killed: nothing is lost, and only what was done comes twice.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use millrace_tests::host::Host;
use millrace_tests::wait_for;

use super::messages::{Sent, numbered};
use super::stage::{Pipe, Stage, Twice, n_quarantined, wait_in_flight};
use super::steps::{MAY_COME_TWICE, start_holding};
use super::{Harness, Weather};

/// The exit code of a drain that was cut off.
const CUT_OFF: i32 = 3;
/// What a busy machine may need beyond what the documentation says.
const SLACK: Duration = Duration::from_secs(4);

/// A pipeline that counts nothing but what it must not: one attempt is all that a message has.
const ONE_ATTEMPT: Pipe = Pipe {
    lines: "attempts = 1",
    ..Pipe::images()
};

/// The next host finishes what is left, and blames nobody.
fn goes_on(stage: &Stage, twice: Twice<'_>) -> Result<()> {
    let mut host = stage.start("")?;
    if stage.promises.keeps {
        stage.wait_answered(&host)?;
    }
    let n_quarantined = n_quarantined(&mut host, "images")?;
    ensure!(
        n_quarantined <= stage.promises.marked_at_leave,
        "{n_quarantined} messages were quarantined after a stop:\n{}",
        host.log()
    );
    host.stop()?;
    stage.judge(twice)?;
    ensure!(
        stage.dead("images")?.is_empty(),
        "it was counted: {:?}",
        stage.dead("images")?
    );
    Ok(())
}

/// Stops twice amid the work: each ends with 0, and nothing comes twice.
pub(super) fn drains_in_the_middle(transport: &dyn Harness) -> Result<()> {
    const N: usize = 400;
    let stage = Stage::new(transport, Weather::Calm, vec![ONE_ATTEMPT], "")?;
    let host = stage.start_gated()?;
    stage.put("images", &numbered("drained", N)?)?;
    stage.open_gate()?;
    stage.wait_results(&host, "images", 20)?;
    host.stop()?;
    let n_done = stage.results("images")?.len();
    ensure!(n_done < N, "the stop came too late to show anything");
    let mut host = stage.start("model=wait:100ms")?;
    stage.wait_results(&host, "images", n_done + 20)?;
    ensure!(
        n_quarantined(&mut host, "images")? <= stage.promises.marked_at_leave,
        "{}",
        host.log()
    );
    host.stop()?;
    ensure!(
        stage.results("images")?.len() < 300,
        "the stop came too late to show anything"
    );
    goes_on(&stage, Twice::None)
}

/// A host whose plugin does nothing, with its hands full.
fn stuck(stage: &Stage) -> Result<Host> {
    let mut host = stage.start_gated()?;
    stage.put("images", &numbered("stuck", 80)?)?;
    wait_in_flight(&mut host, "images", 64)?;
    Ok(host)
}

fn ends_cut_off(host: Host, began: Instant, limit: Duration) -> Result<()> {
    let log = host.log();
    let status = host.wait_end().context(log)?;
    ensure!(status.code() == Some(CUT_OFF), "{status}");
    ensure!(began.elapsed() < limit + SLACK, "it took {:?}", began.elapsed());
    Ok(())
}

/// A drain that does not end by itself ends in time; what is given back is not counted.
pub(super) fn cuts_a_drain_off(transport: &dyn Harness) -> Result<()> {
    let stage = Stage::new(transport, Weather::Calm, vec![ONE_ATTEMPT], "drain = \"4s\"")?;
    let host = stuck(&stage)?;
    let began = Instant::now();
    host.terminate()?;
    ends_cut_off(host, began, Duration::from_secs(5))?;
    stage.open_gate()?;
    goes_on(&stage, Twice::None)
}

/// A second signal ends a drain of an hour in three seconds; what is given back is not counted.
pub(super) fn obeys_a_second_signal(transport: &dyn Harness) -> Result<()> {
    let stage = Stage::new(transport, Weather::Calm, vec![ONE_ATTEMPT], "drain = \"1h\"")?;
    let mut host = stuck(&stage)?;
    host.terminate()?;
    host.wait_line(super::stage::LIMIT, "draining: finishing the messages in flight")?;
    let began = Instant::now();
    // Signals that come together are one: said again until it is heard.
    wait_for("the end of the host", || {
        let ended = host.has_ended().ok()?;
        (ended || host.terminate().is_err()).then_some(())
    })?;
    ends_cut_off(host, began, Duration::from_secs(3))?;
    stage.open_gate()?;
    goes_on(&stage, Twice::None)
}

/// A kill amid the work loses nothing, and repeats at most what was in flight, under the same ids.
pub(super) fn survives_a_kill_in_the_middle(transport: &dyn Harness) -> Result<()> {
    let stage = Stage::images(transport, Weather::Calm)?;
    let host = stage.start_gated()?;
    stage.put("images", &numbered("killed", 300)?)?;
    stage.open_gate()?;
    stage.wait_results(&host, "images", 20)?;
    host.kill()?;
    let n_done = stage.results("images")?.len();
    ensure!(n_done < 300, "the kill came too late to show anything");
    let host = stage.start("")?;
    if !stage.promises.keeps {
        return loses_at_most(&stage, host, 64);
    }
    stage.finish(host, Twice::All)?;
    ensure!(stage.dead("images")?.is_empty(), "{:?}", stage.dead("images")?);
    let n_results = stage.results("images")?.len();
    ensure!(
        n_results <= 300 + 64,
        "{n_results} results: more than was in flight came twice"
    );
    Ok(())
}

/// Where nothing comes again: what was in flight is all that is lost, and what comes later is processed.
fn loses_at_most(stage: &Stage, host: Host, n: usize) -> Result<()> {
    stage.put("images", &[Sent::picture("later")?])?;
    stage.wait(&host, "all but what was in flight", || {
        let missing = stage.missing()?;
        Ok((missing.len() <= n && !missing.contains(&"later".to_owned())).then_some(()))
    })?;
    host.stop()
}

/// A kill with a message at every step of its way: each has its end, and only what had one may have it twice.
pub(super) fn survives_a_kill_at_each_step(transport: &dyn Harness) -> Result<()> {
    let stage = Stage::images(transport, Weather::Calm)?;
    let host = start_holding(&stage)?;
    host.kill()?;
    stage.open_gate()?;
    let host = stage.start("")?;
    if !stage.promises.keeps {
        return loses_at_most(&stage, host, 10);
    }
    stage.finish(host, Twice::These(&MAY_COME_TWICE))?;
    let mut dead: Vec<String> = stage.dead("images")?.into_iter().map(|dead| dead.of).collect();
    dead.sort();
    dead.dedup();
    let refused = ["copied", "copy", "refused"]
        .into_iter()
        .filter(|id| *id == "refused" || stage.passes(id));
    ensure!(dead == refused.collect::<Vec<_>>(), "{dead:?}");
    // The host was killed when this one's result was confirmed and its message not let go of.
    let n_confirmed = stage
        .results("images")?
        .iter()
        .filter(|found| found.of == "confirmed")
        .count();
    let expected = if stage.sink_promises.replaces_results { 1 } else { 2 };
    ensure!(
        n_confirmed == expected,
        "{n_confirmed} results of a message that was not let go of"
    );
    Ok(())
}

/// Kills amid dead-lettering, wherever they meet it: each message has its result or its dead letter.
pub(super) fn survives_kills_amid_dead_letters(transport: &dyn Harness) -> Result<()> {
    // Slow enough for three kills.
    const SLOW: &str = "delivered=wait:50ms";
    let pipe = Pipe {
        prefetch: 8,
        ..Pipe::images()
    };
    let stage = Stage::new(transport, Weather::Calm, vec![pipe], "")?;
    let mut host = Some(stage.start(SLOW)?);
    let texts: Vec<Sent> = (0..200).map(|n| Sent::text(&format!("text-{n}"))).collect();
    stage.put("images", &texts)?;
    stage.put("images", &numbered("good", 20)?)?;
    let (mut n_kills, mut n_dead) = (0, 0);
    while n_kills < 3 && n_dead < texts.len() {
        let running = host.take().context("a host")?;
        stage.wait(&running, "more dead letters", || {
            Ok((stage.dead("images")?.len() > n_dead).then_some(()))
        })?;
        running.kill()?;
        n_dead = stage.dead("images")?.len();
        n_kills += 1;
        host = Some(stage.start(SLOW)?);
        if !stage.promises.keeps {
            break;
        }
    }
    let host = host.context("a host")?;
    ensure!(
        n_kills > 1 || !stage.promises.keeps,
        "one kill met it: this showed nothing"
    );
    if !stage.promises.keeps {
        return loses_at_most(&stage, host, 64);
    }
    stage.finish(host, Twice::All)
}

/// After a kill, hosts that are stopped as soon as they serve: they empty their quarantine, or leave in it what it was, and
/// no message is counted for them.
pub(super) fn drains_after_a_kill(transport: &dyn Harness) -> Result<()> {
    let pipe = Pipe {
        lines: "attempts = 2",
        ..Pipe::images()
    };
    let stage = Stage::new(transport, Weather::Calm, vec![pipe], "")?;
    let mut host = stage.start_gated()?;
    stage.put("images", &numbered("suspected", 12)?)?;
    wait_in_flight(&mut host, "images", 12)?;
    host.kill()?;
    stage.open_gate()?;
    for _ in 0..2 {
        stage.start("")?.stop()?;
        if stage.promises.has_quarantine_queue {
            let n_left = stage.source().n_quarantined("images")?;
            ensure!(n_left == 0, "{n_left} messages were left in quarantine");
        }
    }
    let host = stage.start("")?;
    if !stage.promises.keeps {
        return loses_at_most(&stage, host, 12);
    }
    stage.finish(host, Twice::None)?;
    ensure!(stage.dead("images")?.is_empty(), "{:?}", stage.dead("images")?);
    Ok(())
}
