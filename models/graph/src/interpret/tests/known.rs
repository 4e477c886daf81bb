//! Each operator beside numbers from PyTorch, NumPy and ONNX Runtime.

use super::small;
use crate::builder::Builder;
use crate::graph::{ConstantId, Operand};
use crate::interpret::{Tensor, run};
use crate::op::{
    Activation, Adaptive, Binary, Convolution, Coordinates, GroupNorm, Interpolation, LayerNorm, Linear,
    LocalResponseNorm, Op, PadMode, PoolKind, Reduction, Resize, Rounding, TransposedConvolution, Window,
};
use crate::testing::{WINDOW, conv, fill, linear, pool, resize, shape, square, transposed, with};

/// The sum of what comes out, and the sum with weights from 0.1 to 0.7 that repeat: from PyTorch for the same numbers,
/// from NumPy where it has no such operator, from ONNX Runtime for sizes.
const KNOWN: &[(&str, f64, f64)] = &[
    ("conv", 105.700125, 43.4903412),
    ("conv uneven", 3.28534645, 5.89998161),
    ("conv depthwise", 131.128512, 50.0917103),
    ("transposed", 148.939619, 60.5016853),
    ("transposed stride 3", 6.70857917, 0.828625754),
    ("max pool", 52.240639, 20.2274089),
    ("max pool dilated", 54.3075386, 20.8755866),
    ("avg pool", 2.03641759, 0.303744389),
    ("avg pool padding", 2.67526487, 0.910043243),
    ("adaptive", -0.24779502, -0.262839068),
    ("linear", 9.3386059, 3.68921723),
    ("matmul", 0.248317559, 1.5074981),
    ("scale", 8.37420153, 3.15113027),
    ("layer norm", -24.6973114, -8.65162039),
    ("group norm", 36.228806, 15.1043912),
    ("instance norm", -8.8817842e-16, -3.32860544),
    ("local response", 0.285407568, -1.07911172),
    ("local response even", 0.89807493, -1.59077747),
    ("softmax", 30.0, 11.7231426),
    ("log softmax", -201.41152, -82.4553936),
    ("reduce mean", 0.024413373, 0.0605841208),
    ("reduce sum", 0.488267459, 1.21168242),
    ("reduce max", 5.72441339, 2.02381428),
    ("reduce min", -5.58262604, -1.89900149),
    ("reduce product", 6.52641391e-08, 2.78914493e-08),
    ("reduce l1", 62.6000999, 21.8892661),
    ("reduce l2", 15.9395873, 5.56871519),
    ("reduce squares", 42.4900583, 14.8164504),
    ("reduce log sum exp", 18.9692697, 6.68844176),
    ("arg max", 36.0, 10.4),
    ("arg min", 83.0, 31.2),
    ("transpose", 0.488267459, 1.79226153),
    ("slice", 0.611083328, -0.504443354),
    ("concat", 0.279580303, 1.75506733),
    ("pad edge", 70.1008462, 27.6187708),
    ("pad reflect", 11.3849229, 8.51113337),
    ("pad wrap", -6.61507802, -7.21737424),
    ("pad constant", 255.488267, 101.985372),
    ("gather", 0.651023299, 0.375886156),
    ("expand", -8.36345538, -2.17294066),
    ("add", -2.34548221, -3.14028976),
    ("resize linear half 11x13", 1.31966235, 0.698922443),
    ("resize linear align 11x4", 1.86919497, 0.545218352),
    ("resize linear asymmetric 11x3", -1.33578076, 0.210755066),
    ("resize linear pytorch 1x9", -27.1752373, -10.4470794),
    ("resize linear symmetric 11x7", 2.76433025, 3.24821228),
    ("resize cubic half 11x13", 1.5737591, 0.906131328),
    ("resize cubic exclude 11x13", -1.37314924, -0.221110375),
    ("resize cubic align 3x13", -40.8886759, -16.1879794),
    ("resize nearest prefer floor 11x13", -30.8607094, -12.6959561),
    ("resize nearest floor 14x12", -0.135796792, 1.18532185),
    ("resize nearest ceil 11x13", 17.3559655, 8.18142793),
    ("resize nearest prefer ceil 14x3", 0.265601569, -0.854118846),
];

/// Runs an operator on two items that are filled with known numbers.
fn check(name: &str, shapes: &[&str], op: impl FnOnce(&mut Builder) -> Op) {
    let (mut builder, operands) = with(shapes);
    let op = op(&mut builder);
    let value = builder.node(name, op.clone(), &operands).unwrap();
    let shape = builder.shape(Operand::Value(value));
    builder.output("y", value);
    let graph = builder.finish().unwrap();
    let lengths: Vec<Vec<usize>> = operands
        .iter()
        .map(|operand| graph.shape_of(*operand).at(2).unwrap())
        .collect();
    let data: Vec<Vec<f32>> = lengths
        .iter()
        .zip(1..)
        .map(|(lengths, seed)| fill(lengths, seed))
        .collect();
    let inputs: Vec<Tensor<'_>> = lengths
        .iter()
        .zip(&data)
        .map(|(shape, data)| Tensor { shape, data })
        .collect();
    let out = run(&graph, &op, &inputs, &shape, 2).unwrap();
    let sum: f64 = out.iter().map(|x| f64::from(*x)).sum();
    let weighted = out
        .iter()
        .zip((1..=7).cycle())
        .map(|(x, weight)| f64::from(*x) * f64::from(weight) / 10.0);
    let weighted: f64 = weighted.sum();
    let (_, known_sum, known_weighted) = KNOWN.iter().find(|(known, ..)| *known == name).unwrap();
    // Sizes: ONNX Runtime computes in `f32`.
    let tolerance = if name.starts_with("resize") { 1e-4 } else { 1e-5 };
    for (found, known) in [(sum, known_sum), (weighted, known_weighted)] {
        assert!(
            (found - known).abs() <= tolerance * (1.0 + known.abs()),
            "{name}: {found}, not {known}"
        );
    }
}

fn weight(builder: &mut Builder, shape: &[usize]) -> ConstantId {
    builder.constant("weight", shape, fill(shape, 2)).unwrap()
}

fn bias(builder: &mut Builder, shape: &[usize]) -> ConstantId {
    builder.constant("bias", shape, fill(shape, 3)).unwrap()
}

#[test]
fn convolutions() {
    check("conv", &["N 3 7 6"], |builder| {
        let (weight, bias) = (weight(builder, &[4, 3, 3, 3]), Some(bias(builder, &[4])));
        Op::Convolution(Convolution {
            bias,
            ..conv(weight, square(3, 1, 1))
        })
    });
    check("conv uneven", &["N 4 9 8"], |builder| {
        let window = Window {
            kernel: [3, 2],
            stride: [2, 1],
            dilation: [1, 2],
            before: [1, 2],
            after: [0, 1],
        };
        Op::Convolution(Convolution {
            groups: 2,
            ..conv(weight(builder, &[6, 2, 3, 2]), window)
        })
    });
    check("transposed", &["N 4 5 4"], |builder| {
        let window = Window {
            kernel: [3, 2],
            stride: [2, 1],
            dilation: [1, 2],
            before: [1, 0],
            after: [1, 0],
        };
        let (weight, bias) = (weight(builder, &[4, 3, 3, 2]), Some(bias(builder, &[6])));
        let conv = transposed(weight, window);
        Op::TransposedConvolution(TransposedConvolution {
            bias,
            groups: 2,
            output_padding: [1, 0],
            ..conv
        })
    });
    check("transposed stride 3", &["N 4 5 4"], |builder| {
        let conv = transposed(weight(builder, &[4, 3, 2, 2]), square(2, 3, 1));
        Op::TransposedConvolution(TransposedConvolution {
            output_padding: [2, 2],
            ..conv
        })
    });
}

#[test]
fn pools() {
    check("max pool", &["N 3 7 6"], |_| pool(PoolKind::Max, square(3, 2, 1)));
    let dilated = Window {
        kernel: [2, 3],
        dilation: [3, 2],
        before: [1, 1],
        after: [1, 1],
        ..WINDOW
    };
    check("max pool dilated", &["N 3 7 6"], |_| pool(PoolKind::Max, dilated));
    check("avg pool", &["N 3 7 6"], |_| pool(PoolKind::Average, square(3, 2, 1)));
    let ceil = Window {
        after: [1, 2],
        ..square(3, 2, 1)
    };
    let counting = PoolKind::AverageWithPadding { counted: [1, 1] };
    check("avg pool padding", &["N 3 7 6"], |_| pool(counting, ceil));
    check("adaptive", &["N 3 7 6"], |_| {
        Op::AdaptiveAverage(Adaptive { out: [3, 4] })
    });
}

#[test]
fn products() {
    check("linear", &["N 5 8"], |builder| {
        let (weight, bias) = (weight(builder, &[8, 3]), Some(bias(builder, &[3])));
        Op::Linear(Linear {
            bias,
            activation: Some(Activation::Gelu),
            ..linear(weight)
        })
    });
    check("matmul", &["N 3 4 5", "1 3 5 2"], |_| Op::MatMul);
}

#[test]
fn norms() {
    check("scale", &["N 3 4"], |builder| Op::Scale {
        factor: weight(builder, &[3]),
        shift: bias(builder, &[3]),
    });
    check("layer norm", &["N 4 3 5"], |builder| {
        let (scale, shift) = (Some(weight(builder, &[3, 5])), Some(bias(builder, &[3, 5])));
        Op::LayerNorm(LayerNorm {
            axes: 2,
            epsilon: 1e-3,
            scale,
            shift,
        })
    });
    check("group norm", &["N 4 3 5"], |builder| {
        let (scale, shift) = (Some(weight(builder, &[4])), Some(bias(builder, &[4])));
        Op::GroupNorm(GroupNorm {
            groups: 2,
            epsilon: 1e-3,
            scale,
            shift,
        })
    });
    check("instance norm", &["N 4 3 5"], |_| {
        Op::GroupNorm(GroupNorm {
            groups: 4,
            epsilon: 1e-5,
            scale: None,
            shift: None,
        })
    });
    let local = |size, bias| {
        move |_: &mut Builder| {
            Op::LocalResponseNorm(LocalResponseNorm {
                size,
                alpha: 0.5,
                beta: 0.75,
                bias,
            })
        }
    };
    check("local response", &["N 4 3 5"], local(3, 2.0));
    check("local response even", &["N 4 3 5"], local(4, 1.0));
}

#[test]
fn reductions() {
    let input = ["N 4 3 5"];
    check("softmax", &input, |_| Op::Softmax { axis: 1, log: false });
    check("log softmax", &input, |_| Op::Softmax { axis: 3, log: true });
    let of = |reduction| {
        move |_: &mut Builder| Op::Reduce {
            reduction,
            axes: vec![1, 3],
            keep: false,
        }
    };
    check("reduce mean", &input, of(Reduction::Mean));
    check("reduce sum", &input, of(Reduction::Sum));
    check("reduce max", &input, of(Reduction::Max));
    check("reduce min", &input, of(Reduction::Min));
    check("reduce product", &input, of(Reduction::Product));
    check("reduce l1", &input, of(Reduction::L1));
    check("reduce l2", &input, of(Reduction::L2));
    check("reduce squares", &input, of(Reduction::SumOfSquares));
    check("reduce log sum exp", &input, of(Reduction::LogOfSumOfExp));
    check("arg max", &input, |_| Op::ArgExtreme {
        smallest: false,
        axis: 2,
        keep: true,
        last: false,
    });
    check("arg min", &input, |_| Op::ArgExtreme {
        smallest: true,
        axis: 3,
        keep: false,
        last: false,
    });
}

#[test]
fn numbers_are_moved() {
    let input = ["N 4 3 5"];
    check("transpose", &input, |_| Op::Transpose(vec![2, 0, 3, 1]));
    check("slice", &input, |_| Op::Slice {
        starts: vec![0, 3, 1, 0],
        steps: vec![1, -2, 1, 2],
        shape: shape("N 2 2 3"),
    });
    let pad = |mode| {
        move |_: &mut Builder| Op::Pad {
            before: vec![0, 2, 0, 1],
            after: vec![0, 1, 2, 3],
            mode,
        }
    };
    check("pad constant", &input, pad(PadMode::Constant(0.5)));
    check("pad edge", &input, pad(PadMode::Edge));
    check("pad reflect", &input, pad(PadMode::Reflect));
    check("pad wrap", &input, pad(PadMode::Wrap));
    check("gather", &input, |_| Op::Gather {
        axis: 2,
        indices: vec![2, 0, 1, 1],
        shape: vec![2, 2],
    });
    check("add", &["N 4 3 5", "4 1 5"], |_| Op::Binary(Binary::Add));
    small(
        Op::Expand(shape("N 3 2")),
        &[1, 2],
        &[1.0, 2.0],
        &[1.0, 2.0, 1.0, 2.0, 1.0, 2.0],
    );
    small(
        Op::Reshape(shape("N 4")),
        &[2, 2],
        &[1.0, 2.0, 3.0, 4.0],
        &[1.0, 2.0, 3.0, 4.0],
    );
}

#[test]
fn other_sizes() {
    use Coordinates::{AlignCorners, Asymmetric, HalfPixel, HalfPixelSymmetric, PytorchHalfPixel};
    use Interpolation::{Cubic, Linear, Nearest};
    let check = |name: &str, coordinates, interpolation, scale: Option<[f32; 2]>| {
        let name = format!("resize {name}");
        let size = name.rsplit(' ').next().unwrap();
        let (height, width) = size.split_once('x').unwrap();
        let out: [usize; 2] = [height, width].map(|length| length.parse().unwrap());
        let scale = scale.unwrap_or([out[0] as f32 / 7.0, out[1] as f32 / 6.0]);
        check(&name, &["N 3 7 6"], |_| {
            Op::Resize(Resize {
                interpolation,
                coordinates,
                ..resize(out, scale)
            })
        });
    };
    let cubic = |coefficient, exclude_outside| Cubic {
        coefficient,
        exclude_outside,
    };
    check("linear half 11x13", HalfPixel, Linear, None);
    check("linear align 11x4", AlignCorners, Linear, None);
    check("linear asymmetric 11x3", Asymmetric, Linear, Some([1.7, 0.6]));
    check("linear pytorch 1x9", PytorchHalfPixel, Linear, None);
    check("linear symmetric 11x7", HalfPixelSymmetric, Linear, Some([1.7, 1.3]));
    check("cubic half 11x13", HalfPixel, cubic(-0.75, false), None);
    check("cubic exclude 11x13", HalfPixel, cubic(-0.5, true), None);
    check("cubic align 3x13", AlignCorners, cubic(-0.75, false), None);
    check(
        "nearest prefer floor 11x13",
        HalfPixel,
        Nearest(Rounding::PreferFloor),
        None,
    );
    check("nearest floor 14x12", Asymmetric, Nearest(Rounding::Floor), None);
    check("nearest ceil 11x13", Asymmetric, Nearest(Rounding::Ceil), None);
    check(
        "nearest prefer ceil 14x3",
        HalfPixel,
        Nearest(Rounding::PreferCeil),
        None,
    );
}
