//! What the hosts run and where their messages are: one `plugins.toml` of two pipelines, the queues around it, and the
//! messages that go in. Knows nothing of faults.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use millrace_tests::amqp::Parcel;
use millrace_tests::broker::Broker;
use millrace_tests::random::Random;
use millrace_tests::samples::{Sample, guest, model, pictures};

/// Where results go: an exchange, so that its binding can be taken away.
const EXCHANGE: &str = "chaos";
/// Messages in flight of one pipeline of one host.
pub(crate) const PREFETCH: u64 = 24;
/// Messages of the quarantine queue in flight beside them.
pub(crate) const PREFETCH_QUARANTINE: u64 = 1;
/// A message that nobody must be able to read.
const POISON_EVERY: usize = 50;
/// What [`Pipeline::Traps`] traps over.
const POISON: &[u8] = b"poison";

/// A pipeline of the hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pipeline {
    /// Pictures through the shipped plugins; some are no pictures.
    Images,
    /// Anything through a plugin that traps over some.
    Traps,
}

/// What must become of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// A result with this label.
    Label(String),
    /// A dead letter of this class.
    Dead(&'static str),
}

/// A message that is to be published until it is confirmed.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// Where it goes in.
    pub(crate) pipeline: Pipeline,
    /// What is published.
    pub(crate) parcel: Parcel,
    /// What must become of it.
    pub(crate) fate: Fate,
}

/// Draws messages.
pub(crate) struct Orders {
    random: Random,
    n_drawn: BTreeMap<Pipeline, u64>,
    samples: Vec<Sample>,
    /// The label of what [`Pipeline::Traps`] makes of every message that it does not trap over.
    pub(crate) label_of_zeros: String,
}

impl Pipeline {
    pub(crate) const ALL: [Self; 2] = [Self::Images, Self::Traps];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::Traps => "traps",
        }
    }

    /// The source queue.
    pub(crate) fn input(self) -> String {
        format!("chaos.{}", self.name())
    }

    /// Where messages wait that a host died with.
    pub(crate) fn quarantine_queue(self) -> String {
        format!("chaos.{}.quarantine", self.name())
    }

    /// The dead letters.
    pub(crate) fn dead(self) -> String {
        format!("chaos.{}.dead", self.name())
    }

    /// The results.
    pub(crate) fn results(self) -> String {
        format!("chaos.{}.results", self.name())
    }
}

/// The `plugins.toml` of a host that reaches the broker by `url`.
pub(crate) fn plugins_toml(url: &str) -> Result<String> {
    let path = |name| -> Result<String> { Ok(format!("{:?}", guest("wasm32-wasip2", name)?.display().to_string())) };
    let mut text = format!(
        "[broker]\namqp = \"{url}\"\n[host]\ndrain = \"15s\"\n[model.shapes]\npath = {:?}\ndevice = \"cpu\"\n",
        model().display().to_string()
    );
    for (name, settings) in [
        ("decode-image", ""),
        ("by-label", ""),
        ("hostile", "settings = { mode = \"panic-on-poison\" }"),
    ] {
        writeln!(text, "[plugin.{name}]\npath = {}\n{settings}", path(name)?)?;
    }
    for pipeline in Pipeline::ALL {
        let preprocess = match pipeline {
            Pipeline::Images => "decode-image",
            Pipeline::Traps => "hostile",
        };
        write!(
            text,
            // Hosts die often and at random: what was in flight then must be given another chance each time.
            r#"
[pipeline.{name}]
source = {{ queue = "{input}", prefetch = {PREFETCH} }}
preprocess = "{preprocess}"
model = "shapes"
route = "by-label"
attempts = 1000
dead_letter = "{dead}"
[pipeline.{name}.destination.results]
exchange = "{EXCHANGE}"
routing_key = "{results}"
"#,
            name = pipeline.name(),
            input = pipeline.input(),
            dead = pipeline.dead(),
            results = pipeline.results(),
        )?;
    }
    Ok(text)
}

/// Declares and binds where results go.
pub(crate) async fn set_up(broker: &Broker) -> Result<()> {
    let (_connection, channel) = channel(broker).await?;
    let durable = ExchangeDeclareOptions {
        durable: true,
        ..Default::default()
    };
    let exchange = ShortString::from(EXCHANGE);
    channel
        .exchange_declare(exchange, ExchangeKind::Direct, durable, FieldTable::default())
        .await?;
    for pipeline in Pipeline::ALL {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let name = ShortString::from(pipeline.results());
        channel
            .queue_declare(name, QueueDeclareOptions::durable(), arguments)
            .await?;
    }
    bind(broker).await
}

/// Binds the queues of results; it does no harm where they are bound.
pub(crate) async fn bind(broker: &Broker) -> Result<()> {
    let (_connection, channel) = channel(broker).await?;
    for pipeline in Pipeline::ALL {
        let queue = ShortString::from(pipeline.results());
        let options = QueueBindOptions::default();
        channel
            .queue_bind(queue.clone(), EXCHANGE.into(), queue, options, FieldTable::default())
            .await?;
    }
    Ok(())
}

/// Takes the bindings away: results cannot be routed.
pub(crate) async fn unbind(broker: &Broker) -> Result<()> {
    let (_connection, channel) = channel(broker).await?;
    for pipeline in Pipeline::ALL {
        let queue = ShortString::from(pipeline.results());
        channel
            .queue_unbind(queue.clone(), EXCHANGE.into(), queue, FieldTable::default())
            .await?;
    }
    Ok(())
}

async fn channel(broker: &Broker) -> Result<(Connection, Channel)> {
    let connection = Connection::connect(&broker.url(), ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    Ok((connection, channel))
}

impl Orders {
    /// Draws what the seed says.
    pub(crate) fn new(seed: u64) -> Result<Self> {
        Ok(Self {
            random: Random::stream(seed, 0x6f72_6465_7273),
            n_drawn: BTreeMap::new(),
            samples: pictures()?,
            label_of_zeros: String::new(),
        })
    }

    /// The next message of a pipeline.
    pub(crate) fn draw(&mut self, pipeline: Pipeline) -> Result<Order> {
        let poisoned = self.random.below(POISON_EVERY) == 0;
        let n = self.n_drawn.entry(pipeline).or_default();
        *n += 1;
        let id = format!("{}-{n}", pipeline.name());
        self.make(pipeline, &id, poisoned)
    }

    /// A message that is right, with an id of its own.
    pub(crate) fn canary(&mut self, pipeline: Pipeline, id: &str) -> Result<Order> {
        self.make(pipeline, &format!("{}-{id}", pipeline.name()), false)
    }

    fn make(&mut self, pipeline: Pipeline, id: &str, poisoned: bool) -> Result<Order> {
        let place = self.random.below(self.samples.len());
        let sample = self.samples.get(place).context("no sample")?;
        let (body, fate) = match (pipeline, poisoned) {
            // The begin of a picture: its decoder is well on its way when the end is missing.
            (Pipeline::Images, true) => (
                sample.png.get(..sample.png.len() / 2).unwrap_or_default().to_vec(),
                Fate::Dead("refused"),
            ),
            (Pipeline::Images, false) => (sample.png.clone(), Fate::Label(sample.label.clone())),
            (Pipeline::Traps, true) => (POISON.to_vec(), Fate::Dead("trap")),
            (Pipeline::Traps, false) => (id.as_bytes().to_vec(), Fate::Label(self.label_of_zeros.clone())),
        };
        Ok(Order {
            pipeline,
            parcel: Parcel::new(id, body),
            fate,
        })
    }
}
