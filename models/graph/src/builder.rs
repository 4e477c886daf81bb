//! Makes a graph node by node: each is checked against what reaches it, and its shape inferred.

use std::sync::Arc;

use crate::cost;
use crate::graph::{Constant, ConstantId, Graph, Node, Operand, Output, Value, ValueId};
use crate::infer::{self, Inferred};
use crate::interpret::{self, Tensor};
use crate::limits::{MAX_AXES, MAX_CONSTANT_BYTES, MAX_CONSTANTS, MAX_NAME_BYTES, MAX_NODES, MAX_OUTPUTS, MAX_WORK};
use crate::op::Op;
use crate::shape::Shape;

/// Why a node does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found}")]
pub struct Misfit {
    /// What would fit.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl Misfit {
    /// What would fit, and what is there.
    pub fn new(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            expected: expected.into(),
            found: found.into(),
        }
    }
}

/// A result that is always worth to be a constant.
const FOLDED_ELEMENTS: usize = 1 << 20;

/// Makes a [`Graph`].
#[derive(Debug)]
pub struct Builder {
    graph: Graph,
    constant_bytes: u64,
    work: u64,
}

impl Builder {
    /// A graph that takes an input of this name and shape.
    pub fn new(name: &str, shape: Shape) -> Self {
        let input = Value {
            name: cut(name),
            shape,
            outer: 1,
        };
        Self {
            graph: Graph {
                values: vec![input],
                constants: Vec::new(),
                nodes: Vec::new(),
                input: ValueId(0),
                outputs: Vec::new(),
            },
            constant_bytes: 0,
            work: 0,
        }
    }

    /// What the network takes.
    pub fn input(&self) -> ValueId {
        self.graph.input
    }

    /// The shape of what a node reads.
    pub fn shape(&self, operand: Operand) -> Shape {
        self.graph.shape_of(operand)
    }

    /// The input, or what a node yields.
    pub fn value(&self, id: ValueId) -> Option<&Value> {
        self.graph.values.get(id.index())
    }

    /// A constant that was added.
    pub fn get(&self, id: ConstantId) -> Option<&Constant> {
        self.graph.constant(id)
    }

    /// Adds numbers that are known: a `Vec`, or an `Arc` of what others use as well.
    ///
    /// # Errors
    /// When there are not as many numbers as the shape says, none, or too many.
    pub fn constant(&mut self, name: &str, shape: &[usize], data: impl Into<Arc<[f32]>>) -> Result<ConstantId, Misfit> {
        let data = data.into();
        check_constant(shape, data.len())?;
        let bytes = self.constant_bytes.saturating_add(bytes(&data));
        if bytes > MAX_CONSTANT_BYTES {
            return Err(Misfit::new(
                format!("at most {MAX_CONSTANT_BYTES} bytes of constants"),
                format!("{bytes} up to this one"),
            ));
        }
        let id = match u32::try_from(self.graph.constants.len()) {
            Ok(id) if self.graph.constants.len() < MAX_CONSTANTS => ConstantId(id),
            _ => return Err(Misfit::new(format!("at most {MAX_CONSTANTS} constants"), "more")),
        };
        self.constant_bytes = bytes;
        self.graph.constants.push(Constant {
            name: cut(name),
            shape: shape.to_vec(),
            data,
        });
        Ok(id)
    }

    /// Adds a node behind those that are there.
    ///
    /// # Errors
    /// When the operator cannot take its inputs, or what comes out is beyond the limits.
    pub fn node(&mut self, name: &str, op: Op, inputs: &[Operand]) -> Result<ValueId, Misfit> {
        infer::bounded(self.graph.shape(self.graph.input))?;
        let Inferred { shape, outer } = infer::infer(&self.graph, &op, inputs)?;
        let work = self.work.saturating_add(cost::work(&self.graph, &op, inputs, &shape));
        if work > MAX_WORK {
            return Err(Misfit::new(
                format!("at most {MAX_WORK} steps of arithmetic an item up to here"),
                work.to_string(),
            ));
        }
        let output = match u32::try_from(self.graph.values.len()) {
            Ok(id) if self.graph.nodes.len() < MAX_NODES => ValueId(id),
            _ => return Err(Misfit::new(format!("at most {MAX_NODES} nodes"), "more")),
        };
        self.work = work;
        self.graph.values.push(Value {
            name: cut(name),
            shape,
            outer,
        });
        self.graph.nodes.push(Node {
            name: cut(name),
            op,
            inputs: inputs.to_vec(),
            output,
        });
        Ok(output)
    }

    /// Computes an operator of constants alone and adds what it yields as a constant. Nothing where an input is a value,
    /// where the result is large and more than twice what it is made of, or where it takes more steps than are left of
    /// `work`, from which they are taken.
    ///
    /// # Errors
    /// When the operator cannot take its inputs, or what comes out is beyond the limits.
    pub fn fold(
        &mut self,
        name: &str,
        op: &Op,
        inputs: &[Operand],
        work: &mut u64,
    ) -> Result<Option<ConstantId>, Misfit> {
        if inputs.iter().any(|input| matches!(input, Operand::Value(_))) {
            return Ok(None);
        }
        let Inferred { shape, .. } = infer::infer(&self.graph, op, inputs)?;
        let left = work.checked_sub(cost::work(&self.graph, op, inputs, &shape));
        let constants: Vec<&Constant> = inputs
            .iter()
            .filter_map(|input| match input {
                Operand::Constant(id) => self.get(*id),
                Operand::Value(_) => None,
            })
            .collect();
        let read = constants
            .iter()
            .map(|constant| constant.data.len())
            .fold(0, usize::saturating_add);
        let is_small = shape.elements() <= Some(FOLDED_ELEMENTS.max(read.saturating_mul(2)));
        let (Some(left), true, false) = (left, is_small, shape.is_batched()) else {
            return Ok(None);
        };
        *work = left;
        let tensors: Vec<Tensor<'_>> = constants
            .iter()
            .map(|constant| Tensor {
                shape: &constant.shape,
                data: &constant.data,
            })
            .collect();
        let numbers = interpret::run(&self.graph, op, &tensors, &shape, 1)
            .map_err(|fault| Misfit::new("constants that can be computed with", fault.to_string()))?;
        let lengths: Vec<usize> = shape.0.iter().map(|axis| axis.size).collect();
        self.constant(name, &lengths, numbers).map(Some)
    }

    /// Says that a value is one of the network's outputs.
    pub fn output(&mut self, name: &str, value: ValueId) {
        self.graph.outputs.push(Output {
            name: name.to_owned(),
            value,
        });
    }

    /// The graph.
    ///
    /// # Errors
    /// When its input is beyond the limits, or grows with the batch along another axis than its first; when nothing comes
    /// out of it, or an output is of another graph.
    pub fn finish(self) -> Result<Graph, Misfit> {
        let input = self.graph.shape(self.graph.input);
        infer::bounded(input)?;
        // One that does not grow at all is run item by item.
        if input.0.iter().skip(1).any(|axis| axis.batched) {
            return Err(Misfit::new(
                "an input with the items along its first axis",
                input.to_string(),
            ));
        }
        let outputs = self.graph.outputs.len();
        if outputs == 0 || outputs > MAX_OUTPUTS {
            return Err(Misfit::new(format!("1 to {MAX_OUTPUTS} outputs"), outputs.to_string()));
        }
        let values = self.graph.values.len();
        match self.graph.outputs.iter().find(|output| output.value.index() >= values) {
            Some(output) => Err(Misfit::new("outputs of this graph", format!("{:?}", output.value))),
            None => Ok(self.graph),
        }
    }
}

/// A name of bounded length.
fn cut(name: &str) -> String {
    name.get(..name.floor_char_boundary(MAX_NAME_BYTES))
        .unwrap_or_default()
        .to_owned()
}

/// Refuses a constant that is not of its shape.
pub(crate) fn check_constant(shape: &[usize], numbers: usize) -> Result<(), Misfit> {
    if shape.len() > MAX_AXES {
        return Err(Misfit::new(format!("at most {MAX_AXES} axes"), shape.len().to_string()));
    }
    let elements = shape
        .iter()
        .try_fold(1_usize, |product, axis| product.checked_mul(*axis));
    if elements != Some(numbers) {
        return Err(Misfit::new(
            format!("as many numbers as {shape:?} says"),
            numbers.to_string(),
        ));
    }
    if numbers == 0 {
        return Err(Misfit::new("at least one number", format!("{shape:?}")));
    }
    Ok(())
}

fn bytes(data: &[f32]) -> u64 {
    size_of_val(data) as u64
}
