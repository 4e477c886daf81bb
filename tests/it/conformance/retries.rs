//! What is counted of a message outlives hosts: attempts that a plugin asked for, and hosts that crashed over it.

use anyhow::{Result, ensure};

use super::messages::{Sent, numbered};
use super::stage::{Pipe, Stage, Twice, wait_in_flight};
use super::{Harness, Weather};

/// The log line of a host that puts a message back for another attempt.
const AGAIN: &str = "returning the message to its source for another attempt";

/// A message that always wants another attempt gets three, by whatever hosts: one that is stopped before the second, one
/// that is killed before the third, and one that ends it.
pub(super) fn are_counted_across_restarts(transport: &dyn Harness) -> Result<()> {
    let pipe = Pipe {
        lines: "attempts = 3",
        ..Pipe::hostile("images", "mode = \"retry\"")
    };
    let stage = Stage::new(transport, Weather::Calm, vec![pipe], "drain = \"1s\"")?;
    stage.close_gate()?;
    let host = stage.start("preprocess=while:GATE@2")?;
    stage.put("images", &[Sent::text("again")])?;
    stage.wait_at(&host, "preprocess", 1)?;
    ensure!(host.n_lines(AGAIN) == 1, "{}", host.log());
    let (log, status) = host.stop_with_log()?;
    ensure!(status.code() == Some(3), "{status}: the drain did not cut it off");
    ensure!(log.matches(AGAIN).count() == 1, "{log}");

    let mut host = stage.start("preprocess=while:GATE@2")?;
    stage.wait_at(&host, "preprocess", 1)?;
    // The attempt before is let go of: killed sooner, it would rightly come again beside the copy.
    wait_in_flight(&mut host, "images", 1)?;
    ensure!(host.n_lines(AGAIN) == 1, "{}", host.log());
    host.kill()?;

    stage.open_gate()?;
    let host = stage.start("")?;
    if stage.promises.keeps {
        stage.wait_done(&host)?;
        ensure!(host.n_lines(AGAIN) == 0, "a fourth attempt: {}", host.log());
    }
    host.stop()?;
    let dead = stage.dead("images")?;
    ensure!(dead.len() == usize::from(stage.promises.keeps), "{dead:?}");
    ensure!(
        dead.iter()
            .all(|dead| dead.class == "attempts-spent" && dead.attempt == 3),
        "{dead:?}"
    );
    Ok(())
}

/// A message that kills hosts is found: after three crashes it is a dead letter, and its neighbours have their results.
/// Where nobody tells a host that a message was delivered before, the documentation says what becomes of it, and where
/// nothing comes again, the first host is the last one that it kills.
pub(super) fn end_a_message_that_kills_hosts(transport: &dyn Harness) -> Result<()> {
    let pipe = Pipe {
        lines: "attempts = 3",
        ..Pipe::images()
    };
    let stage = Stage::new(transport, Weather::Calm, vec![pipe], "")?;
    let poison = Sent::picture("poison")?;
    let deadly = format!("preprocess({})=abort", stage.source().id(&poison));
    stage.close_gate()?;
    let host = stage.start(&format!("preprocess=while:GATE,{deadly}"))?;
    let mut messages = numbered("neighbour", 20)?;
    messages.insert(10, poison);
    stage.put("images", &messages)?;
    stage.open_gate()?;
    let status = host.wait_end()?;
    ensure!(
        status.code().is_none(),
        "the host ended with {status}, and was not killed"
    );
    let mut n_crashes = 1;
    while stage.promises.keeps && stage.promises.tells_redelivery && n_crashes < 3 {
        let status = stage.launch(&deadly)?.wait_end()?;
        ensure!(
            status.code().is_none(),
            "the host ended with {status}, and was not killed"
        );
        n_crashes += 1;
    }
    if stage.promises.keeps && !stage.promises.tells_redelivery {
        // It comes again, and kills again, until a host does not die of it.
        let status = stage.launch(&deadly)?.wait_end()?;
        ensure!(status.code().is_none(), "the message did not come again: {status}");
        let host = stage.start("")?;
        stage.finish(host, Twice::All)?;
        ensure!(stage.dead("images")?.is_empty(), "{:?}", stage.dead("images")?);
        return Ok(());
    }
    let host = stage.start(&deadly)?;
    if !stage.promises.keeps {
        // Whatever was in flight is gone: what comes now is processed.
        stage.put("images", &numbered("later", 3)?)?;
        return stage.wait_results(&host, "images", 3);
    }
    stage.finish(host, Twice::All)?;
    let dead = stage.dead("images")?;
    ensure!(dead.len() == 1 && dead[0].of == "poison", "{dead:?}");
    ensure!(dead[0].class == "attempts-spent", "{dead:?}");
    ensure!(
        dead[0].text.contains(&format!("a host crashed {n_crashes} times")),
        "{dead:?}"
    );
    Ok(())
}
