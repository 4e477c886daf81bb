//! Convolutions and products of matrices, with what is added to them and applied behind them.

use burn::tensor::Tensor;
use burn::tensor::module::{conv_transpose2d, conv2d, linear as burn_linear};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions, PadMode};
use millrace_graph::{Activation, Convolution, Linear, TransposedConvolution, Unary, Window};

use crate::any::{Any, map};
use crate::error::Error;
use crate::executor::{About, Products, Step, lengths, nothing, one, unplanned};
use crate::upload::Upload;
use crate::{pairs, pointwise};

pub(super) fn dense(about: &About<'_>, of: &Convolution, upload: &mut Upload<'_>) -> Result<Step, Error> {
    let run = match upload.products() {
        Products::Sums => split(about, of, upload)?,
        Products::Kernels => whole(of, upload)?,
    };
    let (input, output, activation) = (about.input(0), about.output(), of.activation);
    Ok(Box::new(move |inputs, n_items| {
        let mut inputs = inputs.into_iter();
        let Some(x) = inputs.next().and_then(|x| four(x, &lengths(&input, n_items))) else {
            return nothing();
        };
        let y = Any::from(run(x));
        finish(y, inputs.next(), activation, &lengths(&output, n_items))
    }))
}

/// A convolution by itself.
type Run = Box<dyn Fn(Tensor<4>) -> Tensor<4> + Send>;

fn whole(of: &Convolution, upload: &mut Upload<'_>) -> Result<Run, Error> {
    let weight = upload.kernel(of.weight)?;
    let bias = upload.vector_of(of.bias)?;
    let (window, groups) = (of.window, of.groups);
    Ok(Box::new(move |x| {
        let options = ConvOptions::new_with_padding(window.stride, padding(&window), window.dilation, groups);
        conv2d(x, weight.clone(), bias.clone(), options)
    }))
}

/// A convolution's numbers, as they are given to the device.
struct Kernel<'a> {
    /// `[out, in / groups, height, width]`.
    shape: [usize; 4],
    data: &'a [f32],
    bias: Option<&'a [f32]>,
    groups: usize,
}

fn split(about: &About<'_>, of: &Convolution, upload: &mut Upload<'_>) -> Result<Run, Error> {
    let (shape, data) = about.constant(of.weight)?;
    let kernel = Kernel {
        shape: <[usize; 4]>::try_from(shape).map_err(|_| unplanned())?,
        data,
        bias: of
            .bias
            .map(|bias| about.constant(bias))
            .transpose()?
            .map(|(_, bias)| bias),
        groups: of.groups,
    };
    Ok(direct(&kernel, of.window, upload))
}

/// In groups, which are never brought before kernels for products of matrices: where there is one group, two that both
/// read the whole map. What comes out is then of an even number of channels, and what is too much is cut off.
fn direct(kernel: &Kernel<'_>, window: Window, upload: &Upload<'_>) -> Run {
    let [out, channels, height, width] = kernel.shape;
    let is_one = kernel.groups == 1;
    let (filled, groups) = match is_one {
        true => (out.next_multiple_of(2), 2),
        false => (out, kernel.groups),
    };
    let fill = |numbers: &[f32], length: usize| {
        let mut numbers = numbers.to_vec();
        numbers.resize(length, 0.0);
        numbers
    };
    let axes = [filled, channels, height, width];
    let weight = upload
        .numbers(fill(kernel.data, axes.iter().product()), &axes)
        .into4(axes);
    let bias = kernel
        .bias
        .map(|bias| upload.numbers(fill(bias, filled), &[filled]).into1());
    Box::new(move |x| {
        let options = ConvOptions::new_with_padding(window.stride, padding(&window), window.dilation, groups);
        let x = if is_one { Tensor::cat(vec![x.clone(), x], 1) } else { x };
        let y = conv2d(x, weight.clone(), bias.clone(), options);
        if filled == out { y } else { y.narrow(1, 0, out) }
    })
}

/// What each number of a map scatters, summed up, before its edges are cut off: with zeros between the numbers of the map it
/// is a convolution with the kernel turned round.
fn scattered(about: &About<'_>, of: &TransposedConvolution, upload: &Upload<'_>) -> Result<Run, Error> {
    let (shape, data) = about.constant(of.weight)?;
    let [channels, out, height, width] = <[usize; 4]>::try_from(shape).map_err(|_| unplanned())?;
    let (taps, per_group) = (height * width, channels / of.groups.max(1));
    let turned = (0..of.groups * out * per_group).flat_map(|at| {
        let (place, channel) = (at / per_group, at % per_group);
        let (group, number) = (place / out, place % out);
        let start = ((group * per_group + channel) * out + number) * taps;
        data.get(start..start + taps).unwrap_or_default().iter().rev().copied()
    });
    let turned: Vec<f32> = turned.collect();
    let reach = [0, 1].map(|axis| {
        let at = |pair: [usize; 2]| pair.into_iter().nth(axis).unwrap_or(1);
        at(of.window.dilation) * (at([height, width]) - 1)
    });
    let window = Window {
        kernel: [height, width],
        stride: [1, 1],
        dilation: of.window.dilation,
        before: reach,
        after: reach,
    };
    let kernel = Kernel {
        shape: [of.groups * out, per_group, height, width],
        data: &turned,
        bias: None,
        groups: of.groups,
    };
    let run = direct(&kernel, window, upload);
    let [down, right] = of.window.stride;
    Ok(Box::new(move |x| {
        let [items, channels, height, width] = x.dims();
        let apart = x.reshape([items * channels, height, 1, width, 1]);
        let apart = apart.pad([(0, down - 1), (0, 0), (0, right - 1)], PadMode::Constant(0.0));
        let apart = apart.reshape([items, channels, height * down, width * right]);
        run(apart
            .narrow(2, 0, (height - 1) * down + 1)
            .narrow(3, 0, (width - 1) * right + 1))
    }))
}

/// The sum with a residual, and the activation.
fn finish(mut y: Any, residual: Option<Any>, activation: Option<Activation>, axes: &[usize]) -> Any {
    if let Some(residual) = residual {
        y = pairs::add(y, residual, axes);
    }
    match activation {
        Some(activation) => map!(y, y => pointwise::unary(Unary::Activation(activation), y)),
        None => y,
    }
}

fn padding(window: &Window) -> [(usize, usize); 2] {
    let [top, left] = window.before;
    let [bottom, right] = window.after;
    [(top, bottom), (left, right)]
}

/// A map as a tensor of four axes.
pub(super) fn four(x: Any, axes: &[usize]) -> Option<Tensor<4>> {
    Some(x.into4(<[usize; 4]>::try_from(axes).ok()?))
}

/// Whole windows are scattered, then the edges cut off; what no window reaches is the bias alone.
pub(super) fn transposed(
    about: &About<'_>,
    of: &TransposedConvolution,
    upload: &mut Upload<'_>,
) -> Result<Step, Error> {
    let weight = upload.operand(of.weight)?;
    let axes = <[usize; 4]>::try_from(weight.axes()).map_err(|_| unplanned())?;
    let weight = weight.into4(axes);
    let bias = upload.vector_of(of.bias)?;
    let (window, groups, extra) = (of.window, of.groups, of.output_padding);
    let (input, output) = (about.input(0), about.output());
    let by_sums = match upload.products() {
        Products::Sums => Some(scattered(about, of, upload)?),
        Products::Kernels => None,
    };
    let is_plain = by_sums.is_none()
        && window.before == window.after
        && extra
            .iter()
            .zip(window.stride.iter().zip(&window.dilation))
            .all(|(extra, (stride, dilation))| extra < stride.max(dilation))
        && extra.iter().zip(window.after).all(|(extra, after)| *extra <= after);
    Ok(one(move |x, n_items| {
        let Some(x) = four(x, &lengths(&input, n_items)) else {
            return nothing();
        };
        if is_plain {
            let options = ConvTransposeOptions::new(window.stride, window.before, extra, window.dilation, groups);
            return conv_transpose2d(x, weight.clone(), bias.clone(), options).into();
        }
        let options = ConvTransposeOptions::new(window.stride, [0, 0], [0, 0], window.dilation, groups);
        let whole = match &by_sums {
            Some(scatter) => scatter(x),
            None => conv_transpose2d(x, weight.clone(), None, options),
        };
        let [_, _, height, width] = whole.dims();
        let out = lengths(&output, n_items);
        let [_, _, out_height, out_width] = <[usize; 4]>::try_from(out).unwrap_or_default();
        let [top, left] = window.before;
        let missing = [
            (out_height + top).saturating_sub(height),
            (out_width + left).saturating_sub(width),
        ];
        let whole = match missing {
            [0, 0] => whole,
            [below, right] => whole.pad([(0, below), (0, right)], PadMode::Constant(0.0)),
        };
        let y = whole.narrow(2, top, out_height).narrow(3, left, out_width);
        match &bias {
            Some(bias) => (y + bias
                .clone()
                .reshape([1, bias.dims().into_iter().product::<usize>(), 1, 1]))
            .into(),
            None => y.into(),
        }
    }))
}

pub(super) fn linear(about: &About<'_>, of: &Linear, upload: &mut Upload<'_>) -> Result<Step, Error> {
    let weight = upload.operand(of.weight)?;
    let [features, out] = <[usize; 2]>::try_from(weight.axes()).map_err(|_| unplanned())?;
    let weight = weight.into2([features, out]);
    let bias = upload.vector_of(of.bias)?;
    let (activation, output, products) = (of.activation, about.output(), upload.products());
    Ok(Box::new(move |inputs, n_items| {
        let mut inputs = inputs.into_iter();
        let Some(x) = inputs.next() else {
            return nothing();
        };
        let axes = lengths(&output, n_items);
        let rows = axes.iter().product::<usize>() / out.max(1);
        let y = match products {
            Products::Kernels => burn_linear(x.into2([rows, features]), weight.clone(), bias.clone()),
            Products::Sums => {
                let stacked = weight.clone().reshape([1, features, out]);
                let y = products.of(x.into3([1, rows, features]), stacked).reshape([rows, out]);
                match &bias {
                    Some(bias) => y + bias.clone().reshape([1, out]),
                    None => y,
                }
            }
        };
        finish(Any::from(y).keep(&axes), inputs.next(), activation, &axes)
    }))
}

/// Both of one rank; what is before the last two axes is broadcast.
pub(super) fn product(about: &About<'_>, products: Products) -> Step {
    let shapes = (about.input(0), about.input(1), about.output());
    Box::new(move |inputs, n_items| {
        let mut inputs = inputs.into_iter();
        let (Some(left), Some(right)) = (inputs.next(), inputs.next()) else {
            return nothing();
        };
        let (of_left, of_right, out) = (
            lengths(&shapes.0, n_items),
            lengths(&shapes.1, n_items),
            lengths(&shapes.2, n_items),
        );
        let (Some([rows, inner]), Some([_, columns])) = (of_left.last_chunk(), of_right.last_chunk()) else {
            return nothing();
        };
        let batch = |axes: &[usize]| axes.get(..axes.len().saturating_sub(2)).unwrap_or_default().to_vec();
        let (batch_left, batch_right) = (batch(&of_left), batch(&of_right));
        if products == Products::Sums || batch_left == batch_right || out.len() > crate::any::MAX_RANK {
            let all: usize = batch(&out).iter().product();
            let spread = |x: Any, batch_of: &[usize], axes: &[usize; 2]| {
                let x = match batch_of == batch(&out).as_slice() {
                    true => x,
                    false => spread(x, batch_of, &batch(&out), axes),
                };
                x.into3([all, axes[0], axes[1]])
            };
            let left = spread(left, &batch_left, &[*rows, *inner]);
            let right = spread(right, &batch_right, &[*inner, *columns]);
            return Any::from(products.of(left, right)).keep(&out);
        }
        pairs::same_rank(left.reshape(&of_left), right.reshape(&of_right), pairs::Pair::Product)
    })
}

/// Repeats matrices along the axes before them.
fn spread(x: Any, from: &[usize], to: &[usize], matrix: &[usize; 2]) -> Any {
    let [rows, columns] = *matrix;
    let numbers = rows * columns;
    let with = |axes: &[usize]| [axes, &[numbers]].concat();
    crate::layout::broadcast(x, &with(from), &with(to))
}
