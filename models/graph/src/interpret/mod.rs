//! Computes what a graph says, one operator after the other, by the book: sums in `f64`, nothing clever.
//!
//! The reference that executors are held to, what folds constants, and the way of an executor for operators that are not
//! hot. It never panics, and allocates no more than results and a few vectors of an axis' length.

mod layout;
mod places;
mod pointwise;
mod product;
mod reduce;
mod resize;
mod window;

#[cfg(test)]
mod tests;

use crate::graph::{ConstantId, Graph, Operand};
use crate::lifetimes::Lifetimes;
use crate::op::{Op, Unary};
use crate::shape::Shape;
pub use layout::padded;
pub use resize::taps;

/// Numbers with a shape, row-major.
#[derive(Debug, Clone, Copy)]
pub struct Tensor<'a> {
    /// Its lengths.
    pub shape: &'a [usize],
    /// As many numbers as they say.
    pub data: &'a [f32],
}

/// Why nothing was computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A buffer is not of its shape.
    #[error("{what} of shape {shape:?} has {found} numbers")]
    Numbers {
        /// Which buffer.
        what: &'static str,
        /// The shape that it should have.
        shape: Vec<usize>,
        /// How many numbers there are.
        found: usize,
    },
    /// The inputs are not those that the operator takes.
    #[error("{op} cannot take inputs of shapes {found:?}")]
    Inputs {
        /// The operator.
        op: &'static str,
        /// The inputs' lengths.
        found: Vec<Vec<usize>>,
    },
    /// There is not enough memory for a result, or it would be beyond all bounds.
    #[error("no memory for a result of shape {shape} with {items} items")]
    Memory {
        /// Whose.
        shape: Shape,
        /// Items of the batch.
        items: usize,
    },
}

/// Runs a graph: `input` has the numbers of `items` items, one behind the other. Yields its outputs in order.
///
/// # Errors
/// When the input has another length, or memory does not suffice.
pub fn interpret(graph: &Graph, items: usize, input: &[f32]) -> Result<Vec<Vec<f32>>, Fault> {
    let shape = lengths(graph.shape(graph.input()), items)?;
    check("the input", &shape, input.len())?;
    let lifetimes = Lifetimes::of(graph);
    let mut values: Vec<Option<Vec<f32>>> = vec![None; graph.values().len()];
    put(&mut values, graph.input().index(), input.to_vec());
    for (index, node) in graph.nodes().iter().enumerate() {
        let result = {
            let read = |operand: &Operand| -> Result<(Vec<usize>, &[f32]), Fault> {
                match operand {
                    Operand::Value(id) => {
                        let data = values.get(id.index()).and_then(Option::as_deref);
                        Ok((lengths(graph.shape(*id), items)?, data.unwrap_or_default()))
                    }
                    Operand::Constant(id) => Ok(constant(graph, *id)),
                }
            };
            let inputs = node.inputs.iter().map(read).collect::<Result<Vec<_>, _>>()?;
            let tensors: Vec<Tensor<'_>> = inputs.iter().map(|(shape, data)| Tensor { shape, data }).collect();
            run(graph, &node.op, &tensors, graph.shape(node.output), items)?
        };
        put(&mut values, node.output.index(), result);
        for dead in lifetimes.ending_at(index) {
            if let Some(value) = values.get_mut(dead.index()) {
                *value = None;
            }
        }
    }
    let outputs = graph.outputs().iter();
    Ok(outputs
        .map(|output| values.get(output.value.index()).cloned().flatten().unwrap_or_default())
        .collect())
}

fn put(values: &mut [Option<Vec<f32>>], index: usize, data: Vec<f32>) {
    if let Some(value) = values.get_mut(index) {
        *value = Some(data);
    }
}

fn constant(graph: &Graph, id: ConstantId) -> (Vec<usize>, &[f32]) {
    graph
        .constant(id)
        .map(|constant| (constant.shape.clone(), &*constant.data))
        .unwrap_or_default()
}

fn lengths(shape: &Shape, items: usize) -> Result<Vec<usize>, Fault> {
    shape.at(items).ok_or_else(|| memory(shape, items))
}

fn memory(shape: &Shape, items: usize) -> Fault {
    Fault::Memory {
        shape: shape.clone(),
        items,
    }
}

/// Runs one operator; `shape` is what inference says that comes out.
///
/// # Errors
/// As [`run_into`], and when memory does not suffice.
pub fn run(graph: &Graph, op: &Op, inputs: &[Tensor<'_>], shape: &Shape, items: usize) -> Result<Vec<f32>, Fault> {
    /// 16 GiB: a batch of 64 of the largest values.
    const MOST: usize = 1 << 32;
    let lengths = lengths(shape, items)?;
    let numbers = product(&lengths).filter(|numbers| *numbers <= MOST);
    let mut out = Vec::new();
    match numbers.map(|numbers| (numbers, out.try_reserve_exact(numbers))) {
        Some((numbers, Ok(()))) => out.resize(numbers, 0.0),
        _ => return Err(memory(shape, items)),
    }
    run_into(graph, op, inputs, &lengths, &mut out)?;
    Ok(out)
}

/// Runs one operator into a buffer, whose lengths are those of what inference says that comes out.
///
/// # Errors
/// When a buffer is not of its shape, or the inputs are not what the operator takes.
pub fn run_into(graph: &Graph, op: &Op, inputs: &[Tensor<'_>], shape: &[usize], out: &mut [f32]) -> Result<(), Fault> {
    check("the result", shape, out.len())?;
    for input in inputs {
        check("an input", input.shape, input.data.len())?;
    }
    let done = dispatch(graph, op, inputs, shape, out);
    done.ok_or_else(|| Fault::Inputs {
        op: op.name(),
        found: inputs.iter().map(|input| input.shape.to_vec()).collect(),
    })
}

/// Nothing where the inputs do not fit the operator.
fn dispatch(graph: &Graph, op: &Op, inputs: &[Tensor<'_>], shape: &[usize], out: &mut [f32]) -> Option<()> {
    match (op, inputs) {
        (Op::Convolution(conv), [map, added @ ..]) => {
            window::convolution(graph, conv, *map, shape, out)?;
            pointwise::finish(added, conv.activation, out)
        }
        (Op::TransposedConvolution(conv), [map]) => window::transposed(graph, conv, *map, shape, out),
        (Op::Pool(pool), [map]) => window::pool(pool, *map, shape, out),
        (Op::AdaptiveAverage(_), [map]) => window::adaptive(*map, shape, out),
        (Op::Resize(resize), [map]) => resize::resize(resize, *map, shape, out),
        (Op::Linear(linear), [x, added @ ..]) => {
            product::linear(graph, linear, *x, out)?;
            pointwise::finish(added, linear.activation, out)
        }
        (Op::MatMul, [left, right]) => product::matmul(*left, *right, shape, out),
        (Op::Scale { factor, shift }, [x]) => {
            pointwise::scale(vector(graph, Some(*factor)), vector(graph, Some(*shift)), *x, out)
        }
        (Op::LayerNorm(norm), [x]) => reduce::layer_norm(graph, norm, *x, out),
        (Op::GroupNorm(norm), [x]) => reduce::group_norm(graph, norm, *x, out),
        (Op::LocalResponseNorm(norm), [x]) => reduce::local_response_norm(norm, *x, out),
        (Op::Unary(Unary::Activation(activation)), [x]) => pointwise::each(*x, out, |x| activation.apply(x)),
        (Op::Unary(unary), [x]) => pointwise::each(*x, out, |x| unary.apply(x)),
        (Op::Binary(binary), [left, right]) => pointwise::binary(*binary, *left, *right, shape, out),
        (Op::Select, [condition, yes, no]) => pointwise::select(*condition, *yes, *no, shape, out),
        (Op::Softmax { axis, log }, [x]) => reduce::softmax(*axis, *log, *x, out),
        (Op::Reduce { reduction, axes, .. }, [x]) => reduce::reduce(*reduction, axes, *x, out),
        (
            Op::ArgExtreme {
                smallest, axis, last, ..
            },
            [x],
        ) => reduce::arg_extreme(*smallest, *last, *axis, *x, out),
        (Op::Reshape(_), [x]) => pointwise::each(*x, out, |x| x),
        (Op::Transpose(order), [x]) => layout::transpose(order, *x, out),
        (Op::Slice { starts, steps, .. }, [x]) => layout::slice(starts, steps, shape, *x, out),
        (Op::Concat { axis }, inputs) => layout::concat(*axis, inputs, shape, out),
        (Op::Pad { before, mode, .. }, [x]) => layout::pad(before, *mode, *x, shape, out),
        (Op::Expand(_), [x]) => layout::expand(*x, shape, out),
        (Op::Gather { axis, indices, .. }, [x]) => layout::gather(*axis, indices, *x, out),
        _ => None,
    }
}

/// Numbers broadcast to a shape; nothing where they cannot be.
pub(crate) fn expand(from: &[usize], data: &[f32], shape: &[usize]) -> Option<Vec<f32>> {
    let mut out = vec![0.0; product(shape)?];
    layout::expand(Tensor { shape: from, data }, shape, &mut out)?;
    Some(out)
}

/// The numbers of a constant; nothing where there is none.
fn vector(graph: &Graph, id: Option<ConstantId>) -> Option<&[f32]> {
    graph.constant(id?).map(|constant| &*constant.data)
}

fn product(lengths: &[usize]) -> Option<usize> {
    lengths
        .iter()
        .try_fold(1_usize, |product, length| product.checked_mul(*length))
}

fn check(what: &'static str, shape: &[usize], found: usize) -> Result<(), Fault> {
    match product(shape) == Some(found) && found > 0 {
        true => Ok(()),
        false => Err(Fault::Numbers {
            what,
            shape: shape.to_vec(),
            found,
        }),
    }
}
