//! Copies with strides: transposes, layouts, packed operands.

use super::memory::{Cells, Source};

/// One call: `output[i · output_steps[0] + j · output_steps[1]] = input[i · input_steps[0] + j · input_steps[1]]`.
#[derive(Clone, Copy)]
pub(crate) struct Copy<'a> {
    pub(crate) input: Source<'a>,
    pub(crate) output: Cells<'a>,
    pub(crate) lengths: [usize; 2],
    pub(crate) input_steps: [usize; 2],
    pub(crate) output_steps: [usize; 2],
}

/// Copies.
///
/// # Panics
/// When the call would leave its buffers.
pub(crate) fn copy(call: &Copy<'_>) {
    let [rows, columns] = call.lengths;
    if rows == 0 || columns == 0 {
        return;
    }
    let reach = |[row, column]: [usize; 2]| (rows - 1) * row + (columns - 1) * column;
    assert!(reach(call.input_steps) < call.input.len(), "a copy reads its input");
    assert!(reach(call.output_steps) < call.output.len(), "a copy writes its output");
    let [from_row, from_column] = call.input_steps;
    let [to_row, to_column] = call.output_steps;
    for row in 0..rows {
        // SAFETY: each index is at most the reach that was asserted.
        unsafe {
            let from = call.input.pointer().add(row * from_row);
            let to = call.output.pointer().add(row * to_row);
            if from_column == 1 && to_column == 1 {
                std::ptr::copy(from, to, columns);
            } else {
                for column in 0..columns {
                    *to.add(column * to_column) = *from.add(column * from_column);
                }
            }
        }
    }
}
