//! What each operator of ONNX is in a graph: attributes and inputs of every version are made one form here.

mod activation;
mod antialias;
mod arithmetic;
mod convolution;
mod einsum;
mod fill;
mod gather;
mod layout;
mod linear;
mod norm;
mod pool;
mod reduce;
mod resize;
mod sequence;
mod slice;
mod spatial;
mod table;
mod top;

pub(crate) use layout::length;

use crate::lower::call::Call;
use crate::lower::emit::Emitter;
use crate::lower::value::Value;
use crate::problem::Refusal;

pub(crate) use table::{advice_for, handler};

/// The outputs of a node.
pub(crate) type Answer = Result<Vec<Value>, Refusal>;

/// What lowers an operator.
pub(crate) type Handler = fn(&mut Emitter, &Call<'_, '_>) -> Answer;

/// The only output of a node.
pub(crate) fn one(value: Value) -> Answer {
    Ok(vec![value])
}
