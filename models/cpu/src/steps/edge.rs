//! Where values enter and leave the memory: inputs, outputs, constants.

use crate::kernels::{Buffer, Copy, copy};
use crate::layout::Map;
use crate::step::{Place, Scope, Share, Step};

use super::convert::convert;

/// Brings the network's input into its layout.
pub(crate) struct InputStep {
    pub(crate) output: Place,
    pub(crate) map: Map,
}

impl Step for InputStep {
    fn run(&self, scope: &Scope<'_>, share: Share) {
        let from = Map::planar(self.map.channels, self.map.height, self.map.width);
        let floats = from.len();
        for item in scope.items() {
            let item_input = scope.input.get(item * floats..(item + 1) * floats).unwrap_or(&[]);
            convert(item_input.into(), &from, scope.at(self.output, item), &self.map, share);
        }
    }
}

/// Brings a row-major value out.
pub(crate) struct OutputStep {
    pub(crate) input: Place,
    /// Floats of an item.
    pub(crate) floats: usize,
    /// Which output.
    pub(crate) index: usize,
}

impl Step for OutputStep {
    fn run(&self, scope: &Scope<'_>, share: Share) {
        let Some(output) = scope.outputs.get(self.index) else {
            return;
        };
        if !share.is_first() {
            return;
        }
        for item in scope.items() {
            copy(&Copy {
                input: scope.source(self.input, item),
                output: output.part(item * self.floats, self.floats),
                lengths: [1, self.floats],
                input_steps: [0, 1],
                output_steps: [0, 1],
            });
        }
    }
}

/// Brings a constant into the memory, for steps that read values alone.
pub(crate) struct ConstantStep {
    pub(crate) numbers: Buffer,
    pub(crate) floats: usize,
    pub(crate) output: Place,
}

impl Step for ConstantStep {
    fn run(&self, scope: &Scope<'_>, share: Share) {
        if !share.is_first() {
            return;
        }
        for item in scope.items() {
            copy(&Copy {
                input: self.numbers.floats().into(),
                output: scope.at(self.output, item),
                lengths: [1, self.floats],
                input_steps: [0, 1],
                output_steps: [0, 1],
            });
        }
    }

    fn weights(&self) -> usize {
        self.floats
    }
}
