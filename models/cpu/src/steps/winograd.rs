//! 3 x 3 convolutions by Winograd's method: transforms, 36 products, transforms back.

use crate::kernels::{
    Buffer, Dense, Finish, InputTransform, Kernels, OutputTransform, POINTS, Residual, Source, Table,
};
use crate::layout::Map;
use crate::step::{Place, Scope, Share, Step};

use super::dense::{ResidualPart, SLICE_FLOATS, blocks_together};

/// Floats of transformed input and output that are held at a time: 512 KiB, half of a second cache.
const STRIP_FLOATS: usize = 128 * 1024;

/// The bias of a product.
const ZEROS: &[f32] = &[0.0; 8 * Buffer::ALIGNMENT];

/// What a step is made of.
pub(crate) struct WinogradParts {
    pub(crate) kernels: &'static Kernels,
    pub(crate) input: Place,
    pub(crate) from: Map,
    pub(crate) output: Place,
    pub(crate) to: Map,
    /// Its places are the tiles'; and the stride of its rows.
    pub(crate) residual: Option<(ResidualPart, usize)>,
    pub(crate) bias: Buffer,
    /// Where each tile's patch begins; of each item that may be worked on together, one behind another.
    pub(crate) patches: Table,
    /// Where each tile begins in the output.
    pub(crate) tiles: Table,
    /// Rows and columns of each tile.
    pub(crate) sizes: Vec<[u8; 2]>,
    pub(crate) tiles_of_item: usize,
    pub(crate) finish: Finish,
}

/// See the module.
pub(crate) struct WinogradStep {
    parts: WinogradParts,
    /// `[36, groups, channels in, blocks, lanes]`.
    weights: Buffer,
    /// Blocks that are computed together.
    together: usize,
    /// Tiles that are held at a time.
    strip: usize,
}

impl WinogradStep {
    /// Transforms and packs weights; `weight(out, in)` is asked for each 3 x 3 kernel.
    pub(crate) fn new(parts: WinogradParts, weight: impl Fn(usize, usize) -> [f32; 9]) -> Self {
        let lanes = parts.kernels.lanes();
        let together = blocks_together(parts.kernels, usize::MAX);
        let (inputs, blocks) = (parts.from.channels, parts.to.blocks());
        let point = inputs * blocks * lanes;
        let mut weights = Buffer::zeroed(POINTS * point);
        let floats = weights.floats_mut();
        for channel in 0..parts.to.channels {
            let (block, lane) = (channel / lanes, channel % lanes);
            let first = block / together * together;
            let width = together.min(blocks - first) * lanes;
            for input in 0..inputs {
                let at = first * lanes * inputs + input * width + (block - first) * lanes + lane;
                for (index, value) in transform(weight(channel, input)).into_iter().enumerate() {
                    if let Some(to) = floats.get_mut(index * point + at) {
                        *to = value;
                    }
                }
            }
        }
        let of_tile = POINTS * lanes * (parts.from.blocks() + blocks);
        let most = (STRIP_FLOATS / of_tile).max(24);
        let all = parts.patches.len().max(1);
        let strip = all.div_ceil(all.div_ceil(most));
        Self {
            parts,
            weights,
            together,
            strip,
        }
    }

    /// The products of one point: `[tiles, channels in] · [channels in, channels out]`.
    fn products(&self, scope: &Scope<'_>, point: usize, tiles: usize, tables: &[Table; 2]) {
        let parts = &self.parts;
        let lanes = parts.kernels.lanes();
        let (inputs, blocks) = (parts.from.channels, parts.to.blocks());
        let [taps, pixels] = tables;
        let transformed = POINTS * parts.from.blocks() * tiles * lanes;
        let input = Source::from(scope.scratch).after(point * parts.from.blocks() * tiles * lanes);
        let output = scope.scratch.after(transformed + point * blocks * tiles * lanes);
        for first in (0..blocks).step_by(self.together) {
            let count = self.together.min(blocks - first);
            let slices = inputs.div_ceil(SLICE_FLOATS / (count * lanes)).max(1);
            for slice in 0..slices {
                let range = inputs * slice / slices..inputs * (slice + 1) / slices;
                let weights = point * inputs * blocks * lanes + (first * inputs + range.start * count) * lanes;
                parts.kernels.dense(&Dense {
                    input,
                    output: output.after(first * tiles * lanes),
                    residual: None,
                    weights: Source::from(self.weights.floats()).after(weights),
                    bias: ZEROS.into(),
                    taps: taps.range(range),
                    pixels: pixels.all(),
                    places: pixels.all(),
                    block_stride: tiles * lanes,
                    blocks: count,
                    accumulate: slice > 0,
                    finish: Finish::NOTHING,
                });
            }
        }
    }

    /// Computes some tiles.
    fn strip(&self, scope: &Scope<'_>, range: std::ops::Range<usize>) {
        let parts = &self.parts;
        let lanes = parts.kernels.lanes();
        let tiles = range.len();
        parts.kernels.transform_input(&InputTransform {
            input: scope.source(parts.input, scope.first),
            output: scope.scratch,
            tiles: parts.patches.range(range.clone()),
            row_stride: parts.from.row_stride(),
            block_stride: parts.from.block_stride(),
            blocks: parts.from.blocks(),
        });
        let tap = |channel: usize| (channel / lanes * tiles * lanes + channel % lanes) as u32;
        let tables = [
            Table::new((0..parts.from.channels).map(tap).collect()),
            Table::new((0..tiles).map(|tile| (tile * lanes) as u32).collect()),
        ];
        for point in 0..POINTS {
            self.products(scope, point, tiles, &tables);
        }
        let transformed = POINTS * parts.from.blocks() * tiles * lanes;
        parts.kernels.transform_output(&OutputTransform {
            input: Source::from(scope.scratch).after(transformed),
            output: scope.at(parts.output, scope.first),
            residual: parts.residual.as_ref().map(|(residual, _)| Residual {
                input: scope.source(residual.input, scope.first),
                places: residual.places.range(range.clone()),
                block_stride: residual.block_stride,
            }),
            residual_row_stride: parts.residual.as_ref().map_or(0, |(_, stride)| *stride),
            bias: parts.bias.floats(),
            tiles: parts.tiles.range(range.clone()),
            sizes: parts.sizes.get(range).unwrap_or(&[]),
            row_stride: parts.to.row_stride(),
            block_stride: parts.to.block_stride(),
            blocks: parts.to.blocks(),
            finish: parts.finish,
        });
    }
}

impl Step for WinogradStep {
    fn run(&self, scope: &Scope<'_>, share: Share) {
        let tiles = share.range(self.parts.tiles_of_item * scope.count);
        let strips = tiles.len().div_ceil(self.strip);
        for strip in 0..strips {
            let from = tiles.start + tiles.len() * strip / strips;
            let to = tiles.start + tiles.len() * (strip + 1) / strips;
            self.strip(scope, from..to);
        }
    }

    fn scratch(&self) -> usize {
        let lanes = self.parts.kernels.lanes();
        POINTS * lanes * (self.parts.from.blocks() + self.parts.to.blocks()) * self.strip
    }

    fn weights(&self) -> usize {
        self.weights.floats().len()
    }
}

/// `G · kernel · Gᵀ`: a 3 x 3 kernel as 6 x 6 numbers, in double precision.
fn transform(kernel: [f32; 9]) -> [f32; POINTS] {
    let line = |[a, b, c]: [f64; 3]| {
        [
            a / 4.0,
            -(a + b + c) / 6.0,
            (b - a - c) / 6.0,
            a / 24.0 + b / 12.0 + c / 6.0,
            a / 24.0 - b / 12.0 + c / 6.0,
            c,
        ]
    };
    let [a, b, c, d, e, f, g, h, i] = kernel.map(f64::from);
    let columns = [line([a, d, g]), line([b, e, h]), line([c, f, i])];
    let [left, middle, right] = columns;
    let mut points = [0.0; POINTS];
    let rows = left.into_iter().zip(middle).zip(right);
    for (to, ((a, b), c)) in points.chunks_exact_mut(6).zip(rows) {
        for (to, value) in to.iter_mut().zip(line([a, b, c])) {
            *to = value as f32;
        }
    }
    points
}
