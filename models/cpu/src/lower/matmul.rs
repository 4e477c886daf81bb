//! Products of two values, which may be views with strides.

use millrace_graph::{Node, Operand};

use crate::steps::{MatMulParts, MatMulStep, Product, Sizes};

use super::elementwise::{broadcast_steps, row_major};
use super::{Lowering, Refusal};

impl Lowering<'_> {
    pub(super) fn matmul(&mut self, node: &Node) -> Result<(), Refusal> {
        let [left, right] = node.inputs.as_slice() else {
            return Err("it has not two inputs".to_owned());
        };
        let result = self.sizes(Operand::Value(node.output));
        let left = self.factor(*left, result.len())?;
        let right = self.factor(*right, result.len())?;
        let (Some((batch, [rows, columns])), Some([.., depth])) =
            (result.split_last_chunk::<2>(), left.sizes.last_chunk::<2>())
        else {
            return Err("a product has at least two axes".to_owned());
        };
        let (Some((left_batch, left_steps)), Some((right_batch, right_steps))) =
            (left.steps.split_last_chunk::<2>(), right.steps.split_last_chunk::<2>())
        else {
            return Err("a product has at least two axes".to_owned());
        };
        let count: usize = batch.iter().product();
        let products = (0..count).map(|index| Product {
            left: at(batch, left_batch, index),
            right: at(batch, right_batch, index),
            output: index * rows * columns,
        });
        let output = self.new_rows(count * rows * columns);
        let step = MatMulStep::new(MatMulParts {
            kernels: self.kernels,
            left: left.place,
            left_steps: *left_steps,
            right: right.place,
            right_steps: *right_steps,
            output,
            sizes: Sizes {
                rows: *rows,
                columns: *columns,
                depth: *depth,
            },
            products: products.collect(),
        });
        self.push(step, &[left.place, right.place, output]);
        self.set_rows(node.output, output);
        Ok(())
    }

    /// An operand, with a step for each axis of the result.
    fn factor(&mut self, operand: Operand, rank: usize) -> Result<Factor, Refusal> {
        let sizes = self.sizes(operand);
        let (place, steps) = match self.view(operand) {
            Some(view) => view,
            None => (self.rows(operand)?, row_major(&sizes)),
        };
        if sizes.len() == rank {
            let repeated = steps
                .iter()
                .zip(&sizes)
                .map(|(step, size)| if *size == 1 { 0 } else { *step });
            return Ok(Factor {
                place,
                steps: repeated.collect(),
                sizes,
            });
        }
        let place = self.rows(operand)?;
        Ok(Factor {
            place,
            steps: broadcast_steps(&sizes, rank),
            sizes,
        })
    }
}

struct Factor {
    place: crate::step::Place,
    steps: Vec<usize>,
    sizes: Vec<usize>,
}

/// Where the `index`-th product of a batch begins.
fn at(batch: &[usize], steps: &[usize], index: usize) -> usize {
    let mut rest = index;
    let mut offset = 0;
    for (length, step) in batch.iter().zip(steps).rev() {
        offset += rest % length * step;
        rest /= length;
    }
    offset
}
