//! The state that a folder's source and its acknowledgements share, and the file work of settling. Knows no plugin and no
//! pipeline; most of it blocks.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tracing::{debug, info, warn};

use super::ack::{After, Ending, Was};
use super::claim_dir::{Claim, ClaimPhase};
use super::content::{Look, digest};
use super::files::{Temporary, ensure_directory, fitted_name, rename_new, sync_directory};
use super::named_folder::NamedFolder;
use super::unreadable::Unreadable;
use super::writers::Writers;
use super::{DEAD, DONE, FolderError, Timing};
use crate::Quarantine;

/// The suffix of the reason beside a dead letter.
pub(super) const REASON_SUFFIX: &str = ".reason.json";

/// How many names are tried for a settled file whose own name is taken; all but the first are random.
const NAME_TRIES: usize = 8;

/// The state that the source and its acknowledgements share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) folder: PathBuf,
    /// The same, which may be away or be replaced.
    pub(super) named: NamedFolder,
    /// The folder's name.
    pub(super) source: String,
    pub(super) done: PathBuf,
    pub(super) dead: PathBuf,
    pub(super) timing: Timing,
    pub(super) writers: Writers,
    pub(super) max_message_bytes: usize,
    // std Mutex and not tokio's: never held over file work or an await.
    state: Mutex<State>,
    /// Notified when a claim ends and when the folder may hold something new; only the source waits for it.
    pub(super) changed: Notify,
    /// Told when a claim is quarantined; the quarantine queue alone listens.
    pub(super) newly_quarantined: Notify,
}

type Waiting = BTreeMap<(Instant, u64), Claim>;

#[derive(Debug, Default)]
pub(super) struct State {
    /// Claims in flight: being read, or not settled.
    pub(super) in_flight: usize,
    /// Claims to be tried again, by the time when; the number distinguishes equal times.
    waiting: Waiting,
    /// Quarantined claims: the source never hands them out, the quarantine queue does.
    quarantined: Waiting,
    n_waited: u64,
    /// Files that went back, and when they may be claimed again, so that a returned file does not spin.
    pub(super) returned: HashMap<OsString, Instant>,
    /// Files that cannot be read.
    pub(super) unreadable: Unreadable,
    /// Files listed and not claimed yet.
    pub(super) n_listed: usize,
    /// Whether a file may have come since the folder was listed.
    pub(super) is_stale: bool,
}

impl Shared {
    pub(super) fn new(folder: PathBuf, timing: Timing, max_message_bytes: usize) -> Self {
        Self {
            writers: Writers::new(&folder, timing.silence),
            max_message_bytes,
            source: folder
                .file_name()
                .unwrap_or(folder.as_os_str())
                .to_string_lossy()
                .into_owned(),
            done: folder.join(DONE),
            dead: folder.join(DEAD),
            named: NamedFolder::new(&folder),
            folder,
            timing,
            state: Mutex::new(State {
                is_stale: true,
                ..State::default()
            }),
            changed: Notify::new(),
            newly_quarantined: Notify::new(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // A panic cannot leave the counts half-changed: no statement between two changes can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports that the folder may hold something new.
    pub(super) fn touch(&self) {
        self.state().is_stale = true;
        self.changed.notify_one();
    }

    /// Whether a claimed file is gone for good: another process removed it, or the folder was deleted or replaced, and
    /// the file went with it. While the folder is away (an unmounted disk), nothing is known of the file. Blocks.
    pub(super) fn is_gone(&self, claim: &Claim) -> bool {
        let folder = self.named.open();
        folder.is_ok_and(|folder| claim.is_missing_from(&folder).unwrap_or(false))
    }

    /// Forgets what was known of the files of a folder that was replaced, but for the claims that are in the new one as well.
    /// Returns how many claims went with it, those in flight left out. Blocks.
    pub(super) fn forget_replaced(&self) -> usize {
        let mut claims = {
            let mut state = self.state();
            state.is_stale = true;
            state.n_listed = 0;
            state.returned.clear();
            state.unreadable = Unreadable::default();
            [
                std::mem::take(&mut state.waiting),
                std::mem::take(&mut state.quarantined),
            ]
        };
        self.writers.forget();
        let n_before: usize = claims.iter().map(BTreeMap::len).sum();
        claims
            .iter_mut()
            .for_each(|claims| claims.retain(|_, claim| !self.is_gone(claim)));
        let n_left: usize = claims.iter().map(BTreeMap::len).sum();
        let [waiting, quarantined] = claims;
        let mut state = self.state();
        state.waiting.extend(waiting);
        state.quarantined.extend(quarantined);
        drop(state);
        self.newly_quarantined.notify_one();
        n_before - n_left
    }

    /// Lets a claim wait until it is tried again.
    pub(super) fn wait(&self, claim: Claim, delay: Duration) {
        let mut state = self.state();
        state.n_waited += 1;
        let key = (Instant::now() + delay, state.n_waited);
        if claim.is_in_quarantine() {
            state.quarantined.insert(key, claim);
            drop(state);
            self.newly_quarantined.notify_one();
        } else {
            state.waiting.insert(key, claim);
        }
    }

    /// Ends a claim in flight without settling it: the file stays where it is, and is redelivered after the delay of a retry.
    pub(super) fn keep(&self, claim: Claim) {
        let delay = self.timing.retry_delay(claim.attempt);
        self.keep_for(claim, delay);
    }

    /// The same, after another delay.
    pub(super) fn keep_for(&self, mut claim: Claim, delay: Duration) {
        claim.redelivered = true;
        if let ClaimPhase::RunningQuarantined { crash_count } = claim.phase()
            && claim.quarantine == (Quarantine::Inside { crash_count })
            && let Err(error) = claim.advance(ClaimPhase::Quarantined { crash_count }, claim.attempt)
        {
            // This host lives: if it ends in good order now, the next one must not count that as a crash.
            warn!(file = %claim.path().display(), %error, "cannot move the file back into quarantine: its next host may count a crash");
        }
        self.wait(claim, delay);
        self.let_go();
    }

    /// Ends a claim in flight.
    pub(super) fn let_go(&self) {
        self.state().in_flight -= 1;
        self.changed.notify_one();
    }

    /// Does the file work of an ending. Blocks.
    pub(super) fn work(&self, claim: &mut Claim, ending: &Ending) -> Result<After, FolderError> {
        match ending {
            Ending::Done => self.file_away(claim).map(|()| After::Ended),
            Ending::Dead(text) => self.move_to_dead(claim, text).map(|()| After::Ended),
            Ending::Retry => self.retry(claim),
            Ending::Return => self.give_back(claim),
            Ending::Quarantine(crash_count) => self.move_to_quarantine(claim, *crash_count),
        }
    }

    /// Where an ending puts a file.
    pub(super) fn place(&self, ending: &Ending) -> &Path {
        match ending {
            Ending::Done => &self.done,
            Ending::Dead(_) => &self.dead,
            Ending::Retry | Ending::Return | Ending::Quarantine(_) => &self.folder,
        }
    }

    /// Whether a file differs from what was read, or may soon: a process has it open for writing.
    pub(super) fn is_other(&self, claim: &Claim, was: &Was) -> bool {
        let path = claim.path();
        if path.symlink_metadata().is_ok_and(|now| Look::of(&now) != was.look) {
            info!(file = %claim.name().display(), "the file changed after it was read: reading it again in place of making it a dead letter");
            return true;
        }
        let is_written = self.writers.holds(&path);
        if is_written {
            debug!(file = %claim.name().display(), "the file is still open for writing: reading it again in place of making it a dead letter");
        }
        is_written
    }

    /// Lets a file that went back because it changed rest for a while.
    pub(super) fn rest(&self, name: &OsStr) {
        let until = Instant::now() + self.timing.unfinished;
        self.state().returned.insert(name.to_owned(), until);
    }

    /// Whether a file's content differs from what was read. One that was only touched is done.
    pub(super) fn has_other_content(&self, claim: &Claim, was: &Was) -> bool {
        let path = claim.path();
        if path.symlink_metadata().is_ok_and(|now| Look::of(&now) == was.look) {
            return false;
        }
        // A file that cannot be read now is settled as it was.
        let is_other = digest(&path, self.max_message_bytes).is_ok_and(|now| now != was.digest);
        if is_other {
            warn!(
                file = %claim.name().display(),
                "the file changed after its results were delivered: reading it again"
            );
        }
        is_other
    }

    /// Into `done/`.
    fn file_away(&self, claim: &Claim) -> Result<(), FolderError> {
        let from = claim.path();
        ensure_directory(&self.done).map_err(FolderError::at("create", &self.done))?;
        place(|suffix| rename_new(&from, &self.done.join(fitted_name(claim.name(), suffix, 0))))
            .map_err(FolderError::at("move into `done`", &from))?;
        sync(&self.done)?;
        sync(&claim.directory())
    }

    /// Into `dead/`, with its reason.
    fn move_to_dead(&self, claim: &Claim, text: &[u8]) -> Result<(), FolderError> {
        let from = claim.path();
        ensure_directory(&self.dead).map_err(FolderError::at("create", &self.dead))?;
        let dead_letter =
            Temporary::write(&self.dead, text).map_err(FolderError::at("write a reason into", &self.dead))?;
        place(|suffix| {
            let name = fitted_name(claim.name(), suffix, REASON_SUFFIX.len());
            let to = self.dead.join(&name);
            let mut reason = name;
            reason.push(REASON_SUFFIX);
            let reason = self.dead.join(reason);
            // The reason first: a kill between the two leaves a reason without a file, and a claim that comes again;
            // the other way round it would leave a dead letter without a reason.
            dead_letter.place_new(&reason)?;
            rename_new(&from, &to).inspect_err(|_| {
                if let Err(error) = rename_new(&reason, dead_letter.path()) {
                    debug!(file = %reason.display(), %error, "a reason stays without its file: it can be deleted");
                }
            })
        })
        .map_err(FolderError::at("move into `dead`", &from))?;
        sync(&self.dead)?;
        sync(&claim.directory())
    }

    fn retry(&self, claim: &mut Claim) -> Result<After, FolderError> {
        // It leaves the quarantine: proven crashes go on counting as attempts.
        let attempt = claim.quarantine.attempt(claim.attempt).saturating_add(1);
        claim
            .advance(ClaimPhase::Waiting, attempt)
            .map_err(FolderError::at("put back", &claim.path()))?;
        (claim.redelivered, claim.quarantine) = (false, Quarantine::None);
        Ok(After::WaitsFor(self.timing.retry_delay(attempt)))
    }

    /// Into quarantine, with the crash count in the path: durable before it runs again.
    fn move_to_quarantine(&self, claim: &mut Claim, crash_count: u32) -> Result<After, FolderError> {
        let attempt = claim.attempt;
        claim
            .advance(ClaimPhase::Quarantined { crash_count }, attempt)
            .map_err(FolderError::at("quarantine", &claim.path()))?;
        claim.quarantine = Quarantine::Inside { crash_count };
        claim.sync().map_err(FolderError::at("sync", &claim.directory()))?;
        Ok(After::WaitsFor(Duration::ZERO))
    }

    /// Back as it was. A file that has a history keeps it, and so waits in our home and not in the folder; a
    /// quarantined one that ran alone and crashed no host leaves the quarantine.
    fn give_back(&self, claim: &mut Claim) -> Result<After, FolderError> {
        let delay = self.timing.retry;
        if claim.redelivered && !claim.is_in_quarantine() {
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
            .advance(ClaimPhase::Waiting, attempt)
            .map_err(FolderError::at("put back", &claim.path()))?;
        (claim.redelivered, claim.quarantine) = (false, Quarantine::None);
        Ok(After::WaitsFor(delay))
    }
}

impl State {
    /// A file cannot be read: it rests for a while, until the moment that this gives.
    pub(super) fn unreadable(&mut self, name: &OsStr, error: &io::Error) -> Instant {
        let until = self.unreadable.failed(name, error);
        self.returned.insert(name.to_owned(), until);
        until
    }

    /// Forgets unreadable files that are gone.
    pub(super) fn forget_gone(&mut self, folder: &Path) {
        let quarantined = &self.quarantined;
        self.unreadable.retain(|name| {
            let mut claims = quarantined.values();
            folder.join(name).symlink_metadata().is_ok() || claims.any(|claim| claim.name() == name)
        });
    }

    /// Whether no claim of ours is open, but for quarantined files that cannot be read: the end does not wait for these.
    pub(super) fn is_idle(&self) -> bool {
        let mut quarantined = self.quarantined.values();
        self.in_flight == 0 && self.waiting.is_empty() && quarantined.all(|claim| self.unreadable.has(claim.name()))
    }

    /// Files that wait or are claimed.
    pub(super) fn n_open(&self) -> usize {
        self.n_listed + self.in_flight + self.n_waiting()
    }

    /// Claims that wait, for any reason.
    pub(super) fn n_waiting(&self) -> usize {
        self.waiting.len() + self.quarantined.len()
    }

    /// When the delay of the earliest ordinary claim is over.
    pub(super) fn due(&self) -> Option<Instant> {
        first_due(&self.waiting)
    }

    /// When the delay of the earliest quarantined claim is over.
    pub(super) fn quarantine_due(&self) -> Option<Instant> {
        first_due(&self.quarantined)
    }

    /// Takes the earliest ordinary claim whose delay is over.
    pub(super) fn pop_due(&mut self) -> Option<Claim> {
        let claim = pop_due(&mut self.waiting)?;
        self.in_flight += 1;
        Some(claim)
    }

    /// Takes the earliest quarantined claim whose delay is over.
    pub(super) fn pop_quarantined(&mut self) -> Option<Claim> {
        let claim = pop_due(&mut self.quarantined)?;
        self.in_flight += 1;
        Some(claim)
    }
}

fn first_due(waiting: &Waiting) -> Option<Instant> {
    waiting.first_key_value().map(|((at, _), _)| *at)
}

fn pop_due(waiting: &mut Waiting) -> Option<Claim> {
    first_due(waiting).filter(|at| *at <= Instant::now())?;
    waiting.pop_first().map(|(_, claim)| claim)
}

/// Tries the plain name first, then random ones.
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
