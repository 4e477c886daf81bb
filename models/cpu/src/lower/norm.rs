//! Softmax and layer norm along what lies contiguous; operators that are left to the plain way.

use millrace_graph::{LayerNorm, Node, Operand};

use crate::kernels::Buffer;
use crate::step::Place;
use crate::steps::{NormStep, PlainInput, PlainStep, RowNorm};

use super::{Lowering, Refusal};

impl Lowering<'_> {
    pub(super) fn softmax(&mut self, node: &Node, axis: usize) -> Result<(), Refusal> {
        let sizes = self.sizes(Operand::Value(node.output));
        if axis + 1 != sizes.len() {
            return Err("not along the last axis".to_owned());
        }
        self.norm(node, sizes.last().copied().unwrap_or(1), RowNorm::Softmax)
    }

    pub(super) fn layer_norm(&mut self, node: &Node, norm: &LayerNorm) -> Result<(), Refusal> {
        let sizes = self.sizes(Operand::Value(node.output));
        let length: usize = sizes.iter().rev().take(norm.axes).product();
        let numbers = |id: Option<millrace_graph::ConstantId>, otherwise: f32| -> Result<Buffer, Refusal> {
            match id {
                Some(id) => Ok(Buffer::from_slice(&self.constant(id)?.data)),
                None => Ok(Buffer::from_slice(&vec![otherwise; length])),
            }
        };
        let (scale, shift) = (numbers(norm.scale, 1.0)?, numbers(norm.shift, 0.0)?);
        self.norm(
            node,
            length,
            RowNorm::Layer {
                epsilon: norm.epsilon as f32,
                scale,
                shift,
            },
        )
    }

    fn norm(&mut self, node: &Node, length: usize, norm: RowNorm) -> Result<(), Refusal> {
        let floats = self.elements(Operand::Value(node.output));
        let input = self.rows(Operand::Value(self.value(node, 0)?))?;
        let output = self.new_rows(floats);
        let step = NormStep {
            kernels: self.kernels,
            input,
            output,
            rows: floats / length.max(1),
            length,
            norm,
        };
        self.push(step, &[input, output]);
        self.set_rows(node.output, output);
        Ok(())
    }

    /// Any operator, on row-major numbers.
    pub(super) fn plain(&mut self, node: &Node) -> Result<(), Refusal> {
        let mut inputs = Vec::new();
        let mut places: Vec<Place> = Vec::new();
        for operand in &node.inputs {
            let sizes = self.sizes(*operand);
            inputs.push(match operand {
                Operand::Value(_) => {
                    let place = self.rows(*operand)?;
                    places.push(place);
                    (PlainInput::Value(place), sizes)
                }
                Operand::Constant(id) => (PlainInput::Constant(*id), sizes),
            });
        }
        let shape = self.sizes(Operand::Value(node.output));
        let output = self.new_rows(shape.iter().product());
        places.push(output);
        let step = PlainStep {
            graph: self.shared.clone(),
            op: node.op.clone(),
            inputs,
            output,
            shape,
        };
        self.push(step, &places);
        self.set_rows(node.output, output);
        self.plain_nodes.push(node.name.clone());
        Ok(())
    }
}
