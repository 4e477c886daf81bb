//! Reads ONNX files, hostile ones too, and lowers them into a typed graph.
//!
//! A [`Source`] is the bytes of a file; [`Model::read`] takes views of them, bounded in every count and length, and copies
//! no numbers; [`Model::lower`] makes a [`millrace_graph::Graph`] of it, or says everything that keeps it from doing so.
//! Knows no executors.
//!
//! Shape arithmetic is computed here, with the number of items in a batch left open; so is all other arithmetic on numbers
//! that the file has, within bounds. A file with a fixed number of items is read as one for any number, where that can be
//! told from the shapes.

mod element;
mod error;
mod file;
mod known;
mod limits;
mod lower;
mod model;
mod problem;
mod shown;
mod source;
mod weights;
mod wire;

pub use element::Element;
pub use error::{Error, TensorFault};
pub use model::{Input, InputAxis, Items, Lowered, Model, Options};
pub use problem::Problem;
pub use shown::shown;
pub use source::Source;
pub use wire::Fault;
