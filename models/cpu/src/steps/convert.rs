//! A map from one layout to another: other blocks, another halo, other channels before it.

use crate::kernels::{Cells, Copy, Source, copy};
use crate::layout::Map;
use crate::step::{Place, Scope, Share, Step};

/// Copies the channels of a map into those of another from `first_channel` on.
pub(crate) struct Convert {
    pub(crate) input: Place,
    pub(crate) from: Map,
    pub(crate) output: Place,
    pub(crate) to: Map,
    /// The first channel that is written; a multiple of the lanes where both maps have the same.
    pub(crate) first_channel: usize,
}

impl Step for Convert {
    fn run(&self, scope: &Scope<'_>, share: Share) {
        for item in scope.items() {
            let to = scope.at(self.output, item).after(self.to.channel(self.first_channel));
            let aligned = self.first_channel.is_multiple_of(self.to.lanes);
            match aligned {
                true => convert(scope.source(self.input, item), &self.from, to, &self.to, share),
                false => {
                    let output = scope.at(self.output, item);
                    for channel in share.range(self.from.channels) {
                        let to = output.after(self.to.channel(self.first_channel + channel));
                        plane(scope.source(self.input, item), &self.from, channel, to, &self.to);
                    }
                }
            }
        }
    }
}

/// Copies a share of a map's channels.
pub(super) fn convert(input: Source<'_>, from: &Map, output: Cells<'_>, to: &Map, share: Share) {
    if from.lanes == to.lanes {
        for block in share.range(from.blocks()) {
            copy(&Copy {
                input: input.after(block * from.block_stride() + from.origin()),
                output: output.after(block * to.block_stride() + to.origin()),
                lengths: [from.height, from.width * from.lanes],
                input_steps: [from.row_stride(), 1],
                output_steps: [to.row_stride(), 1],
            });
        }
        return;
    }
    for channel in share.range(from.channels) {
        plane(input, from, channel, output.after(to.channel(channel)), to);
    }
}

/// Copies one channel.
fn plane(input: Source<'_>, from: &Map, channel: usize, output: Cells<'_>, to: &Map) {
    copy(&Copy {
        input: input.after(from.channel(channel) + from.origin()),
        output: output.after(to.origin()),
        lengths: [from.height, from.width],
        input_steps: [from.row_stride(), from.lanes],
        output_steps: [to.row_stride(), to.lanes],
    });
}
