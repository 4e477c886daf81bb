//! Runs a model on a device, and says first whether the device computes what it should.
//!
//! [`Device::open`] opens the CPU or a wgpu adapter, fallibly; [`Runner`] is a model on a device. What reads a model
//! folder is `millrace-model-folder`, and what runs a graph are `millrace-burn` and `millrace-cpu`.

mod burn;
mod device;
mod memory;
mod runner;

pub use device::{Device, DeviceError, DeviceInfo, devices, is_cpu, supported};
pub use memory::{batch_items, memory_bytes};
pub use millrace_model_folder::{
    ByteNormalisation, Figures, MANIFEST_FILE, Model, ModelError, Survey, SurveyedNetwork, SurveyedTensor,
    SurveyedWeights, manifest_reference, manifest_schema,
};
pub use millrace_model_types::{
    DeviceChoice, Element, Placement, Precision, Tensor, TensorData, TensorError, TensorType,
};
pub use runner::{Another, ItemOutput, Parity, RunError, Runner, reproduce_samples};
