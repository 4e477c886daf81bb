//! Softmax and layer norm along what lies contiguous, group norm over maps; operators that are left to the plain way.

use millrace_graph::{GroupNorm, LayerNorm, Node, Operand};

use crate::kernels::Buffer;
use crate::step::Place;
use crate::steps::{GroupNormStep, NormStep, PlainInput, PlainStep, RowNorm};

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

    /// Over a map; other shapes are left to the plain way.
    pub(super) fn group_norm(&mut self, node: &Node, norm: &GroupNorm) -> Result<(), Refusal> {
        let value = self.value(node, 0)?;
        let [channels, _, _] = self.map_sizes(value).ok_or("its input is no map of each item")?;
        let mut scale = self.bias(norm.scale, channels)?;
        if norm.scale.is_none() {
            scale.floats_mut().fill(1.0);
        }
        let shift = self.bias(norm.shift, channels)?;
        let (input, from) = self.blocked_map(value)?;
        let (output, to) = self.output_map(node)?;
        let step = GroupNormStep {
            kernels: self.kernels,
            input,
            from,
            output,
            to,
            group: (channels / norm.groups.max(1)).max(1),
            epsilon: norm.epsilon,
            scale,
            shift,
        };
        self.push(step, &[input, output]);
        Ok(())
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
