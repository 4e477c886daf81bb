//! Windows' largest numbers and means.

use burn::tensor::Tensor;
use burn::tensor::module::{adaptive_avg_pool2d, avg_pool2d, conv2d, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions, PadMode};
use millrace_graph::{Adaptive, Pool, PoolKind, Window};

use crate::any::Any;
use crate::convolution::four;
use crate::error::Error;
use crate::executor::{About, Step, lengths, nothing, one};
use crate::upload::Upload;

pub(super) fn windows(about: &About<'_>, pool: Pool, upload: &mut Upload<'_>) -> Result<Step, Error> {
    let input = about.input(0);
    let window = pool.window;
    if pool.kind == PoolKind::Max {
        return Ok(one(move |x, n_items| match four(x, &lengths(&input, n_items)) {
            Some(x) => largest(x, &window).into(),
            None => nothing(),
        }));
    }
    let sizes = [about.input(0), about.output()].map(|shape| {
        // Height and width do not grow with the batch.
        lengths(&shape, 1).last_chunk::<2>().copied().unwrap_or_default()
    });
    let [from, to] = sizes;
    let counts = counts(&pool, from, to);
    let all = window.kernel.iter().product::<usize>() as f32;
    // The factor for the mean of whole windows with zeros for padding.
    let correction = match counts.iter().all(|count| *count == all) {
        true => None,
        false => {
            let factors = counts.iter().map(|count| all / count.max(1.0)).collect();
            let [height, width] = to;
            Some(
                upload
                    .numbers(factors, &[1, 1, height, width])
                    .into4([1, 1, height, width]),
            )
        }
    };
    let channels = lengths(&input, 1).get(1).copied().unwrap_or(1);
    let [height, width] = window.kernel;
    let taps = (window.dilation != [1, 1]).then(|| {
        let mean = vec![1.0 / all; channels * height * width];
        upload
            .numbers(mean, &[channels, 1, height, width])
            .into4([channels, 1, height, width])
    });
    Ok(one(move |x, n_items| {
        let Some(x) = four(x, &lengths(&input, n_items)) else {
            return nothing();
        };
        let mean = match &taps {
            Some(taps) => {
                let options = ConvOptions::new(window.stride, [0, 0], window.dilation, channels);
                conv2d(padded(x, &window, 0.0), taps.clone(), None, options)
            }
            None => {
                let options = AvgPoolOptions::new(window.kernel).with_stride(window.stride);
                match window.before == window.after {
                    true => avg_pool2d(x, options.with_padding(window.before).with_count_include_pad(true)),
                    false => avg_pool2d(padded(x, &window, 0.0), options),
                }
            }
        };
        match &correction {
            Some(correction) => (mean * correction.clone()).into(),
            None => mean.into(),
        }
    }))
}

fn largest(x: Tensor<4>, window: &Window) -> Tensor<4> {
    let options = MaxPoolOptions::new(window.kernel)
        .with_stride(window.stride)
        .with_dilation(window.dilation);
    // Some backends take no padding of more than half a window.
    let is_plain = window.before == window.after
        && window
            .before
            .iter()
            .zip(window.kernel)
            .all(|(padding, kernel)| padding * 2 <= kernel);
    match is_plain {
        true => max_pool2d(x, options.with_padding(window.before)),
        false => max_pool2d(padded(x, window, f32::NEG_INFINITY), options),
    }
}

fn padded(x: Tensor<4>, window: &Window, with: f32) -> Tensor<4> {
    let [top, left] = window.before;
    let [bottom, right] = window.after;
    match (window.before, window.after) {
        ([0, 0], [0, 0]) => x,
        _ => x.pad([(top, bottom), (left, right)], PadMode::Constant(with)),
    }
}

/// How many numbers of each window count.
fn counts(pool: &Pool, from: [usize; 2], to: [usize; 2]) -> Vec<f32> {
    let along = |axis: usize| -> Vec<usize> {
        let at = |pair: [usize; 2]| pair.into_iter().nth(axis).unwrap_or_default();
        let (length, before) = (at(from), at(pool.window.before));
        // The first position that counts and the one behind the last, with padding before.
        let (low, high) = match pool.kind {
            PoolKind::AverageWithPadding { counted } => (0, before + length + at(counted)),
            _ => (before, before + length),
        };
        let counted = |step: usize| {
            let taps =
                (0..at(pool.window.kernel)).map(|tap| step * at(pool.window.stride) + tap * at(pool.window.dilation));
            taps.filter(|position| (low..high).contains(position)).count()
        };
        (0..at(to)).map(counted).collect()
    };
    let (rows, columns) = (along(0), along(1));
    let product = |row: &usize| columns.iter().map(|column| (row * column) as f32).collect::<Vec<_>>();
    rows.iter().flat_map(product).collect()
}

pub(super) fn adaptive(about: &About<'_>, adaptive: Adaptive) -> Step {
    let input = about.input(0);
    one(move |x, n_items| {
        let axes = lengths(&input, n_items);
        let Some(x) = four(x, &axes) else {
            return nothing();
        };
        Any::from(adaptive_avg_pool2d(x, adaptive.out))
    })
}
