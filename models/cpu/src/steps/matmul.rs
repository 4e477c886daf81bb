//! Products of two values that are computed: the right one is packed for each product.

use crate::kernels::{Buffer, Copy, Dense, Finish, Kernels, Source, Table, copy};
use crate::step::{Place, Scope, Share, Step};

use super::dense::{SLICE_FLOATS, blocks_together};

/// Sizes of each product: rows of the left, columns of the right, and what is summed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) depth: usize,
}

/// Where the operands of one product begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Product {
    pub(crate) left: usize,
    pub(crate) right: usize,
    pub(crate) output: usize,
}

/// What a step is made of.
pub(crate) struct MatMulParts {
    pub(crate) kernels: &'static Kernels,
    pub(crate) left: Place,
    /// From one row to the next, and along the depth.
    pub(crate) left_steps: [usize; 2],
    pub(crate) right: Place,
    /// Along the depth, and from one column to the next.
    pub(crate) right_steps: [usize; 2],
    pub(crate) output: Place,
    pub(crate) sizes: Sizes,
    pub(crate) products: Vec<Product>,
}

/// See the module.
pub(crate) struct MatMulStep {
    parts: MatMulParts,
    /// Along the depth of the left.
    taps: Table,
    /// Rows of the left.
    rows: Table,
    /// Rows of the output.
    places: Table,
    /// Rows in the scratch memory, for columns that do not fill a register.
    scratch_places: Table,
    /// Column blocks that are computed together.
    together: usize,
}

impl MatMulStep {
    pub(crate) fn new(parts: MatMulParts) -> Self {
        let Sizes { rows, columns, depth } = parts.sizes;
        let together = blocks_together(parts.kernels, rows);
        let table = |count: usize, step: usize| Table::new((0..count).map(|index| (index * step) as u32).collect());
        Self {
            taps: table(depth, parts.left_steps[1]),
            rows: table(rows, parts.left_steps[0]),
            places: table(rows, columns),
            scratch_places: table(rows, together * parts.kernels.lanes()),
            together,
            parts,
        }
    }

    /// Floats of a packed group of columns.
    fn packed(&self) -> usize {
        self.parts.sizes.depth * self.together * self.parts.kernels.lanes()
    }

    /// Computes the columns of one group for all rows.
    fn group(&self, scope: &Scope<'_>, item: usize, product: &Product, first: usize) {
        let parts = &self.parts;
        let Sizes { rows, columns, depth } = parts.sizes;
        let lanes = parts.kernels.lanes();
        let blocks = self.together.min(columns.div_ceil(lanes) - first);
        let width = (blocks * lanes).min(columns - first * lanes);
        let right = scope
            .source(parts.right, item)
            .after(product.right + first * lanes * parts.right_steps[1]);
        self.pack(scope, right, blocks * lanes, width);
        let partial = width < blocks * lanes;
        let output = scope.at(parts.output, item).after(product.output + first * lanes);
        let (to, places) = match partial {
            true => (scope.scratch.after(self.packed()), &self.scratch_places),
            false => (output, &self.places),
        };
        let packed = Source::from(scope.scratch);
        let slices = depth.div_ceil((SLICE_FLOATS / (blocks * lanes)).max(1)).max(1);
        for slice in 0..slices {
            let range = depth * slice / slices..depth * (slice + 1) / slices;
            parts.kernels.dense(&Dense {
                input: scope.source(parts.left, item).after(product.left),
                output: to,
                residual: None,
                weights: packed.after(range.start * blocks * lanes),
                bias: ZEROS.into(),
                taps: self.taps.range(range),
                pixels: self.rows.all(),
                places: places.all(),
                block_stride: lanes,
                blocks,
                accumulate: slice > 0,
                finish: Finish::NOTHING,
            });
        }
        if partial {
            copy(&Copy {
                input: to.into(),
                output,
                lengths: [rows, width],
                input_steps: [self.together * lanes, 1],
                output_steps: [columns, 1],
            });
        }
    }

    /// Packs the columns of a group as `[depth, blocks, lanes]`. Lanes behind the last column keep what they had: nobody
    /// reads what is made of them.
    fn pack(&self, scope: &Scope<'_>, right: Source<'_>, row: usize, width: usize) {
        let [down, across] = self.parts.right_steps;
        let depth = self.parts.sizes.depth;
        // Along what is contiguous in memory.
        let (lengths, input_steps, output_steps) = match down < across {
            true => ([width, depth], [across, down], [1, row]),
            false => ([depth, width], [down, across], [row, 1]),
        };
        copy(&Copy {
            input: right,
            output: scope.scratch,
            lengths,
            input_steps,
            output_steps,
        });
    }
}

/// The bias of a product.
const ZEROS: &[f32] = &[0.0; 8 * Buffer::ALIGNMENT];

impl Step for MatMulStep {
    fn run(&self, scope: &Scope<'_>, share: Share) {
        let parts = &self.parts;
        let groups = parts
            .sizes
            .columns
            .div_ceil(parts.kernels.lanes())
            .div_ceil(self.together);
        for item in scope.items() {
            for call in share.range(parts.products.len() * groups) {
                if let Some(product) = parts.products.get(call / groups) {
                    self.group(scope, item, product, call % groups * self.together);
                }
            }
        }
    }

    fn scratch(&self) -> usize {
        let lanes = self.parts.kernels.lanes();
        self.packed() + self.parts.sizes.rows * self.together * lanes + lanes
    }
}
