//! What a transport bounds, and the crookedest messages that it carries.

use anyhow::{Result, ensure};
use millrace_tests::admin::Admin;

use super::messages::{Sent, numbered};
use super::stage::{Pipe, Stage, Twice, wait_in_flight};
use super::{Harness, Weather};

const PREFETCH: u16 = 7;

/// No more messages are in flight than `prefetch` allows, however many wait; and a message that is put in while nothing
/// moves makes it no more.
pub(super) fn prefetch_bounds_what_is_in_flight(transport: &dyn Harness) -> Result<()> {
    let pipe = Pipe {
        prefetch: PREFETCH,
        ..Pipe::images()
    };
    let stage = Stage::new(transport, Weather::Calm, vec![pipe], "")?;
    let mut host = stage.start_gated()?;
    stage.put("images", &numbered("first", 30)?)?;
    wait_in_flight(&mut host, "images", PREFETCH.into())?;
    stage.wait_at(&host, "preprocess", PREFETCH.into())?;
    stage.put("images", &numbered("more", 10)?)?;
    let admin = Admin::of(&mut host)?;
    let most = admin.metric("millrace_taken_total{pipeline=\"images\"}")?;
    ensure!(most == Some(f64::from(PREFETCH)), "{most:?} were taken");
    stage.open_gate()?;
    stage.finish(host, Twice::None)
}

/// Messages as crooked as the transport lets them be have one end each, and cost nobody else anything.
pub(super) fn crooked_messages_cost_themselves(transport: &dyn Harness) -> Result<()> {
    let stage = Stage::images(transport, Weather::Calm)?;
    let host = stage.start("")?;
    let crooked = stage.source().put_crooked("images")?;
    ensure!(crooked.len() >= 5, "that is not crooked enough: {crooked:?}");
    for id in &crooked {
        stage.note("images", Sent::of(id, Vec::new()));
    }
    stage.put("images", &numbered("straight", 5)?)?;
    stage.finish(host, Twice::None)?;
    let log_of_a_canary = stage.results("images")?;
    let n_straight = log_of_a_canary
        .iter()
        .filter(|found| found.of.starts_with("straight"))
        .count();
    ensure!(n_straight == 5, "a neighbour has no result: {log_of_a_canary:?}");
    Ok(())
}
