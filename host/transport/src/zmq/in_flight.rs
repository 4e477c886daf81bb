//! The messages of an address that are in flight, by id, and the clients that wait for each: one that sends a message again joins
//! those that wait for it. Knows no socket and no pipeline.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;
use tracing::debug;

use super::reply::Reply;
use super::request::Request;

/// Clients that wait for one message.
const ASKERS_MAX: usize = 16;

/// Answers that a connection may be sent and has not written: more than messages are ever in flight.
pub(super) const ANSWERS_MAX: usize = 4_096;

/// An answer on its way to a connection.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) id: Bytes,
    pub(super) is_delimited: bool,
    pub(super) reply: Reply,
}

/// A client that waits for an answer.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    pub(super) answers: mpsc::Sender<Answered>,
    pub(super) is_delimited: bool,
}

/// All messages in flight. Each has a slot of its pipeline, or a connection that waits for one.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    // std Mutex: never held over an await.
    entries: Mutex<HashMap<String, Entry>>,
    digests: RandomState,
}

#[derive(Debug)]
struct Entry {
    /// Of headers and body, by a key of this process: no stranger makes two alike.
    digest: u64,
    askers: Vec<Asker>,
}

/// What becomes of a message that is sent.
#[derive(Debug)]
pub(super) enum Asked {
    /// It was not in flight, and is now.
    New(Claim),
    /// It was, and its client waits for the same answer.
    Joined,
    /// Another message of its id is, or too many wait for it.
    Taken,
}

/// The duty to answer those who wait for a message: dropped, they are told to send it again.
#[derive(Debug)]
pub(super) struct Claim {
    in_flight: Arc<InFlight>,
    id: String,
    is_answered: bool,
}

impl InFlight {
    /// Notes a message and who waits for it.
    pub(super) fn ask(self: &Arc<Self>, request: &Request, asker: Asker) -> Asked {
        let digest = self.digests.hash_one(request.content());
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(&request.id) else {
            let askers = vec![asker];
            entries.insert(request.id.clone(), Entry { digest, askers });
            return Asked::New(Claim {
                in_flight: Arc::clone(self),
                id: request.id.clone(),
                is_answered: false,
            });
        };
        if entry.digest != digest {
            return Asked::Taken;
        }
        if entry
            .askers
            .iter()
            .any(|other| other.answers.same_channel(&asker.answers))
        {
            return Asked::Joined;
        }
        entry.askers.retain(|other| !other.answers.is_closed());
        if entry.askers.len() >= ASKERS_MAX {
            return Asked::Taken;
        }
        entry.askers.push(asker);
        Asked::Joined
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Whether nobody waits any more.
    pub(super) fn is_void(&self) -> bool {
        let entries = self.in_flight.entries();
        let is_gone = |entry: &Entry| entry.askers.iter().all(|asker| asker.answers.is_closed());
        entries.get(&self.id).is_none_or(is_gone)
    }

    /// Answers everybody who waits; how many there were.
    pub(super) fn answer(mut self, reply: Reply) -> usize {
        self.end(reply)
    }

    fn end(&mut self, reply: Reply) -> usize {
        // Once: after that the id is free, and another message may have it.
        if std::mem::replace(&mut self.is_answered, true) {
            return 0;
        }
        let entry = self.in_flight.entries().remove(&self.id);
        let Some(entry) = entry else { return 0 };
        let id = Bytes::copy_from_slice(self.id.as_bytes());
        let mut n_answered = 0;
        for asker in entry.askers {
            let answered = Answered {
                id: id.clone(),
                is_delimited: asker.is_delimited,
                reply: reply.clone(),
            };
            match asker.answers.try_send(answered) {
                Ok(()) => n_answered += 1,
                Err(error) => debug!(%error, id = self.id, "a client is gone, or does not read its answers"),
            }
        }
        n_answered
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.end(Reply::returned());
    }
}
