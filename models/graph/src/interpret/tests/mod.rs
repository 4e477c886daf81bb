//! What rows with numbers from elsewhere do not say, and what is refused.

mod known;

use super::{Fault, Tensor, interpret, run, run_into, taps};
use crate::builder::Builder;
use crate::graph::{ConstantId, Operand};
use crate::op::{Activation, Convolution, Interpolation, Op, Reduction, Resize};
use crate::shape::Shape;
use crate::testing::{conv, fill, relu, resize, shape, square, with};

fn weight(builder: &mut Builder, shape: &[usize]) -> ConstantId {
    builder.constant("weight", shape, fill(shape, 2)).unwrap()
}

fn bias(builder: &mut Builder, shape: &[usize]) -> ConstantId {
    builder.constant("bias", shape, fill(shape, 3)).unwrap()
}

#[test]
fn a_residual_comes_before_the_activation() {
    // The residual of the row is the input itself.
    let (mut builder, operands) = with(&["N 4 5 5"]);
    let (weight, bias) = (weight(&mut builder, &[4, 1, 3, 3]), Some(bias(&mut builder, &[4])));
    let conv = conv(weight, square(3, 1, 1));
    let op = Op::Convolution(Convolution {
        bias,
        groups: 4,
        residual: true,
        activation: Some(Activation::Relu),
        ..conv
    });
    let value = builder.node("y", op, &[operands[0], operands[0]]).unwrap();
    builder.output("y", value);
    let graph = builder.finish().unwrap();
    let out = interpret(&graph, 2, &fill(&[2, 4, 5, 5], 1)).unwrap();
    let sum: f32 = out[0].iter().sum();
    assert!((sum - 131.128_51).abs() < 1e-3, "{sum}");
}

/// One operator on one item with these numbers.
fn small(op: Op, lengths: &[usize], numbers: &[f32], expected: &[f32]) {
    let mut builder = Builder::new("x", Shape::batch_of(lengths));
    let input = builder.input();
    let value = builder.node("y", op, &[Operand::Value(input)]).unwrap();
    builder.output("y", value);
    let out = interpret(&builder.finish().unwrap(), 1, numbers).unwrap();
    assert_eq!(out[0].len(), expected.len());
    for (found, expected) in out[0].iter().zip(expected) {
        let same = (found - expected).abs() < 1e-6 || found == expected || (found.is_nan() && expected.is_nan());
        assert!(same, "{:?}, not {expected:?}", out[0]);
    }
}

#[test]
fn extremes_of_reductions() {
    let reduce = |reduction| Op::Reduce {
        reduction,
        axes: vec![1],
        keep: false,
    };
    small(reduce(Reduction::LogOfSum), &[3], &[1.0, 2.0, 3.0], &[6_f32.ln()]);
    small(
        reduce(Reduction::LogOfSumOfExp),
        &[2],
        &[1000.0, 1000.0],
        &[1000.0 + std::f32::consts::LN_2],
    );
    small(
        reduce(Reduction::LogOfSumOfExp),
        &[2],
        &[f32::NEG_INFINITY; 2],
        &[f32::NEG_INFINITY],
    );
    small(reduce(Reduction::Max), &[3], &[1.0, f32::NAN, 3.0], &[f32::NAN]);
    small(
        Op::Softmax { axis: 1, log: false },
        &[3],
        &[1e30, 0.0, -1e30],
        &[1.0, 0.0, 0.0],
    );
    // Attention masks with minus infinity.
    small(
        Op::Softmax { axis: 1, log: false },
        &[3],
        &[f32::NEG_INFINITY, 0.0, 0.0],
        &[0.0, 0.5, 0.5],
    );
    let extreme = |smallest, last| Op::ArgExtreme {
        smallest,
        axis: 1,
        keep: false,
        last,
    };
    small(extreme(false, false), &[4], &[1.0, 3.0, 3.0, 1.0], &[1.0]);
    small(extreme(false, true), &[4], &[1.0, 3.0, 3.0, 1.0], &[2.0]);
    small(extreme(true, true), &[4], &[1.0, 3.0, 3.0, 1.0], &[3.0]);
}

#[test]
fn one_behind_the_other() {
    let (mut builder, operands) = with(&["N 4 3 5"]);
    let [x] = operands[..] else { panic!("one operand") };
    let part = Op::Slice {
        starts: vec![0; 4],
        steps: vec![1; 4],
        shape: shape("N 1 3 5"),
    };
    let part = builder.node("part", part, &[x]).unwrap();
    let all = builder
        .node("all", Op::Concat { axis: 1 }, &[x, Operand::Value(part), x])
        .unwrap();
    builder.output("all", all);
    let out = interpret(&builder.finish().unwrap(), 2, &fill(&[2, 4, 3, 5], 1)).unwrap();
    let sum: f32 = out[0].iter().sum();
    assert!((sum - 0.279_580_3).abs() < 1e-5, "{sum}");
}

#[test]
fn constants_are_operands() {
    let (mut builder, operands) = with(&["N 4 3 5"]);
    let relu = builder.node("relu", relu(), &operands).unwrap();
    let (yes, no) = (weight(&mut builder, &[5]), bias(&mut builder, &[3, 1]));
    let inputs = [Operand::Value(relu), Operand::Constant(yes), Operand::Constant(no)];
    let select = builder.node("select", Op::Select, &inputs).unwrap();
    builder.output("select", select);
    let out = interpret(&builder.finish().unwrap(), 2, &fill(&[2, 4, 3, 5], 1)).unwrap();
    let sum: f32 = out[0].iter().sum();
    assert!((sum - 7.240_14).abs() < 1e-4, "{sum}");
}

#[test]
fn neighbours_are_within_the_axis() {
    let interpolation = Interpolation::Cubic {
        coefficient: -0.75,
        exclude_outside: false,
    };
    let taps = taps(
        &Resize {
            interpolation,
            ..resize([4, 4], [2.0, 2.0])
        },
        0,
        2,
    );
    assert_eq!(taps.len(), 4);
    for neighbours in taps {
        assert!(neighbours.iter().all(|(index, _)| *index < 2), "{neighbours:?}");
        let sum: f32 = neighbours.iter().map(|(_, weight)| weight).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{neighbours:?}");
    }
}

#[test]
fn buffers_that_are_not_of_their_shape() {
    let (mut builder, operands) = with(&["N 4"]);
    let value = builder.node("relu", relu(), &operands).unwrap();
    builder.output("y", value);
    let graph = builder.finish().unwrap();
    assert!(matches!(
        interpret(&graph, 2, &[0.0; 7]),
        Err(Fault::Numbers { what: "the input", .. })
    ));
    assert!(matches!(interpret(&graph, 0, &[]), Err(Fault::Numbers { .. })));
    let four = Tensor {
        shape: &[1, 4],
        data: &[0.0; 4],
    };
    let mut out = [0.0; 4];
    let faults = [
        run_into(&graph, &relu(), &[four], &[1, 4], &mut [0.0; 3]),
        run_into(&graph, &relu(), &[Tensor { shape: &[1, 5], ..four }], &[1, 4], &mut out),
        run_into(&graph, &relu(), &[], &[1, 4], &mut out),
        run_into(&graph, &Op::MatMul, &[four, four], &[1, 4], &mut out),
        run_into(&graph, &Op::Transpose(vec![5, usize::MAX]), &[four], &[1, 4], &mut out),
        run_into(&graph, &Op::Concat { axis: usize::MAX }, &[four], &[1, 4], &mut out),
    ];
    assert!(faults.iter().all(Result::is_err), "{faults:?}");
    let much = run(&graph, &relu(), &[four], &shape("N 1000000 1000000"), 1 << 20);
    assert!(matches!(much, Err(Fault::Memory { .. })));
}

#[test]
fn items_of_a_batch_never_see_each_other() {
    const ITEMS: usize = 5;
    for seed in 0..400 {
        let graph = crate::testing::random::graph(seed, false);
        let lengths = graph.shape(graph.input()).at(ITEMS).unwrap();
        let input = fill(&lengths, seed);
        let batch = interpret(&graph, ITEMS, &input).unwrap();
        let singles: Vec<_> = input
            .chunks(input.len() / ITEMS)
            .map(|item| interpret(&graph, 1, item).unwrap())
            .collect();
        for (index, output) in graph.outputs().iter().enumerate() {
            let value = &graph.values()[output.value.index()];
            if !value.is_item_major() {
                continue; // an output that is no batch of items
            }
            let expected: Vec<f32> = singles.iter().flat_map(|single| single[index].clone()).collect();
            let same = |found: &f32, expected: &f32| found == expected || (found.is_nan() && expected.is_nan());
            let equal = batch[index]
                .iter()
                .zip(&expected)
                .all(|(found, expected)| same(found, expected));
            assert!(equal && batch[index].len() == expected.len(), "seed {seed}\n{graph}");
        }
    }
}
