//! Publishing with confirms: a publish succeeds when the broker confirmed it and did not return it. Knows the state of
//! the connection, and hands each publish to the channel of its exchange.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lapin::types::ShortString;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::line::Line;
use super::link::Link;
use super::properties::Outgoing;
use super::publish_channel::{PublishChannel, Request};
use super::topology::TargetQueue;

/// How often the state of the connection is checked.
pub(super) const LOOK: Duration = Duration::from_millis(250);

/// Bytes of bodies that wait for their confirm: lapin copies each into frames, and keeps the copy until it is written.
/// One body alone may be larger; then it goes alone.
pub(super) const UNCONFIRMED_MAX_BYTES: u32 = 64 << 20;

/// A message that is ready to be published: every name in it was checked.
#[derive(Debug, Clone)]
pub(super) struct Publish {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
    /// Whether a message that is routed to no queue is a failure.
    pub(super) mandatory: bool,
    pub(super) body: Arc<Vec<u8>>,
    pub(super) properties: Outgoing,
    /// The queue that the key names, on the default exchange, where the host may declare it.
    pub(super) target_queue: Option<TargetQueue>,
}

/// Why a publish is not known to have arrived. All of these are held and tried again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PublishError {
    /// It is routed to no queue.
    #[error("no queue takes it (exchange `{exchange}`, key `{routing_key}`): {code} {text}")]
    Unroutable {
        /// The exchange it was published to.
        exchange: String,
        /// The routing key it was published with.
        routing_key: String,
        /// The broker's reply code, such as 312.
        code: u16,
        /// The broker's reply text.
        text: String,
    },
    /// The broker nacked it: a full queue, a failed disk.
    #[error("the broker refused it (exchange `{exchange}`, key `{routing_key}`): the queue may be full")]
    Nacked {
        /// The exchange it was published to.
        exchange: String,
        /// The routing key it was published with.
        routing_key: String,
    },
    /// The channel ended before the confirm came: the exchange is missing, may not be written to, or the broker is gone.
    #[error("not confirmed: {0}")]
    Unconfirmed(String),
    /// The broker closed the connection because of a frame on it.
    #[error("not confirmed: the broker ended the connection: {0}")]
    Broken(String),
    /// This very address makes the broker close the connection.
    #[error("the broker cannot deliver to {routing_key:?}, and closes the connection because of it: {why}")]
    Nowhere {
        /// Where the message asked for its answer, untrusted.
        routing_key: String,
        /// The broker's words.
        why: String,
    },
    /// It was not sent yet: there is no channel now.
    #[error("not sent yet: {0}")]
    NotSent(String),
    /// There is no connection now.
    #[error("no connection to the broker")]
    Disconnected,
    /// Its queue is gone, and cannot be declared again.
    #[error("queue `{queue}` is gone, and cannot be declared again: {why}")]
    Homeless {
        queue: String,
        /// The broker's words.
        why: String,
    },
}

/// Whether publishing can succeed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Publishing {
    /// Not before there is a connection.
    Connecting,
    /// Yes.
    Open,
    /// Not before the broker has memory and disk again.
    Blocked,
}

/// A handle to the publishing task. The task ends when the last handle is gone.
#[derive(Debug, Clone)]
pub(super) struct Publisher {
    publish_channels: Arc<PublishChannels>,
    state: watch::Receiver<Publishing>,
    unconfirmed: Arc<Semaphore>,
}

/// The channels that were opened: one for each exchange of the configuration, made when it is first published to.
#[derive(Debug)]
struct PublishChannels {
    link: Arc<Link>,
    nonces: String,
    confirm_timeout: Duration,
    // std's Mutex: never held over an await.
    open: Mutex<HashMap<ShortString, mpsc::UnboundedSender<Request>>>,
    // The queues that were declared, which are few: the file names them. tokio's Mutex: held over a declaration, which has a
    // bound, so that many that find a queue gone at once declare it once.
    declared: tokio::sync::Mutex<BTreeSet<String>>,
    tasks: TaskTracker,
    _alive: DropGuard,
}

impl Publisher {
    /// A publisher and the task that serves it, to be spawned.
    pub(super) fn new(link: Arc<Link>, nonces: String, confirm_timeout: Duration) -> (Self, impl Future<Output = ()>) {
        let (sender, state) = watch::channel(Publishing::Connecting);
        let (gone, tasks) = (CancellationToken::new(), TaskTracker::new());
        let publish_channels = PublishChannels {
            link: Arc::clone(&link),
            nonces,
            confirm_timeout,
            open: Mutex::default(),
            declared: tokio::sync::Mutex::default(),
            tasks: tasks.clone(),
            _alive: gone.clone().drop_guard(),
        };
        let task = async move {
            gone.run_until_cancelled(watch_over(&link, &sender)).await;
            tasks.close();
            tasks.wait().await;
            link.close().await;
        };
        let publisher = Self {
            publish_channels: Arc::new(publish_channels),
            state,
            unconfirmed: Arc::new(Semaphore::new(UNCONFIRMED_MAX_BYTES as usize)),
        };
        (publisher, task)
    }

    /// Publishes and waits for the confirm. A queue that was deleted is declared again, where the file lets the host
    /// declare it.
    ///
    /// # Errors
    /// Whenever the message is not known to have arrived; it may have.
    pub(super) async fn publish(&self, publish: &Arc<Publish>) -> Result<(), PublishError> {
        let published = self.publish_once(publish).await;
        match (&published, &publish.target_queue) {
            (Err(PublishError::Unroutable { .. }), Some(target_queue)) if target_queue.may_be_declared() => {
                self.declare(target_queue, publish.routing_key.as_str()).await?;
                self.publish_once(publish).await
            }
            _ => published,
        }
    }

    async fn declare(&self, target_queue: &TargetQueue, queue: &str) -> Result<(), PublishError> {
        let line = self.publish_channels.link.line().await;
        let line = line.map_err(|_| PublishError::Disconnected)?;
        let mut declared = self.publish_channels.declared.lock().await;
        match target_queue.declare(&line, queue).await {
            Ok(was_gone) => {
                // Whether it was there before this host came is not known.
                match was_gone.then(|| declared.insert(queue.to_owned())) {
                    Some(true) => info!(
                        queue,
                        "declared the queue, which was not there: where it was deleted, the messages in it are gone"
                    ),
                    Some(false) => warn!(queue, "the queue was deleted, with the messages in it: declared again"),
                    None => {}
                }
                Ok(())
            }
            Err(error) => Err(PublishError::Homeless {
                queue: queue.to_owned(),
                why: error.to_string(),
            }),
        }
    }

    async fn publish_once(&self, publish: &Arc<Publish>) -> Result<(), PublishError> {
        let bytes = u32::try_from(publish.body.len()).unwrap_or(u32::MAX);
        let _room = self
            .unconfirmed
            .acquire_many(bytes.min(UNCONFIRMED_MAX_BYTES))
            .await
            .map_err(|_| PublishError::Disconnected)?;
        let (reply, confirmed) = oneshot::channel();
        let request = Request {
            publish: Arc::clone(publish),
            reply,
        };
        let publish_channel = self.publish_channels.publish_channel(&publish.exchange);
        publish_channel.send(request).map_err(|_| PublishError::Disconnected)?;
        confirmed.await.map_err(|_| PublishError::Disconnected)?
    }

    /// Whether publishing can succeed.
    pub(super) fn state(&self) -> watch::Receiver<Publishing> {
        self.state.clone()
    }

    /// Waits until the broker is connected and does not block publishers.
    pub(super) async fn open(&self) {
        let mut state = self.state.clone();
        // An error means that the task is gone with the host.
        if state.wait_for(|state| *state == Publishing::Open).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl PublishChannels {
    fn publish_channel(&self, exchange: &ShortString) -> mpsc::UnboundedSender<Request> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(publish_channel) = open.get(exchange) {
            return publish_channel.clone();
        }
        // Bounded by the messages in flight: each waits for its confirm.
        let (requests, receiver) = mpsc::unbounded_channel();
        let publish_channel = PublishChannel {
            link: Arc::clone(&self.link),
            exchange: exchange.clone(),
            nonces: format!("{}-{}", self.nonces, open.len()),
            confirm_timeout: self.confirm_timeout,
        };
        self.tasks.spawn(publish_channel.run(receiver));
        open.insert(exchange.clone(), requests.clone());
        requests
    }
}

/// Keeps the connection made, and reports its state.
async fn watch_over(link: &Link, state: &watch::Sender<Publishing>) {
    loop {
        let line = link.until_made(|| link.line()).await;
        let mut look = tokio::time::interval(LOOK);
        while line.is_up() {
            set_state(state, &line);
            look.tick().await;
        }
        state.send_replace(Publishing::Connecting);
    }
}

fn set_state(state: &watch::Sender<Publishing>, line: &Line) {
    let now = match line.is_blocked() {
        true => Publishing::Blocked,
        false => Publishing::Open,
    };
    match (state.send_replace(now), now) {
        (Publishing::Connecting | Publishing::Open, Publishing::Blocked) => {
            warn!(
                "the broker blocks publishes because it is short of memory or disk: its pipelines receive no messages until it unblocks"
            );
        }
        (Publishing::Blocked, Publishing::Open) => info!("the broker accepts publishes again"),
        _ => {}
    }
}
