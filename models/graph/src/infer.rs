//! What shape comes out of an operator; what does not fit is said.

use crate::builder::Misfit;
use crate::graph::{Graph, Operand};
use crate::op::{Op, Unary};
use crate::shape::Shape;

/// The shape of what `op` makes of its inputs.
///
/// # Errors
/// When it cannot take them.
pub(crate) fn shape(graph: &Graph, op: &Op, inputs: &[Operand]) -> Result<Shape, Misfit> {
    match (op, inputs) {
        (Op::Unary(Unary::Activation(_)), [Operand::Value(value)]) => Ok(graph.shape(*value).clone()),
        _ => Err(Misfit {
            expected: "an activation of one value".to_owned(),
            found: format!("{op:?} of {} operands", inputs.len()),
        }),
    }
}
