//! What configuration, plugins and models have in common: tensors, and where a model runs. Knows no file, no network and no
//! device, so that a crate that only reads files builds none of these.

mod device_kind;
mod placement;
mod tensor;

use std::any::Any;

pub use device_kind::DeviceKind;
pub use placement::{DeviceChoice, Placement, Precision};
pub use tensor::{Element, Tensor, TensorData, TensorError, TensorType};

/// What a caught panic says, on one line.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text.as_str(),
        (None, None) => "a panic without a text",
    };
    text.lines().collect::<Vec<_>>().join(" ")
}
