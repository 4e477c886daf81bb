//! Convolutions of each channel by itself.

use crate::kernels::{Buffer, Depthwise, Finish, Kernels, Residual, Table};
use crate::layout::Map;
use crate::step::{Place, Scope, Share, Step};

use super::dense::ResidualPart;

/// See the module.
pub(crate) struct DepthwiseStep {
    pub(crate) kernels: &'static Kernels,
    pub(crate) input: Place,
    pub(crate) from: Map,
    pub(crate) output: Place,
    pub(crate) to: Map,
    pub(crate) residual: Option<ResidualPart>,
    /// `[blocks, taps, lanes]`.
    pub(crate) weights: Buffer,
    /// `[blocks, lanes]`.
    pub(crate) bias: Buffer,
    pub(crate) taps: Table,
    pub(crate) pixels: Table,
    pub(crate) places: Table,
    pub(crate) finish: Finish,
}

impl Step for DepthwiseStep {
    fn run(&self, scope: &Scope<'_>, share: Share) {
        let lanes = self.to.lanes;
        let blocks = share.range(self.to.blocks());
        let weights = self
            .weights
            .floats()
            .get(blocks.start * self.taps.len() * lanes..)
            .unwrap_or(&[]);
        let bias = self.bias.floats().get(blocks.start * lanes..).unwrap_or(&[]);
        for item in scope.items() {
            self.kernels.depthwise(&Depthwise {
                input: scope
                    .source(self.input, item)
                    .after(blocks.start * self.from.block_stride()),
                output: scope.at(self.output, item).after(blocks.start * self.to.block_stride()),
                residual: self.residual.as_ref().map(|residual| Residual {
                    input: scope
                        .source(residual.input, item)
                        .after(blocks.start * residual.block_stride),
                    places: residual.places.all(),
                    block_stride: residual.block_stride,
                }),
                weights,
                bias,
                taps: self.taps.all(),
                pixels: self.pixels.all(),
                places: self.places.all(),
                input_block_stride: self.from.block_stride(),
                block_stride: self.to.block_stride(),
                blocks: blocks.len(),
                finish: self.finish,
            });
        }
    }

    fn weights(&self) -> usize {
        self.weights.floats().len()
    }
}
