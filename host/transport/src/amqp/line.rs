//! A connection and its channels, as the rest of this transport uses them: the broker answers every call within a bound, or the
//! connection is given up. The only place that awaits lapin's answers (a test holds that). Knows no
//! queue's meaning, and makes no connection.
//!
//! lapin answers a call by way of its I/O loop. A loop that is ending accepts calls and answers none, while its connection
//! claims for a moment to be connected; a peer that is silent below the heartbeat answers none either.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt as _};
use lapin::message::{BasicGetMessage, Delivery};
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions,
    BasicQosOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeclareOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Confirmation, Connection, ConnectionStatus, Consumer, Event, ExchangeKind};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::refusal::BrokerRefusal;
use super::traffic::Traffic;

/// After so long without an answer the host logs it; a healthy broker has answered by then.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// So many times its time an answer may take while the broker sends other things: on a slow network it waits behind
/// deliveries.
const SLOW_MAX: u32 = 30;

/// How long lapin may take to report that a connection is gone after its socket is.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The limit of closing, where the broker may take longer for anything else: without a close in good order the end of the
/// socket closes the connection, and nothing is lost.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);

/// Why a call to the broker failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BrokerCallError {
    /// It did not answer; the connection is given up.
    #[error("the broker did not answer `{step}` within {} s", limit.as_secs_f32())]
    Silent {
        /// The method of AMQP that was called.
        step: &'static str,
        /// How long it had.
        limit: Duration,
    },
    /// The socket ended, without a word of lapin's.
    #[error("the connection was gone before the broker answered `{step}`")]
    Gone {
        /// The method of AMQP that was called.
        step: &'static str,
    },
    /// The broker refused, or the connection broke.
    #[error("{}", described(.0))]
    Answered(lapin::Error),
}

/// A connection that was made.
#[derive(Debug)]
pub(super) struct Line {
    connection: Connection,
    // As the log shows it.
    name: String,
    // Cancelled when the socket is gone; cancelling it ends the socket, and lapin's I/O loop with it.
    cut: CancellationToken,
    limit: Duration,
    traffic: Arc<Traffic>,
    // Calls without an answer for a while. std Mutex: never held over an await.
    late: Mutex<Late>,
}

/// Calls that are not answered yet though a healthy broker would have; by their numbers.
#[derive(Debug, Default)]
struct Late {
    n_asked: u64,
    open: BTreeMap<u64, (&'static str, Instant)>,
}

/// One of them, while it is.
struct IsLate<'a>(&'a Mutex<Late>, u64);

/// A channel of a connection, which it keeps. The channel closes when its last handle is dropped, and its consumer with
/// it.
#[derive(Debug, Clone)]
pub(super) struct Channel {
    channel: lapin::Channel,
    line: Arc<Line>,
}

impl BrokerCallError {
    /// The broker's refusal, where it sent one.
    pub(super) fn refusal(&self) -> Option<BrokerRefusal> {
        match self {
            Self::Answered(error) => BrokerRefusal::of(error),
            Self::Silent { .. } | Self::Gone { .. } => None,
        }
    }
}

/// Logs why the broker closed a connection: calls that fail with it say no more than that it is gone.
async fn report_end(events: impl Stream<Item = Event>, status: ConnectionStatus, name: String, cut: CancellationToken) {
    let over = async {
        cut.cancelled().await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    let (mut events, mut over) = (pin!(events), pin!(over));
    loop {
        tokio::select! {
            biased; // an error that is there is logged
            event = events.next() => match event {
                Some(Event::Error(error)) if !status.connected() => {
                    if let Some(refusal) = BrokerRefusal::of(&error) {
                        warn!(connection = name, why = refusal.described(), "the broker closed the connection: connecting again");
                    }
                    return;
                }
                Some(_) => {}
                None => return,
            },
            () = &mut over => return,
        }
    }
}

fn described(error: &lapin::Error) -> String {
    BrokerRefusal::of(error).map_or_else(|| error.to_string(), |refusal| refusal.described())
}

impl Line {
    /// `cut` ends its socket, and is cancelled when that ends by itself; `limit` bounds every answer.
    pub(super) fn new(
        (connection, name): (Connection, &str),
        cut: CancellationToken,
        limit: Duration,
        traffic: Arc<Traffic>,
    ) -> Self {
        let (events, status) = (connection.events_listener(), connection.status().clone());
        tokio::spawn(report_end(events, status, name.to_owned(), cut.clone()));
        Self {
            connection,
            name: name.to_owned(),
            cut,
            limit,
            traffic,
            late: Mutex::default(),
        }
    }

    /// The call that the broker has not answered for a while, and its time.
    pub(super) fn late(&self) -> Option<(&'static str, Instant)> {
        lock(&self.late).open.values().next().copied()
    }

    /// The bytes that were received and sent.
    pub(super) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Whether it can be used: neither lapin nor the socket has ended.
    pub(super) fn is_up(&self) -> bool {
        self.connection.status().connected() && !self.cut.is_cancelled()
    }

    /// Whether the broker blocks it now.
    pub(super) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Ends it at once, whatever the broker does: every pending call then fails.
    pub(super) fn cut(&self) {
        self.cut.cancel();
    }

    /// Waits until it is over, and lapin has had the time to report it first.
    ///
    /// # Cancellation
    /// Safe.
    pub(super) async fn over(&self) {
        self.cut.cancelled().await;
        tokio::time::sleep(LAST_WORDS).await;
    }

    /// Opens a channel.
    pub(super) async fn channel(self: &Arc<Self>) -> Result<Channel, BrokerCallError> {
        let channel = self.answer("channel.open", self.connection.create_channel()).await?;
        Ok(Channel {
            channel,
            line: Arc::clone(self),
        })
    }

    /// Closes it in good order, where the broker answers soon.
    pub(super) async fn close(&self) -> Result<(), BrokerCallError> {
        if !self.is_up() {
            return Ok(());
        }
        let closing = self.connection.close(200, "done".into());
        let closed = self
            .within(self.limit.min(LEAVE_LIMIT), 1, "connection.close", closing)
            .await;
        self.cut();
        closed
    }

    async fn answer<T>(
        &self,
        step: &'static str,
        answer: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, BrokerCallError> {
        let mut answer = pin!(self.within(self.limit, SLOW_MAX, step, answer));
        match tokio::time::timeout(PATIENCE, &mut answer).await {
            Ok(answered) => answered,
            Err(_) => {
                warn!(
                    connection = self.name,
                    step,
                    limit_s = self.limit.as_secs_f32(),
                    "the broker has not answered yet: the host waits, and reconnects when nothing comes within the limit"
                );
                let _late = IsLate::begin(&self.late, step);
                answer.await
            }
        }
    }

    /// Awaits an answer; without one in time the connection is given up. The time of a broker that blocks the
    /// connection does not count: nothing is written to it then, not even the call. While other bytes arrive, it may take
    /// `slow_max` times its time.
    async fn within<T>(
        &self,
        limit: Duration,
        slow_max: u32,
        step: &'static str,
        answer: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, BrokerCallError> {
        let mut answer = pin!(answer);
        let mut n_slow = 1;
        loop {
            let n_came = self.traffic.came();
            tokio::select! {
                answered = &mut answer => return answered.map_err(BrokerCallError::Answered),
                () = self.over() => return Err(BrokerCallError::Gone { step }),
                () = tokio::time::sleep(limit) => {}
            }
            if self.is_blocked() {
                continue;
            }
            if self.traffic.came() == n_came || n_slow >= slow_max {
                self.cut();
                return Err(BrokerCallError::Silent {
                    step,
                    limit: limit * n_slow,
                });
            }
            n_slow += 1;
        }
    }
}

impl<'a> IsLate<'a> {
    fn begin(all: &'a Mutex<Late>, step: &'static str) -> Self {
        let mut late = lock(all);
        late.n_asked += 1;
        let number = late.n_asked;
        let asked = Instant::now().checked_sub(PATIENCE).unwrap_or_else(Instant::now);
        late.open.insert(number, (step, asked));
        Self(all, number)
    }
}

impl Drop for IsLate<'_> {
    fn drop(&mut self) {
        lock(self.0).open.remove(&self.1);
    }
}

fn lock(late: &Mutex<Late>) -> MutexGuard<'_, Late> {
    late.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Channel {
    /// The connection that it is on.
    pub(super) fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// Whether it can be used.
    pub(super) fn is_up(&self) -> bool {
        self.line.is_up() && self.channel.status().connected()
    }

    /// `confirm.select`
    pub(super) async fn confirm(&self) -> Result<(), BrokerCallError> {
        let selecting = self.channel.confirm_select(ConfirmSelectOptions::default());
        self.line.answer("confirm.select", selecting).await
    }

    /// `basic.qos`
    pub(super) async fn prefetch(&self, n_messages: u16) -> Result<(), BrokerCallError> {
        let asking = self.channel.basic_qos(n_messages, BasicQosOptions::default());
        self.line.answer("basic.qos", asking).await
    }

    /// `basic.consume`
    pub(super) async fn consume(&self, queue: ShortString, arguments: FieldTable) -> Result<Consumer, BrokerCallError> {
        let options = BasicConsumeOptions::default();
        let consuming = self.channel.basic_consume(queue, "".into(), options, arguments);
        self.line.answer("basic.consume", consuming).await
    }

    /// `basic.cancel`
    pub(super) async fn cancel(&self, consumer: ShortString) -> Result<(), BrokerCallError> {
        let cancelling = self.channel.basic_cancel(consumer, BasicCancelOptions::default());
        self.line.answer("basic.cancel", cancelling).await
    }

    /// `basic.get`
    pub(super) async fn get(&self, queue: ShortString) -> Result<Option<BasicGetMessage>, BrokerCallError> {
        let getting = self.channel.basic_get(queue, BasicGetOptions::default());
        self.line.answer("basic.get", getting).await
    }

    /// `queue.declare`; gives how many messages are ready in it.
    pub(super) async fn declare(
        &self,
        queue: ShortString,
        options: QueueDeclareOptions,
        arguments: FieldTable,
    ) -> Result<u32, BrokerCallError> {
        let declaring = self.channel.queue_declare(queue, options, arguments);
        let declared = self.line.answer("queue.declare", declaring).await?;
        Ok(declared.message_count())
    }

    /// `exchange.declare` of one that others declare.
    pub(super) async fn expect_exchange(&self, exchange: ShortString) -> Result<(), BrokerCallError> {
        let options = ExchangeDeclareOptions {
            passive: true,
            ..Default::default()
        };
        let arguments = FieldTable::default();
        let declaring = self
            .channel
            .exchange_declare(exchange, ExchangeKind::Direct, options, arguments);
        self.line.answer("exchange.declare", declaring).await
    }

    /// `basic.publish`, and then the wait for its confirm. **Not bounded here**: the task that owns the channel gives
    /// the connection up when one of its confirms is late, and all of them fail then.
    pub(super) async fn publish(
        &self,
        (exchange, routing_key): (ShortString, ShortString),
        options: BasicPublishOptions,
        body: &[u8],
        properties: BasicProperties,
        sent: impl AsyncFnOnce(),
    ) -> lapin::Result<Confirmation> {
        let publishing = self
            .channel
            .basic_publish(exchange, routing_key, options, body, properties);
        let confirm = publishing.await?;
        sent().await;
        confirm.await
    }

    /// `basic.ack` of a delivery, and of all before it where `multiple` says so, within a limit.
    pub(super) async fn ack(&self, delivery_tag: u64, multiple: bool, limit: Duration) -> Result<(), BrokerCallError> {
        let sending = self.channel.basic_ack(delivery_tag, BasicAckOptions { multiple });
        answered_within("basic.ack", limit, sending).await
    }

    /// `basic.nack` of everything up to a delivery; 0 stands for all of them.
    pub(super) async fn give_back_up_to(&self, delivery_tag: u64) -> Result<(), BrokerCallError> {
        let options = BasicNackOptions {
            multiple: true,
            requeue: true,
        };
        let sending = self.channel.basic_nack(delivery_tag, options);
        self.line.answer("basic.nack", sending).await
    }

    /// Closes it in good order, where the broker answers soon.
    pub(super) async fn close(&self) -> Result<(), BrokerCallError> {
        let limit = self.line.limit.min(LEAVE_LIMIT);
        let closing = self.channel.close(200, "done".into());
        self.line.within(limit, 1, "channel.close", closing).await
    }
}

/// Acknowledges a delivery; `false` where its channel is gone.
///
/// # Errors
/// Without an answer within the limit: an acknowledgement that lapin takes while its connection ends may have none.
pub(super) async fn ack(delivery: &Delivery, limit: Duration) -> Result<bool, BrokerCallError> {
    answered_within("basic.ack", limit, delivery.acker.ack(BasicAckOptions::default())).await
}

/// Gives a delivery back; as [`ack`].
pub(super) async fn give_back(delivery: &Delivery, limit: Duration) -> Result<bool, BrokerCallError> {
    let options = BasicNackOptions {
        requeue: true,
        multiple: false,
    };
    answered_within("basic.nack", limit, delivery.acker.nack(options)).await
}

async fn answered_within<T>(
    step: &'static str,
    limit: Duration,
    sending: impl Future<Output = lapin::Result<T>>,
) -> Result<T, BrokerCallError> {
    match tokio::time::timeout(limit, sending).await {
        Ok(answer) => answer.map_err(BrokerCallError::Answered),
        Err(_) => Err(BrokerCallError::Silent { step, limit }),
    }
}
