//! Plugins that misbehave, one pipeline each in one host: every fault costs its own message, the dead letter says what
//! happened in which plugin, and the pipeline beside them goes on.

use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use millrace_tests::amqp::{Arrival, Client, Parcel};
use millrace_tests::broker::Broker;
use millrace_tests::host::{Host, Mill};
use millrace_tests::process::Usage;
use millrace_tests::samples::{guest, model};
use millrace_tests::{attacks, unique, wat};
use tempfile::TempDir;

/// What a preprocessor does, the class of the reason in its dead letter, and what its text says: the bound that was
/// crossed, with its configured value.
const PREPROCESS: [(&str, &str, &str); 21] = [
    ("trap", "trap", "trapped: wasm `unreachable` instruction executed"),
    ("panic", "trap", "the hostile plugin panics"),
    ("out-of-bounds", "trap", "out of bounds memory access"),
    ("recurse", "trap", "call stack exhausted"),
    ("recurse-in-memory", "trap", "trapped: "),
    ("loop", "deadline", "ran past its deadline of 0.500 s of CPU time"),
    (
        "loop-in-host",
        "deadline",
        "ran past its deadline of 0.500 s of CPU time",
    ),
    ("memory-bomb", "memory", " of memory, allowed 160 MiB"),
    ("memory-bomb-handled", "memory", " of memory, allowed 160 MiB"),
    ("handle-leak", "trap", "trapped: "),
    (
        "wrong-shape",
        "bad-tensor",
        "expected byte [3, 32, 32], found byte [32, 32, 3]",
    ),
    ("no-shape", "bad-tensor", "found byte []"),
    ("huge-shape", "bad-tensor", "found a tensor of 16 axes"),
    ("wrong-element", "bad-tensor", "found float [3, 32, 32]"),
    ("nan", "bad-tensor", "found float [3, 32, 32]"),
    ("infinity", "bad-tensor", "found float [3, 32, 32]"),
    ("short-data", "bad-tensor", "has 3072 elements, found 3071"),
    ("long-data", "bad-tensor", "has 3072 elements, found 3073"),
    ("huge-output", "output-too-large", "handed over more than 1 MiB at once"),
    ("reject", "refused", "the hostile plugin rejects"),
    ("retry", "attempts-spent", "3 of 3 attempts are spent"),
];
/// The same of a router.
const ROUTE: [(&str, &str, &str); 12] = [
    (
        "unknown-destination",
        "denied",
        "no destination \"nobody-declared-this\"",
    ),
    ("fan-out-unknown", "denied", "no destination \"nobody-declared-this\""),
    ("key-not-allowed", "denied", "does not allow the key \"anything\""),
    ("long-key", "denied", "returned a key of 300 bytes, allowed 255"),
    ("header-cc", "denied", "\"CC\""),
    ("header-bcc", "denied", "\"bcc\""),
    ("header-x", "denied", "\"x-millrace-model\""),
    ("huge-body", "output-too-large", "handed over more than 9 MiB at once"),
    ("many-outputs", "output-too-large", "returned 1000 results, allowed 8"),
    ("panic", "trap", "the hostile router panics"),
    ("loop", "deadline", "ran past its deadline of 0.500 s of CPU time"),
    ("reject", "refused", "the hostile router rejects"),
];
/// The same of preprocessors that no compiler makes.
const TEXT: [(&str, &str, &str); 14] = [
    ("unreachable", "trap", "trapped: wasm `unreachable`"),
    ("division-by-zero", "trap", "integer divide by zero"),
    ("pointer-out-of-bounds", "trap", "trapped: "),
    ("message-kept", "trap", "borrow handles still remain"),
    ("lying-length", "trap", "trapped: "),
    ("lying-variant", "trap", "trapped: "),
    ("real-length", "output-too-large", "handed over more than 1 MiB at once"),
    ("recursion", "trap", "call stack exhausted"),
    (
        "many-small-grows",
        "memory",
        "asked for 160.06 MiB of memory, allowed 160 MiB",
    ),
    ("one-large-grow", "memory", " of memory, allowed 160 MiB"),
    ("table-bomb", "trap", "trapped: "),
    (
        "endless-allocator",
        "deadline",
        "ran past its deadline of 0.500 s of CPU time",
    ),
    ("deep-allocator", "trap", "call stack exhausted"),
    ("lying-allocator", "trap", "trapped: "),
];

/// A host with one pipeline for each mode of a hostile guest.
struct Menagerie {
    prefix: String,
    text: String,
    /// Holds the guests of text.
    folder: TempDir,
}

/// What `[plugin.NAME]` of a hostile guest says besides its path.
const LIMITS: &str = "deadline = \"500ms\"\nmemory = \"160MiB\"";
/// What every hostile plugin is given.
const BODY: &[u8] = b"a message";

impl Menagerie {
    fn new(broker: &Broker) -> Result<Self> {
        let mut text = format!(
            "[host]\nworkers = 2\n[broker]\namqp = \"{}\"\n[model.shapes]\ndevice = \"cpu\"\n",
            broker.url()
        );
        writeln!(text, "path = {:?}", model().display().to_string())?;
        let mut menagerie = Self {
            prefix: unique("hostile"),
            text,
            folder: tempfile::tempdir()?,
        };
        menagerie.plugin("good-preprocess", "hostile", "mode = \"ok\"")?;
        menagerie.plugin("good-route", "hostile-route", "mode = \"ok\"")?;
        menagerie.pipeline("canary", "good-preprocess", "good-route")?;
        Ok(menagerie)
    }

    fn plugin(&mut self, name: &str, file: &str, settings: &str) -> Result<()> {
        self.plugin_at(name, &guest("wasm32-wasip2", file)?, settings)
    }

    fn plugin_at(&mut self, name: &str, path: &Path, settings: &str) -> Result<()> {
        let path = path.display().to_string();
        Ok(writeln!(
            self.text,
            "[plugin.{name}]\npath = {path:?}\n{LIMITS}\nsettings = {{ {settings} }}"
        )?)
    }

    fn pipeline(&mut self, name: &str, preprocess: &str, route: &str) -> Result<()> {
        let (queue, results, dead) = (self.queue(name), self.results(name), self.dead(name));
        Ok(write!(
            self.text,
            r#"
[pipeline.{name}]
source = {{ queue = "{queue}", prefetch = 8 }}
preprocess = "{preprocess}"
model = "shapes"
route = "{route}"
dead_letter = "{dead}"
[pipeline.{name}.destination.results]
exchange = ""
routing_key = "{results}"
"#
        )?)
    }

    fn with_preprocess(&mut self, mode: &str) -> Result<()> {
        self.plugin(mode, "hostile", &format!("mode = \"{mode}\""))?;
        self.pipeline(mode, mode, "good-route")
    }

    fn with_text(&mut self, name: &str) -> Result<()> {
        let attacks = attacks::calls();
        let (_, fields) = attacks
            .iter()
            .find(|(attack, _)| *attack == name)
            .context("no such attack")?;
        let path = self.folder.path().join(format!("{name}.wasm"));
        std::fs::write(&path, wat::preprocessor(fields)?)?;
        self.plugin_at(name, &path, "")?;
        self.pipeline(name, name, "good-route")
    }

    fn with_route(&mut self, mode: &str) -> Result<()> {
        self.plugin(mode, "hostile-route", &format!("mode = \"{mode}\""))?;
        self.pipeline(mode, "good-preprocess", mode)
    }

    fn queue(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn results(&self, name: &str) -> String {
        format!("{}.{name}.results", self.prefix)
    }

    fn dead(&self, name: &str) -> String {
        format!("{}.{name}.dead", self.prefix)
    }
}

fn check(dead_letter: &Arrival, mode: &str, stage: &str, reason: &str, says: &str) -> Result<()> {
    let header = |name: &str| dead_letter.header(&format!("x-millrace-{name}")).to_owned();
    let found = (header("stage"), header("reason"), header("plugin"));
    let expected = (stage.to_owned(), reason.to_owned(), mode.to_owned());
    ensure!(
        found == expected,
        "{mode}: expected {expected:?}, found {:?}",
        dead_letter.headers
    );
    let (digest, text) = (header("plugin-digest"), header("text"));
    ensure!(digest.len() == 64, "{mode}: {dead_letter:?}");
    let names = format!(
        "plugin `{mode}` ({}, generation 1): ",
        digest.get(..12).unwrap_or_default()
    );
    // A header's text is escaped.
    let says = says.escape_debug().to_string();
    ensure!(
        text.starts_with(&names) && text.contains(&says),
        "{mode}: {says:?} is not in {text:?}"
    );
    ensure!(dead_letter.body == BODY, "{mode}: {:?}", dead_letter.headers);
    Ok(())
}

/// Sends canaries through the good pipeline until it is told to stop; what each took, sorted.
async fn canaries(client: &Client, queue: &str, results: &str, stop: &AtomicBool) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        client
            .publish(queue, &Parcel::new(&format!("canary-{}", took.len()), BODY))
            .await?;
        client.take_all(results, 1).await.context("a canary died")?;
        took.push(began.elapsed());
    }
    took.sort();
    Ok(took)
}

/// A canary may wait for every worker's call in flight to reach its deadline, in each of its two stages, on cores that do
/// several things at once; without a fair share of the workers it would wait for every hostile pipeline's.
const CANARY_LIMIT: Duration = Duration::from_secs(10);

/// Two workers with 160 MiB each, and as much again for the process itself and what is in flight.
const PEAK_MAX_BYTES: u64 = 640 << 20;

async fn faults(rows: &[(&str, &str, &str)], stage: &str, add: fn(&mut Menagerie, &str) -> Result<()>) -> Result<()> {
    let broker = Broker::shared()?;
    let mut menagerie = Menagerie::new(broker)?;
    for (mode, ..) in rows {
        add(&mut menagerie, mode)?;
    }
    let mill = Mill::new(&menagerie.text)?;
    let mut host = mill.start()?;
    for (mode, ..) in rows {
        host.wait_pipeline(mode)?;
    }
    let client = Client::connect(&broker.url()).await?;
    client
        .publish(&menagerie.queue("canary"), &Parcel::new("first", BODY))
        .await?;
    client.take_all(&menagerie.results("canary"), 1).await?;
    let before = Usage::of(host.pid())?;
    let other = Client::connect(&broker.url()).await?;
    let stop = AtomicBool::new(false);
    let attack = async {
        let wrong = attack(&client, &menagerie, &host, rows, stage).await;
        stop.store(true, Ordering::Relaxed);
        wrong
    };
    let (queue, results) = (menagerie.queue("canary"), menagerie.results("canary"));
    let (wrong, took) = tokio::join!(attack, canaries(&other, &queue, &results, &stop));
    let (wrong, took) = (wrong?, took?);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let after = Usage::of(host.pid())?;
    let p99 = took.get(took.len() * 99 / 100).context("no canary flew")?;
    println!(
        "{} canaries, p99 {p99:?}; peak {} MiB, threads {} and {}, files {} and {}",
        took.len(),
        after.peak_bytes >> 20,
        before.threads,
        after.threads,
        before.files,
        after.files
    );
    ensure!(*p99 < CANARY_LIMIT, "the neighbour waited {p99:?}");
    // tokio adds and ends threads for blocking work as it likes.
    ensure!(
        after.threads <= before.threads + 8 && after.files <= before.files + 8,
        "{before:?}, {after:?}"
    );
    ensure!(
        after.peak_bytes < PEAK_MAX_BYTES,
        "{} MiB at its height",
        after.peak_bytes >> 20
    );
    host.stop()
}

/// Sends one message to each pipeline, and looks at what becomes of it.
async fn attack(
    client: &Client,
    menagerie: &Menagerie,
    host: &Host,
    rows: &[(&str, &str, &str)],
    stage: &str,
) -> Result<Vec<String>> {
    for (mode, ..) in rows {
        client.publish(&menagerie.queue(mode), &Parcel::new(mode, BODY)).await?;
    }
    let mut wrong = Vec::new();
    for (mode, reason, says) in rows {
        let dead_letters = client
            .take_all(&menagerie.dead(mode), 1)
            .await
            .with_context(|| format!("{mode}: {}", host.log()))?;
        let dead_letter = dead_letters.first().context("no dead letter")?;
        let checked = check(dead_letter, mode, stage, reason, says);
        wrong.extend(checked.err().map(|error| error.to_string()));
        if client.count(&menagerie.results(mode)).await? != 0 {
            wrong.push(format!("{mode}: a result came out"));
        }
    }
    Ok(wrong)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_a_preprocessor_is_a_dead_letter_that_names_it() -> Result<()> {
    faults(&PREPROCESS, "preprocess", Menagerie::with_preprocess).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_a_router_is_a_dead_letter_that_names_it() -> Result<()> {
    faults(&ROUTE, "route", Menagerie::with_route).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_that_no_compiler_makes_is_a_dead_letter_that_names_it() -> Result<()> {
    faults(&TEXT, "preprocess", Menagerie::with_text).await
}

/// Ten seconds' worth of lines are far above what this takes, and far below what it would be without a bound.
#[tokio::test]
async fn thousands_of_hostile_messages_do_not_fill_the_log() -> Result<()> {
    const MESSAGES: usize = 5_000;
    let broker = Broker::shared()?;
    let mut menagerie = Menagerie::new(broker)?;
    menagerie.with_preprocess("reject")?;
    let mill = Mill::new(&menagerie.text)?;
    let mut host = mill.start()?;
    host.wait_pipeline("reject")?;
    let client = Client::connect(&broker.url()).await?;
    let nasty = "\u{1b}[2J\r\nERROR not ours\u{7}".repeat(6);
    let parcels = (0..MESSAGES).map(|n| {
        let headers = (0..8).map(|header| (format!("h{header}"), nasty.repeat(64)));
        Parcel {
            headers: headers.collect(),
            content_type: Some(nasty.clone()),
            ..Parcel::new(&format!("{n}{nasty}"), BODY)
        }
    });
    let began = Instant::now();
    client.publish_all(&menagerie.queue("reject"), parcels).await?;
    client.take_all(&menagerie.dead("reject"), MESSAGES).await?;
    let seconds = began.elapsed().as_secs() as usize + 2;
    let log = host.log();
    let told = log.matches("becomes a dead letter").count();
    println!("told {told} of {} lines in {seconds} s, {} bytes", MESSAGES, log.len());
    ensure!((1..=256 * seconds).contains(&told), "{told} lines in {seconds} s");
    ensure!(
        !log.contains(['\u{1b}', '\u{7}', '\r']),
        "control characters in the log"
    );
    ensure!(
        told == MESSAGES || log.contains("dropped log lines about single messages"),
        "what was left out is not told"
    );
    host.stop()
}

#[tokio::test]
async fn plugins_that_are_only_rude_get_their_results() -> Result<()> {
    let broker = Broker::shared()?;
    let mut menagerie = Menagerie::new(broker)?;
    let modes = [
        "retry-twice",
        "wait-for-streams",
        "body-flood",
        "log-flood",
        "log-long-line",
        "log-control-characters",
    ];
    for mode in modes {
        menagerie.with_preprocess(mode)?;
    }
    menagerie.with_preprocess("skip")?;
    let mill = Mill::new(&menagerie.text)?;
    let mut host = mill.start()?;
    let client = Client::connect(&broker.url()).await?;
    for mode in modes.into_iter().chain(["skip"]) {
        host.wait_pipeline(mode)?;
        client.publish(&menagerie.queue(mode), &Parcel::new(mode, BODY)).await?;
    }
    for mode in modes {
        client
            .take_all(&menagerie.results(mode), 1)
            .await
            .with_context(|| format!("{mode}: {}", host.log()))?;
    }
    let log = host.log();
    assert!(log.len() < 1 << 20, "the log has {} bytes", log.len());
    assert!(
        !log.contains('\u{1b}') && !log.contains('\u{7}'),
        "control characters in the log"
    );
    // The skipped message was acknowledged without a result: after the drain it is nowhere.
    host.stop()?;
    assert_eq!(client.count(&menagerie.queue("skip")).await?, 0);
    for queue in [menagerie.results("skip"), menagerie.dead("skip")] {
        assert!(
            client.take(&queue, 1, Duration::from_millis(1)).await?.is_empty(),
            "{queue}"
        );
    }
    Ok(())
}
