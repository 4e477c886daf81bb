//! Stands for `millrace-burn` where it is not built in. No value of these types exists, so no function of theirs is ever called.

use std::convert::Infallible;

use millrace_graph::Graph;
use millrace_model_types::{DeviceKind, Precision};

/// Whether this build can use GPUs.
pub(crate) const HAS_GPUS: bool = false;

#[derive(Debug, Clone)]
pub(crate) enum Device {}

#[derive(Debug)]
pub(crate) struct Adapter {
    pub(crate) name: String,
    pub(crate) kind: DeviceKind,
    pub(crate) backend: String,
    pub(crate) driver: String,
    never: Infallible,
}

#[derive(Debug)]
pub(crate) struct Executor(Infallible);

#[derive(Debug)]
pub(crate) enum Products {
    Sums,
    Kernels,
}

/// None of these is ever constructed.
#[derive(Debug)]
#[expect(dead_code, reason = "no device of Burn's fails here")]
pub(crate) enum Error {
    DeviceLost(String),
    Device(String),
    Graph(String),
}

pub(crate) fn cpu_backend() -> Option<Device> {
    None
}

pub(crate) fn adapters() -> &'static [Adapter] {
    &[]
}

impl Adapter {
    pub(crate) fn open(&self) -> Result<Device, String> {
        match self.never {}
    }
}

impl Device {
    pub(crate) fn supports_half(&self) -> bool {
        match *self {}
    }
}

impl Executor {
    pub(crate) fn prepare(_: &Graph, device: &Device, _: Precision, _: Products) -> Result<Self, Error> {
        match *device {}
    }

    pub(crate) fn run(&mut self, _: Vec<f32>, _: usize) -> Result<Vec<Vec<Vec<f32>>>, Error> {
        match self.0 {}
    }
}
