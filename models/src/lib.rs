//! Reads a model folder and runs it: the only crate that knows burn and wgpu.
//!
//! [`Model::load`] reads and checks a folder without touching a device; [`Device::open`] opens the
//! CPU backend or a wgpu adapter, fallibly; [`Runner`] is a model on a device.

mod device;
mod error;
mod figures;
mod load;
mod lower;
mod manifest;
mod model;
mod near;
mod network_file;
mod runner;
mod samples;
mod scores;
mod survey;
mod tensor;
pub mod train;
mod weights;

use std::any::Any;

pub use device::{Device, DeviceChoice, DeviceError, DeviceInfo, Placement, Precision, devices};
pub use error::ModelError;
pub use figures::{ByteNormalisation, Figures};
pub use manifest::{reference as manifest_reference, schema as manifest_schema};
pub use model::{MANIFEST_FILE, Model};
pub use runner::{Another, ItemOutput, Parity, RunError, Runner};
pub use survey::{Survey, SurveyedNetwork, SurveyedTensor, SurveyedWeights};
pub use tensor::{Element, Tensor, TensorData, TensorError, TensorType};

/// The text of a caught panic, on one line.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text.as_str(),
        (None, None) => "a panic without a text",
    };
    text.lines().collect::<Vec<_>>().join(" ")
}
