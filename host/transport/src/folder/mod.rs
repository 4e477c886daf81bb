//! A folder as a source and as a destination: claims by rename, settles by rename. Knows no broker and no plugin.
//!
//! Messages are the regular files directly in the folder whose names match its pattern. Not messages: hidden files,
//! names that writers use for what is not complete (`.part`, `.partial`, `.tmp`, `.crdownload`, `.filepart`), our own
//! `.envelope.json`, folders, pipes and the like, and symlinks, which are never followed. A file is claimed when it was
//! modified some time ago (`settle`) or looked the same for so long, and no process is known to have it open for writing,
//! under any name. A file that changed after it was read is read again before it is settled. A file that cannot be read
//! stays where it is.
//!
//! ```text
//! inbox/cat.png                              waits
//! inbox/.millrace/<host id>/taken.1/cat.png  is worked on, by the host that holds the lock in its folder
//! inbox/.millrace/<host id>/waiting.2/..     waits for its second attempt
//! inbox/.millrace/<host id>/apart.1.1/..     quarantined, since a host crashed with it in flight: waits to run alone
//! inbox/.millrace/<host id>/alone.1.1/..     runs alone, one such file at a time
//! inbox/done/cat.png                         acknowledged
//! inbox/dead/cat.png                         rejected; cat.png.reason.json says why
//! ```
//!
//! Every step is one rename on one file system, so any number of hosts share a folder, and a kill loses nothing.
//! Where the folder goes away, it is waited for; where another one gets its name, or `.millrace/` is gone, that is opened.

mod ack;
mod claim_dir;
mod config;
mod content;
mod dead_letters;
mod deliver;
mod destination;
mod files;
mod keys;
mod named_folder;
mod opened;
mod quarantine;
mod scan;
mod shared;
mod skipped;
mod take;
#[cfg(test)]
mod tests;
mod unreadable;
mod writers;

pub use config::{FOLDER, FolderDestinationConfig, FolderSourceConfig};
pub use dead_letters::{FolderStore, write_new};

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{
    Attention, Backlog, Delivery, Malformed, QuarantineQueue, Registered, Source, SourceError, SourceHealth, Until,
};
use crate::error_chain::ErrorChain;
use crate::message::Message;
use ack::FileAck;
use opened::OpenedFolder;
use quarantine::ApartFiles;
use scan::{Scanner, Search, Step};
use shared::Shared;

/// Folders, registered.
pub const REGISTERED: Registered = Registered {
    transport: &keys::TRANSPORT,
    source: |source| Some(source.as_kind::<FolderSourceConfig>()?),
    destination: |destination| Some(destination.as_kind::<FolderDestinationConfig>()?),
    connection: |_| None,
    metrics: &[],
};

/// Where claims are kept, in the folder itself: a rename must not leave the file system.
const PRIVATE: &str = ".millrace";

/// Where acknowledged files go, in the folder itself.
const DONE: &str = "done";

/// Where dead letters go, in the folder itself.
const DEAD: &str = "dead";

/// The folders in a source's folder that are for its own files.
const OWN_FOLDERS: [&str; 3] = [PRIVATE, DONE, DEAD];

/// A delivery of a folder: a message, or one that no plugin may see, and the duty to settle it.
type Found = (Result<Message, Malformed>, FileAck);

/// A folder that messages are taken from.
#[derive(Debug)]
pub struct FolderSource {
    shared: Arc<Shared>,
    scanner: Arc<Mutex<Scanner>>,
    until: Until,
    prefetch: usize,
    /// The step in progress. Kept here and not in [`FolderSource::next_file`], which may be cancelled.
    step: Option<JoinHandle<Result<Step, FolderError>>>,
    /// Since when nothing can be taken from the folder, which was logged.
    failing_since: Option<Instant>,
    health: SourceHealth,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// File work failed.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Files could not be renamed into it.
    #[error("`{}` is on another file system than the folder that it is in", path.display())]
    OtherFileSystem {
        /// The folder in the folder.
        path: PathBuf,
    },
    /// Another folder has the name of a source's, or its own folders are gone. It is opened after a while.
    #[error("`{}` was deleted or replaced: what is there now is taken in a moment", path.display())]
    Replaced {
        /// The folder.
        path: PathBuf,
    },
    /// The bare place of a file system is no folder of ours.
    #[error("nothing is mounted at `{}`, where a file system was", path.display())]
    Unmounted {
        /// The folder.
        path: PathBuf,
    },
    /// Results are not written where their folder was deleted: it may be on another disk.
    #[error("the folder `{}` is gone: it is not made again while the host runs, mount it or make it", path.display())]
    ResultFolderGone {
        /// The folder.
        path: PathBuf,
    },
    /// Files could not be read; everything else was taken.
    #[error("{files}")]
    Unreadable {
        /// How many, one of them, and why.
        files: String,
    },
    /// A result's name is no plain file name.
    #[error("`{}` is no file name for a result", name.escape_debug())]
    ResultName {
        /// The name.
        name: String,
    },
    /// The thread for file work is gone: the process is stopping, or it is our bug.
    #[error("file work has stopped")]
    Stopped(#[source] tokio::task::JoinError),
}

/// How long things wait.
#[derive(Debug, Clone, Copy)]
struct Timing {
    /// A file that changed within this time may still be written.
    quiet: Duration,
    /// The delay of the second attempt; each further one doubles it.
    retry: Duration,
    /// The longest delay of an attempt.
    retry_max: Duration,
    /// The folder is listed at least as often, since watching misses files on network file systems.
    rescan: Duration,
    /// A file that is not what was read rests for so long before it is read again.
    unfinished: Duration,
    /// A writer that has a file open, and does nothing for so long, is asked for among the processes.
    silence: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(200),
            retry: Duration::from_secs(1),
            retry_max: Duration::from_secs(30),
            rescan: Duration::from_secs(2),
            unfinished: Duration::from_secs(2),
            silence: Duration::from_secs(60),
        }
    }
}

impl Timing {
    fn retry_delay(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(2).min(16);
        self.retry.saturating_mul(1 << doublings).min(self.retry_max)
    }
}

impl FolderSource {
    /// Opens the folder, takes up the claims of hosts that are gone.
    ///
    /// # Errors
    /// The folder is not there, cannot be written to, or its file system cannot lock files.
    pub async fn open(
        config: &FolderSourceConfig,
        max_message_bytes: usize,
        until: Until,
    ) -> Result<Self, FolderError> {
        let config = config.clone();
        let timing = Timing {
            quiet: config.settle,
            ..Timing::default()
        };
        tokio::task::spawn_blocking(move || Self::open_blocking(&config, max_message_bytes, until, timing))
            .await
            .map_err(FolderError::Stopped)?
    }

    fn open_blocking(
        config: &FolderSourceConfig,
        max_message_bytes: usize,
        until: Until,
        timing: Timing,
    ) -> Result<Self, FolderError> {
        let folder = &config.folder;
        let shared = Arc::new(Shared::new(folder.clone(), timing, max_message_bytes));
        let prefetch = usize::from(config.prefetch.max(1));
        let scanner = Scanner {
            shared: Arc::clone(&shared),
            opened: OpenedFolder::open(&shared)?,
            replaced: None,
            private: folder.join(PRIVATE),
            pattern: config.pattern.clone(),
            prefetch,
            until,
            search: Search::default(),
        };
        scanner.adopt(true)?;
        Ok(Self {
            shared,
            scanner: Arc::new(Mutex::new(scanner)),
            until,
            prefetch,
            step: None,
            failing_since: None,
            health: SourceHealth::open(),
        })
    }

    /// The next message; `None` at the end of a [`Until::Empty`] run.
    ///
    /// Waits while as many messages as the prefetch are unsettled.
    ///
    /// # Errors
    /// Only until empty: the folder or a file in it cannot be read. A watched folder is waited for.
    ///
    /// # Cancellation
    /// Nothing is lost; a file that was claimed meanwhile is what the next call returns, or goes back when the
    /// source is dropped.
    async fn next_file(&mut self) -> Result<Option<Found>, FolderError> {
        loop {
            match self.step().await {
                Ok(step) => {
                    self.works();
                    match step {
                        Step::Delivered(mut found) => {
                            found.1.is_handed_out = true;
                            return Ok(Some(*found));
                        }
                        Step::Ended => return Ok(None),
                        Step::Wait(until) => self.wait_until(until.into()).await,
                    }
                }
                Err(error @ FolderError::Stopped(_)) => return Err(error),
                Err(error) if self.until == Until::Empty => return Err(error),
                Err(error) => {
                    self.fails(&error);
                    tokio::time::sleep(self.shared.timing.rescan).await;
                }
            }
        }
    }

    /// A step of the search. Where no more may be in flight, it only looks whether the folder is there.
    async fn step(&mut self) -> Result<Step, FolderError> {
        let is_full = self.shared.state().in_flight >= self.prefetch;
        let scanner = &self.scanner;
        let step = self.step.get_or_insert_with(|| {
            let scanner = Arc::clone(scanner);
            tokio::task::spawn_blocking(move || {
                let mut scanner = scanner.lock().unwrap_or_else(PoisonError::into_inner);
                if is_full { scanner.rest() } else { scanner.step() }
            })
        });
        let stepped = step.await;
        self.step = None;
        stepped.map_err(FolderError::Stopped)?
    }

    /// Nothing can be taken from the folder now.
    fn fails(&mut self, error: &FolderError) {
        let error = ErrorChain(error);
        if self.failing_since.is_none() {
            warn!(folder = %self.shared.folder.display(), %error, "nothing can be taken from the folder: trying again until it works");
        }
        self.failing_since.get_or_insert_with(Instant::now);
        self.health.failed(error.to_string());
        self.health.closed();
    }

    /// Files can be taken from the folder, as far as it is known.
    fn works(&mut self) {
        if let Some(since) = self.failing_since.take() {
            let away_s = since.elapsed().as_secs();
            info!(folder = %self.shared.folder.display(), away_s, "files are taken from the folder again");
            self.health.nothing();
            self.health.opened();
        }
    }

    /// No longer than until it is time to look whether the folder is there.
    async fn wait_until(&self, until: Instant) {
        let until = until.min(Instant::now() + self.shared.timing.rescan);
        tokio::select! {
            () = self.shared.changed.notified() => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }
}

impl Source for FolderSource {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Delivery>, SourceError>> {
        async {
            let found = self.next_file().await.map_err(SourceError::new)?;
            Ok(found.map(delivery))
        }
        .boxed()
    }

    fn quarantine(&self) -> Option<Box<dyn QuarantineQueue>> {
        Some(Box::new(ApartFiles::new(Arc::clone(&self.shared))))
    }

    fn health(&self) -> SourceHealth {
        self.health.clone()
    }

    /// The files that wait or are claimed.
    fn backlog(&self) -> Backlog {
        // Weak: a counter must not keep the claims of a source that is gone.
        let shared = Arc::downgrade(&self.shared);
        Arc::new(move || shared.upgrade().map_or(0, |shared| shared.state().n_open()))
    }

    fn attention(&self) -> Attention {
        let shared = Arc::downgrade(&self.shared);
        Arc::new(move || shared.upgrade()?.state().unreadable.in_words())
    }
}

impl FolderError {
    fn at(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path: path.clone(),
            source,
        }
    }
}

/// Hands out what was found.
fn delivery((message, ack): Found) -> Delivery {
    let (message, malformed) = match message {
        Ok(message) => (message, None),
        Err(Malformed { message, text }) => (message, Some(text)),
    };
    Delivery {
        message,
        malformed,
        quarantine: ack.quarantine(),
        ack: Box::new(ack),
    }
}
