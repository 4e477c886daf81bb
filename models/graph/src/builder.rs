//! Makes a graph node by node: each is checked against what reaches it, and its shape inferred.

use crate::graph::{Constant, ConstantId, Graph, Node, Operand, Output, Value, ValueId};
use crate::infer;
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

/// Makes a [`Graph`].
#[derive(Debug)]
pub struct Builder {
    graph: Graph,
}

impl Builder {
    /// A graph that takes an input of this name and shape.
    pub fn new(name: &str, shape: Shape) -> Self {
        let input = Value {
            name: name.to_owned(),
            shape,
        };
        Self {
            graph: Graph {
                values: vec![input],
                constants: Vec::new(),
                nodes: Vec::new(),
                input: ValueId(0),
                outputs: Vec::new(),
            },
        }
    }

    /// What the network takes.
    pub fn input(&self) -> ValueId {
        self.graph.input
    }

    /// The shape of what a node reads.
    pub fn shape(&self, operand: Operand) -> Shape {
        match operand {
            Operand::Value(value) => self.graph.shape(value).clone(),
            Operand::Constant(id) => self
                .graph
                .constant(id)
                .map_or_else(Shape::default, |constant| Shape::fixed(&constant.shape)),
        }
    }

    /// Adds numbers that are known.
    ///
    /// # Errors
    /// When there are not as many numbers as the shape says, or too many.
    pub fn constant(&mut self, name: &str, shape: &[usize], data: Vec<f32>) -> Result<ConstantId, Misfit> {
        let elements = shape
            .iter()
            .try_fold(1_usize, |product, axis| product.checked_mul(*axis));
        if elements != Some(data.len()) {
            return Err(Misfit {
                expected: format!("as many numbers as {shape:?} says"),
                found: data.len().to_string(),
            });
        }
        let id = ConstantId(u32::try_from(self.graph.constants.len()).unwrap_or(u32::MAX));
        self.graph.constants.push(Constant {
            name: name.to_owned(),
            shape: shape.to_vec(),
            data: data.into(),
        });
        Ok(id)
    }

    /// Adds a node behind those that are there.
    ///
    /// # Errors
    /// When the operator cannot take its inputs, or what comes out is beyond the limits.
    pub fn node(&mut self, name: &str, op: Op, inputs: &[Operand]) -> Result<ValueId, Misfit> {
        let shape = infer::shape(&self.graph, &op, inputs)?;
        let output = ValueId(u32::try_from(self.graph.values.len()).unwrap_or(u32::MAX));
        self.graph.values.push(Value {
            name: name.to_owned(),
            shape,
        });
        self.graph.nodes.push(Node {
            name: name.to_owned(),
            op,
            inputs: inputs.to_vec(),
            output,
        });
        Ok(output)
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
    /// When nothing comes out of it.
    pub fn finish(self) -> Result<Graph, Misfit> {
        Ok(self.graph)
    }
}
