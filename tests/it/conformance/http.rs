//! HTTP, for the suite: clients that send a message again until they have an answer, through a relay. Results go to
//! folders. An outage is a network that resets connections; at the start, an address that another process has.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use millrace_tests::http::{Answer, Http as Connection};
use millrace_tests::port;
use millrace_tests::relay::Relay;
use millrace_tests::wait_for;

use super::messages::Sent;
use super::{Bench, Dead, Fault, Harness, Keys, Promises, Weather, suite};

/// A client without an answer comes again after this, and where it is told when, so much later at most.
const PAUSE: Duration = Duration::from_millis(50);
const SPREAD_MS: u64 = 1_000;

struct Http;

suite!(Http);

struct Clients {
    /// Keeps the port from other benches: the same one of another address of this machine.
    _claim: TcpListener,
    address: SocketAddr,
    relay: Relay,
    /// Has the address of the host's meanwhile.
    squatter: Mutex<Option<TcpListener>>,
    told: Arc<Told>,
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

impl Harness for Http {
    fn name(&self) -> &'static str {
        "http"
    }

    fn keys(&self) -> Keys {
        Keys {
            source: &["http"],
            destination: &[],
            connection: &[],
            // It goes to the client alone.
            beside: &[("answer", "http.rs: the_answer_is_the_result")],
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
            outages: &[Fault::Cut],
            steps: &[],
            marked_at_leave: 0,
            stated: &[
                (
                    "tells_redelivery",
                    "http.md",
                    "HTTP does not tell that a message was delivered before, so it is never quarantined",
                ),
                (
                    "ends",
                    "http.md",
                    "An address cannot tell whether another request comes, so `run --once` refuses an HTTP source.",
                ),
                (
                    "is_shared",
                    "http.md",
                    "An address that another process has is an error at the start.",
                ),
                (
                    "waits_at_start",
                    "http.md",
                    "An address that another process has is an error at the start.",
                ),
                (
                    "keeps_dead_letters",
                    "http.md",
                    "**A rejected message is not kept here.** The client has it, and the answer says why it was rejected",
                ),
            ],
        }
    }

    fn bench(&self, _weather: Weather) -> Result<Box<dyn Bench>> {
        let (claim, address) = port::claim()?;
        Ok(Box::new(Clients {
            _claim: claim,
            address,
            relay: Relay::start(address.port())?,
            squatter: Mutex::default(),
            told: Arc::default(),
        }))
    }
}

impl Clients {
    /// Starts a client, which sends the message until it is answered.
    fn send(&self, pipeline: &str, sent: Sent) -> Result<()> {
        *lock(&self.told.waiting).entry(pipeline.to_owned()).or_default() += 1;
        let client = Client {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, self.relay.port())),
            pipeline: pipeline.to_owned(),
            sent,
            told: Arc::clone(&self.told),
        };
        thread::Builder::new()
            .name("client".to_owned())
            .spawn(move || client.run())?;
        Ok(())
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.told.is_over.store(true, Ordering::SeqCst);
    }
}

impl Bench for Clients {
    fn connection(&self) -> String {
        String::new()
    }

    fn source(&self, pipeline: &str, prefetch: u16) -> Result<String> {
        Ok(format!(
            "http = \"{}\", path = \"/{pipeline}\", prefetch = {prefetch}, answer_within = \"2min\"",
            self.address
        ))
    }

    fn put(&self, pipeline: &str, messages: &[Sent]) -> Result<()> {
        messages.iter().try_for_each(|sent| self.send(pipeline, sent.clone()))
    }

    fn put_crooked(&self, pipeline: &str) -> Result<Vec<String>> {
        let (long, longest) = ("v".repeat(10_000), "n".repeat(255));
        let rows: [(&str, &[(&str, &str)]); 9] = [
            ("../../an \"id\" of 'others', $(id) %2f {id}", &[]),
            (&longest, &[]),
            ("long", &[("x-long", &long)]),
            ("no-ascii", &[("x-colour", "gr\u{fc}n \u{202e}")]),
            ("none", &[("x-", ""), ("x-empty", "")]),
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

    fn away(&self, _pipeline: &str) -> String {
        self.address.to_string()
    }

    fn fault(&self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Gone => {
                *lock(&self.squatter) = Some(TcpListener::bind(self.address)?);
                Ok(())
            }
            Fault::Cut => {
                let n_before = self.relay.n_carried();
                self.relay.reset();
                // Who has no answer connects again; a cut of nothing would prove nothing.
                wait_for("another connection of a client's", || {
                    let n_waiting: usize = lock(&self.told.waiting).values().sum();
                    (n_waiting == 0 || self.relay.n_carried() > n_before).then_some(())
                })
            }
            Fault::Frozen => bail!("no such outage"),
        }
    }

    fn heal(&self, _fault: Fault) -> Result<()> {
        *lock(&self.squatter) = None;
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
        while !self.told.is_over.load(Ordering::SeqCst) {
            let pause = match self.post(attempt.as_deref()) {
                Err(_) => PAUSE,
                Ok(answer) if self.ends(&answer) => {
                    // Last, so that whoever sees nobody waiting sees what they were told.
                    if let Some(n) = lock(&self.told.waiting).get_mut(&self.pipeline) {
                        *n -= 1;
                    }
                    return;
                }
                Ok(answer) => {
                    if let Some(next) = answer.header("x-millrace-attempt") {
                        attempt = Some(next.to_owned());
                    }
                    let after = answer.header("retry-after").and_then(|after| after.parse().ok());
                    // Clients that are told the same time do not come at the same time.
                    let spread = self
                        .sent
                        .id
                        .bytes()
                        .fold(7_u64, |sum, byte| sum * 31 % SPREAD_MS + u64::from(byte));
                    Duration::from_secs(after.unwrap_or_default()) + Duration::from_millis(spread % SPREAD_MS)
                }
            };
            thread::sleep(pause);
        }
    }

    fn post(&self, attempt: Option<&str>) -> Result<Answer> {
        let mut headers = vec![("X-Message-Id".to_owned(), self.sent.id.clone())];
        for (name, value) in &self.sent.headers {
            let prefix = if name.starts_with("x-") { "" } else { "x-" };
            headers.push((format!("{prefix}{name}"), value.clone()));
        }
        headers.extend(attempt.map(|attempt| ("X-Millrace-Attempt".to_owned(), attempt.to_owned())));
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let mut connection = Connection::connect(self.address)?;
        // A host that answers before it has read the body may close its end.
        let begun = connection.begin(&format!("/{}", self.pipeline), &headers, &self.sent.body);
        connection.answer().with_context(|| format!("{begun:?}"))
    }

    /// Whether an answer is the last: it is a success, or says why the message is rejected.
    fn ends(&self, answer: &Answer) -> bool {
        let is_rejected = answer.header("x-millrace-reason").is_some();
        match answer.status {
            202 | 204 => true,
            // The deadline of the message has passed, and not that of the client.
            504 if is_rejected => self.is_dead(answer),
            408 | 429 | 503 | 504 => false,
            400 | 413 | 422 | 500 => self.is_dead(answer),
            _ => {
                lock(&self.told.strange).push(format!("{}: {answer:?}", self.sent.id));
                true
            }
        }
    }

    fn is_dead(&self, answer: &Answer) -> bool {
        let Ok(reason) = answer.json() else {
            return false;
        };
        let field = |name: &str| reason[name].as_str().map(str::to_owned);
        // What never became a message is refused by the status alone.
        let is_none = matches!(answer.status, 400 | 413);
        let or = |value: Option<String>, none: &str| match value {
            None if is_none => none.to_owned(),
            value => value.unwrap_or_default(),
        };
        let dead = Dead {
            of: self.sent.id.clone(),
            id: self.sent.id.clone(),
            stage: or(field("stage"), "receive"),
            class: or(field("reason"), "malformed"),
            text: field("error").unwrap_or_default(),
            plugin: field("plugin").unwrap_or_default(),
            attempt: or(field("attempt"), "1").parse().unwrap_or_default(),
            body: self.sent.body.clone(),
        };
        lock(&self.told.dead)
            .entry(self.pipeline.clone())
            .or_default()
            .push(dead);
        true
    }
}

fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
