//! Reads a model folder, or an `.onnx` file: `model.toml`, weights and samples, to a checked graph. Knows no device and no
//! executor: reading needs neither Burn nor wgpu.
//!
//! [`Model::load`] reads and checks everything, and [`Survey`] says what a file holds before there is a `model.toml` for it.

mod error;
mod figures;
mod load;
mod lower;
mod manifest;
mod model;
mod near;
mod network_file;
mod samples;
mod scores;
mod survey;
mod weights;

pub use error::ModelError;
pub use figures::{ByteNormalisation, Figures};
pub use lower::Network;
pub use manifest::{Normalisation, reference as manifest_reference, schema as manifest_schema};
pub use model::{MANIFEST_FILE, Model};
pub use samples::Samples;
pub use scores::Activation;
pub use survey::{Survey, SurveyedNetwork, SurveyedTensor, SurveyedWeights};
pub use weights::hexadecimal;
