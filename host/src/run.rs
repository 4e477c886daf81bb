//! The life of the process: start, run and change, drain, close. Knows no message, and nothing of how changes are made.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error, info, warn};

use crate::admin::{Admin, AdminError, ControlServer};
use crate::breaker::Opened;
use crate::config::{Config, HostConfig, Name};
use crate::control::{ChangeRecord, Control, History, Request, Requests, Unanswered};
use crate::counters::PipelineCounters;
use crate::instruments::Instruments;
use crate::reload::LoadedConfig;
use crate::sandbox::Sandbox;
use crate::supervisor::{ChangeError, ChangeRequest, Supervisor, SupervisorDeps, WATCH};
use crate::transport::{Until, reserve};
use crate::trial::TrialEnded;
use crate::watch::FileWatcher;
use crate::watchdog;

/// How long closing may take beyond the drain's time: the process is gone a second after it at the latest.
const CLOSE_MIN: Duration = Duration::from_millis(500);

/// How long the messages in flight may take to go back when a second signal says to stop at once.
const LEAVE_GRACE: Duration = Duration::from_secs(2);

/// The options of a run besides its file.
#[derive(Debug)]
pub struct RunOptions {
    /// Whether a folder run ends when the folder is empty.
    pub until: Until,
    /// Cancelled by the first signal: stop receiving, finish the messages in flight.
    pub drain: CancellationToken,
    /// Cancelled by the second signal: leave at once.
    pub leave: CancellationToken,
    /// Notified by SIGHUP: read the file again.
    pub reload: Arc<Notify>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunOutcome {
    /// All messages in flight were finished.
    Drained,
    /// The deadline passed: what was left went back to its source.
    CutOff,
    /// A source failed before it was empty; the messages in flight were finished.
    SourceFailed,
    /// Some messages are not accounted for: a bug of the host.
    Unaccounted,
    /// A device was lost: all messages in flight went back, and a new process is needed.
    DeviceLost,
}

impl fmt::Display for RunOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Drained => "all messages in flight were finished",
            Self::CutOff => {
                "the drain was cut off, and the messages that were still in flight went back to their sources"
            }
            Self::SourceFailed => "a source failed; the messages in flight were finished",
            Self::Unaccounted => "some messages are not accounted for, which is a bug of Millrace",
            Self::DeviceLost => "a device was lost, and the messages in flight went back to their sources",
        })
    }
}

/// Why a run did not begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Health and metrics cannot be served.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The file asks for something that cannot be had.
    #[error(transparent)]
    Start(#[from] ChangeError),
}

/// A host: seen from outside as soon as it is open, and ready to run once it has started.
#[derive(Debug)]
pub struct Host {
    settings: HostConfig,
    until: Until,
    supervisor: Supervisor,
    trials: mpsc::UnboundedReceiver<TrialEnded>,
    requests: Requests,
    watch: Option<FileWatcher>,
    device_lost: CancellationToken,
    drain: CancellationToken,
    cut: CancellationToken,
    instruments: Arc<Instruments>,
    // Look while it lives.
    _watchdog: AbortOnDropHandle<()>,
    // Serve while they live.
    _admin: Option<Admin>,
    _control: Option<ControlServer>,
}

/// Why the host stops taking messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    SourcesEnded,
    Asked,
    DeviceLost,
}

impl Host {
    /// Shows itself from outside, before anything is compiled, loaded or connected to: that it is not ready, and why, must be
    /// seen.
    ///
    /// # Errors
    /// When health and metrics or the control interface cannot be served.
    pub async fn open(config: &Config, sandbox: Arc<Sandbox>, run_options: &RunOptions) -> Result<Self, RunError> {
        let host_id: Arc<str> = format!("{}-{}", hostname(), uuid::Uuid::new_v4().simple()).into();
        let (settings, file) = (config.host.clone(), config.path.clone());
        let (version, pid) = (env!("CARGO_PKG_VERSION"), std::process::id());
        info!(version, pid, instance = %host_id, file = %file.display(), "starting");
        let (drain, cut) = (run_options.drain.child_token(), CancellationToken::new());
        let (device_lost, history) = (CancellationToken::new(), Arc::new(History::default()));
        let instruments = Arc::new(Instruments::new(&drain));
        instruments.show(&config.pipelines);
        instruments.doing("compiling plugins and loading models");
        let deps = SupervisorDeps {
            sandbox,
            host_id,
            instruments: Arc::clone(&instruments),
            history: Arc::clone(&history),
            device_lost: device_lost.clone(),
            drain: drain.clone(),
            cut: cut.clone(),
            until: run_options.until,
        };
        let (mut supervisor, trials) = Supervisor::new(deps);
        supervisor.pipelines().drain_within(settings.drain);
        let status = supervisor.status_view(file.clone());
        let admin = match settings.admin {
            Some(address) => {
                let status = Arc::clone(&status);
                Some(Admin::start(address, Arc::new(move || status.view())).await?)
            }
            None => None,
        };
        let (control, requests) = Control::new(Arc::new(move || status.status()), history);
        // A run that ends by itself is not asked to change.
        let control = match run_options.until {
            Until::Stopped => ControlServer::start(&settings.control, &file, control).await?,
            Until::Empty => None,
        };
        let looked_at = Arc::clone(&instruments);
        let watchdog = tokio::spawn(async move { watchdog::watch(&looked_at).await });
        Ok(Self {
            settings,
            until: run_options.until,
            supervisor,
            trials,
            requests,
            watch: None,
            device_lost,
            drain,
            cut,
            instruments,
            _watchdog: AbortOnDropHandle::new(watchdog),
            _admin: admin,
            _control: control,
        })
    }

    /// Warms up the models, connects, opens the sources and begins to take messages. A broker that is away is waited for
    /// while running. The file and what it names were read after `since`.
    ///
    /// # Errors
    /// When waiting would not help.
    pub async fn start(&mut self, loaded_config: LoadedConfig, since: SystemTime) -> Result<(), RunError> {
        self.supervisor.start(loaded_config, since).await?;
        let is_watched = self.settings.watch && self.until == Until::Stopped;
        let (paths, since) = self.supervisor.watched();
        self.watch = is_watched.then(|| FileWatcher::new(paths, since));
        self.instruments.running();
        Ok(())
    }

    /// The counts of the messages, by pipeline.
    pub fn all_counters(&self) -> Vec<Arc<PipelineCounters>> {
        self.instruments.all_counters()
    }

    /// The pipeline that has waited longest because a plugin or a model fails for everything.
    pub fn opened(&self) -> impl Fn() -> Option<(Name, Opened)> + use<> {
        let instruments = Arc::clone(&self.instruments);
        move || instruments.opened()
    }

    /// Messages that wait in the sources that can count them: the total of a progress bar.
    pub fn backlog(&self) -> impl Fn() -> usize + use<> {
        self.supervisor.backlog()
    }

    /// Runs, and changes what runs, until every source ends, a signal comes or a device is lost; then drains.
    pub async fn run(mut self, run_options: &RunOptions) -> RunOutcome {
        match self.serve(run_options).await {
            Stop::SourcesEnded => {}
            Stop::Asked => {
                info!(
                    deadline_s = self.settings.drain.as_secs(),
                    "draining: finishing the messages in flight"
                );
            }
            Stop::DeviceLost => error!("the drain ends early: returning all messages in flight to their source"),
        }
        let (deadline, reserve) = (Instant::now() + self.settings.drain, reserve(self.settings.drain));
        self.drain.cancel();
        let pipelines = self.supervisor.pipelines();
        let in_time = tokio::select! {
            () = pipelines.all_ended() => true,
            () = tokio::time::sleep(self.settings.drain.saturating_sub(reserve)) => false,
            () = run_options.leave.cancelled() => false,
        };
        self.cut.cancel();
        if !in_time {
            let grace = if run_options.leave.is_cancelled() {
                LEAVE_GRACE
            } else {
                reserve + CLOSE_MIN
            };
            if tokio::time::timeout(grace, pipelines.all_ended()).await.is_err() {
                warn!("some messages are still in flight: their sources will redeliver them");
                return match (self.device_lost.is_cancelled(), self.instruments.add_up()) {
                    (true, _) => RunOutcome::DeviceLost,
                    (false, true) => RunOutcome::CutOff,
                    (false, false) => RunOutcome::Unaccounted,
                };
            }
        }
        let (failed, in_time) = (pipelines.failed(), in_time && !pipelines.were_cut_off());
        let soon = Instant::now() + CLOSE_MIN;
        close(self.supervisor, if in_time { deadline.max(soon) } else { soon }).await;
        let adds_up = self.instruments.add_up();
        match (self.device_lost.is_cancelled(), in_time) {
            (true, _) => RunOutcome::DeviceLost,
            (false, _) if !adds_up => RunOutcome::Unaccounted,
            (false, false) => RunOutcome::CutOff,
            (false, true) if failed => RunOutcome::SourceFailed,
            (false, true) => RunOutcome::Drained,
        }
    }

    /// Makes changes, one at a time, until the host is to stop taking messages.
    async fn serve(&mut self, run_options: &RunOptions) -> Stop {
        let (drain, leave, device_lost) = (self.drain.clone(), run_options.leave.clone(), self.device_lost.clone());
        let stopped = async {
            tokio::select! {
                () = drain.cancelled() => Stop::Asked,
                () = leave.cancelled() => Stop::Asked,
                () = device_lost.cancelled() => Stop::DeviceLost,
            }
        };
        let changing = async {
            if self.supervisor.resumes_trials() {
                self.read_again("start").await;
            }
            while !self.supervisor.is_over() {
                self.change(run_options).await;
            }
            Stop::SourcesEnded
        };
        // A change that is stopped on its way has changed nothing yet.
        tokio::select! {
            stop = stopped => stop,
            stop = changing => stop,
        }
    }

    /// Reads the file and what it names again.
    async fn read_again(&mut self, by: &str) {
        let Self {
            supervisor,
            trials,
            requests,
            ..
        } = self;
        drop(Self::make(supervisor, trials, requests, &ChangeRequest::Read { by }).await);
    }

    /// Waits for something to change, and changes it.
    async fn change(&mut self, run_options: &RunOptions) {
        let Self {
            supervisor,
            trials,
            requests,
            watch,
            until,
            ..
        } = self;
        tokio::select! {
            Some(name) = supervisor.pipelines().next_ended() => supervisor.ended(&name),
            Some(ended) = trials.recv() => supervisor.trial_ended(ended),
            Some(request) = requests.recv() => Self::ask(supervisor, trials, requests, request).await,
            () = run_options.reload.notified(), if *until == Until::Stopped => {
                drop(Self::make(supervisor, trials, requests, &ChangeRequest::Read { by: "SIGHUP" }).await);
            }
            () = changed(watch) => drop(Self::make(supervisor, trials, requests, &ChangeRequest::Read { by: WATCH }).await),
        }
        if let Some(watch) = watch {
            let (paths, since) = supervisor.watched();
            watch.set(paths, since);
        }
    }

    /// Does what the command asks for, and answers.
    async fn ask(
        supervisor: &mut Supervisor,
        trials: &mut mpsc::UnboundedReceiver<TrialEnded>,
        requests: &mut Requests,
        request: Request,
    ) {
        let Request { command, by, reply } = request;
        let asked = ChangeRequest::Command {
            command,
            by: by.clone(),
        };
        let answer = Self::make(supervisor, trials, requests, &asked).await;
        if reply.send(answer).is_err() {
            info!(by, "made a change whose client no longer waits for the answer");
        }
    }

    /// Makes a change. One that is on its way has changed nothing yet: the end of a trial and a request for a way
    /// back do not wait for compilers, smoke tests and devices, and it starts again after them.
    async fn make(
        supervisor: &mut Supervisor,
        trials: &mut mpsc::UnboundedReceiver<TrialEnded>,
        requests: &mut Requests,
        asked: &ChangeRequest<'_>,
    ) -> Result<ChangeRecord, Unanswered> {
        loop {
            tokio::select! {
                biased; // the ways back before everything else
                Some(ended) = trials.recv() => supervisor.trial_ended(ended),
                Some(Request { command, by, reply }) = requests.recv_urgent() => {
                    if reply.send(supervisor.ask_urgent(&command, &by)).is_err() {
                        info!(by, "made a change whose client no longer waits for the answer");
                    }
                }
                answer = supervisor.make(asked) => return answer,
            }
        }
    }
}

/// Closes the connections and the sandbox, which all pipelines share. Those that do not end in time end with the process.
async fn close(supervisor: Supervisor, until: Instant) {
    let (connections, sandbox) = supervisor.close();
    let closing = join_all(connections.into_values().map(|connection| connection.close()));
    if tokio::time::timeout_at(until, closing).await.is_err() {
        warn!("the broker did not close the connections in time: closing their sockets");
    }
    let Some(sandbox) = Arc::into_inner(sandbox) else {
        return;
    };
    let stopping = tokio::task::spawn_blocking(|| sandbox.stop());
    match tokio::time::timeout_at(until, stopping).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => {
            error!("a sandbox worker panicked at the stop: a bug of Millrace, please report it with this log")
        }
        Err(_) => debug!("a plugin call is still running"),
    }
}

async fn changed(watch: &mut Option<FileWatcher>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// The machine's name as results may carry it, or `host` where it has none that is plain.
fn hostname() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let plain =
        !name.is_empty() && name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    if plain { name } else { "host".to_owned() }
}
