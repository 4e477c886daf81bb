//! Convolutions and linear layers as one loop: packed weights, tables of offsets, slices of taps that fit a cache.

use std::ops::Range;

use crate::kernels::{BLOCKS_MAX, Buffer, Copy, Dense, Finish, Kernels, Residual, Source, Table, copy, widest};
use crate::step::{Place, Scope, Share, Step};

/// Floats of weights that stay in the first cache while pixels go by: 32 KiB.
pub(super) const SLICE_FLOATS: usize = 8192;

/// Floats of input that stay in the second cache while the weights go by: 384 KiB.
const INPUT_FLOATS: usize = 96 * 1024;

/// Output channels that read the same taps: all, or those of one group of a grouped convolution.
pub(crate) struct Section {
    pub(crate) taps: Table,
    /// Its first channel, a multiple of the lanes.
    pub(crate) first_channel: usize,
    pub(crate) channels: usize,
}

/// What a residual is read from.
pub(crate) struct ResidualPart {
    pub(crate) input: Place,
    pub(crate) places: Table,
    pub(crate) block_stride: usize,
}

/// What a step is made of.
pub(crate) struct DenseParts {
    pub(crate) kernels: &'static Kernels,
    pub(crate) input: Place,
    pub(crate) output: Place,
    pub(crate) residual: Option<ResidualPart>,
    pub(crate) sections: Vec<Section>,
    /// A number for each channel, filled up to whole blocks.
    pub(crate) bias: Buffer,
    /// Of each item that may be worked on together, one behind another.
    pub(crate) pixels: Table,
    /// As many.
    pub(crate) places: Table,
    pub(crate) pixels_of_item: usize,
    pub(crate) block_stride: usize,
    /// Whether results of pixels lie so close that a block with unused lanes would overwrite the next pixel.
    pub(crate) tight: bool,
    /// Input numbers of an item.
    pub(crate) input_floats: usize,
    pub(crate) finish: Finish,
}

/// See the module.
pub(crate) struct DenseStep {
    parts: DenseParts,
    groups: Vec<Group>,
    weights: Buffer,
    scratch_places: Table,
}

/// Channel blocks that are computed together.
struct Group {
    section: usize,
    /// The first block.
    block: usize,
    blocks: usize,
    /// Where its weights begin.
    weights: usize,
    /// Channels, where unused lanes may not be written.
    partial: Option<usize>,
}

impl DenseStep {
    /// Packs weights; `weight(section, tap, channel)` is asked for each.
    pub(crate) fn new(parts: DenseParts, weight: impl Fn(usize, usize, usize) -> f32) -> Self {
        let lanes = parts.kernels.lanes();
        let together = blocks_together(parts.kernels, parts.pixels.len());
        let mut groups = Vec::new();
        let mut floats = 0;
        for (index, section) in parts.sections.iter().enumerate() {
            let blocks = section.channels.div_ceil(lanes);
            for first in (0..blocks).step_by(together) {
                let count = together.min(blocks - first);
                let channels = (section.channels - first * lanes).min(count * lanes);
                groups.push(Group {
                    section: index,
                    block: section.first_channel / lanes + first,
                    blocks: count,
                    weights: floats,
                    partial: (parts.tight && channels < count * lanes).then_some(channels),
                });
                floats += section.taps.len() * count * lanes;
            }
        }
        let weights = pack(&parts.sections, &groups, lanes, floats, weight);
        let scratch = groups
            .iter()
            .filter(|group| group.partial.is_some())
            .map(|group| group.blocks)
            .max();
        let scratch_places = match scratch {
            Some(blocks) => Table::new(
                (0..parts.pixels.len())
                    .map(|pixel| (pixel * blocks * lanes) as u32)
                    .collect(),
            ),
            None => Table::default(),
        };
        Self {
            parts,
            groups,
            weights,
            scratch_places,
        }
    }

    /// Pixels and groups of a share: groups where they can be divided evenly, else pixels.
    fn shares(&self, pixels: usize, share: Share) -> (Range<usize>, Range<usize>) {
        let groups = self.groups.len();
        let even = groups >= share.of && (groups.is_multiple_of(share.of) || groups >= 8 * share.of);
        let tight = self.groups.iter().any(|group| group.partial.is_some());
        match share.of == 1 || even || pixels < 4 * share.of || tight {
            true => (0..pixels, share.range(groups)),
            false => (share.range(pixels), 0..groups),
        }
    }

    /// Computes pixels of a group, a slice of taps after another.
    fn group(&self, scope: &Scope<'_>, group: &Group, pixels: Range<usize>) {
        let parts = &self.parts;
        let lanes = parts.kernels.lanes();
        let Some(section) = parts.sections.get(group.section) else {
            return;
        };
        let offset = group.block * parts.block_stride;
        let (output, places, block_stride) = match group.partial {
            None => (
                scope.at(parts.output, scope.first).after(offset),
                &parts.places,
                parts.block_stride,
            ),
            Some(_) => (scope.scratch, &self.scratch_places, lanes),
        };
        let residual = parts.residual.as_ref().map(|residual| Residual {
            input: scope
                .source(residual.input, scope.first)
                .after(group.block * residual.block_stride),
            places: residual.places.range(pixels.clone()),
            block_stride: residual.block_stride,
        });
        let taps = section.taps.len();
        let slices = taps.div_ceil((SLICE_FLOATS / (group.blocks * lanes)).max(1)).max(1);
        for slice in 0..slices {
            let range = taps * slice / slices..taps * (slice + 1) / slices;
            let last = slice + 1 == slices;
            let weights = group.weights + range.start * group.blocks * lanes;
            parts.kernels.dense(&Dense {
                input: scope.source(parts.input, scope.first),
                output,
                residual: residual.filter(|_| last),
                weights: Source::from(self.weights.floats()).after(weights),
                bias: Source::from(parts.bias.floats()).after(group.block * lanes),
                taps: section.taps.range(range),
                pixels: parts.pixels.range(pixels.clone()),
                places: places.range(pixels.clone()),
                block_stride,
                blocks: group.blocks,
                accumulate: slice > 0,
                finish: if last { parts.finish } else { Finish::NOTHING },
            });
        }
        if let Some(channels) = group.partial {
            self.bring_out(scope, group, channels, pixels);
        }
    }

    /// Copies those channels of a group that exist from the scratch memory to their pixels.
    fn bring_out(&self, scope: &Scope<'_>, group: &Group, channels: usize, pixels: Range<usize>) {
        let parts = &self.parts;
        let output = scope
            .at(parts.output, scope.first)
            .after(group.block * parts.block_stride);
        let scratch = Source::from(scope.scratch);
        let places = parts.places.iter().zip(self.scratch_places.iter());
        for (to, from) in places.skip(pixels.start).take(pixels.len()) {
            copy(&Copy {
                input: scratch.after(from),
                output: output.after(to),
                lengths: [1, channels],
                input_steps: [0, 1],
                output_steps: [0, 1],
            });
        }
    }
}

impl Step for DenseStep {
    fn run(&self, scope: &Scope<'_>, share: Share) {
        let pixels = self.parts.pixels_of_item * scope.count;
        let (pixels, groups) = self.shares(pixels, share);
        let of_pixel = self
            .parts
            .input_floats
            .div_ceil(self.parts.pixels_of_item.max(1))
            .max(1);
        let chunk = (INPUT_FLOATS / of_pixel).max(96);
        let chunks = pixels.len().div_ceil(chunk);
        for part in 0..chunks {
            let from = pixels.start + pixels.len() * part / chunks;
            let to = pixels.start + pixels.len() * (part + 1) / chunks;
            for group in self.groups.get(groups.clone()).unwrap_or(&[]) {
                self.group(scope, group, from..to);
            }
        }
    }

    fn scratch(&self) -> usize {
        let lanes = self.parts.kernels.lanes();
        let partial = self.groups.iter().filter(|group| group.partial.is_some());
        partial
            .map(|group| group.blocks * lanes * self.parts.pixels.len())
            .max()
            .unwrap_or(0)
    }

    fn weights(&self) -> usize {
        self.weights.floats().len()
    }
}

/// Channel blocks of a tile: what needs the fewest loads for many pixels; for few pixels as many as leave registers for them.
pub(super) fn blocks_together(kernels: &Kernels, pixels: usize) -> usize {
    let registers = kernels.registers();
    let for_many = match registers {
        32.. => 4,
        16.. => 2,
        _ => 1,
    };
    let fitting = (for_many..=BLOCKS_MAX)
        .rev()
        .find(|blocks| widest(registers, *blocks) >= pixels);
    fitting.unwrap_or(for_many)
}

/// Weights as `[taps, blocks, lanes]` for each group, one group behind another; zeros for channels that do not exist.
fn pack(
    sections: &[Section],
    groups: &[Group],
    lanes: usize,
    floats: usize,
    weight: impl Fn(usize, usize, usize) -> f32,
) -> Buffer {
    let mut buffer = Buffer::zeroed(floats);
    for group in groups {
        let Some(section) = sections.get(group.section) else {
            continue;
        };
        let first = group.block * lanes - section.first_channel;
        let rows = buffer.floats_mut().get_mut(group.weights..).unwrap_or(&mut []);
        for (tap, row) in rows
            .chunks_exact_mut(group.blocks * lanes)
            .take(section.taps.len())
            .enumerate()
        {
            for (channel, to) in (first..section.channels).zip(row) {
                *to = weight(group.section, tap, channel);
            }
        }
    }
    buffer
}
