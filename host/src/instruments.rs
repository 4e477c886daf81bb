//! What can be seen of a running host: the parts of each pipeline that outlive its messages, and the view that they make
//! together. Knows no page, and moves no message.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::admin::{Phase, PipelineView, View, Viewer};
use crate::breaker::Breaker;
use crate::config::{Config, DestinationConfig, Name, PipelineConfig, SourceConfig};
use crate::connect::Hold;
use crate::connect::amqp::Watch;
use crate::tally::Tally;

/// Those of a host.
#[derive(Debug)]
pub struct Instruments {
    pipelines: Vec<Instrument>,
    broker: Option<Watch>,
    is_running: AtomicBool,
    drain: CancellationToken,
}

/// Those of a pipeline.
#[derive(Debug)]
pub struct Instrument {
    /// The pipeline.
    pub name: Name,
    /// What waits while a destination is away.
    pub hold: Hold,
    /// What waits while a plugin or the model fails for everything.
    pub breaker: Breaker,
    /// What became of its messages.
    pub tally: Arc<Tally>,
    uses_broker: bool,
    // Empty until there is a source.
    is_open: OnceLock<Arc<AtomicBool>>,
}

impl Instruments {
    /// Those of every pipeline of a file.
    pub fn new(config: &Config, broker: Option<Watch>, drain: &CancellationToken, cut: &CancellationToken) -> Self {
        let pipelines = config.pipelines.iter().map(|(name, pipeline)| Instrument {
            name: name.clone(),
            hold: Hold::new(name.as_str(), cut.clone()),
            breaker: Breaker::new(name.as_str(), drain.clone()),
            tally: Arc::default(),
            uses_broker: uses_broker(pipeline),
            is_open: OnceLock::new(),
        });
        Self {
            pipelines: pipelines.collect(),
            broker,
            is_running: AtomicBool::new(false),
            drain: drain.clone(),
        }
    }

    /// Those of one pipeline.
    pub fn get(&self, name: &Name) -> Option<&Instrument> {
        self.pipelines.iter().find(|pipeline| pipeline.name == *name)
    }

    /// Watches the source of a pipeline.
    pub fn opened(&self, name: &Name, is_open: Arc<AtomicBool>) {
        if let Some(pipeline) = self.get(name) {
            pipeline.is_open.get_or_init(|| is_open);
        }
    }

    /// The models are warm and the pipelines take messages.
    pub fn running(&self) {
        self.is_running.store(true, Ordering::Relaxed);
    }

    /// What became of the messages, by pipeline.
    pub fn tallies(&self) -> Vec<Arc<Tally>> {
        self.pipelines
            .iter()
            .map(|pipeline| Arc::clone(&pipeline.tally))
            .collect()
    }

    /// Whether every message that was taken is in hand or was settled; what is missing is told.
    pub fn add_up(&self) -> bool {
        let mut all = true;
        for pipeline in &self.pipelines {
            let counts = pipeline.tally.counts();
            if !counts.add_up() {
                all = false;
                let (n_taken, n_settled, n_in_hand) = (counts.n_taken, counts.n_settled(), counts.n_in_hand);
                error!(
                    pipeline = %pipeline.name, n_taken, n_settled, n_in_hand,
                    "the messages do not add up: a bug of this host, please report it with its log"
                );
            }
        }
        all
    }

    /// Gives a view whenever it is asked.
    pub fn viewer(self: &Arc<Self>) -> Viewer {
        let instruments = Arc::clone(self);
        Arc::new(move || instruments.view())
    }

    fn view(&self) -> View {
        let phase = match (self.drain.is_cancelled(), self.is_running.load(Ordering::Relaxed)) {
            (true, _) => Phase::Draining,
            (false, true) => Phase::Running,
            (false, false) => Phase::Starting,
        };
        let pipelines = self.pipelines.iter().map(|pipeline| PipelineView {
            name: pipeline.name.clone(),
            uses_broker: pipeline.uses_broker,
            is_open: pipeline
                .is_open
                .get()
                .is_some_and(|is_open| is_open.load(Ordering::Relaxed)),
            holding: pipeline.hold.holding(),
            breaker: pipeline.breaker.opened(),
            n_opened: pipeline.breaker.n_opened(),
            counts: pipeline.tally.counts(),
        });
        View {
            phase,
            broker: self.broker.as_ref().map(Watch::status),
            pipelines: pipelines.collect(),
            generation: None,
            changes: Vec::new(),
            models: BTreeMap::new(),
            plugins: Vec::new(),
        }
    }
}

/// Whether messages come from the broker, or results go there.
pub fn uses_broker(pipeline: &PipelineConfig) -> bool {
    matches!(pipeline.source, SourceConfig::Queue(_))
        || pipeline
            .destinations
            .values()
            .any(|destination| !matches!(destination, DestinationConfig::Folder { .. }))
}
