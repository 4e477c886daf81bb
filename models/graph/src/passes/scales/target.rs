//! The operators that take a factor and a shift in.

use super::super::edit::Edit;
use super::affine::Affine;
use crate::graph::ConstantId;
use crate::op::{Convolution, GroupNorm, LayerNorm, Linear, Op, TransposedConvolution};

/// An operator whose result may be scaled by channel through its constants.
pub(super) struct Target {
    op: Op,
    node: usize,
}

impl Target {
    /// Nothing where the operator has no such constants, or does something behind them.
    pub(super) fn of(edit: &Edit, node: usize) -> Option<Self> {
        let op = &edit.node(node)?.op;
        let open = match op {
            Op::Convolution(_) | Op::Linear(_) => !op.has_residual() && op.activation().is_none(),
            Op::TransposedConvolution(_) | Op::Scale { .. } | Op::LayerNorm(_) | Op::GroupNorm(_) => true,
            _ => false,
        };
        open.then(|| Self { op: op.clone(), node })
    }

    /// The lengths of the axes that have a factor each, where these are the last ones and not just one axis of channels.
    pub(super) fn last_axes(&self, edit: &Edit) -> Option<Vec<usize>> {
        let Op::LayerNorm(norm) = &self.op else { return None };
        let shape = edit.graph().shape(edit.node(self.node)?.output);
        let first = shape.rank().checked_sub(norm.axes)?;
        Some(shape.0.iter().skip(first).map(|axis| axis.size).collect())
    }

    /// The axis of the channels.
    pub(super) fn axis(&self, edit: &Edit) -> Option<usize> {
        match self.op {
            Op::Linear(_) => edit.graph().shape(edit.node(self.node)?.output).rank().checked_sub(1),
            _ => Some(1),
        }
    }

    /// How many channels there are.
    pub(super) fn channels(&self, edit: &Edit) -> Option<usize> {
        let axis = self.axis(edit)?;
        let shape = edit.graph().shape(edit.node(self.node)?.output);
        Some(shape.0.get(axis).filter(|axis| !axis.batched)?.size)
    }

    /// The operator that yields what it yielded, scaled. Nothing where a number would leave the range of `f32`.
    pub(super) fn with(self, edit: &mut Edit, affine: &Affine) -> Option<Op> {
        let op = match self.op {
            Op::Convolution(conv) => {
                let channels = affine.factor.len().max(1);
                let weight = scaled(edit, affine, conv.weight, |index, length| {
                    index / (length / channels).max(1)
                })?;
                let bias = bias(edit, affine, conv.weight, conv.bias)?;
                Op::Convolution(Convolution { weight, bias, ..conv })
            }
            Op::Linear(linear) => {
                let channels = affine.factor.len().max(1);
                let weight = scaled(edit, affine, linear.weight, |index, _| index % channels)?;
                let bias = bias(edit, affine, linear.weight, linear.bias)?;
                Op::Linear(Linear { weight, bias, ..linear })
            }
            Op::TransposedConvolution(conv) => {
                // `[in, out / groups, ..]`: the group is that of the channel in.
                let shape = edit.graph().constant(conv.weight)?.shape.clone();
                let [channels, part, height, width] = <[usize; 4]>::try_from(shape).ok()?;
                let (taps, groups) = ((height * width).max(1), conv.groups);
                let depth = channels.checked_div(groups)?.max(1);
                let of = move |index: usize, _| {
                    let (channel, within) = (index / taps / part.max(1), index / taps % part.max(1));
                    channel / depth * part + within
                };
                let weight = scaled(edit, affine, conv.weight, of)?;
                let bias = bias(edit, affine, conv.weight, conv.bias)?;
                Op::TransposedConvolution(TransposedConvolution { weight, bias, ..conv })
            }
            Op::Scale { factor, shift } => {
                let (factor, shift) = vectors(edit, affine, Some(factor), Some(shift))?;
                Op::Scale {
                    factor: factor?,
                    shift: shift?,
                }
            }
            Op::LayerNorm(norm) => {
                let (scale, shift) = vectors(edit, affine, norm.scale, norm.shift)?;
                Op::LayerNorm(LayerNorm { scale, shift, ..norm })
            }
            Op::GroupNorm(norm) => {
                let (scale, shift) = vectors(edit, affine, norm.scale, norm.shift)?;
                Op::GroupNorm(GroupNorm { scale, shift, ..norm })
            }
            _ => return None,
        };
        Some(op)
    }
}

/// Weights times the factor of the channel that `channel` says for each of them.
fn scaled(
    edit: &mut Edit,
    affine: &Affine,
    weight: ConstantId,
    channel: impl Fn(usize, usize) -> usize,
) -> Option<ConstantId> {
    if affine.is_shift() {
        return Some(weight);
    }
    let constant = edit.graph().constant(weight)?;
    let (name, shape, length) = (constant.name.clone(), constant.shape.clone(), constant.data.len());
    let numbers = constant.data.iter().enumerate().map(|(index, number)| {
        let factor = affine.factor.get(channel(index, length))?;
        Some((f64::from(*number) * factor) as f32)
    });
    let numbers = numbers.collect::<Option<Vec<f32>>>()?;
    edit.add_finite(&name, &shape, numbers)
}

/// The bias; outer nothing where it would be infinite, inner nothing where there is none.
fn bias(edit: &mut Edit, affine: &Affine, weight: ConstantId, bias: Option<ConstantId>) -> Option<Option<ConstantId>> {
    if bias.is_none() && affine.shift.iter().all(|shift| *shift == 0.0) {
        return Some(None);
    }
    let (name, numbers) = {
        let before = bias.and_then(|id| edit.graph().constant(id));
        let name = before.map_or_else(|| format!("{}.bias", edit.name(weight)), |bias| bias.name.clone());
        (name, affine.after(None, before.map(|bias| &*bias.data)).1)
    };
    edit.add_finite(&name, &[numbers.len()], numbers).map(Some)
}

/// A scale and a shift behind which another comes.
fn vectors(
    edit: &mut Edit,
    affine: &Affine,
    scale: Option<ConstantId>,
    shift: Option<ConstantId>,
) -> Option<(Option<ConstantId>, Option<ConstantId>)> {
    let (factors, shifts) = {
        let numbers = |id: Option<ConstantId>| edit.graph().constant(id?).map(|constant| &*constant.data);
        affine.after(numbers(scale), numbers(shift))
    };
    let name = |id: Option<ConstantId>, otherwise: &str| id.map_or_else(|| otherwise.to_owned(), |id| edit.name(id));
    let (scale_name, shift_name) = (name(scale, "scale"), name(shift, "shift"));
    let scale = edit.add_finite(&scale_name, &[factors.len()], factors)?;
    let shift = edit.add_finite(&shift_name, &[shifts.len()], shifts)?;
    Some((Some(scale), Some(shift)))
}
