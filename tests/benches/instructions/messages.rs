//! What one message costs in the host, by its parts: a broker of the tests' feeds it, one message at a time and many.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use millrace_tests::fake_broker::{FakeBroker, StoredMessage};
use millrace_tests::samples::pictures;
use millrace_tests::scene::Scene;

use crate::figures::{Figure, Figures, Unit};
use crate::meter::MAIN;
use crate::valgrind::{Callgrind, Dump};

/// How the messages come: a name, and how many are in flight.
const WAYS: [(&str, usize); 2] = [("one in flight", 1), ("32 in flight", 32)];
/// Messages that are not counted: they fill what is kept.
const WARM: usize = 64;
/// Messages that are counted.
const MESSAGES: usize = 128;
/// The start of the host under valgrind, and the messages, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often it is looked whether they are: while the host is idle, its timers count.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// The threads that work on messages: how their names begin, and what they do. lapin's are no part by themselves: how many
/// frames they find at a time depends on the machine's load. The tick of the sandbox and the writer of the log count time, not
/// messages.
const PARTS: [(&str, &str); 4] = [
    (MAIN, TRANSPORTS),
    ("lapin", TRANSPORTS),
    ("sandbox-0", "plugins"),
    ("infer", "model"),
];
const TRANSPORTS: &str = "pipeline and transports";

/// A host under callgrind, and its broker.
struct Measured<'a> {
    callgrind: &'a Callgrind<'a>,
    child: Child,
    answers: BufReader<ChildStdout>,
    broker: FakeBroker,
    body: Vec<u8>,
    n_sent: usize,
}

/// Counts.
///
/// # Errors
/// When the host cannot run, with its log.
pub(crate) fn count(folder: &Path) -> Result<Figures> {
    let mut scene = Scene::at(String::new())?;
    let broker = FakeBroker::start(&scene.input, Vec::new())?;
    broker.confirm_all();
    // The host must not ask a broker again and again whether it lives, because a message takes long on a busy machine.
    scene.url = format!("{}?heartbeat=600", broker.url());
    scene.tables = "[host]\nworkers = 1\nwatch = false\ncontrol = \"off\"\n".to_owned();
    let mill = scene.mill_with(|text| text.replace("device = \"cpu\"", "device = \"cpu\"\nthreads = 1"))?;
    let callgrind = Callgrind::new(folder, "host");
    let mut command = callgrind.command(["in-host".as_ref(), mill.path("plugins.toml").as_os_str()])?;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let answers = BufReader::new(child.stdout.take().context("it has no stdout")?);
    let mut measured = Measured {
        callgrind: &callgrind,
        child,
        answers,
        broker,
        body: pictures()?.first().context("no pictures")?.raw()?,
        n_sent: 0,
    };
    let mut figures = Figures::new();
    for (way, in_flight) in WAYS {
        measured.send(WARM, in_flight)?;
        measured.ask("begin")?;
        let n_connections = measured.broker.n_connections();
        measured.send(MESSAGES, in_flight)?;
        let dump = format!("host-{in_flight}");
        let answer = measured.ask(&format!("end {dump}"))?;
        // A machine that stood still for seconds: the host gave its broker up, and some messages came twice.
        let is_whole = measured.broker.n_connections() == n_connections;
        ensure!(is_whole, "a connection was lost meanwhile\n{}", callgrind.log());
        let dump = callgrind.dump(&dump, &answer)?;
        figures.extend(self::figures(way, in_flight, &dump)?);
    }
    Ok(figures)
}

impl Measured<'_> {
    /// Sends messages, so many at a time, and waits until all are acknowledged.
    fn send(&mut self, count: usize, in_flight: usize) -> Result<()> {
        let end = self.n_sent + count;
        while self.n_sent < end {
            for _ in 0..in_flight {
                self.n_sent += 1;
                let id = format!("order-{:06}", self.n_sent);
                self.broker
                    .push(StoredMessage::new("image/x-rgb", &id, self.body.clone()))?;
            }
            let until = Instant::now() + PATIENCE;
            while self.broker.acked().len() < self.n_sent {
                ensure!(Instant::now() < until, "no acknowledgement\n{}", self.callgrind.log());
                std::thread::sleep(LOOK_EVERY);
            }
        }
        Ok(())
    }

    fn ask(&mut self, what: &str) -> Result<String> {
        let stdin = self.child.stdin.as_mut().context("it has no stdin")?;
        writeln!(stdin, "{what}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        ensure!(!answer.is_empty(), "the host ended\n{}", self.callgrind.log());
        Ok(answer)
    }
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The figures of a dump: instructions by part, and all together with what was allocated.
fn figures(way: &str, in_flight: usize, dump: &Dump) -> Result<Figures> {
    let mut parts = BTreeMap::<&str, u64>::new();
    for (name, instructions) in &dump.threads {
        if let Some((_, part)) = PARTS.iter().find(|(prefix, _)| name.starts_with(prefix)) {
            *parts.entry(part).or_default() += instructions;
        }
    }
    ensure!(parts.len() == 3, "only {parts:?} of {:?}", dump.threads);
    let figure = |subject: String, unit, count: u64| (Figure { subject, unit }, count / MESSAGES as u64);
    let together = parts.values().sum();
    let mut figures = Figures::from([
        figure(format!("message, {way}"), Unit::Instructions, together),
        figure(format!("message, {way}"), Unit::Allocations, dump.allocations),
        figure(format!("message, {way}"), Unit::Bytes, dump.bytes),
    ]);
    // One at a time each part waits for the others: how often a timer wakes it meanwhile depends on the machine's load.
    let parts = parts.into_iter().filter(|_| in_flight > 1);
    figures.extend(parts.map(|(part, count)| figure(format!("message, {way}: {part}"), Unit::Instructions, count)));
    Ok(figures)
}
