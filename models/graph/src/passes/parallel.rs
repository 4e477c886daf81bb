//! Sums of convolutions of one map (and of the map itself, scaled by channel), as one convolution: networks that are trained
//! with several branches and were exported before their branches were joined.

use super::edit::Edit;
use crate::graph::Operand;
use crate::op::{Binary, Convolution, Op, Window};

/// Most numbers of a joined weight.
const MAX_WEIGHT: usize = 1 << 26;

pub(super) fn join(edit: &mut Edit) {
    for index in edit.nodes() {
        join_node(edit, index);
    }
}

fn join_node(edit: &mut Edit, index: usize) -> Option<()> {
    let node = edit.node(index)?;
    let (Op::Binary(Binary::Add), [left, right]) = (&node.op, node.inputs.as_slice()) else {
        return None;
    };
    let (left, right) = (*left, *right);
    let same_shape = edit.shape(left) == edit.shape(right);
    let one = Branch::of(edit, left)?;
    let other = Branch::of(edit, right)?;
    // The one with the larger window takes the other in.
    let (into, other) = if one.area() >= other.area() {
        (one, other)
    } else {
        (other, one)
    };
    if !same_shape || into.x != other.x {
        return None;
    }
    let (conv, name, weight, bias) = into.with(edit, &other)?;
    let shape = edit.graph().constant(conv.weight)?.shape.clone();
    let weight = edit.add_finite(&name, &shape, weight)?;
    let bias = edit.add_finite(&format!("{name}.bias"), &[bias.len()], bias)?;
    let conv = Convolution {
        weight,
        bias: Some(bias),
        ..conv
    };
    edit.replace(index, Op::Convolution(conv), &[into.x])
}

/// One summand: what is computed of `x`.
struct Branch {
    x: Operand,
    op: Op,
}

impl Branch {
    fn of(edit: &Edit, operand: Operand) -> Option<Self> {
        let (_, node) = edit.producer(operand).filter(|_| edit.is_sole(operand))?;
        let fits = match &node.op {
            Op::Convolution(conv) => !conv.residual && conv.activation.is_none(),
            Op::Scale { .. } => edit.shape(operand).rank() == 4,
            _ => false,
        };
        let x = *node.inputs.first()?;
        fits.then(|| Self { x, op: node.op.clone() })
    }

    /// How many taps its window has; a scale has less than any.
    fn area(&self) -> usize {
        match &self.op {
            Op::Convolution(conv) => conv.window.kernel.iter().product(),
            _ => 0,
        }
    }

    /// The convolution, its weight's name, and weight and bias with those of another branch added.
    fn with(&self, edit: &Edit, other: &Self) -> Option<(Convolution, String, Vec<f32>, Vec<f32>)> {
        let Op::Convolution(conv) = &self.op else { return None };
        let graph = edit.graph();
        let numbers = |id| graph.constant(id).map(|constant| &*constant.data);
        let weight = graph.constant(conv.weight)?;
        let [out, depth, height, width] = <[usize; 4]>::try_from(weight.shape.as_slice()).ok()?;
        if weight.data.len() > MAX_WEIGHT {
            return None;
        }
        let mut sums: Vec<f64> = weight.data.iter().map(|number| f64::from(*number)).collect();
        let mut bias = vec![0.0_f64; out];
        add(&mut bias, conv.bias.and_then(numbers));
        match &other.op {
            Op::Convolution(small) => {
                let (down, right) = offset(conv, small)?;
                let source = graph.constant(small.weight)?;
                let [.., rows, columns] = source.shape.as_slice() else {
                    return None;
                };
                if source.shape.get(..2) != Some(&[out, depth]) {
                    return None;
                }
                let lines = source.data.chunks(*columns).enumerate();
                for (line, numbers) in lines {
                    let (plane, row) = (line / rows, line % rows);
                    let start = (plane * height + row + down) * width + right;
                    for (sum, number) in sums.get_mut(start..)?.iter_mut().zip(numbers) {
                        *sum += f64::from(*number);
                    }
                }
                add(&mut bias, small.bias.and_then(numbers));
            }
            Op::Scale { factor, shift } => {
                let unit = Window {
                    kernel: [1, 1],
                    stride: [1, 1],
                    dilation: [1, 1],
                    before: [0, 0],
                    after: [0, 0],
                };
                let identity = Convolution {
                    window: unit,
                    ..conv.clone()
                };
                let (down, right) = offset(conv, &identity)?;
                let part = out.checked_div(conv.groups)?;
                // As many channels in as out, or the shapes would differ.
                for (channel, factor) in numbers(*factor)?.iter().enumerate() {
                    let own = channel.checked_rem(part)?;
                    let place = ((channel * depth + own) * height + down) * width + right;
                    *sums.get_mut(place).filter(|_| part == depth)? += f64::from(*factor);
                }
                add(&mut bias, numbers(*shift));
            }
            _ => return None,
        }
        let narrow = |numbers: Vec<f64>| numbers.into_iter().map(|number| number as f32).collect();
        Some((conv.clone(), weight.name.clone(), narrow(sums), narrow(bias)))
    }
}

fn add(sums: &mut [f64], numbers: Option<&[f32]>) {
    for (sum, number) in sums.iter_mut().zip(numbers.unwrap_or_default()) {
        *sum += f64::from(*number);
    }
}

/// Where the taps of a small window are in a large one that moves with it.
fn offset(large: &Convolution, small: &Convolution) -> Option<(usize, usize)> {
    let (outer, inner) = (&large.window, &small.window);
    let alike = outer.stride == inner.stride && outer.dilation == [1, 1] && inner.dilation == [1, 1];
    if !alike || large.groups != small.groups {
        return None;
    }
    let along = |before: usize, own: usize, kernel: usize, taps: usize| {
        let offset = before.checked_sub(own)?;
        (offset.checked_add(taps)? <= kernel).then_some(offset)
    };
    let ([above, left], [own_above, own_left]) = (outer.before, inner.before);
    let ([height, width], [rows, columns]) = (outer.kernel, inner.kernel);
    Some((
        along(above, own_above, height, rows)?,
        along(left, own_left, width, columns)?,
    ))
}
