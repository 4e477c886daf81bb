//! A claimed file that is to be settled, and what the source and its receipts share. Knows no plugin and no pipeline.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::Notify;
use tracing::{debug, warn};

use super::files::{Temporary, fitted_name, rename_new, sync_directory};
use super::home::{Claim, Phase};
use super::{FolderError, Timing};
use crate::disposition::{Disposition, Reason};
use crate::message::Envelope;

/// What is beside a dead letter.
const REASON_SUFFIX: &str = ".reason.json";

/// How many names are tried for a settled file whose own name is taken; all but the first are random.
const NAME_TRIES: usize = 8;

/// A claimed file: settled exactly once.
///
/// Dropped without that (a panic, an aborted task), the file stays claimed: this host takes it up again after the
/// delay of a retry, or the next host that opens the folder, and it is marked as redelivered.
#[derive(Debug)]
pub struct Receipt {
    pub(super) shared: Arc<Shared>,
    // Invariant: there until it is settled.
    claim: Option<Claim>,
    /// Whether the pipeline has it. A file that nobody has seen goes back as it was.
    pub(super) is_handed_out: bool,
}

/// What the source and its receipts share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) folder: PathBuf,
    pub(super) done: PathBuf,
    pub(super) dead: PathBuf,
    pub(super) timing: Timing,
    // std Mutex and not tokio's: never held over file work or an await.
    state: Mutex<State>,
    /// Told when a claim ends and when the folder may hold something new; the source alone listens.
    pub(super) changed: Notify,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Receipts that are not settled.
    pub(super) in_flight: usize,
    /// Claims to be tried again, by the time when; the number keeps equal times apart.
    pub(super) waiting: BTreeMap<(Instant, u64), Claim>,
    n_waited: u64,
    /// Files that went back and when they may be taken again, lest a returned file spins.
    pub(super) returned: HashMap<OsString, Instant>,
    /// Files listed and not claimed yet.
    pub(super) n_listed: usize,
    /// Whether something may have come since the folder was listed.
    pub(super) is_stale: bool,
}

/// A disposition, ready for the thread that does the file work.
enum Ending {
    Done,
    Dead(Vec<u8>),
    Retry,
    Return,
}

/// What is left to do for a claim when its file work is done.
enum After {
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
    envelope: Option<EnvelopeText<'a>>,
}

/// An envelope as it is written beside results and dead letters.
#[derive(Serialize)]
pub(super) struct EnvelopeText<'a> {
    message_id: &'a str,
    correlation_id: &'a str,
    content_type: Option<&'a str>,
    headers: &'a BTreeMap<String, String>,
}

impl Receipt {
    pub(super) fn new(shared: Arc<Shared>, claim: Claim) -> Self {
        shared.state().in_flight += 1;
        Self {
            shared,
            claim: Some(claim),
            is_handed_out: false,
        }
    }

    /// Ends the claim: into `done/`, or into `dead/` with `dead_letter` beside it, or back.
    ///
    /// # Errors
    /// The file could not be moved: it stays claimed and comes again, marked as redelivered. Or it was moved, and
    /// the move may not survive a power cut; the error then names the directory that could not be synced.
    ///
    /// # Cancellation
    /// Once polled, it goes on by itself; only its answer is lost.
    pub async fn settle(
        mut self,
        disposition: &Disposition,
        dead_letter: Option<&Envelope>,
    ) -> Result<(), FolderError> {
        let Some(claim) = self.claim.take() else { return Ok(()) };
        let ending = match disposition {
            Disposition::Ack => Ending::Done,
            Disposition::Reject(reason) => Ending::Dead(dead_letter_text(&claim, reason, dead_letter)),
            Disposition::Retry(_) => Ending::Retry,
            Disposition::Return | Disposition::Quarantine { .. } => Ending::Return,
        };
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || shared.end(claim, &ending))
            .await
            .map_err(FolderError::Stopped)?
    }

    /// Puts a file back that the pipeline has not seen.
    pub(super) fn put_back(mut self) {
        if let Some(claim) = self.claim.take()
            && let Err(error) = self.shared.end(claim, &Ending::Return)
        {
            warn!(%error, "file cannot go back");
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        let Some(claim) = self.claim.take() else { return };
        if self.is_handed_out {
            warn!(file = %claim.name().display(), "message was dropped unsettled; it will be delivered again");
            self.shared.keep(claim);
        } else if let Err(error) = self.shared.end(claim, &Ending::Return) {
            // One rename on whatever thread this is: a source that is dropped has no other way.
            warn!(%error, "file cannot go back");
        }
    }
}

impl Shared {
    pub(super) fn new(folder: PathBuf, timing: Timing) -> Self {
        Self {
            done: folder.join("done"),
            dead: folder.join("dead"),
            folder,
            timing,
            state: Mutex::new(State {
                is_stale: true,
                ..State::default()
            }),
            changed: Notify::new(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // A panic cannot leave the counts half-changed: no statement between two changes can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the folder may hold something new.
    pub(super) fn touch(&self) {
        self.state().is_stale = true;
        self.changed.notify_one();
    }

    /// Lets a claim wait until it is tried again.
    pub(super) fn wait(&self, claim: Claim, delay: Duration) {
        let mut state = self.state();
        state.n_waited += 1;
        let key = (Instant::now() + delay, state.n_waited);
        state.waiting.insert(key, claim);
    }

    /// Ends what is in flight without settling it: the file stays where it is and comes again.
    fn keep(&self, mut claim: Claim) {
        claim.redelivered = true;
        let delay = self.timing.retry_delay(claim.attempt);
        self.wait(claim, delay);
        self.state().in_flight -= 1;
        self.changed.notify_one();
    }

    /// Does the file work of an ending. Blocks.
    fn end(&self, mut claim: Claim, ending: &Ending) -> Result<(), FolderError> {
        let worked = match ending {
            Ending::Done => self.file_away(&claim).map(|()| After::Ended),
            Ending::Dead(text) => self.bury(&claim, text).map(|()| After::Ended),
            Ending::Retry => self.retry(&mut claim),
            Ending::Return => self.give_back(&mut claim),
        };
        let after = match &worked {
            Ok(after) => after,
            Err(_) if claim.path().symlink_metadata().is_err() => &After::Ended,
            Err(_) => {
                self.keep(claim);
                return worked.map(|_| ());
            }
        };
        match after {
            After::Ended => drop(claim),
            After::WaitsFor(delay) => self.wait(claim, *delay),
        }
        self.state().in_flight -= 1;
        self.changed.notify_one();
        worked.map(|_| ())
    }

    /// Into `done/`.
    fn file_away(&self, claim: &Claim) -> Result<(), FolderError> {
        let from = claim.path();
        place(|suffix| rename_new(&from, &self.done.join(fitted_name(claim.name(), suffix, 0))))
            .map_err(FolderError::at("move into `done`", &from))?;
        sync(&self.done)?;
        sync(&claim.directory())
    }

    /// Into `dead/`, with its letter.
    fn bury(&self, claim: &Claim, text: &[u8]) -> Result<(), FolderError> {
        let from = claim.path();
        let letter = Temporary::write(&self.dead, text).map_err(FolderError::at("write a reason into", &self.dead))?;
        place(|suffix| {
            let name = fitted_name(claim.name(), suffix, REASON_SUFFIX.len());
            let to = self.dead.join(&name);
            let mut reason = name;
            reason.push(REASON_SUFFIX);
            let reason = self.dead.join(reason);
            // The reason first: a kill between the two leaves a reason without a file, and a claim that comes again;
            // the other way round it would leave a dead letter that nobody can explain.
            letter.place_new(&reason)?;
            rename_new(&from, &to).inspect_err(|_| {
                if let Err(error) = rename_new(&reason, letter.path()) {
                    debug!(file = %reason.display(), %error, "reason stays without its file");
                }
            })
        })
        .map_err(FolderError::at("move into `dead`", &from))?;
        sync(&self.dead)?;
        sync(&claim.directory())
    }

    fn retry(&self, claim: &mut Claim) -> Result<After, FolderError> {
        let attempt = claim.attempt.saturating_add(1);
        claim
            .advance(Phase::Waiting, attempt)
            .map_err(FolderError::at("put back", &claim.path()))?;
        claim.redelivered = false;
        Ok(After::WaitsFor(self.timing.retry_delay(attempt)))
    }

    /// Back as it was. A file that has a history keeps it, and so waits in our home and not in the folder.
    fn give_back(&self, claim: &mut Claim) -> Result<After, FolderError> {
        let delay = self.timing.retry;
        if claim.redelivered {
            return Ok(After::WaitsFor(delay));
        }
        if claim.attempt == 1 {
            let until = Instant::now() + delay;
            self.state().returned.insert(claim.name().to_owned(), until);
            match rename_new(&claim.path(), &self.folder.join(claim.name())) {
                Ok(()) => return Ok(After::Ended),
                // Another file of this name has come in the meantime.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(FolderError::at("put back", &claim.path())(error)),
            }
        }
        let attempt = claim.attempt;
        claim
            .advance(Phase::Waiting, attempt)
            .map_err(FolderError::at("put back", &claim.path()))?;
        Ok(After::WaitsFor(delay))
    }
}

impl State {
    /// Whether no claim of ours is open.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.waiting.is_empty()
    }

    /// Files that wait or are claimed.
    pub(super) fn n_open(&self) -> usize {
        self.n_listed + self.in_flight + self.waiting.len()
    }

    /// The earliest claim whose delay is over.
    pub(super) fn pop_due(&mut self) -> Option<Claim> {
        let first = self.waiting.first_entry()?;
        (first.key().0 <= Instant::now()).then(|| first.remove())
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

/// Tries the plain name first, then names that nobody else chooses.
fn place(mut attempt: impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
    let mut placed = attempt("");
    for _ in 1..NAME_TRIES {
        match &placed {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Random and not counted: a camera that always writes `frame.jpg` would make counting quadratic.
                let (random, ..) = uuid::Uuid::new_v4().as_fields();
                placed = attempt(&format!("{random:08x}"));
            }
            _ => break,
        }
    }
    placed
}

fn sync(directory: &Path) -> Result<(), FolderError> {
    sync_directory(directory).map_err(FolderError::at("sync", directory))
}

fn dead_letter_text(claim: &Claim, reason: &Reason, envelope: Option<&Envelope>) -> Vec<u8> {
    let letter = DeadLetter {
        file: claim.name().to_string_lossy().into_owned(),
        attempt: claim.attempt,
        stage: reason.stage.as_str(),
        class: reason.class.as_str(),
        text: reason.to_string(),
        envelope: envelope.map(EnvelopeText::from),
    };
    json(&letter)
}

/// JSON for people to read.
pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_else(|error| {
        // Strings, numbers and a map with text keys always serialise.
        warn!(%error, "envelope cannot be written as JSON");
        Vec::new()
    });
    text.push(b'\n');
    text
}
