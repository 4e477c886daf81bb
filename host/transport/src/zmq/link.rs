//! The connection of a destination: results go out by it, and their answers come back. Knows no result.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info};

use super::codec::{Frames, Incoming, SocketType};
use super::dial::{Pauses, Target};
use super::reply::Status;
use super::wire::{Reader, WireError, Writer};
use crate::error_chain::ErrorChain;

/// Results that wait for the connection: who comes to a full queue waits.
const QUEUE: usize = 64;

/// What is kept of a peer's words.
const WORDS_CHARS_MAX: usize = 300;

/// Topics that a peer may ask for.
const TOPICS_MAX: usize = 1_024;

/// A connection that is made again whenever it is over; dropped, it ends.
#[derive(Debug)]
pub(super) struct Link {
    outgoing: mpsc::Sender<Outgoing>,
    state: watch::Receiver<LinkState>,
    waiting: Arc<Waiting>,
    _task: AbortOnDropHandle<()>,
}

/// A message on its way out.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) frames: Frames,
    /// Told when the system has all of it.
    pub(super) written: Option<oneshot::Sender<()>>,
}

/// Whether there is a connection.
#[derive(Debug, Clone)]
pub(super) enum LinkState {
    /// There is none, and why.
    Down(String),
    /// There is one, which is counted.
    Up(u64),
}

/// What a peer says of a message.
#[derive(Debug)]
pub(super) struct PeerAnswer {
    pub(super) status: Status,
    /// Why, in its words.
    pub(super) words: String,
}

/// Who waits for an answer, by id: two may wait for one.
#[derive(Debug, Default)]
struct Waiting {
    // std Mutex: never held over an await.
    by_id: Mutex<HashMap<Bytes, Vec<Waiter>>>,
    last: AtomicU64,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    answer: oneshot::Sender<PeerAnswer>,
}

/// An answer that is waited for; dropped, it is no more.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) answer: oneshot::Receiver<PeerAnswer>,
    waiting: Arc<Waiting>,
    id: Bytes,
    number: u64,
}

impl Link {
    /// Connects in the background.
    pub(super) fn start(target: Target) -> Self {
        let (outgoing, queue) = mpsc::channel(QUEUE);
        let (told, state) = watch::channel(LinkState::Down("it is connecting".to_owned()));
        let waiting = Arc::<Waiting>::default();
        let running = run(target, queue, told, Arc::clone(&waiting));
        Self {
            outgoing,
            state,
            waiting,
            _task: AbortOnDropHandle::new(tokio::spawn(running)),
        }
    }

    /// Whether there is a connection, now and later.
    pub(super) fn state(&self) -> watch::Receiver<LinkState> {
        self.state.clone()
    }

    /// Hands over a message; whether anybody takes it.
    pub(super) async fn send(&self, outgoing: Outgoing) -> bool {
        self.outgoing.send(outgoing).await.is_ok()
    }

    /// Waits for answers to a message of this id from now on.
    pub(super) fn expect(&self, id: &Bytes) -> Expected {
        let number = self.waiting.last.fetch_add(1, Ordering::Relaxed);
        let (answer, comes) = oneshot::channel();
        let mut by_id = self.waiting.by_id();
        by_id.entry(id.clone()).or_default().push(Waiter { number, answer });
        Expected {
            answer: comes,
            waiting: Arc::clone(&self.waiting),
            id: id.clone(),
            number,
        }
    }
}

impl Waiting {
    fn by_id(&self) -> MutexGuard<'_, HashMap<Bytes, Vec<Waiter>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A peer answers.
    fn answered(&self, mut frames: Frames) {
        if frames.first().is_some_and(Bytes::is_empty) && frames.len() > 3 {
            frames.remove(0);
        }
        let mut frames = frames.into_iter();
        let (Some(id), Some(status)) = (frames.next(), frames.next()) else {
            return;
        };
        let Some(status) = Status::of(&status) else {
            debug!("a peer answers what is no status");
            return;
        };
        let words = words(&frames.next().unwrap_or_default());
        if id.is_empty() {
            debug!(words, "a peer could not read a message");
        }
        for waiter in self.by_id().remove(&id).unwrap_or_default() {
            let words = words.clone();
            // Whoever does not wait any more has its result held, and sends it again.
            drop(waiter.answer.send(PeerAnswer { status, words }));
        }
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        let mut by_id = self.waiting.by_id();
        if let Some(waiters) = by_id.get_mut(&self.id) {
            waiters.retain(|waiter| waiter.number != self.number);
            if waiters.is_empty() {
                by_id.remove(&self.id);
            }
        }
    }
}

/// Why, as far as a peer's JSON says it.
fn words(fields: &[u8]) -> String {
    let fields: Value = serde_json::from_slice(fields).unwrap_or_default();
    let words = fields
        .get("error")
        .and_then(Value::as_str)
        .unwrap_or("it does not say why");
    words
        .chars()
        .take(WORDS_CHARS_MAX)
        .collect::<String>()
        .escape_debug()
        .to_string()
}

async fn run(
    target: Target,
    mut queue: mpsc::Receiver<Outgoing>,
    state: watch::Sender<LinkState>,
    waiting: Arc<Waiting>,
) {
    let mut pauses = Pauses::new();
    let mut n_connections = 0;
    loop {
        let error = match target.connect().await {
            Ok((reader, writer)) => {
                n_connections += 1;
                info!(peer = %target.endpoint, "connected");
                pauses.connected();
                state.send_replace(LinkState::Up(n_connections));
                exchange(&target, reader, writer, &mut queue, &waiting).await
            }
            Err(error) => error,
        };
        let why = ErrorChain(&error).to_string();
        debug!(peer = %target.endpoint, why, "not connected");
        state.send_replace(LinkState::Down(why));
        pauses.wait().await;
    }
}

/// Sends and receives until the connection is over.
async fn exchange(
    target: &Target,
    mut reader: Reader,
    mut writer: Writer,
    queue: &mut mpsc::Receiver<Outgoing>,
    waiting: &Waiting,
) -> WireError {
    let topics = (target.socket == SocketType::Pub).then(Mutex::default);
    let reading = async {
        loop {
            while let Some(incoming) = reader.pop()? {
                match (incoming, &topics) {
                    (Incoming::Message(frames), None) => waiting.answered(frames),
                    (incoming, Some(topics)) => subscribed(topics, incoming),
                    _ => {}
                }
            }
            reader.read().await?;
        }
    };
    let writing = async {
        loop {
            tokio::select! {
                outgoing = queue.recv() => {
                    let Some(outgoing) = outgoing else { return Ok(()) };
                    let is_wanted = topics.as_ref().is_none_or(|topics| is_wanted(topics, &outgoing.frames));
                    if is_wanted {
                        writer.send(outgoing.frames).await?;
                    }
                    if let Some(written) = outgoing.written
                        && written.send(()).is_err()
                    {
                        debug!("whoever waited for a result to be sent has given up");
                    }
                }
                () = writer.output() => writer.flush().await?,
            }
        }
    };
    let ended: Result<(), WireError> = tokio::select! {
        ended = reading => ended,
        ended = writing => ended,
    };
    ended.err().unwrap_or(WireError::Closed)
}

/// Notes what a subscriber wants; those of ZMTP 3.0 say it as a message.
fn subscribed(topics: &Mutex<BTreeSet<Bytes>>, incoming: Incoming) {
    let mut topics = topics.lock().unwrap_or_else(PoisonError::into_inner);
    let (is_wanted, topic) = match incoming {
        Incoming::Subscribe(topic) => (true, topic),
        Incoming::Cancel(topic) => (false, topic),
        Incoming::Message(frames) => match frames
            .first()
            .and_then(|frame| Some((*frame.first()?, frame.slice(1..))))
        {
            Some((1, topic)) => (true, topic),
            Some((0, topic)) => (false, topic),
            _ => return, // no subscription
        },
        _ => return,
    };
    if !is_wanted {
        topics.remove(&topic);
    } else if topics.len() < TOPICS_MAX {
        // As itself: it is a part of what was read.
        topics.insert(Bytes::copy_from_slice(&topic));
    }
}

fn is_wanted(topics: &Mutex<BTreeSet<Bytes>>, frames: &Frames) -> bool {
    let topics = topics.lock().unwrap_or_else(PoisonError::into_inner);
    let first = frames.first().map(Bytes::as_ref).unwrap_or_default();
    topics.iter().any(|topic| first.starts_with(topic))
}
