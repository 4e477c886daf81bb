//! Maps of another height and width.

use crate::kernels::{Axis, Kernels, Resample};
use crate::layout::Map;
use crate::step::{Place, Scope, Share, Step};

use super::pool::grid;

/// See the module.
pub(crate) struct ResampleStep {
    pub(crate) kernels: &'static Kernels,
    pub(crate) input: Place,
    pub(crate) from: Map,
    pub(crate) output: Place,
    pub(crate) to: Map,
    pub(crate) rows: Axis,
    pub(crate) columns: Axis,
    pub(crate) outside: f32,
}

impl Step for ResampleStep {
    fn run(&self, scope: &Scope<'_>, share: Share) {
        let blocks = share.range(self.to.blocks());
        for item in scope.items() {
            self.kernels.resample(&Resample {
                input: scope
                    .source(self.input, item)
                    .after(blocks.start * self.from.block_stride()),
                output: scope.at(self.output, item).after(blocks.start * self.to.block_stride()),
                from: grid(&self.from),
                to: grid(&self.to),
                rows: &self.rows,
                columns: &self.columns,
                blocks: blocks.len(),
                outside: self.outside,
            });
        }
    }
}
