//! JSON in and out: a prediction as JSON, and a few values out of a JSON body. Knows nothing of what they are for.

mod classification;
mod decimal;
mod pick;
mod pointer;

pub use classification::Classification;
pub use decimal::decimal;
pub use pick::{Picked, pick};
pub use pointer::Pointer;
