//! The life of the process: load, connect, run, drain, close. Knows no message.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::admin::{Admin, AdminError};
use crate::chain::Chain;
use crate::config::{Config, DestinationConfig, Name, PipelineConfig, SourceConfig};
use crate::connect::amqp::{Broker, ConnectError, TopologyError};
use crate::connect::folder::{self, FolderError, Until};
use crate::connect::{Backlog, Source};
use crate::gate::Gate;
use crate::generation::Current;
use crate::instruments::{Instruments, uses_broker};
use crate::pipeline::{LINES_PER_SECOND, Pipeline};
use crate::quota::LineQuota;
use crate::reload::{Loaded, ServeError};
use crate::sandbox::Sandbox;
use crate::tally::Tally;

/// After the drain's deadline, what is left is returned; that takes a moment, and no longer than this.
const RETURN_GRACE: Duration = Duration::from_secs(5);

/// What is left of that when a second signal says to leave at once.
const LEAVE_GRACE: Duration = Duration::from_millis(250);

/// What a run is told besides its file.
#[derive(Debug)]
pub struct Orders {
    /// Whether a folder run ends when the folder is empty.
    pub until: Until,
    /// Cancelled by the first signal: stop taking, finish what is in hand.
    pub drain: CancellationToken,
    /// Cancelled by the second signal: leave at once.
    pub leave: CancellationToken,
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
    /// A model cannot be served.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The broker says no.
    #[error("{url}")]
    Broker {
        /// Its URL, without the password.
        url: String,
        /// Why not.
        source: ConnectError,
    },
    /// A queue or an exchange is not as the file says.
    #[error("pipeline `{pipeline}`")]
    Topology {
        /// The pipeline.
        pipeline: Name,
        /// Why not.
        source: TopologyError,
    },
    /// A folder cannot be used.
    #[error("pipeline `{pipeline}`")]
    Folder {
        /// The pipeline.
        pipeline: Name,
        /// Why not.
        source: FolderError,
    },
}

/// A host that is ready to run: its models are warm, its sources open.
#[derive(Debug)]
pub struct Host {
    config: Config,
    sandbox: Sandbox,
    broker: Option<Broker>,
    sources: Vec<(Name, Source)>,
    current: Current,
    host_id: Arc<str>,
    device_lost: CancellationToken,
    drain: CancellationToken,
    cut: CancellationToken,
    instruments: Arc<Instruments>,
    // Serves while it lives.
    _admin: Option<Admin>,
}

impl Host {
    /// Warms up the models, connects and opens the sources. A broker that is away is waited for while running.
    ///
    /// # Errors
    /// When waiting would not help.
    pub async fn start(config: Config, sandbox: Sandbox, loaded: Loaded, orders: &Orders) -> Result<Self, RunError> {
        let host_id: Arc<str> = format!("{}-{}", hostname(), uuid::Uuid::new_v4().simple()).into();
        let device_lost = CancellationToken::new();
        let broker = config
            .broker
            .as_ref()
            .filter(|_| config.pipelines.values().any(uses_broker))
            .map(|broker| Broker::start(broker, &host_id));
        let (drain, cut) = (orders.drain.child_token(), CancellationToken::new());
        let watch = broker.as_ref().map(Broker::watch);
        let instruments = Arc::new(Instruments::new(&config, watch, &drain, &cut));
        // Before the models are warm and the broker is there: that they are not must be seen.
        let admin = match config.host.admin {
            Some(address) => Some(Admin::start(address, instruments.viewer()).await?),
            None => None,
        };
        if let (Some(broker), Some(settings)) = (&broker, &config.broker)
            && let Err(source) = broker.probe().await
        {
            let url = settings.shown_url();
            if source.is_permanent() {
                return Err(RunError::Broker { url, source });
            }
            warn!(error = %source, url, "the broker is away: waiting for it");
        }
        let generation = loaded.serve(&config, &sandbox, broker.as_ref(), &device_lost).await?;
        let mut sources = Vec::new();
        for (name, pipeline) in &config.pipelines {
            for destination in pipeline.destinations.values() {
                if let DestinationConfig::Folder { folder } = destination {
                    let prepared = folder::prepare(folder).await;
                    prepared.map_err(|source| RunError::Folder {
                        pipeline: name.clone(),
                        source,
                    })?;
                }
            }
            if let Some(source) = open(name, pipeline, broker.as_ref(), orders.until).await? {
                instruments.opened(name, source.is_open());
                sources.push((name.clone(), source));
            }
        }
        let current = Arc::new(ArcSwap::from_pointee(generation));
        Ok(Self {
            config,
            sandbox,
            broker,
            sources,
            current,
            host_id,
            device_lost,
            drain,
            cut,
            instruments,
            _admin: admin,
        })
    }

    /// What became of the messages, by pipeline.
    pub fn tallies(&self) -> Vec<Arc<Tally>> {
        self.instruments.tallies()
    }

    /// Files that wait in the sources that are folders: what a progress bar counts to.
    pub fn backlog(&self) -> impl Fn() -> usize + use<> {
        let counters: Vec<Backlog> = self.sources.iter().map(|(_, source)| source.backlog()).collect();
        move || counters.iter().map(|count| count()).sum()
    }

    /// Runs every pipeline until its source ends, a signal comes or a device is lost; then drains.
    pub async fn run(self, orders: &Orders) -> Ended {
        let Self {
            config,
            sandbox,
            broker,
            sources,
            current,
            host_id,
            device_lost,
            drain,
            cut,
            instruments,
            _admin,
        } = self;
        let gate = Gate::default();
        let mut pipelines = Pipelines::default();
        for (name, source) in sources {
            let Some(instrument) = instruments.get(&name) else {
                continue; // there is one for each pipeline of the file
            };
            let pipeline = Arc::new(Pipeline {
                hold: instrument.hold.clone(),
                breaker: instrument.breaker.clone(),
                tally: Arc::clone(&instrument.tally),
                host_id: Arc::clone(&host_id),
                current: Arc::clone(&current),
                gate: gate.beside(),
                lines: LineQuota::new(LINES_PER_SECOND),
                name,
            });
            pipelines.running.spawn(pipeline.run(source, drain.clone()));
        }
        instruments.running();

        tokio::select! {
            () = pipelines.ended() => {}
            () = drain.cancelled() => info!(deadline_s = config.host.drain.as_secs(), "draining: finishing what is in hand"),
            () = device_lost.cancelled() => error!("leaving: everything in hand goes back to its source"),
            () = orders.leave.cancelled() => {}
        }
        drain.cancel();
        let in_time = tokio::select! {
            () = pipelines.ended() => true,
            () = tokio::time::sleep(config.host.drain) => false,
            () = orders.leave.cancelled() => false,
        };
        cut.cancel();
        if !in_time {
            let at_once = orders.leave.is_cancelled();
            let grace = if at_once { LEAVE_GRACE } else { RETURN_GRACE };
            if tokio::time::timeout(grace, pipelines.ended()).await.is_err() {
                warn!("some messages are still in hand: their sources take them back");
                return match (device_lost.is_cancelled(), instruments.add_up()) {
                    (true, _) => Ended::DeviceLost,
                    (false, true) => Ended::CutOff,
                    (false, false) => Ended::Unaccounted,
                };
            }
        }
        drop(current);
        if let Some(broker) = broker
            && tokio::time::timeout(RETURN_GRACE, broker.close()).await.is_err()
        {
            warn!("the broker did not close its connections in time");
        }
        if tokio::task::spawn_blocking(|| sandbox.stop()).await.is_err() {
            error!("the sandbox ended badly");
        }
        let adds_up = instruments.add_up();
        match (device_lost.is_cancelled(), in_time) {
            (true, _) => Ended::DeviceLost,
            (false, _) if !adds_up => Ended::Unaccounted,
            (false, false) => Ended::CutOff,
            (false, true) if pipelines.failed => Ended::SourceFailed,
            (false, true) => Ended::Drained,
        }
    }
}

/// The pipelines that still run.
#[derive(Debug, Default)]
struct Pipelines {
    running: JoinSet<Result<(), FolderError>>,
    failed: bool,
}

impl Pipelines {
    /// Waits until every pipeline has ended. Cancel-safe.
    async fn ended(&mut self) {
        while let Some(ended) = self.running.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    error!(error = %Chain(&error), "a source failed");
                    self.failed = true;
                }
                Err(error) => {
                    error!(%error, "a pipeline ended badly");
                    self.failed = true;
                }
            }
        }
    }
}

async fn open(
    name: &Name,
    pipeline: &PipelineConfig,
    broker: Option<&Broker>,
    until: Until,
) -> Result<Option<Source>, RunError> {
    match &pipeline.source {
        SourceConfig::Folder(folder) => {
            let source = folder::Source::open(folder, pipeline.max_message_bytes, until).await;
            Ok(Some(Source::Folder(source.map_err(|source| RunError::Folder {
                pipeline: name.clone(),
                source,
            })?)))
        }
        SourceConfig::Queue(queue) => {
            let Some(broker) = broker else { return Ok(None) };
            let mut source = broker.source(queue, pipeline);
            match source.subscribe().await {
                Err(source) if source.is_permanent() => Err(RunError::Topology {
                    pipeline: name.clone(),
                    source,
                }),
                // `next` goes on trying; the reason is told there.
                _ => Ok(Some(Source::Amqp(Box::new(source)))),
            }
        }
    }
}

/// The machine's name as results may carry it, or `host` where it has none that is plain.
fn hostname() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let plain =
        !name.is_empty() && name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    if plain { name } else { "host".to_owned() }
}
