//! The view of a host: plain data, taken at one moment. Knows no format.

use std::collections::{BTreeMap, BTreeSet};

use crate::breaker::Opened;
use crate::config::Name;
use crate::control::ChangeOutcome;
use crate::counters::Counts;
use crate::inference::ModelCounts;
use crate::sandbox::PluginCounts;
use crate::transport::Holding;
use crate::transport::{ConnectionName, ConnectionStatus, Sample, Waiting};
use crate::watchdog::Stalled;

/// A host at one moment.
#[derive(Debug, Clone)]
pub struct View {
    /// Where in its life it is.
    pub phase: HostPhase,
    /// Its work before it runs, where that is known.
    pub doing: Option<Waiting>,
    /// The connections that pipelines need.
    pub connections: BTreeMap<ConnectionName, ConnectionStatus>,
    /// Every pipeline of the file.
    pub pipelines: Vec<PipelineView>,
    /// The generation that serves; none before the first.
    pub generation: Option<u64>,
    /// How many changes there were, by what came of them.
    pub changes: Vec<(ChangeOutcome, u64)>,
    /// The counts of each model's device thread, by the model's name.
    pub models: BTreeMap<String, ModelCounts>,
    /// The costs of the calls of each plugin.
    pub plugins: Vec<PluginCounts>,
    /// Lines of the log that were lost.
    pub n_log_lines_lost: u64,
}

impl View {
    /// The connections that a pipeline needs, where they were made so far.
    pub fn connections_of<'v>(
        &'v self,
        pipeline: &'v PipelineView,
    ) -> impl Iterator<Item = (&'v ConnectionName, &'v ConnectionStatus)> {
        let names = pipeline.connections.iter();
        names.filter_map(|name| self.connections.get_key_value(name))
    }
}

/// Where in its life a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPhase {
    /// Warming up its models, opening its sources.
    Starting,
    /// Taking messages.
    Running,
    /// Finishing the messages in flight.
    Draining,
}

impl HostPhase {
    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Draining => "draining",
        }
    }
}

/// The state of a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PipelineState {
    /// It does not take messages yet.
    Starting,
    /// It takes messages.
    Running,
    /// It finishes the messages in flight, and receives no more.
    Draining,
    /// Paused by `millrace pause`.
    Paused,
}

/// A pipeline at one moment.
#[derive(Debug, Clone)]
pub struct PipelineView {
    pub name: Name,
    pub state: PipelineState,
    /// The connections that its messages or its results go by.
    pub connections: BTreeSet<ConnectionName>,
    /// The one of them that its messages come by.
    pub receives_by: Option<ConnectionName>,
    /// Whether its source hands out messages.
    pub is_open: bool,
    /// The cause of its wait before it receives more.
    pub holding: Option<Holding>,
    /// The component that fails for everything.
    pub breaker: Option<Opened>,
    /// The reason why it waits for a person, or for a version that makes no progress.
    pub stuck: Option<String>,
    /// A notice for an operator, although it runs.
    pub attention: Option<String>,
    /// How often its breaker opened.
    pub n_opened: u64,
    /// The wait of its source while it is not open.
    pub source: Option<Waiting>,
    /// What its source counts.
    pub samples: Vec<Sample>,
    /// That it stands still, where nothing explains it.
    pub stalled: Option<Stalled>,
    /// The counts of its messages.
    pub counts: Counts,
}
