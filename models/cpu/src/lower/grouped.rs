//! Convolutions in groups: as pieces as wide as a register or a part of one, or as sections of whole channel blocks.

use crate::kernels::{Buffer, Finish, Kernels, Table};
use crate::layout::Map;
use crate::steps::{GroupedStep, Phase, Section};

use super::convolution::{Site, pixels, results, tap_order, taps};
use super::{Lowering, Refusal};

/// Groups of a convolution, and the channels of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Groups {
    pub(super) count: usize,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
}

impl Groups {
    pub(super) fn of(site: &Site<'_>) -> Self {
        let count = site.convolution.groups.max(1);
        Self {
            count,
            inputs: site.from.channels / count,
            outputs: site.to.channels / count,
        }
    }

    /// Output channels of the pieces that are quicker than sections; nothing where none are.
    pub(super) fn piece(self, kernels: &Kernels) -> Option<usize> {
        let lanes = kernels.lanes();
        if self.count == 1 || self.outputs >= 2 * lanes && self.outputs.is_multiple_of(lanes) {
            return None;
        }
        let merged = self.merged(lanes);
        let sections = self.count.div_ceil(merged) * merged * (merged * self.outputs).div_ceil(lanes);
        let of_sections = (sections * lanes) as f32 / (self.count * self.outputs) as f32;
        let widths = kernels.widths().into_iter();
        let fitting = widths.filter(|width| self.outputs.is_multiple_of(*width));
        fitting
            .map(|width| (width, cost(lanes, width)))
            .find(|(_, cost)| *cost <= of_sections)
            .map(|(width, _)| width)
    }

    /// How many groups a section has: as many as fill whole blocks, or all.
    fn merged(self, lanes: usize) -> usize {
        (1..=self.count)
            .find(|merged| (merged * self.outputs).is_multiple_of(lanes))
            .unwrap_or(self.count)
    }

    /// Sections of whole blocks, with zeros for channels of a section that do not meet. The last one may be smaller.
    pub(super) fn sections(self, site: &Site<'_>, lanes: usize) -> Vec<Section> {
        let merged = self.merged(lanes);
        let firsts = (0..self.count).step_by(merged);
        let section = |first: usize| {
            let groups = merged.min(self.count - first);
            Section {
                taps: taps(site.convolution, &site.from, first * self.inputs, groups * self.inputs),
                first_channel: first * self.outputs,
                channels: groups * self.outputs,
            }
        };
        firsts.map(section).collect()
    }
}

/// What a product of a piece takes, by that of a section that has no zeros. Processors compute as many registers at a time,
/// whatever of them is used; those that cut the registers of AVX-512 in two compute twice as many halves.
fn cost(lanes: usize, width: usize) -> f32 {
    match (lanes, lanes / width) {
        (_, 1) => 1.0,
        (16.., 2) => 1.2,
        (16.., _) => 2.2,
        (_, parts) => parts as f32,
    }
}

impl Lowering<'_> {
    /// A convolution in pieces of so many output channels.
    pub(super) fn grouped(&mut self, site: &Site<'_>, width: usize) -> Result<(), Refusal> {
        let (from, to) = (&site.from, &site.to);
        let bias = self.bias(site.convolution.bias, to.channels)?;
        // Groups that begin at the same lane read the same taps from their block on.
        let phases = (0..from.lanes).filter_map(|lane| phase(site, lane, width, bias.floats()));
        let step = GroupedStep {
            kernels: self.kernels,
            input: site.input,
            output: site.output,
            residual: site
                .residual
                .map(|(place, map)| (place, self.repeated(&results(&map), self.item_stride(place)))),
            phases: phases.collect(),
            width,
            pixels: self.repeated(&pixels(site.convolution, from, to), self.item_stride(site.input)),
            places: self.repeated(&results(to), self.item_stride(site.output)),
            pixels_of_item: to.pixels(),
            finish: Finish::of(site.convolution.activation),
        };
        let places = self.places(site);
        self.push(step, &places);
        Ok(())
    }
}

/// The pieces of those groups that begin at a lane; nothing where none do.
fn phase(site: &Site<'_>, lane: usize, width: usize, bias: &[f32]) -> Option<Phase> {
    let (from, to) = (&site.from, &site.to);
    let groups = Groups::of(site);
    let begins = |group: &usize| (group * groups.inputs) % from.lanes == lane;
    let pieces = (0..groups.count).filter(begins).flat_map(|group| {
        let first = group * groups.outputs;
        let pieces = (first..first + groups.outputs).step_by(width);
        pieces.map(move |channel| (group * groups.inputs, channel))
    });
    let pieces: Vec<(usize, usize)> = pieces.collect();
    if pieces.is_empty() {
        return None;
    }
    let [height, kernel_width] = site.convolution.window.kernel;
    let kernel = height * kernel_width;
    let order = tap_order(from.lanes, groups.inputs, kernel);
    let mut weights = Buffer::zeroed(pieces.len() * order.len() * width);
    let mut biases = Buffer::zeroed(pieces.len() * width);
    let rows = weights.floats_mut().chunks_exact_mut((order.len() * width).max(1));
    let biases_of_pieces = biases.floats_mut().chunks_exact_mut(width);
    for (((_, channel), rows), biases) in pieces.iter().zip(rows).zip(biases_of_pieces) {
        for (row, (input, tap)) in rows.chunks_exact_mut(width).zip(&order) {
            for (to, output) in row.iter_mut().zip(*channel..) {
                let index = (output * groups.inputs + input) * kernel + tap;
                *to = site.weights.get(index).copied().unwrap_or(0.0);
            }
        }
        for (to, from) in biases.iter_mut().zip(bias.iter().skip(*channel)) {
            *to = *from;
        }
    }
    let inputs = pieces.iter().map(|(input, _)| (from.channel(*input) - lane) as u32);
    let outputs = |map: &Map| Table::new(pieces.iter().map(|(_, output)| map.channel(*output) as u32).collect());
    Some(Phase {
        taps: taps(site.convolution, from, lane, groups.inputs),
        inputs: Table::new(inputs.collect()),
        outputs: outputs(to),
        residuals: site.residual.map_or_else(Table::default, |(_, map)| outputs(&map)),
        weights,
        bias: biases,
    })
}
