//! Every operator on Burn's CPU backend against the graph's interpreter, which computes by the book.

use millrace_graph::{
    Activation, Adaptive, Axis, Binary, Builder, ConstantId, Convolution, Coordinates, Graph, GroupNorm, Interpolation,
    LayerNorm, Linear, LocalResponseNorm, Op, Operand, PadMode, Pool, PoolKind, Reduction, Resize, Rounding, Shape,
    TransposedConvolution, Unary, Window, interpret,
};

use millrace_model_types::{Precision, panic_text};

use crate::{Device, Executor, Products, adapters, output};

/// The largest difference, as a share of the largest number.
const NEAR: f32 = 2e-5;

/// `"N 3 8"`, `"4N 2"`, `""`.
fn shape(text: &str) -> Shape {
    let axis = |word: &str| match word.strip_suffix('N') {
        Some("") => Axis::batch(1),
        Some(size) => Axis::batch(size.parse().unwrap()),
        None => Axis::fixed(word.parse().unwrap()),
    };
    Shape(text.split_whitespace().map(axis).collect())
}

/// Numbers between -1 and 1, the same everywhere.
fn fill(count: usize, seed: u64) -> Vec<f32> {
    let numbers = (0..count as u64).map(|index| ((index + seed) * 7919 + seed * 104_729) % 2003);
    numbers.map(|number| (number as f64 / 1001.5 - 1.0) as f32).collect()
}

/// One operator on values of some shapes.
struct Case {
    name: String,
    graph: Graph,
}

/// All of them, made one by one.
#[derive(Default)]
struct Cases(Vec<Case>);

impl Cases {
    fn add(&mut self, name: &str, shapes: &[&str], op: impl FnOnce(&mut Builder) -> Op) {
        let mut builder = Builder::new("x", shape(shapes[0]));
        let mut operands = vec![Operand::Value(builder.input())];
        for (place, text) in shapes.iter().enumerate().skip(1) {
            // A constant for an item, and the same for every item where the shape has a batch axis.
            let to = shape(text);
            let of_item: Vec<usize> =
                to.0.iter()
                    .map(|axis| if axis.batched { 1 } else { axis.size })
                    .collect();
            let numbers = fill(of_item.iter().product(), 40 + place as u64);
            let id = builder.constant("operand", &of_item, numbers).unwrap();
            operands.push(match to.is_batched() {
                true => Operand::Value(
                    builder
                        .node("expand", Op::Expand(to), &[Operand::Constant(id)])
                        .unwrap(),
                ),
                false => Operand::Constant(id),
            });
        }
        let op = op(&mut builder);
        let text = format!("{name}: {op:?} of {shapes:?}");
        let value = builder
            .node(name, op, &operands)
            .unwrap_or_else(|misfit| panic!("{text}: {misfit}"));
        builder.output("y", value);
        self.0.push(Case {
            name: text,
            graph: builder.finish().unwrap(),
        });
    }

    /// The same operator of one value.
    fn of(&mut self, name: &str, shape: &str, op: Op) {
        self.add(name, &[shape], |_| op);
    }
}

fn weight(builder: &mut Builder, shape: &[usize]) -> ConstantId {
    let numbers = fill(shape.iter().product(), 7);
    builder.constant("weight", shape, numbers).unwrap()
}

fn window(kernel: [usize; 2], stride: [usize; 2], before: [usize; 2], after: [usize; 2]) -> Window {
    Window {
        kernel,
        stride,
        dilation: [1, 1],
        before,
        after,
    }
}

fn convolution(builder: &mut Builder, shape: [usize; 4], window: Window, groups: usize) -> Convolution {
    Convolution {
        weight: weight(builder, &shape),
        bias: Some(weight(builder, &shape[..1])),
        window,
        groups,
        residual: false,
        activation: None,
    }
}

fn convolutions(cases: &mut Cases) {
    let plain = window([3, 3], [1, 1], [1, 1], [1, 1]);
    let dilated = Window {
        dilation: [2, 1],
        ..window([3, 2], [1, 2], [2, 0], [2, 0])
    };
    for (name, shape, window, groups) in [
        ("plain", [4, 3, 3, 3], plain, 1),
        ("strided", [4, 3, 2, 3], window([2, 3], [2, 1], [0, 1], [0, 1]), 1),
        ("lopsided", [4, 3, 3, 3], window([3, 3], [2, 2], [0, 0], [1, 1]), 1),
        ("dilated", [4, 3, 3, 2], dilated, 1),
    ] {
        cases.add(name, &["N 3 7 8"], |builder| {
            Op::Convolution(convolution(builder, shape, window, groups))
        });
    }
    for (name, shape, window, groups) in [
        ("grouped", [6, 2, 3, 3], plain, 2),
        ("depthwise", [4, 1, 3, 3], plain, 4),
        ("grouped and dilated", [8, 2, 3, 2], dilated, 2),
    ] {
        cases.add(name, &["N 4 7 8"], |builder| {
            Op::Convolution(convolution(builder, shape, window, groups))
        });
    }
    cases.add("fused", &["N 3 5 5", "N 4 5 5"], |builder| {
        Op::Convolution(Convolution {
            residual: true,
            activation: Some(Activation::Silu),
            ..convolution(builder, [4, 3, 3, 3], plain, 1)
        })
    });
    for (name, shape, window, extra, groups) in [
        (
            "transposed",
            [3, 4, 3, 3],
            window([3, 3], [2, 2], [1, 1], [1, 1]),
            [0, 0],
            1,
        ),
        (
            "with more",
            [3, 4, 3, 3],
            window([3, 3], [2, 2], [1, 1], [1, 1]),
            [1, 1],
            1,
        ),
        (
            "cut unevenly",
            [3, 4, 3, 2],
            window([3, 2], [2, 1], [1, 0], [0, 1]),
            [0, 0],
            1,
        ),
        (
            "with more than is cut",
            [3, 4, 2, 2],
            window([2, 2], [3, 3], [0, 0], [0, 0]),
            [2, 1],
            1,
        ),
    ] {
        cases.add(name, &["N 3 4 5"], |builder| {
            Op::TransposedConvolution(TransposedConvolution {
                weight: weight(builder, &shape),
                bias: Some(weight(builder, &[shape[1] * groups])),
                window,
                output_padding: extra,
                groups,
            })
        });
    }
    cases.add("transposed in groups", &["N 4 4 5"], |builder| {
        Op::TransposedConvolution(TransposedConvolution {
            weight: weight(builder, &[4, 3, 2, 2]),
            bias: None,
            window: Window {
                dilation: [1, 2],
                ..window([2, 2], [2, 2], [0, 0], [0, 0])
            },
            output_padding: [0, 0],
            groups: 2,
        })
    });
}

fn products(cases: &mut Cases) {
    let linear = |builder: &mut Builder, residual, activation| {
        Op::Linear(Linear {
            weight: weight(builder, &[6, 4]),
            bias: Some(weight(builder, &[4])),
            residual,
            activation,
        })
    };
    cases.add("linear", &["N 6"], |builder| linear(builder, false, None));
    cases.add("linear on rows", &["N 2 3 6"], |builder| {
        linear(builder, false, Some(Activation::Relu))
    });
    cases.add("linear with residual", &["N 5 6", "N 5 4"], |builder| {
        linear(builder, true, Some(Activation::Gelu))
    });
    for shapes in [
        ["N 3 4", "N 4 2"],
        ["N 2 3 4", "N 2 4 5"],
        ["N 2 3 4", "1 2 4 5"],
        ["N 2 3 4", "1 1 4 5"],
        ["N 2 2 2 2 3 4", "1 2 1 2 1 4 3"],
    ] {
        cases.add("matmul", &shapes, |_| Op::MatMul);
    }
}

fn pools(cases: &mut Cases) {
    let over = window([3, 2], [2, 2], [0, 0], [1, 1]);
    let even = window([3, 3], [2, 2], [1, 1], [1, 1]);
    let dilated = Window {
        dilation: [2, 2],
        ..window([2, 2], [1, 1], [1, 1], [1, 1])
    };
    for window in [over, even, dilated, window([2, 2], [2, 2], [0, 0], [0, 0])] {
        for kind in [
            PoolKind::Max,
            PoolKind::Average,
            PoolKind::AverageWithPadding { counted: window.after },
            PoolKind::AverageWithPadding { counted: [0, 0] },
        ] {
            cases.of("pool", "N 3 8 7", Op::Pool(Pool { kind, window }));
        }
    }
    for out in [[1, 1], [3, 2], [7, 9]] {
        cases.of("adaptive", "N 3 7 5", Op::AdaptiveAverage(Adaptive { out }));
    }
}

fn norms(cases: &mut Cases) {
    for shape in ["N 3 4 5", "N 3", "N 3 4"] {
        cases.add("scale", &[shape], |builder| Op::Scale {
            factor: weight(builder, &[3]),
            shift: weight(builder, &[3]),
        });
    }
    for (axes, of) in [(1, vec![5]), (2, vec![4, 5]), (3, vec![3, 4, 5])] {
        cases.add("layer norm", &["N 3 4 5"], |builder| {
            Op::LayerNorm(LayerNorm {
                axes,
                epsilon: 1e-5,
                scale: Some(weight(builder, &of)),
                shift: Some(weight(builder, &of)),
            })
        });
    }
    cases.of(
        "bare layer norm",
        "N 6",
        Op::LayerNorm(LayerNorm {
            axes: 1,
            epsilon: 1e-6,
            scale: None,
            shift: None,
        }),
    );
    for (groups, shape) in [(2, "N 4 3 3"), (4, "N 4 3 3"), (1, "N 4 5")] {
        cases.add("group norm", &[shape], |builder| {
            Op::GroupNorm(GroupNorm {
                groups,
                epsilon: 1e-5,
                scale: Some(weight(builder, &[4])),
                shift: Some(weight(builder, &[4])),
            })
        });
    }
    for size in [1, 2, 3, 5, 9] {
        let of = LocalResponseNorm {
            size,
            alpha: 0.3,
            beta: 0.75,
            bias: 1.5,
        };
        cases.of("local norm", "N 4 2 3", Op::LocalResponseNorm(of));
    }
    for (axis, log) in [(1, false), (2, false), (3, true), (1, true)] {
        cases.of("softmax", "N 3 4 5", Op::Softmax { axis, log });
    }
    cases.of(
        "softmax of many axes",
        "N 2 1 2 1 2 3",
        Op::Softmax { axis: 3, log: false },
    );
}

fn functions(cases: &mut Cases) {
    use Activation as A;
    let activations = [
        A::Relu,
        A::Clip { low: -0.5, high: 0.25 },
        A::Clip {
            low: f32::NEG_INFINITY,
            high: 0.25,
        },
        A::Clip {
            low: 0.1,
            high: f32::INFINITY,
        },
        A::LeakyRelu { slope: 0.2 },
        A::Sigmoid,
        A::Silu,
        A::HardSigmoid { alpha: 0.3, beta: 0.4 },
        A::HardSwish,
        A::Gelu,
        A::GeluTanh,
        A::Tanh,
        A::Elu { alpha: 0.7 },
        A::Mish,
    ];
    let others = [
        Unary::Selu {
            alpha: 1.67,
            gamma: 1.05,
        },
        Unary::Celu { alpha: 1.3 },
        Unary::Softplus,
        Unary::Softsign,
        Unary::ThresholdedRelu { alpha: 0.3 },
        Unary::Abs,
        Unary::Neg,
        Unary::Exp,
        Unary::Reciprocal,
        Unary::Erf,
        Unary::Floor,
        Unary::Ceil,
        Unary::Round,
        Unary::Truncate,
        Unary::Sign,
        Unary::Sin,
        Unary::Cos,
        Unary::Not,
    ];
    for unary in activations.map(Unary::Activation).into_iter().chain(others) {
        cases.of("unary", "N 3 67", Op::Unary(unary));
    }
    for unary in [Unary::Log, Unary::Sqrt] {
        // The part above 0.
        let mut builder = Builder::new("x", shape("N 50"));
        let input = Operand::Value(builder.input());
        let exp = builder.node("exp", Op::Unary(Unary::Exp), &[input]).unwrap();
        let value = builder.node("unary", Op::Unary(unary), &[Operand::Value(exp)]).unwrap();
        builder.output("y", value);
        cases.0.push(Case {
            name: format!("{unary:?}"),
            graph: builder.finish().unwrap(),
        });
    }
    // Halves, and numbers of both signs.
    let mut builder = Builder::new("x", shape("N 4"));
    let halves = builder
        .constant(
            "halves",
            &[1, 9],
            vec![-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49, -0.51, 7.0],
        )
        .unwrap();
    for unary in [Unary::Round, Unary::Truncate, Unary::Floor, Unary::Sign] {
        let value = builder
            .node("halves", Op::Unary(unary), &[Operand::Constant(halves)])
            .unwrap();
        builder.output("y", value);
    }
    cases.0.push(Case {
        name: "halves".to_owned(),
        graph: builder.finish().unwrap(),
    });
    pairs(cases);
}

fn pairs(cases: &mut Cases) {
    use Binary as B;
    for binary in [
        B::Add,
        B::Sub,
        B::Mul,
        B::Div,
        B::Max,
        B::Min,
        B::Mod,
        B::Fmod,
        B::LeakyBySlope,
        B::Equal,
        B::Less,
        B::LessOrEqual,
        B::Greater,
        B::GreaterOrEqual,
        B::And,
        B::Or,
        B::Xor,
    ] {
        cases.add("binary", &["N 3 4", "N 3 4"], |_| Op::Binary(binary));
        cases.add("broadcast", &["N 3 4", "3 1"], |_| Op::Binary(binary));
        cases.add("with a number", &["N 3 4", ""], |_| Op::Binary(binary));
    }
    cases.add("many axes", &["N 2 1 3 2 1 2", "2 2 1 2 3 1"], |_| Op::Binary(B::Add));
    cases.add("wider", &["N 1 4", "3 4"], |_| Op::Binary(B::Mul));
    // Powers: of both signs, with whole and broken exponents.
    let mut builder = Builder::new("x", shape("N 4"));
    let bases = vec![-2.0, -1.5, 0.0, 0.5, 3.0];
    let base = builder.constant("bases", &[5, 1], bases).unwrap();
    let whole = builder
        .constant("whole", &[1, 6], vec![-2.0, -1.0, 0.0, 1.0, 2.0, 3.0])
        .unwrap();
    let operands = [Operand::Constant(base), Operand::Constant(whole)];
    let powers = builder.node("powers", Op::Binary(B::Pow), &operands).unwrap();
    // Infinite numbers are compared by their sign alone.
    let bounded = Op::Unary(Unary::Activation(Activation::Clip { low: -99.0, high: 99.0 }));
    let bounded = builder.node("bounded", bounded, &[Operand::Value(powers)]).unwrap();
    builder.output("powers", bounded);
    cases.0.push(Case {
        name: "powers".to_owned(),
        graph: builder.finish().unwrap(),
    });
    for exponent in [-1.0, -0.5, 0.5, 1.0, 2.0, 3.0, 1.7] {
        let mut builder = Builder::new("x", shape("N 20"));
        let input = Operand::Value(builder.input());
        let exp = builder.node("exp", Op::Unary(Unary::Exp), &[input]).unwrap();
        let exponent = builder.constant("exponent", &[], vec![exponent]).unwrap();
        let operands = [Operand::Value(exp), Operand::Constant(exponent)];
        let value = builder.node("power", Op::Binary(B::Pow), &operands).unwrap();
        builder.output("y", value);
        cases.0.push(Case {
            name: format!("power {exponent:?}"),
            graph: builder.finish().unwrap(),
        });
    }
    for shapes in [["N 3 4", "N 3 4", "N 3 4"], ["N 3 4", "4", "3 1"]] {
        cases.add("select", &shapes, |_| Op::Select);
    }
}

fn reductions(cases: &mut Cases) {
    use Reduction as R;
    for reduction in [
        R::Mean,
        R::Sum,
        R::Max,
        R::Min,
        R::Product,
        R::L1,
        R::L2,
        R::SumOfSquares,
        R::LogOfSumOfExp,
    ] {
        for (axes, keep) in [(vec![2, 3], true), (vec![1], false), (vec![1, 3], false)] {
            cases.of("reduce", "N 3 4 5", Op::Reduce { reduction, axes, keep });
        }
    }
    cases.of(
        "reduce many axes",
        "N 2 3 2 2 2 2",
        Op::Reduce {
            reduction: R::Mean,
            axes: vec![2, 4],
            keep: false,
        },
    );
    for (smallest, last) in [(false, false), (true, true), (false, true)] {
        for (axis, keep) in [(1, false), (3, true)] {
            let op = Op::ArgExtreme {
                smallest,
                axis,
                keep,
                last,
            };
            cases.of("extreme", "N 3 4 5", op.clone());
            // One of many that are equal.
            let mut builder = Builder::new("x", shape("N 3 4 5"));
            let input = Operand::Value(builder.input());
            let signs = builder.node("signs", Op::Unary(Unary::Sign), &[input]).unwrap();
            let value = builder.node("extreme", op, &[Operand::Value(signs)]).unwrap();
            builder.output("y", value);
            cases.0.push(Case {
                name: format!("equal {smallest} {axis} {last}"),
                graph: builder.finish().unwrap(),
            });
        }
    }
}

fn layouts(cases: &mut Cases) {
    cases.of("reshape", "N 3 4 5", Op::Reshape(shape("N 60")));
    cases.of("to many axes", "N 12 8", Op::Reshape(shape("N 3 2 2 2 2 2")));
    cases.of("transpose", "N 3 4 5", Op::Transpose(vec![0, 2, 3, 1]));
    cases.of("the batch inside", "N 3 4", Op::Transpose(vec![1, 0, 2]));
    cases.of("transpose six", "N 2 3 2 3 2", Op::Transpose(vec![0, 1, 3, 2, 4, 5]));
    cases.of(
        "transpose seven",
        "N 2 3 2 3 2 2",
        Op::Transpose(vec![0, 5, 1, 3, 2, 6, 4]),
    );
    let slice = |starts: [usize; 4], steps: [isize; 4], to: &str| Op::Slice {
        starts: starts.to_vec(),
        steps: steps.to_vec(),
        shape: shape(to),
    };
    cases.of("slice", "N 3 6 5", slice([0, 1, 0, 2], [1, 1, 1, 1], "N 2 6 3"));
    cases.of(
        "slice by steps",
        "N 3 6 5",
        slice([0, 2, 5, 0], [1, -1, -2, 3], "N 3 3 2"),
    );
    for axis in [1, 2] {
        let shapes = if axis == 1 {
            ["N 2 3", "N 4 3", "N 1 3"]
        } else {
            ["N 2 3", "N 2 1", "N 2 2"]
        };
        cases.add("concat", &shapes, |_| Op::Concat { axis });
    }
    cases.add("concat many axes", &["N 2 1 2 1 3 2", "N 2 1 2 1 1 2"], |_| {
        Op::Concat { axis: 5 }
    });
    for mode in [PadMode::Constant(0.5), PadMode::Edge, PadMode::Reflect, PadMode::Wrap] {
        let op = Op::Pad {
            before: vec![0, 1, 2, 0],
            after: vec![0, 0, 1, 3],
            mode,
        };
        cases.of("pad", "N 3 4 5", op);
    }
    cases.of("expand", "N 1 4 1", Op::Expand(shape("N 3 4 5")));
    cases.of("expand to more axes", "N 3", Op::Expand(shape("N 3")));
    for (axis, indices, of) in [
        (1, vec![2, 0, 1, 1], vec![2, 2]),
        (2, vec![3], vec![]),
        (3, vec![1, 2, 3], vec![3]),
        (1, vec![0, 1, 2], vec![3]),
    ] {
        let op = Op::Gather {
            axis,
            indices,
            shape: of,
        };
        cases.of("gather", "N 3 4 5", op);
    }
}

fn sizes(cases: &mut Cases) {
    let coordinates = [
        Coordinates::HalfPixel,
        Coordinates::HalfPixelSymmetric,
        Coordinates::PytorchHalfPixel,
        Coordinates::AlignCorners,
        Coordinates::Asymmetric,
    ];
    let interpolations = [
        Interpolation::Nearest(Rounding::PreferFloor),
        Interpolation::Nearest(Rounding::PreferCeil),
        Interpolation::Nearest(Rounding::Floor),
        Interpolation::Nearest(Rounding::Ceil),
        Interpolation::Linear,
        Interpolation::Cubic {
            coefficient: -0.75,
            exclude_outside: false,
        },
        Interpolation::Cubic {
            coefficient: -0.5,
            exclude_outside: true,
        },
    ];
    for coordinates in coordinates {
        for interpolation in interpolations {
            for (out, scale) in [([8, 9], [2.0, 1.8]), ([3, 1], [0.75, 0.2])] {
                let op = Op::Resize(Resize {
                    out,
                    scale,
                    interpolation,
                    coordinates,
                });
                cases.of("resize", "N 3 4 5", op);
            }
        }
    }
}

fn all() -> Vec<Case> {
    let mut cases = Cases::default();
    convolutions(&mut cases);
    products(&mut cases);
    pools(&mut cases);
    norms(&mut cases);
    functions(&mut cases);
    reductions(&mut cases);
    layouts(&mut cases);
    sizes(&mut cases);
    cases.0
}

/// The largest difference of any case, as a share of its largest number; what is further off is listed.
fn compare(device: &Device, products: Products, cases: &[Case]) {
    let mut wrong = Vec::new();
    for case in cases {
        println!("{}", case.name);
        for n_items in [1, 3] {
            let input = case.graph.shape(case.graph.input()).elements().unwrap() * n_items;
            let numbers = fill(input, 3);
            let expected = interpret(&case.graph, n_items, &numbers).unwrap();
            // As the executor gives them: by item.
            let expected = output::split(&output::layouts(&case.graph), &expected, n_items).unwrap();
            let run = || {
                let mut executor = Executor::prepare(&case.graph, device, Precision::F32, products).unwrap();
                executor.run(numbers.clone(), n_items).unwrap()
            };
            let found = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
                Ok(found) => found,
                Err(panic) => {
                    wrong.push(format!(
                        "{} ({n_items}): panics: {}",
                        case.name,
                        panic_text(panic.as_ref())
                    ));
                    continue;
                }
            };
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
                let scale = expected.iter().fold(1e-3, |most: f32, number| most.max(number.abs()));
                let off = found.iter().zip(expected).position(|(found, expected)| {
                    let same = found == expected || (found.is_nan() && expected.is_nan());
                    !(same || (found - expected).abs() <= NEAR * scale)
                });
                if found.len() != expected.len() || off.is_some() {
                    let at = off.unwrap_or(0);
                    wrong.push(format!(
                        "{} ({n_items}): {} numbers of {}, number {at} is {:?} and not {:?}",
                        case.name,
                        found.len(),
                        expected.len(),
                        found.get(at),
                        expected.get(at)
                    ));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len() * 2,
        wrong.join("\n")
    );
}

#[test]
fn every_operator_is_what_the_interpreter_says() {
    compare(&Device::flex(), Products::Kernels, &all());
}

#[test]
fn products_are_the_same_without_kernels_for_them() {
    compare(&Device::flex(), Products::Sums, &all());
}

/// Set in the process that runs the operators on software Vulkan.
const CHILD: &str = "MILLRACE_TEST_OPERATORS_ON_VULKAN";

#[test]
fn operators_on_software_vulkan_are_what_the_interpreter_says() {
    if std::env::var_os(CHILD).is_some() {
        let is_software = |adapter: &&crate::Adapter| adapter.name.to_lowercase().contains("llvmpipe");
        let device = adapters().iter().find(is_software).unwrap().open().unwrap();
        // Of what a quotient that is nearly whole leaves, either side is right.
        let is_even = |case: &Case| !case.name.contains("Mod) of") && !case.name.contains("Fmod) of");
        let cases: Vec<Case> = all().into_iter().filter(is_even).collect();
        return compare(&device, Products::Sums, &cases);
    }
    // A process of its own: a driver that crashes shall fail this test alone.
    let runtime = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("tests::operators_on_software_vulkan_are_what_the_interpreter_says")
        .env(CHILD, "1")
        .env("CUBECL_AUTOTUNE_LEVEL", "minimal")
        .env("XDG_RUNTIME_DIR", runtime.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{}: {text}{errors}",
        output.status
    );
}

#[test]
fn what_flows_through_many_operators_is_freed_and_right() {
    // Values with several readers, and outputs that others read.
    let mut builder = Builder::new("x", shape("N 3 6 6"));
    let x = Operand::Value(builder.input());
    let relu = builder
        .node("relu", Op::Unary(Unary::Activation(Activation::Relu)), &[x])
        .unwrap();
    let sum = builder
        .node("sum", Op::Binary(Binary::Add), &[x, Operand::Value(relu)])
        .unwrap();
    let twice = [Operand::Value(sum), Operand::Value(sum)];
    let square = builder.node("square", Op::Binary(Binary::Mul), &twice).unwrap();
    let all = [Operand::Value(sum), Operand::Value(square), x];
    let joined = builder.node("joined", Op::Concat { axis: 1 }, &all).unwrap();
    let mean = Op::AdaptiveAverage(Adaptive { out: [1, 1] });
    let mean = builder.node("mean", mean, &[Operand::Value(joined)]).unwrap();
    builder.output("sum", sum);
    builder.output("mean", mean);
    let case = Case {
        name: "many".to_owned(),
        graph: builder.finish().unwrap(),
    };
    compare(&Device::flex(), Products::Kernels, &[case]);
}
