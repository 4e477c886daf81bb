//! Windows that fit and windows that do not.

use crate::builder::Builder;
use crate::op::{
    Activation, Adaptive, Convolution, Interpolation, Op, PoolKind, Resize, TransposedConvolution, Window,
};
use crate::testing::{WINDOW, check, constant, conv, pool, resize, square, transposed};

#[test]
fn convolutions() {
    let conv_of = |weight: [usize; 4], window: Window, groups: usize| {
        move |builder: &mut Builder| {
            let weight = constant(builder, &weight);
            let groups = Convolution {
                groups,
                ..conv(weight, window)
            };
            Op::Convolution(groups)
        }
    };
    check(
        &["N 3 224 224"],
        conv_of([64, 3, 7, 7], square(7, 2, 3), 1),
        Ok("[N, 64, 112, 112]"),
    );
    check(
        &["4N 3 8 8"],
        conv_of([6, 3, 1, 1], square(1, 1, 0), 1),
        Ok("[4N, 6, 8, 8]"),
    );
    check(
        &["N 6 8 8"],
        conv_of([6, 1, 3, 3], square(3, 1, 1), 6),
        Ok("[N, 6, 8, 8]"),
    );
    check(
        &["N 6 8 8"],
        conv_of([4, 3, 3, 3], square(3, 1, 0), 2),
        Ok("[N, 4, 6, 6]"),
    );
    let uneven = Window {
        kernel: [1, 3],
        dilation: [1, 2],
        before: [0, 1],
        after: [1, 0],
        stride: [2, 1],
    };
    check(&["N 1 8 8"], conv_of([1, 1, 1, 3], uneven, 1), Ok("[N, 1, 5, 5]"));
    check(
        &["N 6 8 8"],
        conv_of([4, 3, 3, 3], square(3, 1, 0), 1),
        Err("expected a weight of shape [4, 6, 3, 3]"),
    );
    check(
        &["N 6 8 8"],
        conv_of([4, 3, 3, 3], square(3, 1, 0), 4),
        Err("that the groups divide"),
    );
    check(
        &["N 6 8 8"],
        conv_of([4, 3, 3, 3], square(3, 1, 0), 0),
        Err("that the groups divide"),
    );
    check(
        &["N 4 8 8"],
        conv_of([3, 2, 3, 3], square(3, 1, 0), 2),
        Err("found 3 in 2 groups"),
    );
    check(
        &["N 3 8 8"],
        conv_of([4, 3, 3, 3], square(5, 1, 0), 1),
        Err("expected a weight of shape [4, 3, 5, 5]"),
    );
    check(
        &["N 3 4 4"],
        conv_of([4, 3, 5, 5], square(5, 1, 0), 1),
        Err("a map of at least the window [5, 5]"),
    );
    check(
        &["N 3 8"],
        conv_of([4, 3, 3, 3], square(3, 1, 0), 1),
        Err("a map: items"),
    );
    check(
        &["1 3 N 8"],
        conv_of([4, 3, 3, 3], square(3, 1, 0), 1),
        Err("items must not see each other"),
    );
    check(
        &["N 3 8 8"],
        conv_of(
            [4, 3, 1, 1],
            Window {
                stride: [0, 1],
                ..WINDOW
            },
            1,
        ),
        Err("strides and dilations from 1"),
    );
    check(
        &["N 3 8 8"],
        conv_of(
            [4, 3, 1, 1],
            Window {
                dilation: [1, usize::MAX],
                ..WINDOW
            },
            1,
        ),
        Err("up to 1048576"),
    );
    check(
        &["N 3 8 8"],
        conv_of(
            [4, 3, 1, 1],
            Window {
                before: [1 << 19, 1 << 19],
                ..WINDOW
            },
            1,
        ),
        Err("numbers an item"),
    );
    check(
        &["N 3000 8 8"],
        conv_of([1, 3000, 7, 7], square(7, 1, 0), 1),
        Err("numbers under a window"),
    );
}

#[test]
fn what_is_added_to_a_convolution() {
    let with_residual = |residual: bool, bias: usize| {
        move |builder: &mut Builder| {
            let weight = constant(builder, &[4, 3, 3, 3]);
            let bias = Some(constant(builder, &[bias]));
            Op::Convolution(Convolution {
                residual,
                bias,
                ..conv(weight, square(3, 1, 1))
            })
        }
    };
    check(&["N 3 8 8", "N 4 8 8"], with_residual(true, 4), Ok("[N, 4, 8, 8]"));
    check(
        &["N 3 8 8", "N 4 8 8"],
        with_residual(true, 3),
        Err("expected a bias of shape [4]"),
    );
    check(
        &["N 3 8 8", "N 4 8 1"],
        with_residual(true, 4),
        Err("expected a residual of shape [N, 4, 8, 8]"),
    );
    check(
        &["N 3 8 8", "N 4 8 8"],
        with_residual(false, 4),
        Err("expected 1 inputs, found 2"),
    );
    check(&["N 3 8 8"], with_residual(true, 4), Err("expected 2 inputs, found 1"));
    let clip = |low: f32| {
        move |builder: &mut Builder| {
            let weight = constant(builder, &[4, 3, 1, 1]);
            let activation = Some(Activation::Clip {
                low,
                high: f32::INFINITY,
            });
            Op::Convolution(Convolution {
                activation,
                ..conv(weight, WINDOW)
            })
        }
    };
    check(&["N 3 8 8"], clip(f32::NEG_INFINITY), Ok("[N, 4, 8, 8]"));
    check(&["N 3 8 8"], clip(f32::NAN), Err("a lower bound"));
}

#[test]
fn transposed_convolutions() {
    let of = |weight: [usize; 4], window: Window, output_padding: [usize; 2], groups: usize| {
        move |builder: &mut Builder| {
            let weight = constant(builder, &weight);
            let bias = Some(constant(builder, &[4]));
            Op::TransposedConvolution(TransposedConvolution {
                output_padding,
                groups,
                bias,
                ..transposed(weight, window)
            })
        }
    };
    check(
        &["N 3 8 8"],
        of([3, 4, 2, 2], square(2, 2, 0), [0, 0], 1),
        Ok("[N, 4, 16, 16]"),
    );
    check(
        &["N 3 8 8"],
        of([3, 4, 3, 3], square(3, 2, 1), [1, 1], 1),
        Ok("[N, 4, 16, 16]"),
    );
    check(
        &["N 4 8 8"],
        of([4, 2, 3, 3], square(3, 1, 0), [0, 0], 2),
        Ok("[N, 4, 10, 10]"),
    );
    check(
        &["N 3 8 8"],
        of([3, 4, 3, 3], square(3, 2, 1), [2, 0], 1),
        Err("an output padding below"),
    );
    check(
        &["N 3 8 8"],
        of([4, 4, 3, 3], square(3, 2, 1), [0, 0], 1),
        Err("a weight of shape [3, 4, 3, 3]"),
    );
    check(
        &["N 3 1 1"],
        of([3, 4, 2, 2], square(2, 1, 1), [0, 0], 1),
        Err("less to cut off than the 2"),
    );
    check(
        &["N 3 8 8"],
        of([3, 2, 3, 3], square(3, 2, 1), [0, 0], 1),
        Err("a bias of shape [2]"),
    );
    check(
        &["N 1 8 8"],
        of([1, 4, 1, 1], square(1, 1 << 20, 0), [0, 0], 1),
        Err("numbers an item"),
    );
}

#[test]
fn pools() {
    let max = |window| move |_: &mut Builder| pool(PoolKind::Max, window);
    let counting = |window, counted| move |_: &mut Builder| pool(PoolKind::AverageWithPadding { counted }, window);
    check(&["N 64 112 112"], max(square(3, 2, 1)), Ok("[N, 64, 56, 56]"));
    let ceil = Window {
        after: [1, 1],
        ..square(2, 2, 0)
    };
    check(&["N 2 7 7"], max(ceil), Ok("[N, 2, 4, 4]"));
    check(&["N 2 7 7"], counting(ceil, [0, 0]), Ok("[N, 2, 4, 4]"));
    check(
        &["N 2 7 7"],
        counting(ceil, [2, 0]),
        Err("pads that count of at most [1, 1]"),
    );
    // A window that sees nothing but padding has no largest number and no mean.
    check(&["N 2 4 4"], max(square(2, 2, 2)), Err("a number under every window"));
    check(&["N 2 4 4"], counting(square(2, 2, 2), [2, 2]), Ok("[N, 2, 4, 4]"));
    check(
        &["N 2 4 4"],
        counting(square(2, 2, 2), [0, 0]),
        Err("a number under every window"),
    );
    let gaps = Window {
        kernel: [2, 1],
        dilation: [4, 1],
        before: [3, 0],
        after: [3, 0],
        ..WINDOW
    };
    check(&["N 2 2 2"], max(gaps), Err("a number under every window"));
    let gaps = Window {
        kernel: [2, 1],
        dilation: [2, 1],
        before: [2, 0],
        after: [2, 0],
        ..WINDOW
    };
    check(&["N 2 2 2"], max(gaps), Ok("[N, 2, 4, 2]"));
    check(&["N 2 512 512"], max(square(512, 1, 0)), Err("numbers under a window"));
    let to = |out| move |_: &mut Builder| Op::AdaptiveAverage(Adaptive { out });
    check(&["N 2 7 7"], to([1, 1]), Ok("[N, 2, 1, 1]"));
    check(&["N 2 3 3"], to([7, 5]), Ok("[N, 2, 7, 5]"));
    check(&["N 2 3 3"], to([0, 5]), Err("axes of at least 1"));
}

#[test]
fn resizes() {
    let to = |resize: Resize| move |_: &mut Builder| Op::Resize(resize);
    check(&["N 2 3 3"], to(resize([6, 9], [2.0, 3.0])), Ok("[N, 2, 6, 9]"));
    check(&["3 3"], to(resize([6, 9], [2.0, 3.0])), Ok("[6, 9]"));
    check(&["N 2 3 3"], to(resize([6, 9], [2.0, 0.0])), Err("a scale above 0"));
    check(
        &["N 2 3 3"],
        to(resize([1 << 16, 1 << 16], [2.0, 2.0])),
        Err("numbers an item"),
    );
    check(
        &["N 2 3 3"],
        to(resize([1 << 20, 1], [2.0, 2.0])),
        Err("a width of at most 65536"),
    );
    check(
        &["2 3 N 3"],
        to(resize([6, 9], [2.0, 3.0])),
        Err("items must not see each other"),
    );
    let interpolation = Interpolation::Cubic {
        coefficient: f32::NAN,
        exclude_outside: false,
    };
    check(
        &["N 2 3 3"],
        to(Resize {
            interpolation,
            ..resize([6, 9], [2.0, 3.0])
        }),
        Err("a finite coefficient"),
    );
}
