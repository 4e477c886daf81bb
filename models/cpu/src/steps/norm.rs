//! Softmax and layer norm over rows.

use crate::kernels::{Buffer, Kernels, Norm, NormKind};
use crate::step::{Place, Scope, Share, Step};

/// What becomes of a row.
pub(crate) enum RowNorm {
    Softmax,
    Layer { epsilon: f32, scale: Buffer, shift: Buffer },
}

/// See the module.
pub(crate) struct NormStep {
    pub(crate) kernels: &'static Kernels,
    pub(crate) input: Place,
    pub(crate) output: Place,
    pub(crate) rows: usize,
    pub(crate) length: usize,
    pub(crate) norm: RowNorm,
}

impl Step for NormStep {
    fn run(&self, scope: &Scope<'_>, share: Share) {
        let rows = share.range(self.rows);
        let kind = match &self.norm {
            RowNorm::Softmax => NormKind::Softmax,
            RowNorm::Layer { epsilon, scale, shift } => NormKind::Layer {
                epsilon: *epsilon,
                scale: scale.floats(),
                shift: shift.floats(),
            },
        };
        for item in scope.items() {
            self.kernels.norm(&Norm {
                input: scope.source(self.input, item).after(rows.start * self.length),
                output: scope.at(self.output, item).after(rows.start * self.length),
                rows: rows.len(),
                length: self.length,
                kind,
            });
        }
    }
}
