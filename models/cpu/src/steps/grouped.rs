//! Convolutions in narrow groups, a piece of a group's output channels at a time.

use crate::kernels::{Buffer, Finish, Grouped, Kernels, PieceResidual, Source, Table};
use crate::step::{Place, Scope, Share, Step};

/// Pieces that read the same taps.
pub(crate) struct Phase {
    /// Where a tap is, from its pixel.
    pub(crate) taps: Table,
    /// Where each piece's first input channel is.
    pub(crate) inputs: Table,
    /// Where each piece's first output channel is.
    pub(crate) outputs: Table,
    /// Where each piece's first channel of the residual is; nothing where there is none.
    pub(crate) residuals: Table,
    /// `[pieces, taps, width]`.
    pub(crate) weights: Buffer,
    /// `[pieces, width]`.
    pub(crate) bias: Buffer,
}

/// See the module.
pub(crate) struct GroupedStep {
    pub(crate) kernels: &'static Kernels,
    pub(crate) input: Place,
    pub(crate) output: Place,
    /// And where its pixels are.
    pub(crate) residual: Option<(Place, Table)>,
    pub(crate) phases: Vec<Phase>,
    /// Output channels of a piece.
    pub(crate) width: usize,
    /// Of each item that may be worked on together, one behind another.
    pub(crate) pixels: Table,
    /// As many.
    pub(crate) places: Table,
    pub(crate) pixels_of_item: usize,
    pub(crate) finish: Finish,
}

impl Step for GroupedStep {
    fn run(&self, scope: &Scope<'_>, share: Share) {
        let pixels = 0..self.pixels_of_item * scope.count;
        for phase in &self.phases {
            let pieces = share.range(phase.inputs.len());
            let residual = self.residual.as_ref().map(|(place, places)| PieceResidual {
                input: scope.source(*place, scope.first),
                places: places.range(pixels.clone()),
                pieces: phase.residuals.range(pieces.clone()),
            });
            self.kernels.grouped(&Grouped {
                input: scope.source(self.input, scope.first),
                output: scope.at(self.output, scope.first),
                residual,
                weights: Source::from(phase.weights.floats()).after(pieces.start * phase.taps.len() * self.width),
                bias: Source::from(phase.bias.floats()).after(pieces.start * self.width),
                width: self.width,
                inputs: phase.inputs.range(pieces.clone()),
                outputs: phase.outputs.range(pieces),
                taps: phase.taps.all(),
                pixels: self.pixels.range(pixels.clone()),
                places: self.places.range(pixels.clone()),
                finish: self.finish,
            });
        }
    }

    fn weights(&self) -> usize {
        self.phases.iter().map(|phase| phase.weights.floats().len()).sum()
    }
}
