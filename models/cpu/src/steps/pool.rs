//! Pools: largest numbers and means of windows.

use crate::kernels::{Grid, Kernels, Pool, Windows};
use crate::layout::Map;
use crate::step::{Place, Scope, Share, Step};

/// See the module.
pub(crate) struct PoolStep {
    pub(crate) kernels: &'static Kernels,
    pub(crate) input: Place,
    pub(crate) from: Map,
    pub(crate) output: Place,
    pub(crate) to: Map,
    pub(crate) windows: Windows,
    pub(crate) average: bool,
}

impl Step for PoolStep {
    fn run(&self, scope: &Scope<'_>, share: Share) {
        let blocks = share.range(self.to.blocks());
        for item in scope.items() {
            self.kernels.pool(&Pool {
                input: scope
                    .source(self.input, item)
                    .after(blocks.start * self.from.block_stride()),
                output: scope.at(self.output, item).after(blocks.start * self.to.block_stride()),
                from: grid(&self.from),
                to: grid(&self.to),
                windows: &self.windows,
                blocks: blocks.len(),
                average: self.average,
            });
        }
    }
}

pub(super) fn grid(map: &Map) -> Grid {
    Grid {
        origin: map.origin(),
        block_stride: map.block_stride(),
        row_stride: map.row_stride(),
    }
}
