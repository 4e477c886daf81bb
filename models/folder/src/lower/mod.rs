//! From a layer list and its weights to a graph, and what any graph costs to run. Knows no files' formats and no devices.

mod flow;
mod layers;
mod names;
mod norm;

pub(crate) use layers::lower;

use millrace_graph::{Graph, Options, Statistics};

/// A checked network, ready for an executor: passes have run on its graph.
#[derive(Debug, Clone)]
pub struct Network {
    /// What executors run.
    pub graph: Graph,
    /// What it costs to run.
    pub cost: Statistics,
}

impl Network {
    /// Runs the passes on a graph, and counts what the result costs.
    pub(crate) fn of(graph: Graph) -> Self {
        let graph = millrace_graph::optimise(graph, &Options::default());
        let cost = graph.statistics();
        Self { graph, cost }
    }

    /// Bytes of all weights.
    pub fn weight_bytes(&self) -> u64 {
        self.cost.parameters.saturating_mul(size_of::<f32>() as u64)
    }

    /// Whether it computes a batch at once; else it is run item by item.
    pub fn is_batched(&self) -> bool {
        self.graph.shape(self.graph.input()).is_batched()
    }
}
