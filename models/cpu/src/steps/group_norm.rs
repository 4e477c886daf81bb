//! Group norm over maps in blocks.

use crate::kernels::{Buffer, Function, Kernels, Moments, Operand, Row, Source, Step as RowStep};
use crate::layout::Map;
use crate::step::{Place, Scope, Share, Step};

use super::pool::grid;

/// See the module.
pub(crate) struct GroupNormStep {
    pub(crate) kernels: &'static Kernels,
    pub(crate) input: Place,
    pub(crate) from: Map,
    pub(crate) output: Place,
    pub(crate) to: Map,
    /// Channels of a group; at least 1.
    pub(crate) group: usize,
    pub(crate) epsilon: f64,
    /// A number for each channel, filled up to whole blocks.
    pub(crate) scale: Buffer,
    /// As many.
    pub(crate) shift: Buffer,
}

impl GroupNormStep {
    /// The mean over each channel's group, of the numbers or of their squared distances from `centres`. Each thread computes
    /// all of them: a group may lie in several blocks.
    fn means(&self, scope: &Scope<'_>, item: usize, centres: Option<&[f32]>) -> Vec<f32> {
        let map = &self.from;
        self.kernels.moments(&Moments {
            input: scope.source(self.input, item),
            output: scope.scratch,
            from: grid(map),
            height: map.height,
            width: map.width,
            blocks: map.blocks(),
            centres,
        });
        let mut sums = vec![0.0; map.blocks() * map.lanes];
        scope.scratch.copy_to(&mut sums);
        let numbers = (self.group * map.pixels()) as f64;
        for group in sums.chunks_mut(self.group).take(map.channels.div_ceil(self.group)) {
            let sum: f64 = group.iter().map(|sum| f64::from(*sum)).sum();
            group.fill((sum / numbers) as f32);
        }
        sums
    }

    /// What each channel is multiplied by, and what is added then.
    fn affine(&self, scope: &Scope<'_>, item: usize) -> [Vec<f32>; 2] {
        let means = self.means(scope, item, None);
        let variances = self.means(scope, item, Some(&means));
        let scales = self.scale.floats().iter().zip(variances);
        let factors =
            scales.map(|(scale, variance)| (f64::from(*scale) / (f64::from(variance) + self.epsilon).sqrt()) as f32);
        let factors: Vec<f32> = factors.collect();
        let shifts = self.shift.floats().iter().zip(&means).zip(&factors);
        let shifts = shifts.map(|((shift, mean), factor)| shift - mean * factor);
        let shifts = shifts.collect();
        [factors, shifts]
    }
}

impl Step for GroupNormStep {
    fn run(&self, scope: &Scope<'_>, share: Share) {
        let (from, to) = (&self.from, &self.to);
        let is_run = |map: &Map| map.row_stride() == map.width * map.lanes;
        let (rows, length) = match is_run(from) && is_run(to) {
            true => (1, to.pixels() * to.lanes),
            false => (to.height, to.width * to.lanes),
        };
        for item in scope.items() {
            let [factors, shifts] = self.affine(scope, item);
            for block in share.range(to.blocks()) {
                let operand = |numbers| Operand {
                    floats: Source::from(numbers).after(block * to.lanes),
                    step: RowStep::Lanes,
                };
                for row in 0..rows {
                    let at = |map: &Map| map.origin() + block * map.block_stride() + row * map.row_stride();
                    self.kernels.row(&Row {
                        input: Operand {
                            floats: scope.source(self.input, item).after(at(from)),
                            step: RowStep::Each,
                        },
                        function: Function::MulAdd(operand(factors.as_slice()), operand(shifts.as_slice())),
                        output: scope.at(self.output, item).after(at(to)),
                        length,
                    });
                }
            }
        }
    }

    fn scratch(&self) -> usize {
        self.from.blocks() * self.from.lanes
    }
}
