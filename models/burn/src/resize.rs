//! Height and width to other lengths: the interpolation's weights are matrices, made once.

use millrace_graph::{Interpolation, Resize, taps};

use crate::any::{Any, map};
use crate::error::Error;
use crate::executor::{About, Step, around, lengths, nothing, one};
use crate::upload::Upload;

pub(super) fn resize(about: &About<'_>, of: &Resize, upload: &mut Upload<'_>) -> Result<Step, Error> {
    let input = about.input(0);
    let (output, products) = (about.output(), upload.products());
    let [height, width] = lengths(&input, 1).last_chunk::<2>().copied().unwrap_or_default();
    let both = [taps(of, 0, height), taps(of, 1, width)];
    if let Interpolation::Nearest(_) = of.interpolation {
        let [rows, columns] = both.map(|taps| {
            let nearest: Vec<usize> = taps.iter().filter_map(|taps| Some(taps.first()?.0)).collect();
            upload.indices(&nearest)
        });
        return Ok(one(move |x, n_items| {
            let axes = lengths(&input, n_items);
            let rank = axes.len();
            match x.axes() == axes && rank >= 2 {
                true => map!(x, x => x.select(rank - 2, rows.clone()).select(rank - 1, columns.clone())),
                false => nothing(),
            }
        }));
    }
    let [out_height, out_width] = of.out;
    let [rows, columns] = both;
    let rows = upload
        .numbers(matrix(&rows, height), &[1, out_height, height])
        .into3([1, out_height, height]);
    let columns = transposed(&matrix(&columns, width), width);
    let columns = upload
        .numbers(columns, &[1, width, out_width])
        .into3([1, width, out_width]);
    Ok(one(move |x, n_items| {
        let axes = lengths(&input, n_items);
        let [before, _, _] = around(&axes, axes.len().saturating_sub(2));
        let x = x.into3([before, height, width]);
        let wide = products.of(x, columns.clone().expand([before, width, out_width]));
        let y = products.of(rows.clone().expand([before, out_height, height]), wide);
        Any::from(y).keep(&lengths(&output, n_items))
    }))
}

/// A row of weights for each place.
fn matrix(taps: &[Vec<(usize, f32)>], length: usize) -> Vec<f32> {
    let mut matrix = vec![0.0; taps.len() * length];
    for (row, taps) in matrix.chunks_mut(length.max(1)).zip(taps) {
        for (index, weight) in taps {
            if let Some(slot) = row.get_mut(*index) {
                *slot += weight;
            }
        }
    }
    matrix
}

fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    (0..columns)
        .flat_map(|column| matrix.iter().skip(column).step_by(columns.max(1)).copied())
        .collect()
}
