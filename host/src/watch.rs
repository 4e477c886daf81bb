//! Reports when files may have changed. Knows nothing of their content: the reader judges by digest.
//!
//! A signature of each path, compared every two seconds, is what counts. The system's watcher only makes it sooner, so
//! nothing is missed where it does not work: network file systems, exhausted limits, folders that are moved away.

mod folders;
mod signature;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use notify::EventKind;
use notify::event::{AccessKind, AccessMode};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use folders::Folders;
use signature::Signature;

#[derive(Debug, Clone, Copy)]
struct Timing {
    /// A writer that paused for this long has finished, as far as can be seen.
    quiet: Duration,
    /// A writer that never pauses is reported after this.
    latest: Duration,
    /// Looks without a hint.
    poll: Duration,
    /// The least time between two looks, however many hints come: other files in the same folder may be busy.
    quarantined: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(300),
            latest: Duration::from_secs(5),
            poll: Duration::from_secs(2),
            quarantined: Duration::from_millis(50),
        }
    }
}

/// Watches files and folders, whether or not they are there. Symbolic links are followed, and watched on the way.
#[derive(Debug)]
pub struct FileWatcher {
    /// Shared with the thread that looks: file systems may hang.
    eyes: Arc<Mutex<WatchState>>,
    /// Rung where something happened near the paths.
    bell: Arc<Notify>,
    timing: Timing,
    looked_at: Instant,
    look_at: Instant,
}

/// The signatures so far.
#[derive(Debug)]
struct WatchState {
    folders: Folders,
    seen: BTreeMap<PathBuf, Signature>,
    unsettled: Option<PendingChange>,
}

/// A change that is not reported yet.
#[derive(Debug, Clone, Copy)]
struct PendingChange {
    first: Instant,
    last: Instant,
}

impl FileWatcher {
    /// Looks at the paths once, and watches them from now on. They were read after `since`: what was written after that is a change.
    /// A folder is watched one level deep, and its `samples`.
    pub fn new(paths: Vec<PathBuf>, since: SystemTime) -> Self {
        Self::start(paths, since, Timing::default(), watched)
    }

    fn start(
        paths: Vec<PathBuf>,
        since: SystemTime,
        timing: Timing,
        folders: impl FnOnce(Arc<Notify>) -> Folders,
    ) -> Self {
        let bell = Arc::new(Notify::new());
        let now = Instant::now();
        let mut watch = Self {
            eyes: Arc::new(Mutex::new(WatchState {
                folders: folders(Arc::clone(&bell)),
                seen: BTreeMap::new(),
                unsettled: None,
            })),
            bell,
            timing,
            looked_at: now,
            look_at: now + timing.poll,
        };
        watch.set(paths, since);
        watch
    }

    /// Watches other paths. Of those that were watched before, no change is forgotten; new ones are looked at once. They were
    /// read after `since`: it may have been before somebody wrote to them.
    pub fn set(&mut self, paths: Vec<PathBuf>, since: SystemTime) {
        let mut eyes = lock(&self.eyes);
        eyes.folders.follow(&paths);
        let mut before = std::mem::take(&mut eyes.seen);
        let mut is_changed = false;
        let look = |path: PathBuf| {
            let signature = before.remove(&path).unwrap_or_else(|| {
                let new = Signature::of(&path);
                is_changed |= new.is_changed_since(since);
                new
            });
            (path, signature)
        };
        eyes.seen = paths.into_iter().map(look).collect();
        if is_changed {
            eyes.note_change();
            self.bell.notify_one();
        }
    }

    /// Returns when something changed and then nothing did for a while, or for too long something did.
    ///
    /// # Cancellation
    /// Nothing is lost.
    pub async fn changed(&mut self) {
        loop {
            tokio::select! {
                () = self.bell.notified() => {
                    self.look_at = self.look_at.min(self.looked_at + self.timing.quarantined);
                }
                () = sleep_until(self.look_at) => {
                    if self.look().await {
                        return;
                    }
                }
            }
        }
    }

    /// Looks, and returns whether there is a change to report.
    async fn look(&mut self) -> bool {
        let eyes = Arc::clone(&self.eyes);
        if let Err(error) = tokio::task::spawn_blocking(move || lock(&eyes).look()).await {
            warn!(%error, "cannot read the watched files");
        }
        let now = Instant::now();
        self.looked_at = now;
        let mut eyes = lock(&self.eyes);
        let told = eyes
            .unsettled
            .take_if(|unsettled| unsettled.due_at(&self.timing) <= now);
        let next = now + self.timing.poll;
        self.look_at = eyes
            .unsettled
            .map_or(next, |unsettled| next.min(unsettled.due_at(&self.timing)));
        told.is_some()
    }
}

impl WatchState {
    /// Notes what changed.
    fn look(&mut self) {
        // Watched first: what changes after that rings the bell.
        self.folders.follow(self.seen.keys());
        let mut is_changed = false;
        for (path, seen) in &mut self.seen {
            let signature = Signature::of(path);
            is_changed |= *seen != signature;
            *seen = signature;
        }
        if is_changed {
            self.note_change();
        }
    }

    fn note_change(&mut self) {
        let last = Instant::now();
        let first = self.unsettled.map_or(last, |unsettled| unsettled.first);
        self.unsettled = Some(PendingChange { first, last });
    }
}

impl PendingChange {
    fn due_at(&self, timing: &Timing) -> Instant {
        (self.last + timing.quiet).min(self.first + timing.latest)
    }
}

/// Folders whose events ring the bell.
fn watched(bell: Arc<Notify>) -> Folders {
    Folders::watched(move |event: notify::Result<notify::Event>| {
        // An error can mean that events were lost.
        if event.is_ok_and(|event| is_reading(event.kind)) {
            return;
        }
        bell.notify_one();
    })
}

/// Whether an event is about a reader, such as this host.
fn is_reading(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

// std Mutex: held by one look at a time, never over an await.
fn lock(eyes: &Mutex<WatchState>) -> MutexGuard<'_, WatchState> {
    eyes.lock().unwrap_or_else(PoisonError::into_inner)
}
