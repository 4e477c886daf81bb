//! The transport goes away while a message is at every step of its way, and comes back: nothing is lost, nothing is
//! counted, and the host lives.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use millrace_tests::host::Host;

use super::messages::{Sent, numbered};
use super::stage::{Pipe, Stage, Twice, wait_in_flight, wait_ready, wait_unready};
use super::steps::{hold_again, start_holding};
use super::{Fault, Harness, Weather};

/// From the end of an outage to the end of every message: twice the longest pause between two tries for a connection and
/// for its consumer (docs/operating.md, "From a fault to messages moving again"), and as much again for a busy machine.
const BOUND: Duration = Duration::from_secs(60);

/// A drain of three seconds and one more, and what a busy machine may need.
const LEAVE: Duration = Duration::from_secs(4 + 4);

pub(super) fn gone_at_each_step(transport: &dyn Harness) -> Result<()> {
    at_each_step(transport, Fault::Gone)
}

pub(super) fn frozen_at_each_step(transport: &dyn Harness) -> Result<()> {
    at_each_step(transport, Fault::Frozen)
}

pub(super) fn cut_at_each_step(transport: &dyn Harness) -> Result<()> {
    at_each_step(transport, Fault::Cut)
}

/// A transport with a connection can have every outage; another has one at least.
fn at_each_step(transport: &dyn Harness, fault: Fault) -> Result<()> {
    let outages = transport.promises().outages;
    if !outages.contains(&fault) {
        ensure!(
            transport.keys().connection.is_empty(),
            "its connection can be {fault:?}"
        );
        ensure!(!outages.is_empty(), "it has an outage of some kind");
        return Ok(());
    }
    let stage = Stage::images(transport, Weather::Fault(fault))?;
    let mut host = start_holding(&stage)?;
    // First, what is held goes on amid the outage: each step meets it.
    stage.bench().fault(fault)?;
    stage.open_gate()?;
    if fault != Fault::Cut {
        wait_unready(&mut host)?;
    }
    stage.bench().heal(fault)?;
    comes_back(&stage, &mut host)?;
    if fault != Fault::Frozen {
        // Then, it begins and ends while messages are held: what they come from may have taken them back meanwhile.
        hold_again(&stage, &mut host)?;
        stage.bench().fault(fault)?;
        stage.bench().heal(fault)?;
        wait_ready(&mut host)?;
        stage.open_gate()?;
        comes_back(&stage, &mut host)?;
    }
    stage.put("images", &[Sent::picture("canary")?])?;
    stage.finish(host, Twice::All)?;
    let results = stage.results("images")?;
    ensure!(
        results.iter().filter(|found| found.of == "canary").count() == 1,
        "{results:?}"
    );
    let dead = stage.dead("images")?;
    ensure!(
        dead.iter().all(|dead| dead.class == "refused"),
        "it was counted: {dead:?}"
    );
    Ok(())
}

/// After an outage every message comes to its end, and the host takes more, within the time that is stated.
fn comes_back(stage: &Stage, host: &mut Host) -> Result<()> {
    let healed = Instant::now();
    stage.wait_done(host)?;
    wait_ready(host)?;
    ensure!(healed.elapsed() < BOUND, "it took {:?}", healed.elapsed());
    Ok(())
}

/// A host that is stopped while the transport is away ends in time, and the next one finishes what it had.
pub(super) fn gone_at_a_drain(transport: &dyn Harness) -> Result<()> {
    let fault = *transport.promises().outages.first().context("an outage of some kind")?;
    let stage = Stage::new(transport, Weather::Fault(fault), vec![Pipe::images()], "drain = \"3s\"")?;
    let mut host = stage.start_gated()?;
    stage.put("images", &numbered("drained", 40)?)?;
    wait_in_flight(&mut host, "images", 40)?;
    stage.bench().fault(fault)?;
    stage.open_gate()?;
    if fault != Fault::Cut {
        wait_unready(&mut host)?;
    }
    let began = Instant::now();
    host.terminate()?;
    let status = host.wait_end()?;
    ensure!(matches!(status.code(), Some(0 | 3)), "{status}");
    ensure!(began.elapsed() < LEAVE, "it took {:?}", began.elapsed());
    stage.bench().heal(fault)?;
    let host = stage.start("")?;
    if !stage.promises.keeps {
        return host.stop();
    }
    stage.finish(host, Twice::All)?;
    ensure!(
        stage.dead("images")?.is_empty(),
        "it was counted: {:?}",
        stage.dead("images")?
    );
    Ok(())
}

/// A host with nothing to do says that the transport is away, and takes messages when it is back.
pub(super) fn gone_while_nothing_moves(transport: &dyn Harness) -> Result<()> {
    let fault = *transport.promises().outages.first().context("an outage of some kind")?;
    let stage = Stage::images(transport, Weather::Fault(fault))?;
    let mut host = stage.start("")?;
    wait_ready(&mut host)?;
    stage.bench().fault(fault)?;
    // A connection that is only cut may be there again before anyone asks.
    if fault != Fault::Cut {
        wait_unready(&mut host)?;
    }
    stage.bench().heal(fault)?;
    comes_back(&stage, &mut host)?;
    stage.put("images", &[Sent::picture("canary")?])?;
    stage.finish(host, Twice::None)
}

/// A host that starts while the transport is away waits for it and says so; or it ends at once, and says why.
pub(super) fn gone_at_the_start(transport: &dyn Harness) -> Result<()> {
    let fault = *transport.promises().outages.first().context("an outage of some kind")?;
    let waits = transport.promises().waits_at_start;
    // Before a host there is no connection to cut.
    let fault = if waits { fault } else { Fault::Gone };
    let stage = Stage::images(transport, Weather::Fault(fault))?;
    stage.bench().fault(fault)?;
    if !waits {
        let ended = stage.mill.run(&["run", "plugins.toml"])?;
        ensure!(matches!(ended.code, Some(1 | 2)), "{ended:?}");
        ensure!(
            ended.stderr.contains(&stage.bench().away("images")),
            "it does not name what is away: {ended:?}"
        );
        stage.bench().heal(fault)?;
        let host = stage.start("")?;
        stage.put("images", &[Sent::picture("canary")?])?;
        return stage.finish(host, Twice::None);
    }
    let mut host = stage.launch("")?;
    wait_unready(&mut host)?;
    stage.bench().heal(fault)?;
    comes_back(&stage, &mut host)?;
    stage.put("images", &[Sent::picture("canary")?])?;
    stage.finish(host, Twice::None)
}
