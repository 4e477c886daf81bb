//! Taps of a convolution that read nothing but padding: kernels of small maps whose dilation is larger than the map.

use super::edit::Edit;
use crate::op::{Convolution, Op, Window};

pub(super) fn cut(edit: &mut Edit) {
    for index in edit.nodes() {
        cut_node(edit, index);
    }
}

fn cut_node(edit: &mut Edit, index: usize) -> Option<()> {
    let node = edit.node(index)?;
    let Op::Convolution(conv) = &node.op else { return None };
    let (conv, inputs) = (conv.clone(), node.inputs.clone());
    let input = edit.shape(*inputs.first()?);
    let output = edit.graph().shape(node.output).clone();
    let ([_, _, height, width], [_, _, rows, columns]) = (input.0.as_slice(), output.0.as_slice()) else {
        return None;
    };
    let vertical = Axis::of(&conv.window, 0, height.size, rows.size)?;
    let horizontal = Axis::of(&conv.window, 1, width.size, columns.size)?;
    let cuts = [vertical.dead(), horizontal.dead()];
    if cuts == [[0, 0], [0, 0]] {
        return None;
    }
    let weight = edit.graph().constant(conv.weight)?;
    let [out, depth, kernel_height, kernel_width] = *weight.shape.as_slice() else {
        return None;
    };
    // A product with padding is 0 for finite numbers alone.
    if !weight.data.iter().all(|number| number.is_finite()) {
        return None;
    }
    let [[top, bottom], [left, right]] = cuts;
    let mut data = Vec::new();
    for line in 0..out.checked_mul(depth)?.checked_mul(kernel_height)? {
        let row = line % kernel_height;
        if row < top || row >= kernel_height - bottom {
            continue;
        }
        let start = line * kernel_width;
        data.extend(weight.data.get(start + left..start + kernel_width - right)?);
    }
    let kernel = [kernel_height - top - bottom, kernel_width - left - right];
    let mut dilation = conv.window.dilation;
    for (dilation, _) in dilation.iter_mut().zip(kernel).filter(|(_, length)| *length == 1) {
        *dilation = 1;
    }
    let window = Window {
        kernel,
        dilation,
        before: [
            vertical.before - top * vertical.dilation,
            horizontal.before - left * horizontal.dilation,
        ],
        after: [
            conv.window.after[0] - bottom * vertical.dilation,
            conv.window.after[1] - right * horizontal.dilation,
        ],
        ..conv.window
    };
    let name = edit.name(conv.weight);
    let weight = edit.add_constant(&name, &[out, depth, kernel[0], kernel[1]], data)?;
    edit.replace(index, Op::Convolution(Convolution { weight, window, ..conv }), &inputs)
}

/// How a window moves along an axis.
struct Axis {
    kernel: usize,
    dilation: usize,
    before: usize,
    after: usize,
    input: usize,
    /// How far the last window is from the first.
    way: usize,
}

impl Axis {
    fn of(window: &Window, axis: usize, input: usize, output: usize) -> Option<Self> {
        let at = |numbers: [usize; 2]| numbers.get(axis).copied();
        Some(Self {
            kernel: at(window.kernel)?,
            dilation: at(window.dilation)?,
            before: at(window.before)?,
            after: at(window.after)?,
            input,
            way: output.checked_sub(1)?.checked_mul(at(window.stride)?)?,
        })
    }

    /// How many of the first taps never reach the input, and how many of the last ones begin behind it. Where less padding
    /// than these taps need would be left, they stay.
    fn dead(&self) -> [usize; 2] {
        let first =
            |tap: &usize| self.way + tap * self.dilation < self.before && (tap + 1) * self.dilation <= self.before;
        let first = (0..self.kernel).take_while(first).count();
        let last = |tap: &usize| {
            let behind = (self.kernel - tap) * self.dilation;
            tap * self.dilation >= self.before + self.input && behind <= self.after
        };
        let last = (0..self.kernel).rev().take_while(last).count();
        match first + last < self.kernel {
            true => [first, last],
            false => [0, 0],
        }
    }
}
