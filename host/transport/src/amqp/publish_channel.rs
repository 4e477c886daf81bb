//! Publishing to one exchange: a channel in confirm mode, opened again whenever it ends. An error that closes it (a missing
//! exchange, a permission that was revoked) costs this exchange's publishes alone.
//!
//! One task owns the channel. lapin hands a returned message to whichever confirm of the channel it resolves next, which
//! may be another publish's; every publish therefore carries a nonce header, and a return is matched by it.

use std::collections::HashMap;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use lapin::Confirmation;
use lapin::message::BasicReturnMessage;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, ShortString};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error, info, warn};

use super::line::{Channel, PATIENCE};
use super::link::{ConnectError, Link};
use super::publisher::{LOOK, Publish, PublishError};
use super::refusal::{BrokerRefusal, Meaning};
use crate::failpoints::{self, Failpoint};
use crate::hold::backoff;

/// The header that identifies a returned message.
pub(super) const NONCE: &str = "x-millrace-nonce";

/// Publishes that wait for their confirm. Messages in flight are bounded by prefetch already; this bounds one
/// channel for a pipeline with a large prefetch.
const UNCONFIRMED_MAX: usize = 2048;

/// The longest pause between tries to open a channel.
const REOPEN_CAP: Duration = Duration::from_secs(5);

/// A channel that was nacked for so long, and acked nothing, is replaced: RabbitMQ (seen with 3.10.8) goes on nacking on a
/// channel that knows a queue as full after the limit on that queue was removed.
const NACKED_MAX: Duration = Duration::from_secs(10);

/// A publish, and the way to report its confirm.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) publish: Arc<Publish>,
    pub(super) reply: oneshot::Sender<Result<(), PublishError>>,
}

/// The task of one exchange.
pub(super) struct PublishChannel {
    pub(super) link: Arc<Link>,
    pub(super) exchange: ShortString,
    /// The prefix of its nonces, which no other channel has.
    pub(super) nonces: String,
    pub(super) confirm_timeout: Duration,
}

/// What distinguishes the publishes of a channel: its number, behind the channel's prefix.
type Nonce = u64;
type Resolved = (Nonce, Result<Confirmation, lapin::Error>);

/// Publishes that wait for their confirm.
#[derive(Default)]
struct Unconfirmed {
    publishes: HashMap<Nonce, Pending>,
    // Of their bodies together.
    n_bytes: usize,
}

struct Pending {
    request: Request,
    since: Instant,
    /// Once this many bytes were sent on the connection, it was sent as well.
    sent_at: u64,
}

enum Ended {
    Handles,
    /// The broker closed the channel.
    Refused(lapin::Error),
    /// The broker closed the connection because of a frame on it.
    Broken(String),
    Gone(String),
    /// Nothing but nacks, and nothing that waits for a confirm.
    Nacked,
}

/// The state that outlives the channel.
#[derive(Default)]
struct Life {
    n_published: u64,
    /// Bytes that had been sent on the connection at the last look.
    n_gone: u64,
    /// Whether the exchange is known to refuse publishes, so that it is logged once and not at every try.
    is_refused: bool,
}

impl PublishChannel {
    /// Serves until the last handle is gone.
    pub(super) async fn run(self, mut requests: mpsc::UnboundedReceiver<Request>) {
        let mut life = Life::default();
        while let Some(channel) = self.open(&mut requests).await {
            let mut pending = Unconfirmed::default();
            let serving = self.serve(&channel, &mut requests, &mut pending, &mut life);
            let ended = serving.await;
            let is_broken = matches!(ended, Ended::Broken(_));
            let why = match ended {
                Ended::Handles => {
                    if let Err(error) = channel.close().await {
                        debug!(%error, "the publishing channel was not closed in good order");
                    }
                    return;
                }
                Ended::Refused(error) => {
                    let refusal = BrokerRefusal::of(&error);
                    let why = refusal
                        .as_ref()
                        .map_or_else(|| error.to_string(), BrokerRefusal::described);
                    self.log_refused(refusal.as_ref(), &why, &mut life);
                    why
                }
                Ended::Gone(why) | Ended::Broken(why) => {
                    warn!(
                        connection = self.link.name(),
                        exchange = self.shown(),
                        why,
                        n_unconfirmed = pending.publishes.len(),
                        "lost the publishing channel: unconfirmed messages are published again"
                    );
                    why
                }
                Ended::Nacked => {
                    debug!(
                        exchange = self.shown(),
                        "the broker nacks every publish: opening another publishing channel"
                    );
                    continue;
                }
            };
            for Pending { request, .. } in pending.publishes.into_values() {
                let error = match is_broken {
                    true => PublishError::Broken(why.clone()),
                    false => PublishError::Unconfirmed(why.clone()),
                };
                answer(request, Err(error));
            }
        }
    }

    /// The exchange, for the log.
    fn shown(&self) -> &str {
        match self.exchange.as_str() {
            "" => "(default)",
            name => name,
        }
    }

    fn log_refused(&self, refusal: Option<&BrokerRefusal>, error: &str, life: &mut Life) {
        if std::mem::replace(&mut life.is_refused, true) {
            return;
        }
        let (connection, exchange) = (self.link.name(), self.shown());
        match refusal.map(|refusal| refusal.meaning) {
            Some(Meaning::Missing) => {
                error!(
                    connection,
                    exchange, error, "the exchange does not exist: declare it, and the held messages are published"
                );
            }
            Some(Meaning::Denied) => {
                error!(
                    connection,
                    exchange,
                    error,
                    "publishing is not permitted: grant the AMQP user write permission on the exchange, and the held messages are published"
                );
            }
            _ => warn!(
                connection,
                exchange, error, "the broker closed the publishing channel: opening another"
            ),
        }
    }

    /// Opens a channel, and tries without end; requests that come while that takes long, or between two tries, fail at once.
    /// `None` when the last handle is gone.
    async fn open(&self, requests: &mut mpsc::UnboundedReceiver<Request>) -> Option<Channel> {
        let mut pauses = backoff(REOPEN_CAP);
        loop {
            let opened = {
                let mut opening = pin!(self.try_open());
                let soon = tokio::time::sleep(PATIENCE);
                tokio::select! {
                    opened = &mut opening => Some(opened),
                    () = soon => self.refuse_meanwhile(requests, opening).await,
                }
            };
            match opened? {
                Ok(channel) => return Some(channel),
                // The task that watches the connection logs an outage of the broker.
                Err(error) => debug!(exchange = self.shown(), %error, "no publishing channel"),
            }
            let pause = tokio::time::sleep(pauses.next().unwrap_or(REOPEN_CAP));
            self.refuse_meanwhile(requests, pin!(pause)).await?;
        }
    }

    /// Answers requests that come meanwhile with an error; `None` when the last handle is gone.
    async fn refuse_meanwhile<T>(
        &self,
        requests: &mut mpsc::UnboundedReceiver<Request>,
        mut meanwhile: Pin<&mut impl Future<Output = T>>,
    ) -> Option<T> {
        loop {
            let request = tokio::select! {
                done = &mut meanwhile => return Some(done),
                request = requests.recv() => request?,
            };
            let why = self.link.waiting();
            let why = why.map_or(PublishError::Disconnected, |why| PublishError::NotSent(why.to_string()));
            answer(request, Err(why));
        }
    }

    async fn try_open(&self) -> Result<Channel, ConnectError> {
        let channel = self.link.line().await?.channel().await?;
        channel.confirm().await?;
        Ok(channel)
    }

    async fn serve(
        &self,
        channel: &Channel,
        requests: &mut mpsc::UnboundedReceiver<Request>,
        pending: &mut Unconfirmed,
        life: &mut Life,
    ) -> Ended {
        let mut in_flight = FuturesUnordered::new();
        let (mut returned, mut taken) = (HashMap::new(), Vec::new());
        let mut nacked_since = None;
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                biased; // confirms first: they make the room that new publishes need
                Some(resolved) = in_flight.next(), if !in_flight.is_empty() => {
                    let mut all = vec![resolved];
                    take_resolved(&mut in_flight, &mut all);
                    note_nacks(&all, &mut nacked_since);
                    if let Err(error) = judge(all, &self.nonces, pending, &mut returned) {
                        let is_breakdown = BrokerRefusal::of(&error).is_some_and(|refusal| refusal.is_breakdown());
                        return match (is_breakdown, channel.line().is_up()) {
                            (true, _) => Ended::Broken(error.to_string()),
                            (false, true) => Ended::Refused(error),
                            (false, false) => Ended::Gone(error.to_string()),
                        };
                    }
                    if std::mem::replace(&mut life.is_refused, false) {
                        info!(connection = self.link.name(), exchange = self.shown(), "the exchange accepts messages again");
                    }
                    if pending.publishes.is_empty() && nacked_since.is_some_and(|since| since.elapsed() > NACKED_MAX) {
                        return Ended::Nacked;
                    }
                }
                n_taken = requests.recv_many(&mut taken, UNCONFIRMED_MAX.saturating_sub(pending.publishes.len())),
                    if pending.publishes.len() < UNCONFIRMED_MAX => {
                    if n_taken == 0 {
                        return Ended::Handles;
                    }
                    for request in taken.drain(..) {
                        life.n_published += 1;
                        let nonce = format!("{}-{}", self.nonces, life.n_published);
                        in_flight.push(publish(channel.clone(), Arc::clone(&request.publish), life.n_published, nonce));
                        pending.add(life.n_published, request, channel.line().traffic().went());
                    }
                }
                _ = look.tick() => {
                    if let Some(why) = self.look(channel, pending, &mut life.n_gone) {
                        return Ended::Gone(why);
                    }
                }
            }
        }
    }

    /// The failure of the channel, if there is one. Confirm timers stand still while the connection is blocked, and for
    /// publishes that are not sent yet while bytes go out: a slow network is no silent broker.
    /// A channel that confirms nothing is followed by another on the same connection, which serves other exchanges, too;
    /// where that gets no answer either, the connection is given up.
    fn look(&self, channel: &Channel, pending: &mut Unconfirmed, n_gone: &mut u64) -> Option<String> {
        let line = channel.line();
        if !line.is_up() {
            return Some("the connection is gone".to_owned());
        }
        // With publishes in flight the broker's reason comes with their confirms.
        if !channel.is_up() && pending.publishes.is_empty() {
            return Some("the channel is gone".to_owned());
        }
        let n_gone_now = line.traffic().went();
        let moves = std::mem::replace(n_gone, n_gone_now) != n_gone_now;
        for pending in pending.publishes.values_mut() {
            if line.is_blocked() || (moves && n_gone_now < pending.sent_at) {
                pending.since = Instant::now();
            }
        }
        let late = pending
            .publishes
            .values()
            .any(|pending| pending.since.elapsed() > self.confirm_timeout);
        late.then(|| format!("no confirm within {} s", self.confirm_timeout.as_secs_f32()))
    }
}

impl Unconfirmed {
    /// Adds a publish when so many bytes were sent on the connection.
    fn add(&mut self, nonce: Nonce, request: Request, n_gone: u64) {
        self.n_bytes = self.n_bytes.saturating_add(request.publish.body.len());
        let pending = Pending {
            request,
            since: Instant::now(),
            sent_at: n_gone.saturating_add(self.n_bytes as u64),
        };
        self.publishes.insert(nonce, pending);
    }

    fn take(&mut self, nonce: Nonce) -> Option<Request> {
        let Pending { request, .. } = self.publishes.remove(&nonce)?;
        self.n_bytes = self.n_bytes.saturating_sub(request.publish.body.len());
        Some(request)
    }
}

async fn publish(channel: Channel, publish: Arc<Publish>, number: Nonce, nonce: String) -> Resolved {
    let options = BasicPublishOptions {
        mandatory: publish.mandatory,
        immediate: false,
    };
    let properties = publish.properties.with_header(NONCE, nonce);
    let to = (publish.exchange.clone(), publish.routing_key.clone());
    let sent = async || {
        failpoints::pass(
            Failpoint::Published,
            publish.properties.correlation_id().unwrap_or_default(),
        )
        .await;
    };
    let confirmed = channel.publish(to, options, &publish.body, properties, sent).await;
    (number, confirmed)
}

/// Takes every confirm that is resolved by now.
///
/// The broker returns a message before it confirms it, and lapin gives returns to confirms in the order in which it
/// resolves them. So when a confirm is seen to be resolved without one, its return, if there was any, is with a
/// confirm that was resolved before: taking all that are resolved sees it. `FuturesUnordered` may pause with more to
/// give; it wakes the waker then, which distinguishes the two ways of being pending.
fn take_resolved(in_flight: &mut FuturesUnordered<impl Future<Output = Resolved>>, all: &mut Vec<Resolved>) {
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

/// Records since when there were nacks alone.
fn note_nacks(all: &[Resolved], since: &mut Option<Instant>) {
    let mut confirmations = all.iter().filter_map(|(_, result)| result.as_ref().ok()).peekable();
    if confirmations.peek().is_none() {
        return;
    }
    *since = match confirmations.all(Confirmation::is_nack) {
        true => Some(since.unwrap_or_else(Instant::now)),
        false => None,
    };
}

/// Answers the resolved publishes, each by its own nonce.
///
/// # Errors
/// When the channel failed; what is still pending is then unconfirmed.
fn judge(
    all: Vec<Resolved>,
    prefix: &str,
    pending: &mut Unconfirmed,
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
                    match nonce_of(&message, prefix) {
                        Some(nonce) => drop(returned.insert(nonce, because)),
                        None => warn!(code = because.0, "the broker returned a message that is not ours"),
                    }
                }
                confirmed.push((nonce, nacked));
            }
            // The broker's own error, where one of them has it, and not that of a publish that came after.
            Err(error) if failed.as_ref().is_none_or(|failed| BrokerRefusal::of(failed).is_none()) => {
                failed = Some(error)
            }
            Err(_) => {}
        }
    }
    for (nonce, nacked) in confirmed {
        let because = returned.remove(&nonce);
        let Some(request) = pending.take(nonce) else {
            continue;
        };
        let to = || {
            let Publish {
                exchange, routing_key, ..
            } = &*request.publish;
            (exchange.to_string(), routing_key.to_string())
        };
        let result = match (because, nacked) {
            (Some((code, text)), _) => {
                let (exchange, routing_key) = to();
                Err(PublishError::Unroutable {
                    exchange,
                    routing_key,
                    code,
                    text,
                })
            }
            (None, true) => {
                let (exchange, routing_key) = to();
                Err(PublishError::Nacked { exchange, routing_key })
            }
            (None, false) => Ok(()),
        };
        answer(request, result);
    }
    failed.map_or(Ok(()), Err)
}

fn nonce_of(message: &BasicReturnMessage, prefix: &str) -> Option<Nonce> {
    let headers = message.delivery.properties.headers().as_ref()?;
    match headers.inner().get(NONCE)? {
        AMQPValue::LongString(nonce) => {
            let nonce = std::str::from_utf8(nonce.as_bytes()).ok()?;
            nonce.strip_prefix(prefix)?.strip_prefix('-')?.parse().ok()
        }
        _ => None,
    }
}

fn answer(request: Request, result: Result<(), PublishError>) {
    // A caller that the end of a drain cut off no longer listens: its message is returned.
    if request.reply.send(result).is_err() {
        debug!("a confirm arrived after its message was returned");
    }
}
