//! A claimed file that is to be settled. Knows no plugin and no pipeline.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Serialize;
use tracing::warn;

use super::FolderError;
use super::claim_dir::Claim;
use super::content::Look;
use super::shared::Shared;
use crate::disposition::{Disposition, Reason};
use crate::error_chain::ErrorChain;
use crate::message::{Envelope, Headers};
use crate::{AckHandle, GaveUp, Quarantine, Settled, Settlement};

/// A claimed file: settled exactly once.
///
/// Dropped without that (a panic, an aborted task), the file stays claimed: this host takes it up again after the
/// delay of a retry, or the next host that opens the folder, and it is marked as redelivered.
#[derive(Debug)]
pub(super) struct FileAck {
    pub(super) shared: Arc<Shared>,
    // Invariant: there until it is settled.
    claim: Option<Claim>,
    /// Its state when it was read.
    was: Option<Was>,
    /// Whether the pipeline has it. A file that no plugin has seen goes back as it was.
    pub(super) is_handed_out: bool,
}

/// A file's state when it was read.
#[derive(Debug)]
pub(super) struct Was {
    pub(super) look: Look,
    /// The digest of the bytes that were read.
    pub(super) digest: Option<String>,
}

/// A disposition, ready for the thread that does the file work.
pub(super) enum Ending {
    Done,
    Dead(Vec<u8>),
    Retry,
    Return,
    /// Quarantined, after this many crashes.
    Quarantine(u32),
}

/// The step that a claim still needs after its file work.
pub(super) enum After {
    Ended,
    WaitsFor(Duration),
}

/// The file beside a dead letter.
#[derive(Serialize)]
struct DeadLetter<'a> {
    file: String,
    attempt: u32,
    stage: &'a str,
    class: &'a str,
    text: String,
    envelope: EnvelopeText<'a>,
}

/// An envelope as it is written beside results and dead letters.
#[derive(Serialize)]
pub(super) struct EnvelopeText<'a> {
    message_id: &'a str,
    correlation_id: &'a str,
    content_type: Option<&'a str>,
    headers: &'a Headers,
}

impl FileAck {
    /// Of a claim that is in flight.
    pub(super) fn new(shared: Arc<Shared>, claim: Claim) -> Self {
        Self {
            shared,
            claim: Some(claim),
            was: None,
            is_handed_out: false,
        }
    }

    /// Whether the file may have crashed a host.
    pub(super) fn quarantine(&self) -> Quarantine {
        self.claim.as_ref().map_or(Quarantine::None, |claim| claim.quarantine)
    }

    /// Records the file's state when it was read; a message's digest is its id.
    pub(super) fn was_read(&mut self, look: Look, digest: Option<String>) {
        if let Some(claim) = &self.claim {
            self.shared.state().unreadable.read(claim.name());
        }
        self.was = Some(Was { look, digest });
    }

    /// Ends the claim: into `done/`, or into `dead/` with `dead_letter` beside it, or back, or quarantined. A file that changed
    /// after it was read goes back instead, so that its new content is read. A step that fails is held, and tried again.
    ///
    /// # Errors
    /// The file could not be moved in time: it stays claimed and comes again, marked as redelivered. Or it was moved, and
    /// the move may not survive a power cut; the error then names the directory that could not be synced.
    ///
    /// # Cancellation
    /// A step that began goes on by itself; a file that was not settled by then comes again.
    pub(super) async fn end_claim(self, settlement: Settlement<'_>) -> Result<Settled, FolderError> {
        let Some(claim) = &self.claim else {
            return Ok(Settled::Done);
        };
        let otherwise = match settlement.otherwise {
            Disposition::Quarantine { crash_count } => Ending::Quarantine(*crash_count),
            _ => Ending::Return,
        };
        let ending = match settlement.disposition {
            Disposition::Ack => Ending::Done,
            Disposition::Reject(reason) => {
                let envelope = (settlement.dead_letter)(reason);
                Ending::Dead(dead_letter_text(claim, settlement.message.attempt, reason, &envelope))
            }
            Disposition::Retry(_) => Ending::Retry,
            Disposition::Return => Ending::Return,
            Disposition::Quarantine { crash_count } => Ending::Quarantine(*crash_count),
        };
        let what = format!("`{}`", self.shared.place(&ending).display());
        let ending = Arc::new(ending);
        // std Mutex: one step at a time has it, on a thread for file work.
        let ack = Arc::new(Mutex::new(self));
        let step = || {
            let (ack, ending) = (Arc::clone(&ack), Arc::clone(&ending));
            async move {
                let ended = tokio::task::spawn_blocking(move || lock(&ack).end(&ending));
                ended.await.map_err(FolderError::Stopped)?
            }
        };
        match settlement.hold.until_done(&what, step).await {
            Ok(settled) => Ok(settled),
            Err(GaveUp) => {
                // After a step that may still be under way.
                let kept = tokio::task::spawn_blocking(move || lock(&ack).keep(&otherwise));
                kept.await.map_err(FolderError::Stopped)
            }
        }
    }

    /// Does the file work of an ending, once; an error leaves the claim as it is. Blocks.
    fn end(&mut self, ending: &Ending) -> Result<Settled, FolderError> {
        let Some(claim) = &mut self.claim else {
            return Ok(Settled::Done);
        };
        let is_other = match ending {
            Ending::Dead(_) => self.was.as_ref().is_some_and(|was| self.shared.is_other(claim, was)),
            Ending::Done => self
                .was
                .as_ref()
                .is_some_and(|was| self.shared.has_other_content(claim, was)),
            Ending::Retry | Ending::Return | Ending::Quarantine(_) => false,
        };
        let (ending, settled) = match ending {
            _ if is_other => (&Ending::Return, Settled::Returned),
            Ending::Return => (ending, Settled::Returned),
            _ => (ending, Settled::Done),
        };
        let shared = Arc::clone(&self.shared);
        let worked = shared.work(claim, ending);
        if worked.is_err() && !shared.is_gone(claim) {
            return worked.map(|_| settled);
        }
        let claim = self.claim.take();
        match (worked, claim) {
            (Ok(After::Ended), Some(claim)) if is_other => shared.rest(claim.name()),
            (Ok(After::WaitsFor(delay)), Some(claim)) => shared.wait(claim, delay),
            (Ok(After::Ended), claim) => drop(claim),
            (Err(error), claim) => {
                drop(claim);
                shared.let_go();
                let error = ErrorChain(&error);
                return Ok(Settled::Lost(format!(
                    "its file is gone, alone or with its folder: {error}"
                )));
            }
            (Ok(_), None) => {}
        }
        shared.let_go();
        Ok(settled)
    }

    /// Gives a file back that could not be settled in time; where that fails as well, it stays claimed.
    fn keep(&mut self, otherwise: &Ending) -> Settled {
        let back = match &self.claim {
            Some(_) => self.end(otherwise),
            None => return Settled::Done, // the last step was in time
        };
        let claim = match back {
            Ok(Settled::Done) => return Settled::Returned,
            Ok(settled) => return settled,
            Err(_) => self.claim.take(),
        };
        let Some(claim) = claim else { return Settled::Returned };
        self.shared.keep(claim);
        Settled::Lost("its file could not be moved in time".to_owned())
    }

    /// Puts a file back that cannot be read, until it is tried again.
    pub(super) fn unreadable(mut self, error: &io::Error) {
        let Some(claim) = &self.claim else { return };
        let (shared, name) = (Arc::clone(&self.shared), claim.name().to_owned());
        if error.kind() == io::ErrorKind::NotFound {
            warn!(file = %claim.path().display(), "another process removed the claimed file: there is no message to process");
            return self.return_it();
        }
        if claim.is_in_quarantine() {
            let until = shared.state().unreadable(&name, error);
            let delay = until.saturating_duration_since(Instant::now());
            self.claim
                .take()
                .into_iter()
                .for_each(|claim| shared.keep_for(claim, delay));
            return;
        }
        self.return_it();
        shared.state().unreadable(&name, error);
    }

    /// Puts back what is no file any more.
    pub(super) fn no_file(mut self) {
        self.return_it();
    }

    /// Puts a file back that the pipeline has not seen.
    pub(super) fn put_back(mut self) {
        self.go_back();
    }

    /// As it was: what was quarantined has shown nothing, and stays apart.
    fn go_back(&mut self) {
        match self.claim.take_if(|claim| claim.is_in_quarantine()) {
            Some(claim) => self.shared.keep(claim),
            None => self.return_it(),
        }
    }

    fn return_it(&mut self) {
        match self.end(&Ending::Return) {
            Ok(_) => {}
            Err(error) => {
                warn!(%error, "cannot move the file back: this host takes it up again, or the next one does");
                self.claim.take().into_iter().for_each(|claim| self.shared.keep(claim));
            }
        }
    }
}

impl AckHandle for FileAck {
    fn settle<'a>(self: Box<Self>, settlement: Settlement<'a>) -> BoxFuture<'a, Settled> {
        async move {
            let settled = self.end_claim(settlement).await;
            settled.unwrap_or_else(|error| Settled::Lost(ErrorChain(&error).to_string()))
        }
        .boxed()
    }
}

impl Drop for FileAck {
    fn drop(&mut self) {
        if self.claim.is_some() && !self.is_handed_out {
            // One rename on whatever thread this is: a source that is dropped has no other way.
            self.go_back();
        }
        let Some(claim) = self.claim.take() else { return };
        warn!(file = %claim.name().display(), "message was dropped unsettled: it will be redelivered");
        self.shared.keep(claim);
    }
}

impl<'a> From<&'a Envelope> for EnvelopeText<'a> {
    fn from(envelope: &'a Envelope) -> Self {
        Self {
            message_id: &envelope.message_id,
            correlation_id: &envelope.correlation_id,
            content_type: envelope.content_type.as_deref(),
            headers: &envelope.headers,
        }
    }
}

/// A panic leaves an acknowledgement that is settled or not, as it was.
fn lock(ack: &Mutex<FileAck>) -> MutexGuard<'_, FileAck> {
    ack.lock().unwrap_or_else(PoisonError::into_inner)
}

fn dead_letter_text(claim: &Claim, attempt: u32, reason: &Reason, envelope: &Envelope) -> Vec<u8> {
    let dead_letter = DeadLetter {
        file: claim.name().to_string_lossy().into_owned(),
        attempt,
        stage: reason.stage.as_str(),
        class: reason.class.as_str(),
        text: reason.to_string(),
        envelope: EnvelopeText::from(envelope),
    };
    json(&dead_letter)
}

/// JSON for people to read.
pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_else(|error| {
        // Strings, numbers and a map with text keys always serialise.
        warn!(%error, "cannot write the envelope as JSON: it is left empty");
        Vec::new()
    });
    text.push(b'\n');
    text
}
