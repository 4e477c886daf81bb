//! A plain AMQP client for tests: publishes with confirms, collects what arrives. Knows nothing of the host.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions,
    BasicQosOptions, ConfirmSelectOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer, ExchangeKind};
use tokio::time::timeout;

/// Publishes that wait for their confirm at one time: enough to keep the broker busy.
const WINDOW: usize = 256;
/// Enough to hide the round trips.
const PREFETCH: u16 = 300;
/// Twice the patience of the host with a broker that answers nothing.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// A connection with one channel in confirm mode.
pub struct Client {
    connection: Connection,
    channel: Channel,
}

/// A consumer on a channel of its own, which gives back what it was sent and did not hand out.
pub struct Taker {
    channel: Channel,
    consumer: Consumer,
}

/// How a test declares a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueKind {
    /// Durable and replicated: what the host declares by default.
    Quorum,
    /// Classic and durable.
    Classic,
    /// Classic and gone with the broker, as `queue_declare(queue="..")` of pika makes it.
    ClassicTransient,
}

/// A message to publish.
#[derive(Debug, Clone, Default)]
pub struct Parcel {
    /// The message id.
    pub id: Option<String>,
    /// The correlation id.
    pub correlation_id: Option<String>,
    /// Such as `image/png`.
    pub content_type: Option<String>,
    /// Where the answer goes.
    pub reply_to: Option<String>,
    /// Text headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// A message that arrived.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The message id.
    pub id: String,
    /// The correlation id.
    pub correlation_id: String,
    /// Such as `application/json`.
    pub content_type: String,
    /// Whether it survives a restart of the broker.
    pub persistent: bool,
    /// Headers in their usual notation.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

/// An answer of the broker, with a bound: one whose disk is full blocks publishers, and a test that waits for it without end
/// says nothing.
trait Answer<T>: Future<Output = lapin::Result<T>> + Sized {
    async fn answered(self) -> Result<T> {
        let answer = timeout(ANSWER_LIMIT, self).await;
        Ok(answer.with_context(|| format!("the broker did not answer within {ANSWER_LIMIT:?}"))??)
    }
}

impl<T, F: Future<Output = lapin::Result<T>>> Answer<T> for F {}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn connect(url: &str) -> Result<Self> {
        let connecting = Connection::connect(url, ConnectionProperties::default());
        let connection = connecting.answered().await?;
        let channel = connection.create_channel().answered().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .answered()
            .await?;
        Ok(Self { connection, channel })
    }

    /// Declares a queue.
    ///
    /// # Errors
    /// When it exists with other properties; the client is of no use then.
    pub async fn declare(&self, queue: &str, kind: QueueKind) -> Result<()> {
        let mut arguments = FieldTable::default();
        if kind == QueueKind::Quorum {
            arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        }
        let options = QueueDeclareOptions {
            durable: kind != QueueKind::ClassicTransient,
            ..Default::default()
        };
        self.channel
            .queue_declare(short(queue)?, options, arguments)
            .answered()
            .await?;
        Ok(())
    }

    /// Declares a queue with arguments that limit it, such as `x-max-length` and `x-overflow`.
    ///
    /// # Errors
    /// When it exists with other properties; the client is of no use then.
    pub async fn declare_classic_with(&self, queue: &str, arguments: FieldTable) -> Result<()> {
        self.channel
            .queue_declare(short(queue)?, QueueDeclareOptions::durable(), arguments)
            .answered()
            .await?;
        Ok(())
    }

    /// Declares a queue that goes when its last consumer does.
    ///
    /// # Errors
    /// When it exists with other properties; the client is of no use then.
    pub async fn declare_auto_delete(&self, queue: &str) -> Result<()> {
        let options = QueueDeclareOptions {
            auto_delete: true,
            ..Default::default()
        };
        self.channel
            .queue_declare(short(queue)?, options, FieldTable::default())
            .answered()
            .await?;
        Ok(())
    }

    /// Binds a queue to an exchange.
    ///
    /// # Errors
    /// When one of them is not there; the client is of no use then.
    pub async fn bind(&self, queue: &str, exchange: &str, key: &str) -> Result<()> {
        let (queue, exchange, key) = (short(queue)?, short(exchange)?, short(key)?);
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        self.channel
            .queue_bind(queue, exchange, key, options, arguments)
            .answered()
            .await
    }

    /// Waits until so many messages are ready in a queue.
    ///
    /// # Errors
    /// When they do not come.
    pub async fn wait_count(&self, queue: &str, n: u32) -> Result<()> {
        let deadline = tokio::time::Instant::now() + crate::PATIENCE;
        loop {
            let found = self.count(queue).await?;
            if found == n {
                return Ok(());
            }
            ensure!(
                tokio::time::Instant::now() < deadline,
                "waited for {n} messages in `{queue}`, {found} are there"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Publishes through the default exchange and waits for the confirm.
    ///
    /// # Errors
    /// When the broker does not take it, or there is no such queue.
    pub async fn publish(&self, queue: &str, parcel: &Parcel) -> Result<()> {
        let confirm = self.send(queue, parcel).await?;
        check(queue, confirm.answered().await?)
    }

    /// Publishes with properties and headers of any type.
    ///
    /// # Errors
    /// As [`Client::publish`].
    pub async fn publish_raw(&self, queue: &str, properties: BasicProperties, body: &[u8]) -> Result<()> {
        let options = BasicPublishOptions {
            mandatory: true,
            ..Default::default()
        };
        let sent = self
            .channel
            .basic_publish(short("")?, short(queue)?, options, body, properties);
        check(queue, sent.answered().await?.answered().await?)
    }

    /// Publishes many, `WINDOW` at a time, and waits for every confirm.
    ///
    /// # Errors
    /// As [`Client::publish`].
    pub async fn publish_all(&self, queue: &str, parcels: impl IntoIterator<Item = Parcel>) -> Result<()> {
        let mut open = std::collections::VecDeque::new();
        for parcel in parcels {
            if open.len() >= WINDOW
                && let Some(oldest) = open.pop_front()
            {
                check(queue, Answer::answered(oldest).await?)?;
            }
            open.push_back(self.send(queue, &parcel).await?);
        }
        for confirm in open {
            check(queue, confirm.answered().await?)?;
        }
        Ok(())
    }

    /// Takes and acknowledges messages until there are `n`, or until nothing came for `patience`.
    ///
    /// # Errors
    /// When the queue or the connection is gone.
    pub async fn take(&self, queue: &str, n: usize, patience: Duration) -> Result<Vec<Arrival>> {
        let mut taken = Vec::new();
        if n == 0 {
            return Ok(taken);
        }
        let mut taker = self.taker(queue).await?;
        while taken.len() < n
            && let Some(arrival) = taker.next(patience).await?
        {
            taken.push(arrival);
        }
        taker.close().await?;
        Ok(taken)
    }

    /// Takes exactly `n` messages.
    ///
    /// # Errors
    /// When fewer come.
    pub async fn take_all(&self, queue: &str, n: usize) -> Result<Vec<Arrival>> {
        let taken = self.take(queue, n, crate::PATIENCE).await?;
        ensure!(
            taken.len() == n,
            "waited for {n} messages in `{queue}`, {} came",
            taken.len()
        );
        Ok(taken)
    }

    /// Takes what is in the queue now, without waiting.
    ///
    /// # Errors
    /// When the queue or the connection is gone.
    pub async fn drain(&self, queue: &str) -> Result<Vec<Arrival>> {
        Ok(self.drain_raw(queue).await?.into_iter().map(Arrival::from).collect())
    }

    /// As [`Client::drain`], with properties and headers of any type.
    ///
    /// # Errors
    /// When the queue or the connection is gone.
    pub async fn drain_raw(&self, queue: &str) -> Result<Vec<Delivery>> {
        let mut taken = Vec::new();
        while let Some(message) = self
            .channel
            .basic_get(short(queue)?, BasicGetOptions::default())
            .answered()
            .await?
        {
            ensure!(
                message
                    .delivery
                    .acker
                    .ack(BasicAckOptions::default())
                    .answered()
                    .await?,
                "the acknowledgement was not sent"
            );
            taken.push(message.delivery);
        }
        Ok(taken)
    }

    /// Looks at what is in a queue now, and leaves it there: marked as delivered before.
    ///
    /// # Errors
    /// When there is no such queue.
    pub async fn look(&self, queue: &str) -> Result<Vec<Arrival>> {
        let channel = self.connection.create_channel().answered().await?;
        let mut seen = Vec::new();
        while let Some(message) = channel
            .basic_get(short(queue)?, BasicGetOptions::default())
            .answered()
            .await?
        {
            seen.push(message.delivery.into());
        }
        // What is not acknowledged goes back, in its order.
        channel.close(200, short("done")?).answered().await?;
        Ok(seen)
    }

    /// A consumer of a queue.
    ///
    /// # Errors
    /// When there is no such queue.
    pub async fn taker(&self, queue: &str) -> Result<Taker> {
        let channel = self.connection.create_channel().answered().await?;
        channel
            .basic_qos(PREFETCH, BasicQosOptions::default())
            .answered()
            .await?;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumer = channel
            .basic_consume(short(queue)?, short("")?, options, arguments)
            .answered()
            .await?;
        Ok(Taker { channel, consumer })
    }

    /// A consumer that has a classic queue to itself, for as long as it is kept.
    ///
    /// # Errors
    /// When there is no such queue.
    pub async fn take_exclusively(&self, queue: &str) -> Result<Taker> {
        let channel = self.connection.create_channel().answered().await?;
        let options = BasicConsumeOptions {
            exclusive: true,
            ..Default::default()
        };
        let consumer = channel
            .basic_consume(short(queue)?, short("")?, options, FieldTable::default())
            .answered()
            .await?;
        Ok(Taker { channel, consumer })
    }

    /// Takes a message and gives it back, so that it is delivered again.
    ///
    /// # Errors
    /// When there is none.
    pub async fn give_back_one(&self, queue: &str) -> Result<()> {
        let got = self
            .channel
            .basic_get(short(queue)?, BasicGetOptions::default())
            .answered()
            .await?;
        let options = BasicNackOptions {
            requeue: true,
            ..Default::default()
        };
        got.context("the queue is empty")?
            .delivery
            .acker
            .nack(options)
            .answered()
            .await?;
        Ok(())
    }

    /// Messages that are ready in a queue, as the broker's declare-ok says.
    ///
    /// # Errors
    /// When there is no such queue; the client is of no use then.
    pub async fn count(&self, queue: &str) -> Result<u32> {
        let options = QueueDeclareOptions {
            passive: true,
            ..Default::default()
        };
        Ok(self
            .channel
            .queue_declare(short(queue)?, options, FieldTable::default())
            .answered()
            .await?
            .message_count())
    }

    /// Declares a durable direct exchange, which brings messages with this key to a queue.
    ///
    /// # Errors
    /// When there is no such queue, or the exchange is another kind; the client is of no use then.
    pub async fn declare_exchange(&self, exchange: &str, key: &str, queue: &str) -> Result<()> {
        let options = ExchangeDeclareOptions {
            durable: true,
            ..Default::default()
        };
        self.channel
            .exchange_declare(short(exchange)?, ExchangeKind::Direct, options, FieldTable::default())
            .answered()
            .await?;
        let options = QueueBindOptions::default();
        self.channel
            .queue_bind(
                short(queue)?,
                short(exchange)?,
                short(key)?,
                options,
                FieldTable::default(),
            )
            .answered()
            .await?;
        Ok(())
    }

    /// Deletes an exchange.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn delete_exchange(&self, exchange: &str) -> Result<()> {
        let options = ExchangeDeleteOptions::default();
        self.channel.exchange_delete(short(exchange)?, options).answered().await
    }

    /// Empties a queue.
    ///
    /// # Errors
    /// When there is no such queue.
    pub async fn purge(&self, queue: &str) -> Result<()> {
        self.channel
            .queue_purge(short(queue)?, QueuePurgeOptions::default())
            .answered()
            .await?;
        Ok(())
    }

    /// Deletes a queue.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn delete(&self, queue: &str) -> Result<()> {
        self.channel
            .queue_delete(short(queue)?, QueueDeleteOptions::default())
            .answered()
            .await?;
        Ok(())
    }

    async fn send(
        &self,
        queue: &str,
        parcel: &Parcel,
    ) -> Result<impl Future<Output = lapin::Result<Confirmation>> + use<>> {
        let options = BasicPublishOptions {
            mandatory: true,
            ..Default::default()
        };
        let properties = parcel.properties()?;
        self.channel
            .basic_publish(short("")?, short(queue)?, options, &parcel.body, properties)
            .answered()
            .await
    }
}

impl Taker {
    /// The next message, acknowledged; nothing when none comes for so long.
    ///
    /// # Errors
    /// When the queue or the connection is gone.
    pub async fn next(&mut self, patience: Duration) -> Result<Option<Arrival>> {
        let Ok(next) = timeout(patience, self.consumer.next()).await else {
            return Ok(None);
        };
        let delivery = next.context("the broker cancelled the consumer")??;
        ensure!(
            delivery.acker.ack(BasicAckOptions::default()).answered().await?,
            "the acknowledgement was not sent"
        );
        Ok(Some(delivery.into()))
    }

    /// Gives back what it was sent and did not hand out.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn close(self) -> Result<()> {
        self.channel
            .basic_cancel(self.consumer.tag(), BasicCancelOptions::default())
            .answered()
            .await?;
        self.channel
            .basic_nack(
                0,
                BasicNackOptions {
                    multiple: true,
                    requeue: true,
                },
            )
            .answered()
            .await?;
        self.channel.close(200, short("done")?).answered().await
    }
}

impl Parcel {
    /// A message with an id and a body.
    pub fn new(id: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            id: Some(id.to_owned()),
            body: body.into(),
            ..Self::default()
        }
    }

    fn properties(&self) -> Result<BasicProperties> {
        let mut properties = BasicProperties::default().with_delivery_mode(2);
        if let Some(id) = &self.id {
            properties = properties.with_message_id(short(id)?);
        }
        if let Some(id) = &self.correlation_id {
            properties = properties.with_correlation_id(short(id)?);
        }
        if let Some(content_type) = &self.content_type {
            properties = properties.with_content_type(short(content_type)?);
        }
        if let Some(queue) = &self.reply_to {
            properties = properties.with_reply_to(short(queue)?);
        }
        let mut headers = FieldTable::default();
        for (name, value) in &self.headers {
            headers.insert(short(name)?, AMQPValue::LongString(value.as_str().into()));
        }
        Ok(properties.with_headers(headers))
    }
}

impl Arrival {
    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("no JSON: {}", self.text()))
    }
}

impl From<Delivery> for Arrival {
    fn from(delivery: Delivery) -> Self {
        let text = |value: &Option<ShortString>| value.as_ref().map(ToString::to_string).unwrap_or_default();
        let properties = &delivery.properties;
        let headers = properties.headers().iter().flat_map(|table| table.inner().iter());
        Self {
            id: text(properties.message_id()),
            correlation_id: text(properties.correlation_id()),
            content_type: text(properties.content_type()),
            persistent: *properties.delivery_mode() == Some(2),
            headers: headers.map(|(name, value)| (name.to_string(), shown(value))).collect(),
            body: delivery.data,
        }
    }
}

fn check(queue: &str, confirmation: Confirmation) -> Result<()> {
    match confirmation {
        Confirmation::Ack(None) => Ok(()),
        // An unroutable message is returned and then confirmed.
        Confirmation::Ack(Some(returned)) => Err(anyhow!("`{queue}`: returned with {}", returned.reply_text)),
        Confirmation::Nack(_) => Err(anyhow!("`{queue}`: refused by the broker")),
        Confirmation::NotRequested => Err(anyhow!("the channel is not in confirm mode")),
    }
}

fn shown(value: &AMQPValue) -> String {
    match value {
        AMQPValue::LongString(text) => text.to_string(),
        AMQPValue::ShortString(text) => text.to_string(),
        AMQPValue::Boolean(value) => value.to_string(),
        AMQPValue::LongInt(value) => value.to_string(),
        AMQPValue::LongUInt(value) => value.to_string(),
        AMQPValue::LongLongInt(value) => value.to_string(),
        other => format!("{other:?}"),
    }
}

fn short(text: &str) -> Result<ShortString> {
    ShortString::try_new(text).with_context(|| format!("{text:?} is no short string"))
}
