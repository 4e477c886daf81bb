//! ZeroMQ, for the suite: clients that send a message again until they are answered, and peers that answer results, each
//! through a relay. An outage is a network that resets or freezes connections, or peers that are gone; at the start, an address
//! that another process has.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use millrace_tests::port;
use millrace_tests::relay::{Flow, Relay};
use millrace_tests::wait_for;
use millrace_tests::zmq::{Frames, Zmq};
use serde_json::Value;

use super::messages::Sent;
use super::{Bench, Dead, Fault, Found, Harness, Keys, Promises, Weather, suite};

/// A client whose connection broke comes again after this, and where it is told when, so much later at most.
const PAUSE: Duration = Duration::from_millis(50);
const SPREAD_MS: u64 = 200;

struct ZeroMq;

suite!(ZeroMq);

#[test]
fn one_result_is_refused() -> Result<()> {
    super::fan_out::one_result_is_refused(HARNESS)
}

/// The clients and the peers of a bench.
struct Peers {
    /// The address of each pipeline's source, made when it is first asked for.
    sources: Mutex<BTreeMap<String, Source>>,
    sinks: Mutex<BTreeMap<(String, String), Sink>>,
    told: Arc<Told>,
}

struct Source {
    /// Keeps the port from other benches: the same one of another address of this machine.
    _claim: TcpListener,
    address: SocketAddr,
    relay: Relay,
    /// Has the address of the host's meanwhile.
    squatter: Option<TcpListener>,
}

struct Sink {
    relay: Relay,
    state: Arc<SinkState>,
}

/// A peer that results go to.
#[derive(Default)]
struct SinkState {
    is_over: AtomicBool,
    /// It closes every connection.
    is_broken: AtomicBool,
    /// The message whose results it refuses.
    refused: Mutex<Option<String>>,
    results: Mutex<Vec<Found>>,
    connections: Mutex<Vec<TcpStream>>,
}

/// What all clients of a bench know.
#[derive(Default)]
struct Told {
    is_over: AtomicBool,
    /// Clients without an answer, by pipeline.
    waiting: Mutex<BTreeMap<String, usize>>,
    dead: Mutex<BTreeMap<String, Vec<Dead>>>,
    /// Answers that no client expects.
    strange: Mutex<Vec<String>>,
}

impl Harness for ZeroMq {
    fn name(&self) -> &'static str {
        "zmq"
    }

    fn keys(&self) -> Keys {
        Keys {
            source: &["zmq"],
            destination: &["zmq"],
            connection: &[],
            beside: &[],
        }
    }

    fn promises(&self) -> Promises {
        Promises {
            // The host keeps nothing: the client without an answer does.
            keeps: true,
            gives_back: true,
            tells_redelivery: false,
            order_binds_commits: false,
            has_quarantine_queue: false,
            ends: false,
            has_headers: true,
            is_shared: false,
            waits_at_start: false,
            replaces_results: false,
            keeps_dead_letters: false,
            // A peer that is frozen is noticed by the results that wait for its answer, and by nothing else: a host that has none to
            // send is ready, and the judge waits until it is not.
            outages: &[Fault::Cut, Fault::Gone],
            steps: &[],
            marked_at_leave: 0,
            stated: &[
                (
                    "tells_redelivery",
                    "zeromq.md",
                    "ZeroMQ does not tell that a message was delivered before, so it is never quarantined",
                ),
                (
                    "ends",
                    "zeromq.md",
                    "An address cannot tell whether another message comes, so `run --once` refuses a ZeroMQ source.",
                ),
                (
                    "is_shared",
                    "zeromq.md",
                    "An address that another process has is an error at the start.",
                ),
                (
                    "waits_at_start",
                    "zeromq.md",
                    "An address that another process has is an error at the start.",
                ),
                (
                    "keeps_dead_letters",
                    "zeromq.md",
                    "**A rejected message is not kept here.** The client has it, and the answer says why it was rejected",
                ),
            ],
        }
    }

    fn bench(&self, _weather: Weather) -> Result<Box<dyn Bench>> {
        Ok(Box::new(Peers {
            sources: Mutex::default(),
            sinks: Mutex::default(),
            told: Arc::default(),
        }))
    }
}

impl Source {
    fn new() -> Result<Self> {
        let (claim, address) = port::claim()?;
        Ok(Self {
            _claim: claim,
            address,
            relay: Relay::start(address.port())?,
            squatter: None,
        })
    }
}

impl Sink {
    fn new() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let relay = Relay::start(listener.local_addr()?.port())?;
        let state = Arc::<SinkState>::default();
        let serving = Arc::clone(&state);
        thread::Builder::new().name("sink".to_owned()).spawn(move || {
            for stream in listener.incoming().flatten() {
                if serving.is_over.load(Ordering::SeqCst) {
                    return;
                }
                if !serving.is_broken.load(Ordering::SeqCst) {
                    let state = Arc::clone(&serving);
                    thread::spawn(move || drop(state.serve(stream)));
                }
            }
        })?;
        Ok(Self { relay, state })
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::SeqCst);
        self.state.end_connections();
        // Lets its listener see it.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.relay.port())));
    }
}

impl SinkState {
    fn serve(&self, stream: TcpStream) -> Result<()> {
        let mut zmq = Zmq::on(stream, "ROUTER")?;
        let stream = zmq.stream()?;
        // A host is silent while it has nothing to send.
        stream.set_read_timeout(None)?;
        lock(&self.connections).push(stream);
        if self.is_broken.load(Ordering::SeqCst) {
            return Ok(());
        }
        loop {
            let frames = zmq.receive()?;
            let [id, headers, body] = frames.as_slice() else {
                bail!("no result: {frames:?}");
            };
            let fields: Value = serde_json::from_slice(headers)?;
            let of = fields["correlation-id"].as_str().unwrap_or_default().to_owned();
            if lock(&self.refused).as_deref() == Some(&of) {
                zmq.send(&[id, b"dead", br#"{"error": "a rule of the peer's"}"#])?;
                continue;
            }
            lock(&self.results).push(Found {
                of,
                id: String::from_utf8(id.clone())?,
                body: body.clone(),
            });
            zmq.send(&[id, b"done", b"{}"])?;
        }
    }

    fn end_connections(&self) {
        for connection in lock(&self.connections).drain(..) {
            // It may be over.
            drop(connection.shutdown(Shutdown::Both));
        }
    }

    fn set_broken(&self, is_broken: bool) {
        self.is_broken.store(is_broken, Ordering::SeqCst);
        self.end_connections();
    }
}

impl Peers {
    /// Does something with the address of a pipeline.
    fn source_of<T>(&self, pipeline: &str, ask: impl FnOnce(&Source) -> T) -> Result<T> {
        let mut sources = lock(&self.sources);
        if !sources.contains_key(pipeline) {
            sources.insert(pipeline.to_owned(), Source::new()?);
        }
        Ok(ask(&sources[pipeline]))
    }

    fn sink_of<T>(&self, pipeline: &str, name: &str, ask: impl FnOnce(&Sink) -> T) -> Result<T> {
        let mut sinks = lock(&self.sinks);
        let key = (pipeline.to_owned(), name.to_owned());
        if !sinks.contains_key(&key) {
            sinks.insert(key.clone(), Sink::new()?);
        }
        Ok(ask(&sinks[&key]))
    }

    /// Starts a client, which sends the message until it is answered.
    fn send(&self, pipeline: &str, sent: Sent) -> Result<()> {
        let port = self.source_of(pipeline, |source| source.relay.port())?;
        *lock(&self.told.waiting).entry(pipeline.to_owned()).or_default() += 1;
        let client = Client {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            pipeline: pipeline.to_owned(),
            sent,
            told: Arc::clone(&self.told),
        };
        thread::Builder::new()
            .name("client".to_owned())
            .spawn(move || client.run())?;
        Ok(())
    }

    fn each_relay(&self, mut order: impl FnMut(&Relay)) {
        lock(&self.sources).values().for_each(|source| order(&source.relay));
        lock(&self.sinks).values().for_each(|sink| order(&sink.relay));
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.told.is_over.store(true, Ordering::SeqCst);
    }
}

impl Bench for Peers {
    fn connection(&self) -> String {
        String::new()
    }

    fn source(&self, pipeline: &str, prefetch: u16) -> Result<String> {
        let address = self.source_of(pipeline, |source| source.address)?;
        Ok(format!(
            "zmq = \"tcp://{address}\", prefetch = {prefetch}, connections = 2000"
        ))
    }

    fn put(&self, pipeline: &str, messages: &[Sent]) -> Result<()> {
        messages.iter().try_for_each(|sent| self.send(pipeline, sent.clone()))
    }

    fn put_crooked(&self, pipeline: &str) -> Result<Vec<String>> {
        let (long, longest) = ("v".repeat(60_000), "n".repeat(255));
        let rows: [(&str, &[(&str, &str)]); 10] = [
            ("../../an \"id\" of 'others', $(id) %2f {id}", &[]),
            (&longest, &[]),
            ("gr\u{fc}n \u{202e} \u{1f600}\n\0", &[]),
            ("long", &[("x-long", &long)]),
            (
                "no-ascii",
                &[("x-colour", "gr\u{fc}n \u{202e}\n\0"), ("\u{202e}", "\u{7f}")],
            ),
            ("none", &[("", ""), ("x-empty", "")]),
            ("forged", &[("x-millrace-attempt", "-1")]),
            ("forged-crashes", &[("x-millrace-crash-count", "-7")]),
            ("forged-before", &[("x-millrace-suspect", "-7")]),
            ("forged-source", &[("x-millrace-pipeline", "another")]),
        ];
        for (id, headers) in rows {
            let sent = Sent::picture(id)?;
            let sent = headers
                .iter()
                .fold(sent, |sent, (name, value)| sent.with_header(name, value));
            self.send(pipeline, sent)?;
        }
        Ok(rows.iter().map(|(id, _)| (*id).to_owned()).collect())
    }

    fn dead(&self, pipeline: &str) -> Result<Vec<Dead>> {
        let strange = lock(&self.told.strange);
        ensure!(strange.is_empty(), "answers that no client expects: {strange:?}");
        Ok(lock(&self.told.dead).get(pipeline).cloned().unwrap_or_default())
    }

    fn n_waiting(&self, pipeline: &str) -> Result<usize> {
        Ok(self.n_unanswered(pipeline))
    }

    fn n_unanswered(&self, pipeline: &str) -> usize {
        lock(&self.told.waiting).get(pipeline).copied().unwrap_or_default()
    }

    fn away(&self, pipeline: &str) -> String {
        self.source_of(pipeline, |source| source.address.to_string())
            .unwrap_or_default()
    }

    fn destination(&self, pipeline: &str, name: &str) -> Result<String> {
        let port = self.sink_of(pipeline, name, |sink| sink.relay.port())?;
        Ok(format!(
            "zmq = \"tcp://127.0.0.1:{port}\"\nconfirm_within = \"1s\"\nresend_after = \"500ms\""
        ))
    }

    fn results(&self, pipeline: &str, name: &str) -> Result<Vec<Found>> {
        self.sink_of(pipeline, name, |sink| lock(&sink.state.results).clone())
    }

    fn break_destination(&self, pipeline: &str, name: &str) -> Result<()> {
        self.sink_of(pipeline, name, |sink| sink.state.set_broken(true))
    }

    fn mend_destination(&self, pipeline: &str, name: &str) -> Result<()> {
        self.sink_of(pipeline, name, |sink| sink.state.set_broken(false))
    }

    fn refuse(&self, pipeline: &str, name: &str, of: &str) -> Result<()> {
        self.sink_of(pipeline, name, |sink| *lock(&sink.state.refused) = Some(of.to_owned()))
    }

    fn fault(&self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Gone => {
                for source in lock(&self.sources).values_mut() {
                    // A host that runs has it.
                    source.squatter = TcpListener::bind(source.address).ok();
                }
                lock(&self.sinks).values().for_each(|sink| sink.state.set_broken(true));
                Ok(())
            }
            Fault::Frozen => {
                self.each_relay(|relay| relay.set(Flow::Hole));
                Ok(())
            }
            Fault::Cut => {
                let n_carried = || {
                    lock(&self.sources)
                        .values()
                        .map(|source| source.relay.n_carried())
                        .sum::<usize>()
                };
                let n_before = n_carried();
                self.each_relay(Relay::reset);
                // Who has no answer connects again; a cut of nothing would prove nothing.
                wait_for("another connection of a client's", || {
                    let n_waiting: usize = lock(&self.told.waiting).values().sum();
                    (n_waiting == 0 || n_carried() > n_before).then_some(())
                })
            }
        }
    }

    fn heal(&self, _fault: Fault) -> Result<()> {
        lock(&self.sources)
            .values_mut()
            .for_each(|source| source.squatter = None);
        lock(&self.sinks).values().for_each(|sink| sink.state.set_broken(false));
        self.each_relay(|relay| relay.set(Flow::Pass));
        Ok(())
    }
}

/// Who sends one message.
struct Client {
    address: SocketAddr,
    pipeline: String,
    sent: Sent,
    told: Arc<Told>,
}

impl Client {
    fn run(self) {
        let mut attempt = None;
        let mut connection = None;
        while !self.told.is_over.load(Ordering::SeqCst) {
            let pause = match self.ask(&mut connection, attempt) {
                // No answer, for ten seconds, or none any more.
                Err(_) => {
                    connection = None;
                    PAUSE
                }
                Ok(answer) => match self.hear(&answer, &mut attempt) {
                    Some(pause) => pause,
                    None => {
                        // Last, so that whoever sees nobody waiting sees what they were told.
                        if let Some(n) = lock(&self.told.waiting).get_mut(&self.pipeline) {
                            *n -= 1;
                        }
                        return;
                    }
                },
            };
            thread::sleep(pause);
        }
    }

    fn ask(&self, connection: &mut Option<Zmq>, attempt: Option<u64>) -> Result<Frames> {
        let zmq = match connection {
            Some(zmq) => zmq,
            None => connection.insert(Zmq::connect(self.address, "DEALER")?),
        };
        let mut headers: serde_json::Map<String, Value> = self
            .sent
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), Value::from(value.clone())))
            .collect();
        if let Some(attempt) = attempt {
            headers.insert("x-millrace-attempt".to_owned(), attempt.into());
        }
        let headers = Value::Object(headers).to_string();
        // A host that answers before it has read the body may close its end.
        let sent = zmq.send(&[self.sent.id.as_bytes(), headers.as_bytes(), &self.sent.body]);
        let answer = zmq.receive();
        if answer.is_err() {
            sent?;
        }
        answer
    }

    /// When the message is to be sent again; nothing where it is not.
    fn hear(&self, answer: &Frames, attempt: &mut Option<u64>) -> Option<Duration> {
        let strange = || lock(&self.told.strange).push(format!("{}: {answer:?}", self.sent.id));
        let [id, status, fields, ..] = answer.as_slice() else {
            strange();
            return None;
        };
        let fields: Value = serde_json::from_slice(fields).unwrap_or_default();
        let is_ours = *id == self.sent.id.as_bytes() || (id.is_empty() && status == b"dead");
        match status.as_slice() {
            _ if !is_ours => strange(),
            b"done" => {}
            b"dead" => self.note_dead(&fields),
            b"again" => {
                *attempt = fields["attempt"].as_u64().or(*attempt);
                let after = fields["after_ms"].as_u64().unwrap_or_default();
                // Clients that are told the same time do not come at the same time.
                let spread = self
                    .sent
                    .id
                    .bytes()
                    .fold(7, |sum, byte| (sum * 31 + u64::from(byte)) % SPREAD_MS);
                return Some(Duration::from_millis(after + spread));
            }
            _ => strange(),
        }
        None
    }

    fn note_dead(&self, fields: &Value) {
        let field = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
        let dead = Dead {
            of: self.sent.id.clone(),
            id: self.sent.id.clone(),
            stage: field("stage"),
            class: field("reason"),
            text: field("error"),
            plugin: field("plugin"),
            attempt: fields["attempt"].as_str().unwrap_or("1").parse().unwrap_or_default(),
            body: self.sent.body.clone(),
        };
        lock(&self.told.dead)
            .entry(self.pipeline.clone())
            .or_default()
            .push(dead);
    }
}

fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
