//! RabbitMQ, for the suite: a queue as the source, queues through the default exchange as destinations, a relay between
//! host and broker.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use millrace_tests::amqp::{Arrival, Client, Parcel, QueueKind};
use millrace_tests::broker::Broker;
use millrace_tests::relay::{Flow, Relay};
use millrace_tests::{unique, wait_for};
use tokio::runtime::Runtime;

use super::messages::Sent;
use super::{Bench, Dead, Fault, Found, Harness, Keys, Promises, Weather, suite};

/// What quarantined messages wait in, behind the source queue's name.
const QUARANTINE: &str = ".quarantine";
/// So soon a host gives up an answer or a confirm, where the broker falls silent.
const IMPATIENT: &str = "answer_timeout = \"2s\"\nconfirm_timeout = \"2s\"";

/// The destination that is an exchange of its own; the others go through the default one.
const THROUGH_AN_EXCHANGE: &str = "results";
/// Within this comes what the broker says that it has.
const SOON: Duration = Duration::from_secs(5);

struct Amqp;

suite!(Amqp);

struct Queues {
    broker: Node,
    relay: Relay,
    weather: Weather,
    name: String,
    runtime: Runtime,
    client: Mutex<Option<Client>>,
    /// What was taken out of queues of results so far.
    taken: Mutex<BTreeMap<String, Vec<Arrival>>>,
    /// What was seen in queues of dead letters, which are left to `millrace dlq`.
    seen: Mutex<BTreeMap<String, Vec<Arrival>>>,
}

enum Node {
    Shared(&'static Broker),
    Own(Broker),
}

impl Harness for Amqp {
    fn name(&self) -> &'static str {
        "amqp"
    }

    fn keys(&self) -> Keys {
        Keys {
            source: &["queue"],
            destination: &["exchange"],
            connection: &["amqp"],
            // A reply that nobody waits for is dropped.
            beside: &[(
                "reply",
                "routing.rs: an_answer_goes_where_the_message_asks_if_that_is_allowed",
            )],
        }
    }

    fn promises(&self) -> Promises {
        Promises {
            keeps: true,
            gives_back: true,
            tells_redelivery: true,
            order_binds_commits: false,
            has_quarantine_queue: true,
            ends: false,
            has_headers: true,
            is_shared: true,
            waits_at_start: true,
            replaces_results: false,
            keeps_dead_letters: true,
            outages: &[Fault::Gone, Fault::Frozen, Fault::Cut],
            steps: &["published", "copy", "copied"],
            // A quorum queue marks what it is just handing out when a consumer leaves: docs/operating.md, "Stop it".
            marked_at_leave: 3,
            stated: &[(
                "ends",
                "operating.md",
                "A source that cannot tell when it is empty, such as a queue, cannot be run with `--once`.",
            )],
        }
    }

    fn bench(&self, weather: Weather) -> Result<Box<dyn Bench>> {
        let broker = match weather {
            Weather::Fault(Fault::Gone) => Node::Own(Broker::start()?),
            _ => Node::Shared(Broker::shared()?),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        Ok(Box::new(Queues {
            relay: Relay::start(broker.get().port())?,
            broker,
            weather,
            name: unique("conformance"),
            runtime,
            client: Mutex::default(),
            taken: Mutex::default(),
            seen: Mutex::default(),
        }))
    }
}

impl Node {
    fn get(&self) -> &Broker {
        match self {
            Self::Shared(broker) => broker,
            Self::Own(broker) => broker,
        }
    }
}

impl Queues {
    fn queue(&self, pipeline: &str) -> String {
        format!("{}.{pipeline}", self.name)
    }

    fn results_queue(&self, pipeline: &str, name: &str) -> String {
        format!("{}.{pipeline}.{name}", self.name)
    }

    fn dead_queue(&self, pipeline: &str) -> String {
        format!("{}.{pipeline}.dead", self.name)
    }

    /// Asks the broker past the relay. A client whose channel was closed is replaced, once.
    fn ask<T>(&self, ask: impl AsyncFn(&Client) -> Result<T>) -> Result<T> {
        // Taken out while it is asked, so that no lock is held meanwhile.
        let last = lock(&self.client).take();
        let (client, answer) = self.runtime.block_on(async {
            if let Some(client) = last
                && let Ok(answer) = ask(&client).await
            {
                return anyhow::Ok((client, answer));
            }
            let client = Client::connect(&self.broker.get().url()).await?;
            let answer = ask(&client).await?;
            Ok((client, answer))
        })?;
        *lock(&self.client) = Some(client);
        Ok(answer)
    }

    fn declare(&self, queue: &str) -> Result<()> {
        self.ask(async |client| client.declare(queue, QueueKind::Quorum).await)
    }

    /// What came into a queue so far; nothing where there is none. What comes meanwhile is left for the next time.
    fn take(&self, queue: &str) -> Vec<Arrival> {
        let n = self.count(queue);
        let fresh = self.ask(async |client| client.take(queue, n, SOON).await);
        let mut taken = lock(&self.taken);
        let taken = taken.entry(queue.to_owned()).or_default();
        taken.extend(fresh.unwrap_or_default());
        taken.clone()
    }

    /// What is in a queue of dead letters now: looked into when there are more or fewer than before.
    fn look(&self, queue: &str) -> Result<Vec<Arrival>> {
        let n = self.count(queue);
        let last = lock(&self.seen).get(queue).cloned().unwrap_or_default();
        if last.len() == n {
            return Ok(last);
        }
        let seen = self.ask(async |client| client.look(queue).await)?;
        lock(&self.seen).insert(queue.to_owned(), seen.clone());
        Ok(seen)
    }

    fn count(&self, queue: &str) -> usize {
        let counted = self.ask(async |client| client.count(queue).await);
        counted.map_or(0, |n| n as usize)
    }
}

impl Bench for Queues {
    fn connection(&self) -> String {
        let patience = match self.weather {
            Weather::Calm => "",
            Weather::Fault(_) => IMPATIENT,
        };
        format!("[broker]\namqp = \"{}\"\n{patience}\n", self.relay.url())
    }

    fn source(&self, pipeline: &str, prefetch: u16) -> Result<String> {
        // There before the first dead letter comes, and classic: it is looked into again and again.
        let dead = self.dead_queue(pipeline);
        self.ask(async |client| client.declare(&dead, QueueKind::Classic).await)?;
        Ok(format!("queue = \"{}\", prefetch = {prefetch}", self.queue(pipeline)))
    }

    fn put(&self, pipeline: &str, messages: &[Sent]) -> Result<()> {
        let queue = self.queue(pipeline);
        let parcel = |sent: &Sent| Parcel {
            headers: sent.headers.clone(),
            ..Parcel::new(&sent.id, sent.body.clone())
        };
        self.ask(async |client| client.publish_all(&queue, messages.iter().map(parcel)).await)
    }

    fn put_crooked(&self, pipeline: &str) -> Result<Vec<String>> {
        let queue = self.queue(pipeline);
        let long = |text: &[u8]| AMQPValue::LongString(text.to_vec().into());
        let deep = (0..200).fold(AMQPValue::Void, |inner, _| AMQPValue::FieldArray(vec![inner].into()));
        let many = (0..2_000).map(|n| (format!("header-{n}").into(), long(b"value")));
        let rows: Vec<(&str, FieldTable)> = vec![
            ("many", many.collect::<BTreeMap<_, _>>().into()),
            ("deep", table("deep", deep)),
            ("long", table("long", long(&[b'v'; 100_000]))),
            ("no-text", table("\u{1b}[31m\r\n", long(&[0xff, 0, 0x1b]))),
            (
                "routed",
                table("CC", AMQPValue::FieldArray(vec![long(b"nowhere")].into())),
            ),
            ("forged", table("x-millrace-attempt", long(b"-1"))),
            (
                "forged-crashes",
                table("x-millrace-crash-count", AMQPValue::LongInt(-7)),
            ),
            ("forged-before", table("x-millrace-suspect", AMQPValue::LongInt(-7))),
            (
                "forged-deaths",
                table("x-death", AMQPValue::LongString("no table".into())),
            ),
        ];
        for (id, headers) in &rows {
            let body = Sent::picture(id)?.body;
            let properties = BasicProperties::default()
                .with_message_id(id.to_string().into())
                .with_reply_to("\u{7f}nobody".into())
                .with_headers(headers.clone());
            self.ask(async |client| client.publish_raw(&queue, properties.clone(), &body).await)?;
        }
        Ok(rows.into_iter().map(|(id, _)| id.to_owned()).collect())
    }

    fn dead(&self, pipeline: &str) -> Result<Vec<Dead>> {
        self.look(&self.dead_queue(pipeline))?.into_iter().map(dead).collect()
    }

    fn n_waiting(&self, pipeline: &str) -> Result<usize> {
        Ok(self.count(&self.queue(pipeline)) + self.n_quarantined(pipeline)?)
    }

    fn n_quarantined(&self, pipeline: &str) -> Result<usize> {
        Ok(self.count(&format!("{}{QUARANTINE}", self.queue(pipeline))))
    }

    fn destination(&self, pipeline: &str, name: &str) -> Result<String> {
        let queue = self.results_queue(pipeline, name);
        self.mend_destination(pipeline, name)?;
        Ok(match name == THROUGH_AN_EXCHANGE {
            true => format!("exchange = \"{}\"\nrouting_key = \"{queue}\"", self.name),
            false => format!("exchange = \"\"\nrouting_key = \"{queue}\"\ntype = \"passive\""),
        })
    }

    fn results(&self, pipeline: &str, name: &str) -> Result<Vec<Found>> {
        let results = self.take(&self.results_queue(pipeline, name)).into_iter();
        let found = results.map(|result| Found {
            of: result.correlation_id,
            id: result.id,
            body: result.body,
        });
        Ok(found.collect())
    }

    fn break_destination(&self, pipeline: &str, name: &str) -> Result<()> {
        let queue = self.results_queue(pipeline, name);
        self.take(&queue);
        self.ask(async |client| client.delete(&queue).await)
    }

    fn mend_destination(&self, pipeline: &str, name: &str) -> Result<()> {
        let queue = self.results_queue(pipeline, name);
        self.declare(&queue)?;
        if name == THROUGH_AN_EXCHANGE {
            self.ask(async |client| client.declare_exchange(&self.name, &queue, &queue).await)?;
        }
        Ok(())
    }

    fn fault(&self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Gone => {
                self.broker.get().remember_queues()?;
                self.broker.get().kill()
            }
            Fault::Frozen => {
                self.relay.set(Flow::Hole);
                Ok(())
            }
            Fault::Cut => {
                let n_before = self.relay.n_carried();
                self.relay.reset();
                // A cut of nothing would prove nothing.
                wait_for("another connection of the host's", || {
                    (self.relay.n_carried() > n_before).then_some(())
                })
            }
        }
    }

    fn heal(&self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Gone => self.broker.get().run(),
            Fault::Frozen => {
                self.relay.set(Flow::Pass);
                Ok(())
            }
            Fault::Cut => Ok(()),
        }
    }
}

fn dead(letter: Arrival) -> Result<Dead> {
    let header = |name: &str| letter.header(&format!("x-millrace-{name}")).to_owned();
    ensure!(letter.persistent, "a dead letter that does not outlive its broker");
    Ok(Dead {
        of: header("message-id"),
        id: letter.id.clone(),
        stage: header("stage"),
        class: header("reason"),
        text: header("text"),
        plugin: header("plugin"),
        attempt: header("attempt").parse().context("no attempt")?,
        body: letter.body,
    })
}

fn table(name: &str, value: AMQPValue) -> FieldTable {
    BTreeMap::from([(name.into(), value)]).into()
}

fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
