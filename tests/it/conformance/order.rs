//! Messages beside one another: a stuck one, several hosts, and the end of a run.

use anyhow::{Result, ensure};
use millrace_tests::admin::Admin;

use super::messages::{Sent, numbered};
use super::stage::{Stage, Twice, wait_in_flight};
use super::{Harness, Weather};

/// One message is stuck and those behind it are done: a kill brings the stuck one again, and of the others only what the
/// transport's order binds to it.
pub(super) fn a_stuck_message_is_not_passed_over(transport: &dyn Harness) -> Result<()> {
    let stage = Stage::images(transport, Weather::Calm)?;
    let stuck = Sent::picture("stuck")?;
    stage.close_gate()?;
    let mut host = stage.start(&format!("preprocess({})=while:GATE", stage.source().id(&stuck)))?;
    stage.put("images", &[stuck])?;
    stage.wait_at(&host, "preprocess", 1)?;
    stage.put("images", &numbered("behind", 20)?)?;
    stage.wait_results(&host, "images", 20)?;
    wait_in_flight(&mut host, "images", 1)?;
    let settled = Admin::of(&mut host)?.sum("millrace_settled_total", "images")?;
    ensure!(settled == 20.0, "{settled} were settled");
    host.kill()?;
    stage.open_gate()?;
    let host = stage.start("")?;
    if !stage.promises.keeps {
        ensure!(stage.missing()? == ["stuck"], "{:?}", stage.missing()?);
        return host.stop();
    }
    let twice = match stage.promises.order_binds_commits {
        true => Twice::All,
        false => Twice::None,
    };
    stage.finish(host, twice)
}

/// Two hosts take from one source: each message has one result. One of them is killed, and the other finishes its work.
/// Where a source has one host, the second says so and ends.
pub(super) fn two_hosts_share_a_source(transport: &dyn Harness) -> Result<()> {
    let stage = Stage::images(transport, Weather::Calm)?;
    let mut first = stage.start_gated()?;
    if !stage.promises.is_shared {
        let ended = stage.mill.run(&["run", "plugins.toml"])?;
        ensure!(ended.code == Some(1) && !ended.stderr.is_empty(), "{ended:?}");
        stage.open_gate()?;
        return first.stop();
    }
    let mut second = stage.start("preprocess=while:GATE")?;
    stage.put("images", &numbered("shared", 200)?)?;
    // Both have their hands full.
    wait_in_flight(&mut first, "images", 64)?;
    wait_in_flight(&mut second, "images", 64)?;
    stage.open_gate()?;
    stage.wait_results(&first, "images", 20)?;
    second.kill()?;
    stage.finish(first, Twice::All)?;
    ensure!(stage.dead("images")?.is_empty(), "{:?}", stage.dead("images")?);
    Ok(())
}

/// `run --once` ends when the source is empty; where a source is never known to be, it is refused in words.
pub(super) fn a_run_ends_when_all_is_done(transport: &dyn Harness) -> Result<()> {
    let stage = Stage::images(transport, Weather::Calm)?;
    if !stage.promises.ends {
        let ended = stage.mill.run(&["run", "plugins.toml", "--once"])?;
        ensure!(ended.code == Some(1) && ended.stderr.contains("--once"), "{ended:?}");
        return Ok(());
    }
    stage.put("images", &numbered("once", 10)?)?;
    stage.put("images", &[Sent::text("refused")])?;
    let ended = stage.mill.run(&["run", "plugins.toml", "--once"])?;
    ensure!(ended.code == Some(0), "{ended:?}");
    stage.judge(Twice::None)?;
    ensure!(stage.missing()?.is_empty(), "{:?}", stage.missing()?);
    let ended = stage.mill.run(&["run", "plugins.toml", "--once"])?;
    ensure!(ended.code == Some(0), "an empty source is no failure: {ended:?}");
    Ok(())
}
