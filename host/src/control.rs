//! The requests to a running host and its answers: plain data, and the way to the task that changes the host. Knows
//! no socket and no table.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

mod renamed;

use renamed::{in_flight, received};

/// Changes that are remembered; the oldest makes room.
const HISTORY_MAX: usize = 256;

/// Requests that wait for their turn: changes are made one at a time.
const WAITING_MAX: usize = 16;

/// A change that a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Reads the file and everything that it names again, and swaps what changed; tries what was undone before, too.
    Reload,
    /// Goes back to the version of a plugin that served before the one that serves now.
    Rollback {
        /// Its name in `plugins.toml`.
        plugin: String,
    },
    /// Stops receiving messages into a pipeline, and finishes those in flight.
    Pause {
        /// Its name in `plugins.toml`.
        pipeline: String,
    },
    /// Takes messages again.
    Resume {
        /// Its name in `plugins.toml`.
        pipeline: String,
    },
}

impl Command {
    /// Whether it is a way out of something bad, and so must not wait for a change that is being made.
    fn is_urgent(&self) -> bool {
        match self {
            Self::Rollback { .. } | Self::Pause { .. } => true,
            Self::Reload | Self::Resume { .. } => false,
        }
    }
}

/// A change that was asked for, and the way back to who asked.
#[derive(Debug)]
pub struct Request {
    /// A request.
    pub command: Command,
    /// The client, for the history; a constant or a number, not chosen by the client.
    pub by: String,
    /// Answered when the change is made, or was refused.
    pub reply: oneshot::Sender<Result<ChangeRecord, Unanswered>>,
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// No such plugin or pipeline.
    #[error("{0}")]
    Unknown(String),
    /// Too many wait already.
    #[error("too many changes are queued: try again")]
    Busy,
    /// The host is leaving.
    #[error("the host is stopping")]
    Stopping,
}

/// One entry of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeRecord {
    /// Counts changes, from 1.
    pub number: u64,
    /// When it ended: RFC 3339, UTC, milliseconds.
    pub at: String,
    /// The origin, such as `start`, `file`, `SIGHUP`, `trial` or `control (uid 1000)`.
    pub by: String,
    /// The changes, such as `plugin crop: 1a2b3c4d5e6f -> 7a8b9c0d1e2f`.
    pub changes: Vec<String>,
    pub outcome: ChangeOutcome,
    /// The generation that serves after it.
    pub generation: u64,
    /// Which step refused it, such as `check`, `warm-up` or `smoke-test`.
    pub step: Option<String>,
    /// Why it was refused or undone, in full; may have several lines.
    pub reason: Option<String>,
    /// From when it began until it was done.
    pub took_ms: u64,
}

/// The outcome of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeOutcome {
    /// It serves.
    Done,
    /// There was nothing to change.
    Unchanged,
    /// A step failed, and everything is as it was.
    Refused,
    /// It served, was worse than what it replaced, and that serves again.
    Undone,
}

/// A host at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The version of the host.
    pub version: String,
    /// Names the process in results and dead letters.
    pub host_id: String,
    /// The file that it runs.
    pub config: PathBuf,
    /// `starting`, `running` or `draining`.
    pub phase: String,
    /// Seconds since the process began to load.
    pub uptime_s: u64,
    /// The generation that serves.
    pub generation: u64,
    /// Those that serve.
    pub plugins: Vec<PluginStatus>,
    /// Those that serve.
    pub models: Vec<ModelStatus>,
    /// The pipelines of the file.
    pub pipelines: Vec<PipelineStatus>,
    /// The last change, whatever came of it.
    pub last_change: Option<ChangeRecord>,
    /// Whether every pipeline can take messages, and why not.
    #[serde(default)]
    pub readiness: Readiness,
}

/// Whether a host can take messages, and why not: what `/readyz` says, too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether every pipeline can.
    pub ready: bool,
    /// `starting`, `running` or `draining`.
    pub phase: String,
    /// The pipelines of the file, by name.
    pub pipelines: BTreeMap<String, PipelineReadiness>,
}

/// Whether a pipeline can take messages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineReadiness {
    /// Whether it can.
    pub ready: bool,
    /// Every reason that keeps it from taking.
    pub why: Vec<String>,
}

/// A plugin that serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginStatus {
    /// Its name in `plugins.toml`.
    pub name: String,
    /// `preprocessor`, `transformer` or `router`.
    pub role: String,
    /// SHA-256 of its file, lower-case hexadecimal.
    pub digest: String,
    /// The generation that it first served in.
    pub since_generation: u64,
    /// The version that a rollback goes back to, where there is one.
    pub previous_digest: Option<String>,
}

/// A model that serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelStatus {
    /// Its name in `plugins.toml`.
    pub name: String,
    /// SHA-256 of its folder, lower-case hexadecimal.
    pub digest: String,
    /// Where it runs.
    pub device: String,
    /// The generation that it first served in.
    pub since_generation: u64,
}

/// A pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineStatus {
    /// Its name in `plugins.toml`.
    pub name: String,
    /// `starting`, `running`, `paused`, `draining`, `holding`, `breaker-open`, `disconnected` or `stalled`.
    pub state: String,
    /// The reason for a state that needs attention.
    pub why: Option<String>,
    /// Messages received since the host began.
    #[serde(flatten, with = "received")]
    pub received: u64,
    /// Received, and not settled yet.
    #[serde(flatten, with = "in_flight")]
    pub in_flight: u64,
    /// Acknowledged with their results.
    pub acked: u64,
    /// Acknowledged without a result, since a plugin said so.
    pub skipped: u64,
    /// Dead letters.
    pub rejected: u64,
    /// The trial of what serves now, while it lasts.
    pub trial: Option<TrialStatus>,
}

/// How far a trial is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialStatus {
    /// Messages that it saw.
    pub seen: u64,
    /// Messages that it is to see.
    pub of: u64,
    /// Messages that failed and that the version before could process.
    pub worse: u64,
    /// Messages in flight in the version on trial.
    #[serde(flatten, with = "in_flight")]
    pub in_flight: u64,
    /// For how long it has had the oldest of them, in seconds.
    #[serde(default)]
    pub oldest_s: u64,
}

/// The changes: when, by whom, and the outcome. Bounded.
#[derive(Debug, Default)]
pub struct History {
    // std Mutex: never held over an await.
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    n_changes: u64,
    by_outcome: BTreeMap<ChangeOutcome, u64>,
    kept: VecDeque<ChangeRecord>,
}

/// Where requests arrive: those that cannot wait by a way of their own.
#[derive(Debug)]
pub struct Requests {
    urgent: mpsc::Receiver<Request>,
    ordinary: mpsc::Receiver<Request>,
}

/// Asks a running host. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    urgent: mpsc::Sender<Request>,
    requests: mpsc::Sender<Request>,
    status: Arc<dyn Fn() -> Status + Send + Sync>,
    history: Arc<History>,
}

impl Control {
    /// A way to ask, and where requests arrive.
    pub fn new(status: Arc<dyn Fn() -> Status + Send + Sync>, history: Arc<History>) -> (Self, Requests) {
        let (urgent, urgent_receiver) = mpsc::channel(WAITING_MAX);
        let (requests, ordinary) = mpsc::channel(WAITING_MAX);
        let control = Self {
            urgent,
            requests,
            status,
            history,
        };
        let requests = Requests {
            urgent: urgent_receiver,
            ordinary,
        };
        (control, requests)
    }

    /// The host at this moment.
    pub fn status(&self) -> Status {
        (self.status)()
    }

    /// The changes that are remembered, the oldest first.
    pub fn history(&self) -> Vec<ChangeRecord> {
        self.history.all()
    }

    /// Asks for a change, and waits until it is made or refused.
    ///
    /// # Errors
    /// When it does not exist, too many changes wait, or the host is stopping.
    ///
    /// # Cancellation
    /// The change is made all the same.
    pub async fn ask(&self, command: Command, by: String) -> Result<ChangeRecord, Unanswered> {
        let answer = self.begin(command, by)?;
        answer.await.unwrap_or(Err(Unanswered::Stopping))
    }

    /// Asks for a change, and says where its answer will come. It is made whether or not anybody waits for that.
    ///
    /// # Errors
    /// When too many wait, or the host is stopping.
    pub fn begin(
        &self,
        command: Command,
        by: String,
    ) -> Result<oneshot::Receiver<Result<ChangeRecord, Unanswered>>, Unanswered> {
        let (reply, answer) = oneshot::channel();
        let requests = match command.is_urgent() {
            true => &self.urgent,
            false => &self.requests,
        };
        requests
            .try_send(Request { command, by, reply })
            .map_err(|refused| match refused {
                mpsc::error::TrySendError::Full(_) => Unanswered::Busy,
                mpsc::error::TrySendError::Closed(_) => Unanswered::Stopping,
            })?;
        Ok(answer)
    }
}

impl Requests {
    /// The next one; `None` when no sender is left.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn recv(&mut self) -> Option<Request> {
        tokio::select! {
            biased; // what cannot wait goes first
            Some(request) = self.urgent.recv() => Some(request),
            request = self.ordinary.recv() => request,
        }
    }

    /// The next one that must not wait for the change that is being made.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn recv_urgent(&mut self) -> Option<Request> {
        self.urgent.recv().await
    }

    /// Refuses all that come from now on.
    pub fn close(&mut self) {
        self.urgent.close();
        self.ordinary.close();
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

impl History {
    /// Adds a change; its number is set here.
    pub fn add(&self, mut change: ChangeRecord) -> ChangeRecord {
        let mut entries = self.lock();
        entries.n_changes += 1;
        change.number = entries.n_changes;
        *entries.by_outcome.entry(change.outcome).or_default() += 1;
        if entries.kept.len() == HISTORY_MAX {
            entries.kept.pop_front();
        }
        entries.kept.push_back(change.clone());
        change
    }

    /// Those that are remembered, the oldest first.
    pub fn all(&self) -> Vec<ChangeRecord> {
        self.lock().kept.iter().cloned().collect()
    }

    /// The last one.
    pub fn last(&self) -> Option<ChangeRecord> {
        self.lock().kept.back().cloned()
    }

    /// How many changes there were, by what came of them.
    pub fn counts(&self) -> Vec<(ChangeOutcome, u64)> {
        self.lock()
            .by_outcome
            .iter()
            .map(|(outcome, n)| (*outcome, *n))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
