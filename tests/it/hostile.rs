//! Plugins that misbehave, one pipeline each in one host: every fault costs its own message, the dead letter says what
//! happened in which plugin, and the pipeline beside them goes on.

use std::fmt::Write;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millrace_tests::amqp::{Arrival, Client, Parcel};
use millrace_tests::broker::Broker;
use millrace_tests::host::Mill;
use millrace_tests::samples::{guest, model};
use millrace_tests::unique;

/// What a preprocessor does, and the class of the reason in its dead letter.
const PREPROCESS: [(&str, &str); 18] = [
    ("trap", "trap"),
    ("panic", "trap"),
    ("out-of-bounds", "trap"),
    ("recurse", "trap"),
    ("loop", "deadline"),
    ("loop-in-host", "deadline"),
    ("memory-bomb", "memory"),
    ("wrong-shape", "bad-tensor"),
    ("no-shape", "bad-tensor"),
    ("huge-shape", "bad-tensor"),
    ("wrong-element", "bad-tensor"),
    ("nan", "bad-tensor"),
    ("infinity", "bad-tensor"),
    ("short-data", "bad-tensor"),
    ("long-data", "bad-tensor"),
    ("huge-output", "output-too-large"),
    ("reject", "refused"),
    ("retry", "attempts-spent"),
];
/// The same of a router.
const ROUTE: [(&str, &str); 12] = [
    ("unknown-destination", "denied"),
    ("fan-out-unknown", "denied"),
    ("key-not-allowed", "denied"),
    ("long-key", "output-too-large"),
    ("header-cc", "denied"),
    ("header-bcc", "denied"),
    ("header-x", "denied"),
    ("huge-body", "output-too-large"),
    ("many-outputs", "output-too-large"),
    ("panic", "trap"),
    ("loop", "deadline"),
    ("reject", "refused"),
];

/// A host with one pipeline for each mode of a hostile guest.
struct Menagerie {
    prefix: String,
    text: String,
}

/// What `[plugin.NAME]` of a hostile guest says besides its path.
const LIMITS: &str = "deadline = \"500ms\"\nmemory = \"160MiB\"";
/// What every hostile plugin is given.
const BODY: &[u8] = b"a message";

impl Menagerie {
    fn new(broker: &Broker) -> Result<Self> {
        let mut text = format!(
            "[broker]\namqp = \"{}\"\n[model.shapes]\ndevice = \"cpu\"\n",
            broker.url()
        );
        writeln!(text, "path = {:?}", model().display().to_string())?;
        let mut menagerie = Self {
            prefix: unique("hostile"),
            text,
        };
        menagerie.plugin("good-preprocess", "hostile", "mode = \"ok\"")?;
        menagerie.plugin("good-route", "hostile-route", "mode = \"ok\"")?;
        menagerie.pipeline("canary", "good-preprocess", "good-route")?;
        Ok(menagerie)
    }

    fn plugin(&mut self, name: &str, file: &str, settings: &str) -> Result<()> {
        let path = guest("wasm32-wasip2", file)?.display().to_string();
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

fn check(letter: &Arrival, mode: &str, stage: &str, reason: &str) -> Result<()> {
    let header = |name: &str| letter.header(&format!("x-millrace-{name}")).to_owned();
    let found = (header("stage"), header("reason"), header("plugin"));
    let expected = (stage.to_owned(), reason.to_owned(), mode.to_owned());
    ensure!(
        found == expected,
        "{mode}: expected {expected:?}, found {:?}",
        letter.headers
    );
    ensure!(
        header("plugin-digest").len() == 64 && !header("text").is_empty(),
        "{mode}: {letter:?}"
    );
    ensure!(letter.body == BODY, "{mode}: {:?}", letter.headers);
    Ok(())
}

async fn faults(rows: &[(&str, &str)], stage: &str, add: fn(&mut Menagerie, &str) -> Result<()>) -> Result<()> {
    let broker = Broker::shared()?;
    let mut menagerie = Menagerie::new(broker)?;
    for (mode, _) in rows {
        add(&mut menagerie, mode)?;
    }
    let mill = Mill::new(&menagerie.text)?;
    let mut host = mill.start()?;
    for (mode, _) in rows {
        host.wait_pipeline(mode)?;
    }
    let client = Client::connect(&broker.url()).await?;
    for (mode, _) in rows {
        client.publish(&menagerie.queue(mode), &Parcel::new(mode, BODY)).await?;
    }
    let mut wrong = Vec::new();
    for (mode, reason) in rows {
        let letters = client
            .take_all(&menagerie.dead(mode), 1)
            .await
            .with_context(|| format!("{mode}: {}", host.log()))?;
        let letter = letters.first().context("no dead letter")?;
        wrong.extend(check(letter, mode, stage, reason).err().map(|error| error.to_string()));
        if client.count(&menagerie.results(mode)).await? != 0 {
            wrong.push(format!("{mode}: a result came out"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    client
        .publish(&menagerie.queue("canary"), &Parcel::new("canary", BODY))
        .await?;
    client.take_all(&menagerie.results("canary"), 1).await?;
    host.stop()
}

#[tokio::test]
async fn every_fault_of_a_preprocessor_is_a_dead_letter_that_names_it() -> Result<()> {
    faults(&PREPROCESS, "preprocess", Menagerie::with_preprocess).await
}

#[tokio::test]
async fn every_fault_of_a_router_is_a_dead_letter_that_names_it() -> Result<()> {
    faults(&ROUTE, "route", Menagerie::with_route).await
}

#[tokio::test]
async fn plugins_that_are_only_rude_get_their_results() -> Result<()> {
    let broker = Broker::shared()?;
    let mut menagerie = Menagerie::new(broker)?;
    let modes = [
        "retry-twice",
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
