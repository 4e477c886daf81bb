//! One message with several results: all or nothing, and held for the one that does not go out.

use anyhow::{Result, ensure};

use super::messages::Sent;
use super::stage::{Pipe, Stage, Twice, wait_in_flight, wait_ready, wait_unready};
use super::{Found, Harness, Weather};

const FAN: Pipe = Pipe {
    destinations: &["results", "copies"],
    ..Pipe::rude("images", "mode = \"fan-out\"")
};

fn stage(transport: &dyn Harness) -> Result<Stage> {
    // One attempt: a message that is held is not counted.
    let pipe = Pipe {
        lines: "attempts = 1",
        ..FAN
    };
    Stage::new(transport, Weather::Calm, vec![pipe], "")
}

fn copies(stage: &Stage, of: &str) -> Result<Vec<Found>> {
    let copies = stage.sink().results("images", "copies")?.into_iter();
    Ok(copies.filter(|found| found.of == of).collect())
}

fn plain(id: &str) -> Result<Sent> {
    Ok(Sent {
        label: String::new(),
        ..Sent::picture(id)?
    })
}

/// A message is held while one of its results goes nowhere; it is not let go of, not counted and not sent again where it
/// arrived, and goes on by itself.
pub(super) fn holds_all_for_one(transport: &dyn Harness) -> Result<()> {
    let stage = stage(transport)?;
    let mut host = stage.start("")?;
    stage.put("images", &[plain("whole")?])?;
    stage.wait_done(&host)?;
    stage.wait(&host, "the copy", || {
        Ok((copies(&stage, "whole")?.len() == 1).then_some(()))
    })?;

    stage.sink().break_destination("images", "copies")?;
    stage.put("images", &[plain("partly")?])?;
    let health = wait_unready(&mut host)?;
    ensure!(health.contains("holding 1 for"), "{health}");
    stage.wait_done(&host)?;
    wait_in_flight(&mut host, "images", 1)?;
    ensure!(stage.dead("images")?.is_empty(), "{:?}", stage.dead("images")?);

    stage.sink().mend_destination("images", "copies")?;
    stage.wait(&host, "the copy", || {
        Ok((copies(&stage, "partly")?.len() == 1).then_some(()))
    })?;
    wait_ready(&mut host)?;
    wait_in_flight(&mut host, "images", 0)?;
    host.stop()?;
    stage.judge(Twice::None)?;
    for of in ["whole", "partly"] {
        let first = stage.results("images")?.into_iter().find(|found| found.of == of);
        let copies = copies(&stage, of)?;
        ensure!(copies.len() == 1, "{of}: {copies:?}");
        ensure!(
            first.is_some_and(|first| first.id != copies[0].id),
            "two results of one message with one id"
        );
    }
    Ok(())
}

/// A host is killed while it holds a message of which one result went out: the next one sends both, under the ids that
/// they had.
pub(super) fn survives_a_kill(transport: &dyn Harness) -> Result<()> {
    let stage = stage(transport)?;
    let mut host = stage.start("")?;
    stage.sink().break_destination("images", "copies")?;
    stage.put("images", &[plain("partly")?])?;
    wait_unready(&mut host)?;
    stage.wait_done(&host)?;
    let first = stage.results("images")?;
    host.kill()?;
    stage.sink().mend_destination("images", "copies")?;
    let mut host = stage.start("")?;
    if stage.promises.keeps {
        stage.wait(&host, "the copy", || {
            Ok((!copies(&stage, "partly")?.is_empty()).then_some(()))
        })?;
    }
    wait_in_flight(&mut host, "images", 0)?;
    host.stop()?;
    stage.judge(Twice::These(&["partly"]))?;
    let copies = copies(&stage, "partly")?;
    ensure!(copies.len() == 1, "{copies:?}");
    ensure!(
        first.iter().all(|first| copies.iter().all(|copy| copy.id != first.id)),
        "{copies:?}"
    );
    Ok(())
}

/// One result of a message is refused for good: the message becomes a dead letter after its other result went out, and the ones
/// before and after it pass. Nothing is held. For transports whose destinations look into results, such as tables.
pub(super) fn one_result_is_refused(transport: &dyn Harness) -> Result<()> {
    let stage = stage(transport)?;
    // Its tables are there before their rules are changed.
    let mut host = stage.start("")?;
    stage.put("images", &[plain("before")?])?;
    stage.wait_done(&host)?;
    stage.wait(&host, "the copy", || {
        Ok((copies(&stage, "before")?.len() == 1).then_some(()))
    })?;
    stage.sink().refuse("images", "copies", "refused")?;
    stage.put("images", &[plain("refused")?, plain("after")?])?;
    let dead = stage.wait(&host, "the dead letter", || Ok(stage.dead("images")?.pop()))?;
    stage.wait(&host, "the copy", || {
        Ok((copies(&stage, "after")?.len() == 1).then_some(()))
    })?;
    wait_in_flight(&mut host, "images", 0)?;
    wait_ready(&mut host)?;
    host.stop()?;
    ensure!(stage.dead("images")?.len() == 1, "{:?}", stage.dead("images")?);
    ensure!(
        (dead.of.as_str(), dead.stage.as_str(), dead.class.as_str(), dead.attempt)
            == ("refused", "deliver", "undeliverable", 1),
        "{dead:?}"
    );
    ensure!(dead.text.contains("refuses the result"), "{dead:?}");
    ensure!(copies(&stage, "refused")?.is_empty());
    let results = stage.results("images")?;
    for of in ["before", "refused", "after"] {
        ensure!(
            results.iter().filter(|found| found.of == of).count() == 1,
            "{of}: {results:?}"
        );
    }
    Ok(())
}
