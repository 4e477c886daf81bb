//! The tasks of the pipelines: begun, drained, ended. Knows no file and no version that serves.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::{ChangeError, SupervisorDeps};
use crate::admin::PipelineState;
use crate::breaker::Breaker;
use crate::config::{Name, PipelineConfig};
use crate::drain_forecast::DrainForecast;
use crate::error_chain::ErrorChain;
use crate::generation::Current;
use crate::instruments::{Instruments, Waits};
use crate::isolation::IsolationLock;
use crate::pipeline::{LINES_PER_SECOND, Pipeline};
use crate::quarantine_log::QuarantineLog;
use crate::quota::LineQuota;
use crate::transport::{Backlog, Connections, Hold, Opening, Source, SourceError, Until, registry, reserve};

/// The tasks, by their ids: one that is drained and its successor have the same name.
pub struct Pipelines {
    tasks: JoinSet<Result<(), SourceError>>,
    running: HashMap<Id, Running>,
    failed: bool,
    // Set once a pipeline returned its messages in flight because the time of the host's drain was over.
    cut_off: Arc<AtomicBool>,
    // Of a run that ends: the total of its progress bar.
    backlogs: Vec<Backlog>,
    drain_limit: Duration,
    // Shared by all of them.
    current: Current,
    isolation: IsolationLock,
    host_id: Arc<str>,
    instruments: Arc<Instruments>,
    drain: CancellationToken,
    cut: CancellationToken,
    until: Until,
}

#[derive(Debug)]
struct Running {
    name: Name,
    drain: CancellationToken,
}

impl Pipelines {
    pub(super) fn new(deps: &SupervisorDeps, current: Current) -> Self {
        Self {
            tasks: JoinSet::new(),
            running: HashMap::new(),
            failed: false,
            cut_off: Arc::default(),
            backlogs: Vec::new(),
            drain_limit: Duration::ZERO,
            current,
            isolation: IsolationLock::default(),
            host_id: Arc::clone(&deps.host_id),
            instruments: Arc::clone(&deps.instruments),
            drain: deps.drain.clone(),
            cut: deps.cut.clone(),
            until: deps.until,
        }
    }

    /// How long a pipeline that is paused or removed may take for its messages in flight, before they are returned.
    pub fn drain_within(&mut self, limit: Duration) {
        self.drain_limit = limit;
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Whether a source failed before it was empty.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// Whether messages were given back because the time of the host's drain was over.
    pub fn were_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Relaxed)
    }

    /// Waits until one has ended; `None` when none is left.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn next_ended(&mut self) -> Option<Name> {
        loop {
            let id = match self.tasks.join_next_with_id().await? {
                Ok((id, ended)) => {
                    if let Err(error) = ended {
                        error!(error = %ErrorChain(&error), "a source failed: its pipeline has ended");
                        self.failed = true;
                    }
                    id
                }
                Err(error) => {
                    error!(%error, "a pipeline panicked: a bug of Millrace, please report it with this log");
                    self.failed = true;
                    error.id()
                }
            };
            if let Some(running) = self.running.remove(&id) {
                return Some(running.name);
            }
        }
    }

    /// Waits until all have ended.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn all_ended(&mut self) {
        while self.next_ended().await.is_some() {}
    }

    /// Messages that wait in the sources that can count them.
    pub(super) fn backlog(&self) -> impl Fn() -> usize + use<> {
        let counters = self.backlogs.clone();
        move || counters.iter().map(|count| count()).sum()
    }

    /// Whether a pipeline runs or finishes its messages in flight.
    pub(super) fn runs(&self, name: &Name) -> bool {
        self.running.values().any(|running| running.name == *name)
    }

    /// Begins to receive messages from a source.
    pub(super) fn start(&mut self, name: &Name, source: Box<dyn Source>) {
        let Some(instrument) = self.instruments.get(name) else {
            return; // there is one for each pipeline of the file
        };
        if instrument.waits.is_some() {
            // This process itself returned these messages when it stopped receiving: no host crashed.
            source.grant_grace();
        }
        let (drain, cut) = (self.drain.child_token(), self.cut.child_token());
        let limit = self.drain_limit.saturating_sub(reserve(self.drain_limit));
        let waits = Waits {
            hold: Hold::new(name.as_str(), cut.clone(), reserve(self.drain_limit)),
            breaker: Breaker::new(name.as_str(), drain.clone()),
            source: source.health(),
            drain_forecast: Arc::new(DrainForecast::new(limit)),
            attention: source.attention(),
            samples: source.samples(),
        };
        let pipeline = Arc::new(Pipeline {
            name: name.clone(),
            host_id: Arc::clone(&self.host_id),
            current: Arc::clone(&self.current),
            hold: waits.hold.clone(),
            breaker: waits.breaker.clone(),
            isolation: self.isolation.beside(),
            counters: instrument.counters,
            quarantine_log: QuarantineLog::default(),
            lines: LineQuota::new(LINES_PER_SECOND),
        });
        self.instruments.begin(name, waits.clone());
        if self.until == Until::Empty {
            self.backlogs.push(source.backlog());
        }
        let running = Running {
            name: name.clone(),
            drain: drain.clone(),
        };
        let (host_drain, cut_off) = (self.drain.clone(), Arc::clone(&self.cut_off));
        let task = self.tasks.spawn(async move {
            let (counters, is_waiting) = (Arc::clone(&pipeline.counters), || {
                waits.hold.n_held() > 0 || waits.breaker.opened().is_some()
            });
            let name = pipeline.name.clone();
            let mut run = std::pin::pin!(pipeline.run(source, drain.clone()));
            let too_late = async {
                drain.cancelled().await;
                tokio::time::sleep(limit).await;
            };
            tokio::select! {
                ended = &mut run => ended,
                () = waits.drain_forecast.watch(name.as_str(), &counters, is_waiting) => run.await, // it does not end
                () = too_late => {
                    // The host waits as long: whichever notices first, it was cut off.
                    cut_off.fetch_or(host_drain.is_cancelled(), Ordering::Relaxed);
                    cut.cancel();
                    run.await
                }
            }
        });
        self.running.insert(task.id(), running);
    }

    /// Lets a pipeline finish its messages in flight, and receive no more.
    pub(super) fn drain(&self, name: &Name) {
        let tasks = self.running.values().filter(|running| running.name == *name);
        for running in tasks.filter(|running| !running.drain.is_cancelled()) {
            info!(pipeline = %name, "finishing the messages in flight");
            self.instruments.set(name, PipelineState::Draining);
            running.drain.cancel();
        }
    }

    /// A pipeline has finished, and waits until it is resumed.
    pub(super) fn paused(&self, name: &Name) {
        info!(pipeline = %name, "paused");
        self.instruments.set(name, PipelineState::Paused);
    }

    /// Opens the source of a pipeline, and makes its destinations ready.
    pub(super) async fn open(
        &self,
        pipeline: &PipelineConfig,
        connections: &Connections,
    ) -> Result<Option<Box<dyn Source>>, ChangeError> {
        let refused = |source| ChangeError::Open {
            pipeline: pipeline.name.clone(),
            source,
        };
        for destination in pipeline.destinations.values() {
            let destination = registry::destination(destination.as_ref()).map_err(refused)?;
            destination.prepare().await.map_err(refused)?;
        }
        let opening = Opening {
            pipeline,
            connections,
            until: self.until,
        };
        let source = registry::source(pipeline.source.as_ref()).map_err(refused)?;
        source.open(opening).await.map_err(refused)
    }
}

impl fmt::Debug for Pipelines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipelines")
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}
