//! What is shown of a host: plain data, taken at one moment. Knows no format.

use std::collections::BTreeMap;

use crate::breaker::Opened;
use crate::config::Name;
use crate::connect::Holding;
use crate::connect::amqp::Status;
use crate::control::ChangeOutcome;
use crate::inference::ModelCounts;
use crate::sandbox::PluginCounts;
use crate::tally::Counts;

/// A host at one moment.
#[derive(Debug, Clone)]
pub struct View {
    /// Where in its life it is.
    pub phase: Phase,
    /// The connections to the broker, where a pipeline needs them.
    pub broker: Option<Status>,
    /// Every pipeline of the file.
    pub pipelines: Vec<PipelineView>,
    /// The generation that serves; none before the first.
    pub generation: Option<u64>,
    /// How many changes there were, by what came of them.
    pub changes: Vec<(ChangeOutcome, u64)>,
    /// What each model's device thread counted, by the model's name.
    pub models: BTreeMap<String, ModelCounts>,
    /// What the calls of each plugin cost.
    pub plugins: Vec<PluginCounts>,
}

/// Where in its life a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Warming up its models, opening its sources.
    Starting,
    /// Taking messages.
    Running,
    /// Finishing what is in hand.
    Draining,
}

/// What a pipeline does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PipelineState {
    /// It does not take messages yet.
    Starting,
    /// It takes messages.
    Running,
    /// It finishes what is in hand, and takes no more.
    Draining,
    /// Somebody paused it.
    Paused,
}

/// A pipeline at one moment.
#[derive(Debug, Clone)]
pub struct PipelineView {
    /// Its name.
    pub name: Name,
    /// What it does.
    pub state: PipelineState,
    /// Whether its messages or its results go by the broker.
    pub uses_broker: bool,
    /// Whether its source hands out messages.
    pub is_open: bool,
    /// What it waits for before it takes more.
    pub holding: Option<Holding>,
    /// Who fails for everything.
    pub breaker: Option<Opened>,
    /// What somebody should look at, although it runs.
    pub attention: Option<String>,
    /// How often its breaker opened.
    pub n_opened: u64,
    /// What became of its messages.
    pub counts: Counts,
}
