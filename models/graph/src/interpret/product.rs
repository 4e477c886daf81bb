//! Products of matrices.

use super::places::{Steps, broadcast, rows};
use super::{Tensor, vector};
use crate::graph::Graph;
use crate::op::Linear;

pub(super) fn linear(graph: &Graph, linear: &Linear, x: Tensor<'_>, out: &mut [f32]) -> Option<()> {
    let weight = graph.constant(linear.weight)?;
    let [features, columns] = <[usize; 2]>::try_from(weight.shape.as_slice()).ok()?;
    let bias = vector(graph, linear.bias);
    if x.shape.last() != Some(&features) || features == 0 || columns == 0 {
        return None;
    }
    if x.data.len() / features != out.len() / columns {
        return None;
    }
    let mut sums = vec![0.0; columns];
    for (row, out) in x.data.chunks(features).zip(out.chunks_mut(columns)) {
        start(&mut sums, bias);
        multiply(row, &weight.data, &mut sums);
        store(&sums, out);
    }
    Some(())
}

pub(super) fn matmul(left: Tensor<'_>, right: Tensor<'_>, shape: &[usize], out: &mut [f32]) -> Option<()> {
    let ([left_batch @ .., rows_out, inner], [right_batch @ .., height, columns]) = (left.shape, right.shape) else {
        return None;
    };
    let [batch @ .., _, _] = shape else { return None };
    let (left_size, right_size) = (rows_out.checked_mul(*inner)?, height.checked_mul(*columns)?);
    if inner != height || left_size == 0 || right_size == 0 {
        return None;
    }
    // Places of matrices, with an axis at the end that `rows` does not enter.
    let places = |own: &[usize]| {
        let mut axes = broadcast(own, batch)?;
        axes.push(Steps::repeated(1));
        Some(axes)
    };
    let (left_places, right_places) = (places(left_batch)?, places(right_batch)?);
    let mut sums = vec![0.0; *columns];
    let mut results = out.chunks_mut(rows_out.checked_mul(*columns)?);
    rows([&left_places, &right_places], |[one, other]| {
        let one = left.data.chunks(left_size).nth(one?)?;
        let other = right.data.chunks(right_size).nth(other?)?;
        for (row, out) in one.chunks(*inner).zip(results.next()?.chunks_mut(*columns)) {
            start(&mut sums, None);
            multiply(row, other, &mut sums);
            store(&sums, out);
        }
        Some(())
    })
}

fn start(sums: &mut [f64], bias: Option<&[f32]>) {
    sums.fill(0.0);
    for (sum, bias) in sums.iter_mut().zip(bias.unwrap_or_default()) {
        *sum = f64::from(*bias);
    }
}

/// Adds a row times a matrix.
fn multiply(row: &[f32], matrix: &[f32], sums: &mut [f64]) {
    for (x, weights) in row.iter().zip(matrix.chunks(sums.len().max(1))) {
        for (sum, weight) in sums.iter_mut().zip(weights) {
            *sum += f64::from(*x) * f64::from(*weight);
        }
    }
}

fn store(sums: &[f64], out: &mut [f32]) {
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = *sum as f32;
    }
}
