//! A copy over many axes: transposes, slices, parts of a concatenation, broadcasts.

use crate::kernels::{Copy, copy};
use crate::step::{Place, Scope, Share, Step};

/// Copies `lengths` numbers with a step for each axis; a step of 0 repeats.
pub(crate) struct StridedStep {
    pub(crate) input: Place,
    pub(crate) output: Place,
    /// Axes, outermost first: length, step in the input, step in the output.
    pub(crate) axes: Vec<[usize; 3]>,
}

impl StridedStep {
    /// Joins axes that can be walked as one, drops those of length 1, and puts the axis that is contiguous in the output last.
    pub(crate) fn new(input: Place, output: Place, axes: &[[usize; 3]]) -> Self {
        let mut joined: Vec<[usize; 3]> = Vec::new();
        for axis in axes.iter().filter(|[length, ..]| *length != 1) {
            match joined.last_mut() {
                Some([length, from, to]) if *from == axis[0] * axis[1] && *to == axis[0] * axis[2] => {
                    *length *= axis[0];
                    *from = axis[1];
                    *to = axis[2];
                }
                _ => joined.push(*axis),
            }
        }
        Self {
            input,
            output,
            axes: joined,
        }
    }
}

impl Step for StridedStep {
    fn run(&self, scope: &Scope<'_>, share: Share) {
        let (outer, inner) = self.axes.split_at(self.axes.len().saturating_sub(2));
        let [rows, columns] = match inner {
            [] => [[1, 0, 0], [1, 0, 0]],
            [only] => [[1, 0, 0], *only],
            [rows, columns, ..] => [*rows, *columns],
        };
        let calls: usize = outer.iter().map(|[length, ..]| length).product();
        for item in scope.items() {
            let (input, output) = (scope.source(self.input, item), scope.at(self.output, item));
            for call in share.range(calls) {
                let (mut rest, mut from, mut to) = (call, 0, 0);
                for [length, input_step, output_step] in outer.iter().rev() {
                    let index = rest % length;
                    rest /= length;
                    from += index * input_step;
                    to += index * output_step;
                }
                copy(&Copy {
                    input: input.after(from),
                    output: output.after(to),
                    lengths: [rows[0], columns[0]],
                    input_steps: [rows[1], columns[1]],
                    output_steps: [rows[2], columns[2]],
                });
            }
        }
    }
}
