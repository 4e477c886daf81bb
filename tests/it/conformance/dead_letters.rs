//! `millrace dlq` over a transport's dead letters: listed, shown, saved as cases, and put back with what they had.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use millrace_tests::host::Ended;
use serde_json::Value;

use super::messages::numbered;
use super::stage::{Pipe, Stage, Twice};
use super::{Harness, Weather};

fn dlq(stage: &Stage, arguments: &[&str]) -> Result<Ended> {
    stage.mill.run(&[&["dlq"], arguments].concat())
}

/// The ids of the dead letters that `dlq ls` lists.
fn listed(stage: &Stage, arguments: &[&str]) -> Result<Vec<Value>> {
    let ended = dlq(stage, &[&["ls", "--json"], arguments].concat())?;
    ensure!(ended.code == Some(0), "{ended:?}");
    ended
        .stdout
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect()
}

/// A plugin refuses four good pictures by mistake. They are looked at, saved and put back; the right plugin gives their
/// results, under the ids that the messages had.
pub(super) fn are_listed_saved_and_put_back(transport: &dyn Harness) -> Result<()> {
    let mistaken = Pipe {
        preprocess: ("decode-image", "max_width = 16"),
        route: ("hostile-route", "mode = \"echo-header\""),
        ..Pipe::images()
    };
    let stage = Stage::new(transport, Weather::Calm, vec![mistaken], "")?;
    let mut messages = numbered("letter", 4)?;
    for sent in &mut messages {
        // The router sends the header back, and not what the picture shows.
        sent.label.clear();
        if stage.promises.has_headers {
            sent.headers.push(("echo".to_owned(), sent.id.clone()));
        }
    }
    let host = stage.start("")?;
    stage.put("images", &messages)?;
    stage.wait_answered(&host)?;
    host.stop()?;
    stage.judge(Twice::None)?;
    if !stage.promises.keeps_dead_letters {
        // The senders have been told: there is nothing to be put back, and `dlq` says so.
        let ended = dlq(&stage, &["ls"])?;
        ensure!(ended.code != Some(0) && !ended.stderr.is_empty(), "{ended:?}");
        return Ok(());
    }
    let letters = listed(&stage, &[])?;
    let ids: BTreeSet<&str> = letters
        .iter()
        .filter_map(|letter| letter["message_id"].as_str())
        .collect();
    let expected: Vec<String> = messages.iter().map(|sent| stage.source().id(sent)).collect();
    ensure!(ids == expected.iter().map(String::as_str).collect(), "{letters:?}");
    for letter in &letters {
        ensure!(
            (&letter["reason"], &letter["stage"], &letter["pipeline"])
                == (&"refused".into(), &"preprocess".into(), &"images".into()),
            "{letter}"
        );
    }
    ensure!(
        listed(&stage, &["--reason", "trap"])?.is_empty(),
        "there is none of another reason"
    );
    look(&stage, &expected[0], &messages[0].body)?;
    put_back(&stage, &expected)
}

/// Showing and saving changes nothing; a case has the body, and what happened.
fn look(stage: &Stage, id: &str, body: &[u8]) -> Result<()> {
    let shown = dlq(stage, &["show", id])?;
    ensure!(shown.code == Some(0), "{shown:?}");
    for part in [id, "refused", "preprocess", "larger than 16"] {
        ensure!(shown.stdout.contains(part), "no {part:?} in {}", shown.stdout);
    }
    let saved = dlq(stage, &["save", id, "case"])?;
    ensure!(saved.code == Some(0), "{saved:?}");
    let case: Value = serde_json::from_slice(&std::fs::read(stage.mill.path("case/case.json"))?)?;
    let file = case["body"].as_str().context("no body")?;
    ensure!(
        std::fs::read(stage.mill.path("case").join(file))? == body,
        "another body: {case}"
    );
    ensure!(case["message"]["id"] == id, "{case}");
    let replayed = stage.mill.run(&["replay", "case"])?;
    ensure!(
        replayed.code == Some(1),
        "the case does not fail as it failed: {replayed:?}"
    );
    ensure!(listed(stage, &[])?.len() == 4, "looking took letters away");
    Ok(())
}

/// One by its id, then all; nothing is lost on the way, and the attempts begin again.
fn put_back(stage: &Stage, ids: &[String]) -> Result<()> {
    let one = dlq(stage, &["requeue", &ids[0]])?;
    ensure!(
        one.code == Some(0) && one.stdout.contains("1 message put back"),
        "{one:?}"
    );
    ensure!(listed(stage, &[])?.len() == 3, "it took others with it");
    let unknown = dlq(stage, &["requeue", "nobody-has-this-id"])?;
    ensure!(unknown.code == Some(1), "{unknown:?}");
    let all = dlq(stage, &["requeue", "--reason", "refused"])?;
    ensure!(
        all.code == Some(0) && all.stdout.contains("3 messages put back"),
        "{all:?}"
    );
    ensure!(listed(stage, &[])?.is_empty(), "letters stayed");
    ensure!(stage.source().n_waiting("images")? == 4, "not all wait at their source");
    let text = std::fs::read_to_string(stage.mill.path("plugins.toml"))?;
    stage.write(&text.replace("max_width = 16", ""))?;
    let replayed = stage.mill.run(&["replay", "case"])?;
    ensure!(replayed.code == Some(0), "{replayed:?}");
    let host = stage.start("")?;
    stage.wait_results(&host, "images", 4)?;
    host.stop()?;
    let results = stage.results("images")?;
    let of: BTreeSet<&str> = results.iter().map(|found| found.of.as_str()).collect();
    ensure!(of.len() == 4, "{results:?}");
    for found in &results {
        let expected = if stage.promises.has_headers { &found.of } else { "" };
        ensure!(found.body == expected.as_bytes(), "it lost its header: {found:?}");
    }
    ensure!(listed(stage, &[])?.is_empty(), "letters came again");
    Ok(())
}
