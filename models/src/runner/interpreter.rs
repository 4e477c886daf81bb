//! The graph's interpreter as an executor: slow, and the reference where Burn is not built in.

use millrace_graph::{Graph, interpret};

use super::executor::{Executor, Fault, Outputs, by_item};

/// A graph that is computed by the book.
#[derive(Debug)]
pub(super) struct InterpreterExecutor(Graph);

impl InterpreterExecutor {
    /// Copies no weights: they are shared.
    pub(super) fn prepare(graph: &Graph) -> Self {
        Self(graph.clone())
    }
}

impl Executor for InterpreterExecutor {
    fn run(&mut self, numbers: Vec<f32>, n_items: usize) -> Result<Outputs, Fault> {
        let outputs = interpret(&self.0, n_items, &numbers).map_err(|fault| Fault::Other(fault.to_string()))?;
        Ok(by_item(&outputs, n_items))
    }
}
