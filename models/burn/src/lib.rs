//! A graph on Burn's tensors: the CPU backend as a reference, and every GPU that wgpu finds. Knows no model.
//!
//! With the trainer, the only crate that knows burn, and the only one that knows wgpu.

mod adapters;
mod any;
mod convolution;
mod device;
mod error;
mod executor;
mod layout;
mod norm;
mod output;
mod pairs;
mod pointwise;
mod pool;
mod reduce;
mod resize;
#[cfg(test)]
mod tests;
mod upload;

pub use adapters::{Adapter, adapters};
pub use device::Device;
pub use error::Error;
pub use executor::{Executor, Outputs, Products};
