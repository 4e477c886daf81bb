//! Publishing with confirms: a publish succeeds when the broker confirmed it and did not return it.
//!
//! One task owns the channel. lapin hands a returned message to whichever confirm it resolves next, which may be
//! another publish's; every publish therefore carries a nonce header, and a return is matched by it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info, warn};

use super::link::{ConnectError, Link};
use crate::failpoints::{self, Place};

/// The header that a returned message is recognised by.
pub(super) const NONCE: &str = "x-millrace-nonce";

/// How often the state of the connection and the age of the oldest confirm are looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Publishes that wait for their confirm. Messages in flight are bounded by prefetch already; this bounds what a
/// pipeline with a large one may ask of one channel.
const UNCONFIRMED_MAX: usize = 2048;

/// A message on its way out: every name in it was checked.
#[derive(Debug, Clone)]
pub(super) struct Publish {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
    /// Whether a message that no queue takes is a failure.
    pub(super) mandatory: bool,
    pub(super) body: Vec<u8>,
    pub(super) properties: BasicProperties,
}

/// Why a publish is not known to have arrived. All of these are held and tried again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PublishError {
    /// No queue takes it.
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
    /// The broker said no: a full queue, a failed disk.
    #[error("the broker did not take it (exchange `{exchange}`, key `{routing_key}`): the queue may be full")]
    Nacked {
        /// The exchange it was published to.
        exchange: String,
        /// The routing key it was published with.
        routing_key: String,
    },
    /// The channel ended before the confirm came.
    #[error("not confirmed: {0}")]
    Unconfirmed(String),
    /// There is no connection now.
    #[error("no connection to the broker")]
    Disconnected,
}

/// Whether publishing can succeed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publishing {
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
    requests: mpsc::Sender<Request>,
    state: watch::Receiver<Publishing>,
}

#[derive(Debug)]
struct Request {
    publish: Arc<Publish>,
    reply: oneshot::Sender<Result<(), PublishError>>,
}

impl Publisher {
    /// A publisher and the task that serves it, to be spawned.
    pub(super) fn new(link: Arc<Link>, nonces: String, confirm_timeout: Duration) -> (Self, impl Future<Output = ()>) {
        // One request waits while the task is between two polls; callers beyond that wait in `send`.
        let (requests, receiver) = mpsc::channel(1);
        let (sender, state) = watch::channel(Publishing::Connecting);
        let task = Task {
            link,
            nonces,
            n_published: 0,
            confirm_timeout,
            state: sender,
        };
        (Self { requests, state }, task.run(receiver))
    }

    /// Publishes and waits for the confirm.
    ///
    /// # Errors
    /// Whenever the message is not known to have arrived; it may have.
    pub(super) async fn publish(&self, publish: &Arc<Publish>) -> Result<(), PublishError> {
        let (reply, confirmed) = oneshot::channel();
        let request = Request {
            publish: Arc::clone(publish),
            reply,
        };
        self.requests
            .send(request)
            .await
            .map_err(|_| PublishError::Disconnected)?;
        confirmed.await.map_err(|_| PublishError::Disconnected)?
    }

    /// Whether publishing can succeed.
    pub(super) fn state(&self) -> watch::Receiver<Publishing> {
        self.state.clone()
    }

    /// Waits until the broker is connected and does not block publishers.
    pub(super) async fn open(&self) {
        let mut state = self.state.clone();
        // An error means that the task is gone with the host: nobody publishes any more.
        if state.wait_for(|state| *state == Publishing::Open).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

struct Task {
    link: Arc<Link>,
    nonces: String,
    n_published: u64,
    confirm_timeout: Duration,
    state: watch::Sender<Publishing>,
}

type Nonce = String;
type Resolved = (Nonce, Result<Confirmation, lapin::Error>);
type InFlight = FuturesUnordered<BoxFuture<'static, Resolved>>;

struct Pending {
    request: Request,
    since: Instant,
}

enum Ended {
    Handles,
    Channel(String),
}

impl Task {
    async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        while let Some((connection, channel)) = self.connect(&mut requests).await {
            self.state.send_replace(Publishing::Open);
            let mut pending = HashMap::new();
            let ended = self.serve(&connection, &channel, &mut requests, &mut pending).await;
            self.state.send_replace(Publishing::Connecting);
            let Ended::Channel(why) = ended else {
                if let Err(error) = channel.close(200, "done".into()).await {
                    debug!(%error, "the publishing channel was not closed in good order");
                }
                break;
            };
            warn!(%why, n_unconfirmed = pending.len(), "the publishing channel ended");
            self.link.abandon(&connection).await;
            for (_, Pending { request, .. }) in pending {
                answer(request, Err(PublishError::Unconfirmed(why.clone())));
            }
        }
        self.link.close().await;
    }

    /// Connects for ever; who asks meanwhile is told at once. `None` when the last handle is gone.
    async fn connect(&self, requests: &mut mpsc::Receiver<Request>) -> Option<(Arc<Connection>, Channel)> {
        let connecting = self.link.until_made(|| async {
            let connection = self.link.connection().await?;
            let channel = connection.create_channel().await.map_err(ConnectError::from)?;
            channel
                .confirm_select(ConfirmSelectOptions::default())
                .await
                .map_err(ConnectError::from)?;
            Ok((connection, channel))
        });
        tokio::pin!(connecting);
        loop {
            tokio::select! {
                made = &mut connecting => return Some(made),
                request = requests.recv() => answer(request?, Err(PublishError::Disconnected)),
            }
        }
    }

    async fn serve(
        &mut self,
        connection: &Connection,
        channel: &Channel,
        requests: &mut mpsc::Receiver<Request>,
        pending: &mut HashMap<Nonce, Pending>,
    ) -> Ended {
        let mut in_flight = InFlight::new();
        let mut returned = HashMap::new();
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                biased; // confirms first: they make the room that new publishes need
                Some(resolved) = in_flight.next(), if !in_flight.is_empty() => {
                    let mut all = vec![resolved];
                    take_resolved(&mut in_flight, &mut all);
                    if let Err(error) = judge(all, pending, &mut returned) {
                        return Ended::Channel(error.to_string());
                    }
                }
                request = requests.recv(), if pending.len() < UNCONFIRMED_MAX => {
                    let Some(request) = request else { return Ended::Handles };
                    self.n_published += 1;
                    let nonce = format!("{}-{}", self.nonces, self.n_published);
                    in_flight.push(publish(channel.clone(), Arc::clone(&request.publish), nonce.clone()));
                    pending.insert(nonce, Pending { request, since: Instant::now() });
                }
                _ = look.tick() => {
                    if let Some(why) = self.look(connection, channel, pending) {
                        return Ended::Channel(why);
                    }
                }
            }
        }
    }

    /// Tells what is wrong with the connection, if anything is. Confirm timers stand still while it is blocked.
    fn look(
        &self,
        connection: &Connection,
        channel: &Channel,
        pending: &mut HashMap<Nonce, Pending>,
    ) -> Option<String> {
        if !connection.status().connected() || !channel.status().connected() {
            return Some("the connection is gone".to_owned());
        }
        let state = if connection.status().blocked() {
            Publishing::Blocked
        } else {
            Publishing::Open
        };
        let before = self.state.send_replace(state);
        match (before, state) {
            (Publishing::Open, Publishing::Blocked) => {
                warn!("the broker blocks publishers: taking nothing until it unblocks")
            }
            (Publishing::Blocked, Publishing::Open) => info!("the broker takes publishes again"),
            _ => {}
        }
        if state == Publishing::Blocked {
            for pending in pending.values_mut() {
                pending.since = Instant::now();
            }
        }
        let late = pending
            .values()
            .any(|pending| pending.since.elapsed() > self.confirm_timeout);
        late.then(|| format!("no confirm within {} s", self.confirm_timeout.as_secs_f32()))
    }
}

fn publish(channel: Channel, publish: Arc<Publish>, nonce: Nonce) -> BoxFuture<'static, Resolved> {
    Box::pin(async move {
        let mut headers = publish.properties.headers().clone().unwrap_or_default();
        headers.insert(NONCE.into(), AMQPValue::LongString(nonce.as_str().into()));
        let properties = publish.properties.clone().with_headers(headers);
        let options = BasicPublishOptions {
            mandatory: publish.mandatory,
            immediate: false,
        };
        let (exchange, routing_key) = (publish.exchange.clone(), publish.routing_key.clone());
        let sent = channel
            .basic_publish(exchange, routing_key, options, &publish.body, properties)
            .await;
        let confirmed = match sent {
            Ok(confirm) => {
                let subject = publish.properties.correlation_id().as_ref();
                failpoints::pass(Place::Published, subject.map_or("", ShortString::as_str)).await;
                confirm.await
            }
            Err(error) => Err(error),
        };
        (nonce, confirmed)
    })
}

/// Takes every confirm that is resolved by now.
///
/// The broker returns a message before it confirms it, and lapin gives returns to confirms in the order in which it
/// resolves them. So when a confirm is seen to be resolved without one, its return, if there was any, is with a
/// confirm that was resolved before: taking all that are resolved sees it. `FuturesUnordered` may pause with more to
/// give; it wakes the waker then, which is how the two ways of being pending are told apart.
fn take_resolved(in_flight: &mut InFlight, all: &mut Vec<Resolved>) {
    struct Woken(AtomicBool);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    loop {
        woken.0.store(false, Ordering::SeqCst);
        match in_flight.poll_next_unpin(&mut context) {
            Poll::Ready(Some(resolved)) => all.push(resolved),
            Poll::Ready(None) => return,
            Poll::Pending if woken.0.load(Ordering::SeqCst) => {}
            Poll::Pending => return,
        }
    }
}

/// Answers the resolved publishes, each by its own nonce.
///
/// # Errors
/// When the channel failed; what is still pending is then unconfirmed.
fn judge(
    all: Vec<Resolved>,
    pending: &mut HashMap<Nonce, Pending>,
    returned: &mut HashMap<Nonce, (u16, String)>,
) -> Result<(), lapin::Error> {
    let mut confirmed = Vec::with_capacity(all.len());
    let mut failed = None;
    for (nonce, result) in all {
        match result {
            Ok(confirmation) => {
                let nacked = confirmation.is_nack();
                if let Some(message) = confirmation.take_message() {
                    let because = (message.reply_code, message.reply_text.to_string());
                    match nonce_of(&message) {
                        Some(nonce) => drop(returned.insert(nonce, because)),
                        None => warn!(code = because.0, "the broker returned a message that is not ours"),
                    }
                }
                confirmed.push((nonce, nacked));
            }
            Err(error) => failed = Some(error),
        }
    }
    for (nonce, nacked) in confirmed {
        let because = returned.remove(&nonce);
        let Some(Pending { request, .. }) = pending.remove(&nonce) else {
            continue;
        };
        let exchange = request.publish.exchange.to_string();
        let routing_key = request.publish.routing_key.to_string();
        let result = match (because, nacked) {
            (Some((code, text)), _) => Err(PublishError::Unroutable {
                exchange,
                routing_key,
                code,
                text,
            }),
            (None, true) => Err(PublishError::Nacked { exchange, routing_key }),
            (None, false) => Ok(()),
        };
        answer(request, result);
    }
    failed.map_or(Ok(()), Err)
}

fn nonce_of(message: &BasicReturnMessage) -> Option<Nonce> {
    let headers = message.delivery.properties.headers().as_ref()?;
    match headers.inner().get(NONCE)? {
        AMQPValue::LongString(nonce) => std::str::from_utf8(nonce.as_bytes()).ok().map(str::to_owned),
        _ => None,
    }
}

fn answer(request: Request, result: Result<(), PublishError>) {
    // Nobody listens any more when the caller was cut off by the end of a drain: its message is returned.
    if request.reply.send(result).is_err() {
        debug!("a confirm came after its message was given up");
    }
}
