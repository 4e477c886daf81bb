//! Burn's executor behind the trait of all executors.

use millrace_graph::Graph;
use millrace_model_types::Precision;

use super::executor::{Executor, Fault, Outputs};
use crate::burn::{self, Device, Error, Products};

/// A graph on one of Burn's devices.
#[derive(Debug)]
pub(super) struct BurnExecutor(burn::Executor);

impl BurnExecutor {
    /// Puts the constants on the device.
    ///
    /// # Errors
    /// Names every node that it cannot run.
    pub(super) fn prepare(
        graph: &Graph,
        device: &Device,
        precision: Precision,
        products: Products,
    ) -> Result<Self, Fault> {
        let executor = burn::Executor::prepare(graph, device, precision, products);
        executor.map(Self).map_err(fault)
    }
}

impl Executor for BurnExecutor {
    fn run(&mut self, numbers: Vec<f32>, n_items: usize) -> Result<Outputs, Fault> {
        self.0.run(numbers, n_items).map_err(fault)
    }
}

fn fault(error: Error) -> Fault {
    match error {
        Error::DeviceLost(reason) => Fault::Poisoned(reason),
        Error::Device(report) => Fault::of(&report),
        Error::Graph(reason) => Fault::Other(reason),
    }
}
