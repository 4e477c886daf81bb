//! The judge: two hosts, a stream of messages, and faults that a seed draws. When all is calm again, nothing is lost.

use anyhow::{Context, Result, ensure};
use millrace_tests::host::Host;
use millrace_tests::random::Random;

use super::messages::{Sent, numbered};
use super::stage::{Stage, Twice, wait_unready};
use super::{Fault, Harness, Weather};

const SEED: u64 = 7;
const N_FAULTS: usize = 8;
/// Messages that are put in before each fault.
const N_EACH: usize = 40;
/// Every so many is no picture.
const REFUSED_EVERY: usize = 10;

/// What is done to hosts and transport.
#[derive(Debug, Clone, Copy)]
enum Blow {
    Kill,
    Stop,
    Outage(Fault),
}

/// Faults strike while messages flow. Each message has one end, the same however often it came; the refused ones alone are
/// dead letters; a last message has its result.
pub(super) fn finds_nothing_lost_under_random_faults(transport: &dyn Harness) -> Result<()> {
    let outages = transport.promises().outages;
    let worst = outages.first().context("it has an outage of some kind")?;
    let stage = Stage::images(transport, Weather::Fault(*worst))?;
    let mut random = Random::stream(SEED, 0);
    let mut hosts = vec![stage.start("")?];
    if stage.promises.is_shared {
        hosts.push(stage.start("")?);
    }
    let mut blows: Vec<Blow> = (0..N_FAULTS).map(|n| blow(n, outages)).collect();
    random.shuffle(&mut blows);
    for (round, blow) in blows.into_iter().enumerate() {
        let n_before = stage.results("images")?.len();
        stage.put("images", &batch(round)?)?;
        stage.wait_results(&hosts[0], "images", n_before + 1 + random.below(10))?;
        strike(&stage, &mut hosts, random.below(2), blow).with_context(|| format!("round {round}: {blow:?}"))?;
    }
    stage.put("images", &[Sent::picture("canary")?])?;
    if stage.promises.keeps {
        stage.wait_answered(&hosts[0])?;
    }
    for host in hosts {
        host.stop()?;
    }
    if !stage.promises.keeps {
        let n_missing = stage.missing()?.len();
        ensure!(
            n_missing <= N_FAULTS * 64,
            "{n_missing} are lost, more than was in flight"
        );
        return Ok(());
    }
    stage.judge(Twice::All)?;
    let dead = stage.dead("images")?;
    ensure!(
        dead.iter()
            .all(|dead| dead.of.starts_with("text-") && dead.class == "refused"),
        "{dead:?}"
    );
    let n_results = stage
        .results("images")?
        .iter()
        .map(|found| &found.of)
        .collect::<std::collections::BTreeSet<_>>()
        .len();
    ensure!(
        n_results == N_FAULTS * (N_EACH - N_EACH / REFUSED_EVERY) + 1,
        "{n_results} messages have results"
    );
    Ok(())
}

/// Every kind of blow has its turn.
fn blow(n: usize, outages: &[Fault]) -> Blow {
    match n % (outages.len() + 2) {
        0 => Blow::Kill,
        1 => Blow::Stop,
        turn => Blow::Outage(outages[turn - 2]),
    }
}

fn batch(round: usize) -> Result<Vec<Sent>> {
    let mut batch = numbered(&format!("round-{round}"), N_EACH)?;
    for (at, sent) in batch.iter_mut().enumerate().filter(|(at, _)| at % REFUSED_EVERY == 0) {
        *sent = Sent::text(&format!("text-{round}-{at}"));
    }
    Ok(batch)
}

fn strike(stage: &Stage, hosts: &mut Vec<Host>, at: usize, blow: Blow) -> Result<()> {
    let at = at % hosts.len();
    match blow {
        Blow::Kill => {
            hosts.remove(at).kill()?;
            hosts.push(stage.start("")?);
        }
        Blow::Stop => {
            hosts.remove(at).stop()?;
            hosts.push(stage.start("")?);
        }
        Blow::Outage(fault) => {
            stage.bench().fault(fault)?;
            if fault == Fault::Frozen {
                // Until it is noticed, nothing happened.
                wait_unready(&mut hosts[at])?;
            }
            stage.bench().heal(fault)?;
        }
    }
    Ok(())
}
