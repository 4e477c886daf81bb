//! The life of the process: start, run and change, drain, close. Knows no message, and nothing of how changes are made.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error, info, warn};

use crate::admin::{Admin, AdminError, ControlServer};
use crate::breaker::Opened;
use crate::config::{Config, HostConfig, Name};
use crate::control::{Change, Control, History, Request, Requests, Unanswered};
use crate::instruments::Instruments;
use crate::reload::Gathered;
use crate::sandbox::Sandbox;
use crate::supervisor::{Asked, ChangeError, Premises, Supervisor, WATCH};
use crate::tally::Tally;
use crate::transport::{Until, reserve};
use crate::trial::TrialEnded;
use crate::watch::Watch;
use crate::watchdog;

/// How long closing may take beyond the drain's time: the process is gone a second after it at the latest.
const CLOSE_MIN: Duration = Duration::from_millis(500);

/// How long what is in hand may take to go back when a second signal says to leave at once.
const LEAVE_GRACE: Duration = Duration::from_secs(2);

/// What a run is told besides its file.
#[derive(Debug)]
pub struct Orders {
    /// Whether a folder run ends when the folder is empty.
    pub until: Until,
    /// Cancelled by the first signal: stop taking, finish what is in hand.
    pub drain: CancellationToken,
    /// Cancelled by the second signal: leave at once.
    pub leave: CancellationToken,
    /// Notified by SIGHUP: read the file again.
    pub reload: Arc<Notify>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything in hand was finished.
    Drained,
    /// The deadline passed: what was left went back to its source.
    CutOff,
    /// A source failed before it was empty; what was in hand was finished.
    SourceFailed,
    /// Some messages were taken and nobody knows what became of them: a bug of the host.
    Unaccounted,
    /// A device was lost: everything in hand went back, and a new process is needed.
    DeviceLost,
}

/// Why a run did not begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Health and metrics cannot be served.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// What the file asks for cannot be had.
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
    watch: Option<Watch>,
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
    pub async fn open(config: &Config, sandbox: Arc<Sandbox>, orders: &Orders) -> Result<Self, RunError> {
        let host_id: Arc<str> = format!("{}-{}", hostname(), uuid::Uuid::new_v4().simple()).into();
        let (settings, file) = (config.host.clone(), config.path.clone());
        let (drain, cut) = (orders.drain.child_token(), CancellationToken::new());
        let (device_lost, history) = (CancellationToken::new(), Arc::new(History::default()));
        let instruments = Arc::new(Instruments::new(&drain));
        instruments.show(&config.pipelines);
        instruments.doing("compiling plugins and loading models");
        let premises = Premises {
            sandbox,
            host_id,
            instruments: Arc::clone(&instruments),
            history: Arc::clone(&history),
            device_lost: device_lost.clone(),
            drain: drain.clone(),
            cut: cut.clone(),
            until: orders.until,
        };
        let (mut supervisor, trials) = Supervisor::new(premises);
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
        let control = match orders.until {
            Until::Stopped => ControlServer::start(&settings.control, &file, control).await?,
            Until::Empty => None,
        };
        let looked_at = Arc::clone(&instruments);
        let watchdog = tokio::spawn(async move { watchdog::watch(&looked_at).await });
        Ok(Self {
            settings,
            until: orders.until,
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
    /// while running.
    ///
    /// # Errors
    /// When waiting would not help.
    pub async fn start(&mut self, gathered: Gathered) -> Result<(), RunError> {
        self.supervisor.start(gathered).await?;
        let is_watched = self.settings.watch && self.until == Until::Stopped;
        self.watch = is_watched.then(|| Watch::new(self.supervisor.watched()));
        self.instruments.running();
        Ok(())
    }

    /// What became of the messages, by pipeline.
    pub fn tallies(&self) -> Vec<Arc<Tally>> {
        self.instruments.tallies()
    }

    /// Which pipeline waits because a plugin or a model fails for everything, the one that waits for the longest.
    pub fn opened(&self) -> impl Fn() -> Option<(Name, Opened)> + use<> {
        let instruments = Arc::clone(&self.instruments);
        move || instruments.opened()
    }

    /// Messages that wait in the sources that can tell: what a progress bar counts to.
    pub fn backlog(&self) -> impl Fn() -> usize + use<> {
        self.supervisor.backlog()
    }

    /// Runs, and changes what runs, until every source ends, a signal comes or a device is lost; then drains.
    pub async fn run(mut self, orders: &Orders) -> Ended {
        match self.serve(orders).await {
            Stop::SourcesEnded => {}
            Stop::Asked => {
                info!(
                    deadline_s = self.settings.drain.as_secs(),
                    "draining: finishing what is in hand"
                );
            }
            Stop::DeviceLost => error!("leaving: everything in hand goes back to its source"),
        }
        let (deadline, reserve) = (Instant::now() + self.settings.drain, reserve(self.settings.drain));
        self.drain.cancel();
        let pipelines = self.supervisor.pipelines();
        let in_time = tokio::select! {
            () = pipelines.all_ended() => true,
            () = tokio::time::sleep(self.settings.drain.saturating_sub(reserve)) => false,
            () = orders.leave.cancelled() => false,
        };
        self.cut.cancel();
        if !in_time {
            let grace = if orders.leave.is_cancelled() {
                LEAVE_GRACE
            } else {
                reserve + CLOSE_MIN
            };
            if tokio::time::timeout(grace, pipelines.all_ended()).await.is_err() {
                warn!("some messages are still in hand: their sources take them back");
                return match (self.device_lost.is_cancelled(), self.instruments.add_up()) {
                    (true, _) => Ended::DeviceLost,
                    (false, true) => Ended::CutOff,
                    (false, false) => Ended::Unaccounted,
                };
            }
        }
        let (failed, in_time) = (pipelines.failed(), in_time && !pipelines.were_cut_off());
        let soon = Instant::now() + CLOSE_MIN;
        close(self.supervisor, if in_time { deadline.max(soon) } else { soon }).await;
        let adds_up = self.instruments.add_up();
        match (self.device_lost.is_cancelled(), in_time) {
            (true, _) => Ended::DeviceLost,
            (false, _) if !adds_up => Ended::Unaccounted,
            (false, false) => Ended::CutOff,
            (false, true) if failed => Ended::SourceFailed,
            (false, true) => Ended::Drained,
        }
    }

    /// Makes changes, one at a time, until the host is to stop taking messages.
    async fn serve(&mut self, orders: &Orders) -> Stop {
        let (drain, leave, device_lost) = (self.drain.clone(), orders.leave.clone(), self.device_lost.clone());
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
                self.change(orders).await;
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
        drop(Self::make(supervisor, trials, requests, &Asked::Read { by }).await);
    }

    /// Waits for something to change, and changes it.
    async fn change(&mut self, orders: &Orders) {
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
            () = orders.reload.notified(), if *until == Until::Stopped => {
                drop(Self::make(supervisor, trials, requests, &Asked::Read { by: "SIGHUP" }).await);
            }
            () = changed(watch) => drop(Self::make(supervisor, trials, requests, &Asked::Read { by: WATCH }).await),
        }
        if let Some(watch) = watch {
            watch.set(supervisor.watched());
        }
    }

    /// Does what somebody asks for, and answers.
    async fn ask(
        supervisor: &mut Supervisor,
        trials: &mut mpsc::UnboundedReceiver<TrialEnded>,
        requests: &mut Requests,
        request: Request,
    ) {
        let Request { command, by, reply } = request;
        let asked = Asked::Command {
            command,
            by: by.clone(),
        };
        let answer = Self::make(supervisor, trials, requests, &asked).await;
        if reply.send(answer).is_err() {
            info!(by, "a change was made, and nobody waited for its answer");
        }
    }

    /// Makes a change. One that is on its way has changed nothing yet: a trial that ends meanwhile and whoever asks for a way
    /// back do not wait for compilers, probes and devices, and it begins anew after them.
    async fn make(
        supervisor: &mut Supervisor,
        trials: &mut mpsc::UnboundedReceiver<TrialEnded>,
        requests: &mut Requests,
        asked: &Asked<'_>,
    ) -> Result<Change, Unanswered> {
        loop {
            tokio::select! {
                biased; // the ways back before everything else
                Some(ended) = trials.recv() => supervisor.trial_ended(ended),
                Some(Request { command, by, reply }) = requests.recv_urgent() => {
                    if reply.send(supervisor.ask_urgent(&command, &by)).is_err() {
                        info!(by, "a change was made, and nobody waited for its answer");
                    }
                }
                answer = supervisor.make(asked) => return answer,
            }
        }
    }
}

/// Closes what all pipelines share. What does not end in time ends with the process.
async fn close(supervisor: Supervisor, until: Instant) {
    let (connections, sandbox) = supervisor.close();
    let closing = join_all(connections.into_values().map(|connection| connection.close()));
    if tokio::time::timeout_at(until, closing).await.is_err() {
        warn!("the broker did not close its connections in time");
    }
    let Some(sandbox) = Arc::into_inner(sandbox) else {
        return;
    };
    let stopping = tokio::task::spawn_blocking(|| sandbox.stop());
    match tokio::time::timeout_at(until, stopping).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => error!("the sandbox ended badly"),
        Err(_) => debug!("a call of a plugin runs still"),
    }
}

async fn changed(watch: &mut Option<Watch>) {
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
