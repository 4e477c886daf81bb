//! Each row of the settlement table: what became of a message, at its source and at its destination. One host runs a
//! pipeline for every row, once for each transport; a scenario looks at its rows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, anyhow, ensure};

use super::messages::{Sent, numbered};
use super::stage::{Pipe, Stage, Twice, ends};
use super::{Dead, Found, Harness, Weather};

/// The exit code that says: a device was lost.
const DEVICE_LOST: i32 = 75;
/// `max_message` of the pipeline `sized`, in its file and in bytes.
const SIZED: (&str, usize) = ("max_message = \"64KiB\"", 64 << 10);

/// What must become of a message.
#[derive(Debug, Clone, Copy)]
enum Row {
    Result,
    Nothing,
    /// A dead letter: stage, class, what its text says, attempt.
    Dead(&'static str, &'static str, &'static str, u32),
}

use Row::{Dead as DeadRow, Nothing, Result as ResultRow};

/// Pipelines of misbehaving plugins, what their messages must come to, and the scenario that looks at it.
const PIPES: [(&str, Pipe, Row); 18] = [
    ("nothing", Pipe::hostile("skip", "mode = \"skip\""), Nothing),
    ("nothing", Pipe::rude("route-skip", "mode = \"skip\""), Nothing),
    ("nothing", Pipe::rude("route-nothing", "mode = \"nothing\""), Nothing),
    (
        "refusals",
        Pipe::hostile("reject", "mode = \"reject\""),
        DeadRow("preprocess", "refused", "the hostile plugin rejects", 1),
    ),
    (
        "refusals",
        Pipe::rude("route-reject", "mode = \"reject\""),
        DeadRow("route", "refused", "the hostile router rejects", 1),
    ),
    (
        "faults",
        Pipe::hostile("trap", "mode = \"trap\""),
        DeadRow("preprocess", "trap", "trapped", 1),
    ),
    (
        "faults",
        Pipe::hostile("loop", "mode = \"loop\""),
        DeadRow("preprocess", "deadline", "0.500 s of CPU time", 1),
    ),
    (
        "faults",
        Pipe::hostile("hog", "mode = \"memory-bomb\""),
        DeadRow("preprocess", "memory", "allowed 160 MiB", 1),
    ),
    (
        "faults",
        Pipe::hostile("misshapen", "mode = \"wrong-shape\""),
        DeadRow("preprocess", "bad-tensor", "expected", 1),
    ),
    (
        "faults",
        Pipe::hostile("nan", "mode = \"nan\""),
        DeadRow("preprocess", "bad-tensor", "", 1),
    ),
    (
        "faults",
        Pipe::hostile("flood", "mode = \"huge-output\""),
        DeadRow("preprocess", "output-too-large", "", 1),
    ),
    (
        "faults",
        Pipe::rude("many", "mode = \"many-outputs\""),
        DeadRow("route", "output-too-large", "allowed 8", 1),
    ),
    (
        "faults",
        Pipe::rude("huge", "mode = \"huge-body\""),
        DeadRow("route", "output-too-large", "", 1),
    ),
    (
        "faults",
        Pipe::rude("route-panic", "mode = \"panic\""),
        DeadRow("route", "trap", "the hostile router panics", 1),
    ),
    (
        "denied",
        Pipe::rude("nowhere", "mode = \"unknown-destination\""),
        DeadRow("route", "denied", "nobody-declared-this", 1),
    ),
    (
        "denied",
        Pipe::rude("partly", "mode = \"fan-out-unknown\""),
        DeadRow("route", "denied", "nobody-declared-this", 1),
    ),
    ("retries", Pipe::hostile("patient", "mode = \"retry-twice\""), ResultRow),
    (
        "retries",
        Pipe::hostile("spent", "mode = \"retry\""),
        DeadRow("preprocess", "attempts-spent", "3 of 3 attempts are spent", 3),
    ),
];

/// What a host made of every row.
struct Settled {
    /// By pipeline and message id, in the order in which they were put in.
    rows: Vec<(&'static str, &'static str, Sent, Row)>,
    results: BTreeMap<&'static str, Vec<Found>>,
    dead: BTreeMap<&'static str, Vec<Dead>>,
}

pub(super) fn settles_with_every_result(transport: &dyn Harness) -> Result<()> {
    check(transport, "results", 3)
}

pub(super) fn settles_without_a_result(transport: &dyn Harness) -> Result<()> {
    check(transport, "nothing", 3)
}

pub(super) fn settles_refusals(transport: &dyn Harness) -> Result<()> {
    check(transport, "refusals", 5)
}

pub(super) fn settles_faults(transport: &dyn Harness) -> Result<()> {
    check(transport, "faults", 9)
}

pub(super) fn settles_denied_results(transport: &dyn Harness) -> Result<()> {
    check(transport, "denied", 2)
}

pub(super) fn settles_retries(transport: &dyn Harness) -> Result<()> {
    check(transport, "retries", 2)
}

pub(super) fn settles_by_size(transport: &dyn Harness) -> Result<()> {
    check(transport, "sizes", 4)
}

/// Without headers there is no deadline, and nothing is rejected for one.
pub(super) fn settles_by_deadline(transport: &dyn Harness) -> Result<()> {
    let n_rows = if ends(transport).0.has_headers { 4 } else { 1 };
    check(transport, "deadlines", n_rows)
}

/// The rows of one scenario, out of the one run of the transport.
fn check(transport: &dyn Harness, topic: &str, n_rows: usize) -> Result<()> {
    let settled = settled(transport)?;
    let rows = settled.rows.iter().filter(|(of, ..)| *of == topic);
    ensure!(rows.clone().count() == n_rows, "{n_rows} rows are meant to be asked");
    for (_, pipeline, sent, row) in rows {
        let what = format!("`{}` of `{pipeline}`", sent.id);
        let results: Vec<&Found> = settled.results[pipeline]
            .iter()
            .filter(|found| found.of == sent.id)
            .collect();
        let dead: Vec<&Dead> = settled.dead[pipeline]
            .iter()
            .filter(|dead| dead.of == sent.id)
            .collect();
        match row {
            ResultRow => {
                ensure!((results.len(), dead.len()) == (1, 0), "{what}: {results:?}, {dead:?}");
                let body = String::from_utf8_lossy(&results[0].body);
                ensure!(body.contains(&sent.label), "{what}: {body}");
            }
            Nothing => ensure!((results.len(), dead.len()) == (0, 0), "{what}: {results:?}, {dead:?}"),
            DeadRow(stage, class, text, attempt) => {
                ensure!((results.len(), dead.len()) == (0, 1), "{what}: {results:?}, {dead:?}");
                let dead = dead[0];
                let found = (dead.stage.as_str(), dead.class.as_str(), dead.attempt);
                ensure!(found == (*stage, *class, *attempt), "{what}: {dead:?}");
                ensure!(dead.text.contains(text), "{what}: {text:?} is not in {:?}", dead.text);
                ensure!(dead.body == sent.body, "{what}: its body is not what was put in");
                let is_plugins = matches!(*stage, "preprocess" | "route");
                ensure!(
                    !is_plugins || dead.plugin == format!("{pipeline}-{stage}"),
                    "{what}: {dead:?}"
                );
            }
        }
    }
    Ok(())
}

/// The run of a transport, made by whoever asks first.
fn settled(transport: &dyn Harness) -> Result<Arc<Settled>> {
    type Run = Arc<OnceLock<Result<Arc<Settled>, String>>>;
    static RUNS: Mutex<BTreeMap<&'static str, Run>> = Mutex::new(BTreeMap::new());
    let run = {
        let mut runs = RUNS.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(runs.entry(transport.name()).or_default())
    };
    let settled = run.get_or_init(|| settle(transport).map(Arc::new).map_err(|error| format!("{error:#}")));
    settled.clone().map_err(|error| anyhow!("the run of all rows: {error}"))
}

fn settle(transport: &dyn Harness) -> Result<Settled> {
    let mut pipes = vec![
        Pipe::images(),
        Pipe {
            lines: SIZED.0,
            ..Pipe::hostile("sized", "mode = \"ok\"")
        },
    ];
    pipes.extend(PIPES.map(|(_, pipe, _)| pipe));
    let stage = Stage::new(transport, Weather::Calm, pipes, "")?;
    let host = stage.start("")?;
    let rows = rows(transport)?;
    let mut names: Vec<&'static str> = rows.iter().map(|(_, pipeline, ..)| *pipeline).collect();
    names.dedup();
    for (_, pipeline, sent, row) in &rows {
        match row {
            // It ends nowhere: the emptiness of its source is what is asked.
            Nothing => stage.source().put(pipeline, std::slice::from_ref(sent))?,
            _ => stage.put(pipeline, std::slice::from_ref(sent))?,
        }
    }
    stage.wait_answered(&host)?;
    host.stop()?;
    stage.judge(Twice::None)?;
    let (mut results, mut dead) = (BTreeMap::new(), BTreeMap::new());
    for pipeline in names {
        let n_waiting = stage.source().n_waiting(pipeline)?;
        ensure!(n_waiting == 0, "{n_waiting} messages wait at `{pipeline}` still");
        results.insert(pipeline, stage.results(pipeline)?);
        dead.insert(pipeline, stage.dead(pipeline)?);
    }
    Ok(Settled { rows, results, dead })
}

fn rows(transport: &dyn Harness) -> Result<Vec<(&'static str, &'static str, Sent, Row)>> {
    let mut rows = Vec::new();
    for sent in numbered("good", 3)? {
        rows.push(("results", "images", sent, ResultRow));
    }
    for (id, says) in [("a-text", "not a PNG"), ("empty", "empty"), ("torn", "PNG")] {
        let body = match id {
            "empty" => Vec::new(),
            "torn" => {
                let whole = Sent::picture(id)?.body;
                whole.get(..whole.len() / 2).context("half a picture")?.to_vec()
            }
            _ => Sent::text(id).body,
        };
        rows.push((
            "refusals",
            "images",
            Sent::of(id, body),
            DeadRow("preprocess", "refused", says, 1),
        ));
    }
    rows.push(("deadlines", "images", Sent::picture("no-deadline")?, ResultRow));
    if ends(transport).0.has_headers {
        let deadline = |id: &str, at: &str| anyhow::Ok(Sent::picture(id)?.with_header("x-millrace-deadline", at));
        rows.push((
            "deadlines",
            "images",
            deadline("past", "2020-01-01T00:00:00Z")?,
            DeadRow("receive", "expired", "", 1),
        ));
        rows.push((
            "deadlines",
            "images",
            deadline("in-time", "2999-01-01T00:00:00Z")?,
            ResultRow,
        ));
        let unreadable = deadline("unreadable", "tomorrow")?;
        rows.push((
            "deadlines",
            "images",
            unreadable,
            DeadRow("receive", "malformed", "", 1),
        ));
    }
    let too_large = DeadRow("receive", "malformed", "", 1);
    for (id, n_bytes, row) in [
        ("one-byte", 1, ResultRow),
        ("as-large-as-allowed", SIZED.1, ResultRow),
        ("a-byte-larger", SIZED.1 + 1, too_large),
        ("far-larger", 3 * SIZED.1, too_large),
    ] {
        rows.push(("sizes", "sized", Sent::of(id, vec![b'x'; n_bytes]), row));
    }
    for (topic, pipe, row) in PIPES {
        let pipeline = pipe.name;
        let takes_texts = pipe.preprocess.0 == "hostile";
        let sent = if takes_texts {
            Sent::text(pipeline)
        } else {
            Sent::picture(pipeline)?
        };
        // What a hostile router sends is not a label.
        rows.push((
            topic,
            pipeline,
            Sent {
                label: String::new(),
                ..sent
            },
            row,
        ));
    }
    Ok(rows)
}

/// A model that fails for one message costs that message.
pub(super) fn settles_one_failure_of_the_model(transport: &dyn Harness) -> Result<()> {
    let pipe = Pipe {
        prefetch: 1,
        ..Pipe::images()
    };
    let stage = Stage::new(transport, Weather::Calm, vec![pipe], "")?;
    let host = stage.start("model=fail@2")?;
    stage.put("images", &numbered("one", 5)?)?;
    stage.finish(host, Twice::None)?;
    let dead = stage.dead("images")?;
    ensure!(
        dead.len() == 1 && dead[0].class == "model-failed" && dead[0].stage == "infer",
        "{dead:?}"
    );
    Ok(())
}

/// A lost device ends the host, which gives everything back uncounted; the next one finishes it.
pub(super) fn settles_a_lost_device(transport: &dyn Harness) -> Result<()> {
    let pipe = Pipe {
        lines: "attempts = 1",
        ..Pipe::images()
    };
    let stage = Stage::new(transport, Weather::Calm, vec![pipe], "")?;
    stage.close_gate()?;
    let host = stage.start("preprocess=while:GATE,model=lost@2")?;
    stage.put("images", &numbered("returned", 40)?)?;
    stage.open_gate()?;
    let status = host.wait_end()?;
    ensure!(status.code() == Some(DEVICE_LOST), "{status}");
    let host = stage.start("")?;
    stage.finish(host, Twice::None)?;
    ensure!(
        stage.dead("images")?.is_empty(),
        "it was counted: {:?}",
        stage.dead("images")?
    );
    Ok(())
}
