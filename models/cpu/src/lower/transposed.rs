//! Transposed convolutions: for each remainder of a result's row and column by the stride, a convolution of its own with those
//! taps of the kernel that meet it.

use millrace_graph::{Graph, Node, TransposedConvolution, ValueId};

use crate::kernels::{Finish, Table};
use crate::layout::{Halo, Map};
use crate::step::Place;
use crate::steps::{DenseParts, DenseStep, Section};

use super::{Lowering, Refusal, map_sizes};

/// Results along an axis that are `stride` apart, and what they are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Phase {
    /// The first result.
    first: usize,
    /// How many results.
    count: usize,
    /// Taps of the kernel, each with the input index that the first result meets there; negative before the input.
    taps: Vec<(usize, isize)>,
}

impl Phase {
    /// The input indices that are read, from the first to behind the last.
    fn reach(&self) -> (isize, isize) {
        let indices = self.taps.iter().map(|(_, index)| *index);
        let last = indices.clone().max().unwrap_or(0) + self.count as isize;
        (indices.min().unwrap_or(0), last)
    }
}

/// The phases along an axis with so many results.
fn phases(conv: &TransposedConvolution, axis: usize, results: usize) -> Vec<Phase> {
    let window = &conv.window;
    let at = |numbers: [usize; 2]| if axis == 0 { numbers[0] } else { numbers[1] };
    let (stride, dilation) = (at(window.stride), at(window.dilation));
    let phase = |first: usize| {
        let taps = (0..at(window.kernel)).filter_map(|tap| {
            let distance = (first + at(window.before)) as isize - (tap * dilation) as isize;
            let meets = distance.rem_euclid(stride as isize) == 0;
            meets.then_some((tap, distance.div_euclid(stride as isize)))
        });
        Phase {
            first,
            count: (results - first).div_ceil(stride),
            taps: taps.collect(),
        }
    };
    (0..stride.min(results)).map(phase).collect()
}

/// The zeros around its input that a transposed convolution reads.
pub(super) fn needed(graph: &Graph, conv: &TransposedConvolution, input: ValueId, output: ValueId) -> Halo {
    let (Some([_, height, width]), Some([_, rows, columns])) = (map_sizes(graph, input), map_sizes(graph, output))
    else {
        return Halo::default();
    };
    let around = |axis: usize, length: usize, results: usize| {
        let (before, behind) = phases(conv, axis, results)
            .iter()
            .map(Phase::reach)
            .fold((0, 0), |(before, behind), (first, last)| {
                (before.max(-first), behind.max(last - length as isize))
            });
        (before.unsigned_abs(), behind.unsigned_abs())
    };
    let ((top, bottom), (left, right)) = (around(0, height, rows), around(1, width, columns));
    Halo {
        top,
        left,
        bottom,
        right,
    }
}

/// Where a convolution reads and writes.
struct Ends {
    input: Place,
    from: Map,
    output: Place,
    to: Map,
}

impl Lowering<'_> {
    pub(super) fn transposed(&mut self, node: &Node, conv: &TransposedConvolution) -> Result<(), Refusal> {
        if conv.groups != 1 {
            return Err("in groups".to_owned());
        }
        let value = self.value(node, 0)?;
        let (input, from) = self.map(value, needed(self.graph, conv, value, node.output))?;
        let (output, to) = self.output_map(node)?;
        let ends = Ends {
            input,
            from,
            output,
            to,
        };
        for vertical in phases(conv, 0, to.height) {
            for horizontal in phases(conv, 1, to.width) {
                self.transposed_phase(conv, &ends, &vertical, &horizontal)?;
            }
        }
        Ok(())
    }

    /// The results that are a stride apart.
    fn transposed_phase(
        &mut self,
        conv: &TransposedConvolution,
        ends: &Ends,
        vertical: &Phase,
        horizontal: &Phase,
    ) -> Result<(), Refusal> {
        let (from, to) = (&ends.from, &ends.to);
        let weights = &self.constant(conv.weight)?.data;
        let [kernel_height, kernel_width] = conv.window.kernel;
        let order = order(from, kernel_width, vertical, horizontal);
        let (corner, [top, left]) = corner(from, vertical, horizontal);
        let taps = order.iter().map(|(channel, _, [y, x])| {
            (from.channel(*channel) + from.step((y - top).unsigned_abs(), (x - left).unsigned_abs())) as u32
        });
        let pixels = grid(from, corner, [1, 1], [vertical, horizontal]);
        let first = to.origin() + to.step(vertical.first, horizontal.first);
        let places = grid(to, first, conv.window.stride, [vertical, horizontal]);
        let parts = DenseParts {
            kernels: self.kernels,
            input: ends.input,
            output: ends.output,
            residual: None,
            sections: vec![Section {
                taps: Table::new(taps.collect()),
                first_channel: 0,
                channels: to.channels,
            }],
            bias: self.bias(conv.bias, to.channels)?,
            pixels: self.repeated(&pixels, self.item_stride(ends.input)),
            places: self.repeated(&places, self.item_stride(ends.output)),
            pixels_of_item: pixels.len(),
            block_stride: to.block_stride(),
            tight: false,
            input_floats: from.len(),
            finish: Finish::NOTHING,
        };
        let step = DenseStep::new(parts, |_, tap, channel| {
            let Some((input, at, _)) = order.get(tap) else {
                return 0.0;
            };
            let index = (input * to.channels + channel) * kernel_height * kernel_width + at;
            weights.get(index).copied().unwrap_or(0.0)
        });
        self.push(step, &[ends.input, ends.output]);
        Ok(())
    }
}

/// Input channel, tap of the kernel and input index for each product of a result, neighbours in memory together.
fn order(from: &Map, kernel_width: usize, vertical: &Phase, horizontal: &Phase) -> Vec<(usize, usize, [isize; 2])> {
    let rows = vertical.taps.iter();
    let meeting = rows.flat_map(|(row, y)| {
        let columns = horizontal.taps.iter();
        columns.map(move |(column, x)| (row * kernel_width + column, [*y, *x]))
    });
    let meeting: Vec<(usize, [isize; 2])> = meeting.collect();
    let mut order = Vec::new();
    for first in (0..from.channels).step_by(from.lanes) {
        for (tap, at) in &meeting {
            let channels = first..(first + from.lanes).min(from.channels);
            order.extend(channels.map(|channel| (channel, *tap, *at)));
        }
    }
    order
}

/// Where the first result's first tap is, which may lie in the halo, and which index of the input that is.
fn corner(from: &Map, vertical: &Phase, horizontal: &Phase) -> (usize, [isize; 2]) {
    let ((top, _), (left, _)) = (vertical.reach(), horizontal.reach());
    let rows = top * from.row_stride() as isize;
    let columns = left * from.lanes as isize;
    (from.origin().saturating_add_signed(rows + columns), [top, left])
}

/// Where each result of a phase is, or its window.
fn grid(map: &Map, first: usize, [down, across]: [usize; 2], [vertical, horizontal]: [&Phase; 2]) -> Vec<u32> {
    let row = |y: usize| (0..horizontal.count).map(move |x| (first + map.step(y * down, x * across)) as u32);
    (0..vertical.count).flat_map(row).collect()
}
