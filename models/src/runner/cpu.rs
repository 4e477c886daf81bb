//! The CPU's own executor: packed weights, and vector kernels for what this processor has.

use std::fmt;

use millrace_cpu::{Error, InstructionSet, Options};
use millrace_graph::Graph;

use super::executor::{Executor, Fault, Outputs, by_item};

/// Most items that it takes at a time.
pub(crate) const CPU_CHUNK: usize = 1024;

/// A graph on the CPU.
pub(super) struct CpuExecutor {
    executor: millrace_cpu::Executor,
    /// One for each output, kept between calls.
    outputs: Vec<Vec<f32>>,
}

impl fmt::Debug for CpuExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuExecutor")
            .field("outputs", &self.executor.output_lens())
            .finish_non_exhaustive()
    }
}

impl CpuExecutor {
    /// Packs the weights.
    ///
    /// # Errors
    /// Names every node that it cannot run.
    pub(super) fn prepare(graph: &Graph, threads: usize, max_batch: usize) -> Result<Self, Fault> {
        let options = Options {
            threads,
            instruction_set: InstructionSet::Auto,
            max_batch: max_batch.min(CPU_CHUNK),
        };
        let executor = millrace_cpu::Executor::new(graph, options).map_err(|error| failed(&error))?;
        let plain = executor.plain_nodes();
        if !plain.is_empty() {
            tracing::debug!(
                nodes = plain.len(),
                first = plain.first(),
                "nodes that no kernel computes"
            );
        }
        Ok(Self {
            outputs: vec![Vec::new(); executor.output_lens().len()],
            executor,
        })
    }
}

impl Executor for CpuExecutor {
    fn run(&mut self, numbers: Vec<f32>, n_items: usize) -> Result<Outputs, Fault> {
        let run = self.executor.run(&numbers, n_items, &mut self.outputs);
        run.map_err(|error| failed(&error))?;
        Ok(by_item(&self.outputs, n_items))
    }
}

fn failed(error: &Error) -> Fault {
    Fault::Other(error.to_string())
}
