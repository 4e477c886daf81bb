//! `millrace dlq save`: a dead letter as a test case in a folder. The dead letter stays where it is.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::{Map, Value, json};

use super::PlaceArguments;
use super::output::{harmless, print};
use super::place::{digest, extension, find, head};
use super::show::Kind;
use crate::config::case::ExpectedOutcome;
use crate::config::limits_read;
use crate::dead_letter::{self, DeadLetter};
use crate::kept_prediction::KeptPrediction;
use crate::message::Message;
use crate::transport::HeldDeadLetter;
use crate::transport::folder::write_new;

/// The file name of a case in its folder.
const CASE: &str = "case.json";

/// `millrace dlq save`
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The id of the message or of the dead letter, or a prefix of it; in a folder also the file's name
    id: String,
    /// The folder of the case; made where it is missing, and nothing in it is replaced
    dir: PathBuf,
    /// Which one, where several dead letters have the same id; 1 is the first
    #[arg(long, value_name = "N")]
    nth: Option<usize>,
    /// The outcome to expect from now on [default: `processed` where it was refused, else `no-fault`]
    #[arg(long, value_name = "OUTCOME", value_parser = PossibleValuesParser::new(ExpectedOutcome::WORDS.map(|(word, _)| word)))]
    expect: Option<String>,
    #[command(flatten)]
    place: PlaceArguments,
}

pub(super) async fn save(options: Options) -> anyhow::Result<ExitCode> {
    let place = match options.place.place()? {
        Ok(place) => place,
        Err(code) => return Ok(code),
    };
    let mut found = find(place.as_ref(), &options.id).await?;
    let n_found = found.len();
    let nth = match options.nth {
        None if n_found > 1 => bail!("{n_found} dead letters have this id: choose one with --nth"),
        nth => nth.unwrap_or(1),
    };
    if !(1..=n_found).contains(&nth) {
        bail!("--nth {nth}: there are {n_found} dead letters with this id");
    }
    let held = found.swap_remove(nth - 1);
    let extension = extension(held.dead_letter()).map(str::to_owned);
    let extension = match extension {
        Some(extension) => extension,
        None => Kind::of(&head(held.as_ref(), 1024)?).extension.to_owned(),
    };
    // The name is ours: only a checked extension comes from the dead letter.
    let name = format!("body.{extension}");
    let dir = &options.dir;
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create `{}`", dir.display()))?;
    if dir.join(CASE).symlink_metadata().is_ok() {
        bail!("`{}` has a case already", dir.display());
    }
    let asked = options.expect.as_deref();
    let asked = asked.and_then(|asked| ExpectedOutcome::WORDS.into_iter().find(|(word, _)| *word == asked));
    let expected = match asked {
        Some((_, expected)) => expected,
        None => ExpectedOutcome::against(held.dead_letter().class()),
    };
    let case = harmless(&serde_json::to_string_pretty(&as_json(
        held.as_ref(),
        &name,
        expected,
    )?)?)
        + "\n";
    // The case last: a folder that has one is complete.
    write_new(&dir.join(&name), &mut *held.open_body()?)?;
    write_new(&dir.join(CASE), &mut case.as_bytes())?;
    print(format_args!(
        "{}: {CASE}, {name}\n{}",
        dir.display(),
        told(expected, asked.is_some())
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// The expectation of the case, and how to change it.
fn told(expected: ExpectedOutcome, is_asked: bool) -> String {
    let (word, means) = (expected.as_str(), expected.told());
    let means = if word == means {
        String::new()
    } else {
        format!(" ({means})")
    };
    let else_ = match (is_asked, expected) {
        (true, _) => "",
        (false, ExpectedOutcome::Processed) => "; where the refusal was right, save it with --expect reject",
        (false, _) => "; --expect says otherwise",
    };
    format!("expects {word}{means}{else_}")
}

/// The case. A plugin saw `message`, within `limits` and with `prediction`; `dead_letter` has its outcome and `original` its
/// properties and headers; `expect` is the outcome that is right from now on.
fn as_json(held: &dyn HeldDeadLetter, body: &str, expected: ExpectedOutcome) -> anyhow::Result<Value> {
    let dead_letter = held.dead_letter();
    let Message {
        id,
        correlation_id,
        reply_to,
        source,
        key,
        attempt,
        content_type,
        headers,
        ..
    } = held.message()?;
    // As the dead letter has them, and no others: its sender must not choose the limits of a test.
    let [deadline, memory] = ["plugin-deadline", "plugin-memory"].map(|name| dead_letter.fact(name));
    let limits = (deadline.is_some() || memory.is_some()) && limits_read(deadline, memory).is_ok();
    let limits = limits.then(|| json!({ "deadline": deadline, "memory": memory }));
    let prediction: Option<KeptPrediction> = dead_letter
        .fact("prediction")
        .and_then(|text| serde_json::from_str(text).ok());
    Ok(json!({
        "format": "millrace-case/1",
        "body": body,
        "body_sha256": digest(held.open_body()?)?,
        "body_bytes": dead_letter.n_bytes,
        "message": {
            "id": id,
            "correlation_id": correlation_id,
            "reply_to": reply_to,
            "content_type": content_type,
            "source": source,
            "key": key,
            "attempt": attempt,
            // Pairs and not an object: plugins see them in this order.
            "headers": headers,
        },
        "limits": limits,
        "prediction": prediction,
        "expect": { "outcome": expected.as_str() },
        "dead_letter": facts(dead_letter),
        "original": dead_letter.original,
    }))
}

fn facts(dead_letter: &DeadLetter) -> Value {
    const FACTS: [&str; 13] = [
        "pipeline",
        "stage",
        "text",
        "time",
        "host",
        "generation",
        "plugin",
        "plugin-digest",
        "model",
        "model-digest",
        "preprocess",
        "route",
        "queue",
    ];
    /// Headers whose values are elsewhere in the case.
    const ELSEWHERE: [&str; 6] = [
        "reason",
        "message-id",
        "attempt",
        "prediction",
        "plugin-deadline",
        "plugin-memory",
    ];
    let mut facts: Map<String, Value> = Map::new();
    facts.insert("id".to_owned(), json!(dead_letter.id));
    facts.insert("file".to_owned(), json!(dead_letter.file));
    facts.insert("reason".to_owned(), json!(dead_letter.class()));
    facts.insert("cut_headers".to_owned(), json!(dead_letter.n_cut));
    for name in FACTS {
        facts.insert(name.replace('-', "_"), json!(dead_letter.fact(name)));
    }
    // What later hosts may add.
    for (header, value) in &dead_letter.headers {
        let name = dead_letter::fact_of(header).filter(|name| !ELSEWHERE.contains(name) && !FACTS.contains(name));
        facts.extend(name.map(|name| (name.replace('-', "_"), json!(value))));
    }
    facts.into()
}
