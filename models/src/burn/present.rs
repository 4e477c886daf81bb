//! What models need of `millrace-burn`.

pub(crate) use millrace_burn::{Adapter, Device, Error, Executor, Products, adapters};

/// Whether this build can use GPUs.
pub(crate) const HAS_GPUS: bool = true;

/// Burn's CPU backend.
pub(crate) fn cpu_backend() -> Option<Device> {
    Some(Device::flex())
}
