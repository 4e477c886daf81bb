//! Each operator with inputs that fit and inputs that do not.

mod window;

use crate::builder::Builder;
use crate::graph::Operand;
use crate::interpret::interpret;
use crate::limits::{MAX_CONSTANTS, MAX_NODES};
use crate::op::{Binary, GroupNorm, LayerNorm, Linear, LocalResponseNorm, Op, PadMode, Reduction, Unary};
use crate::passes::{Options, optimise};
use crate::shape::{Axis, Shape};
use crate::testing::hostile::Hostile;
use crate::testing::random::Random;
use crate::testing::{check, constant, fill, linear, relu, shape, with};

#[test]
fn products() {
    let of = |weight: &'static [usize], bias: Option<usize>, residual: bool| {
        move |builder: &mut Builder| {
            let weight = constant(builder, weight);
            let bias = bias.map(|bias| constant(builder, &[bias]));
            Op::Linear(Linear {
                bias,
                residual,
                ..linear(weight)
            })
        }
    };
    check(&["N 8"], of(&[8, 3], Some(3), false), Ok("[N, 3]"));
    check(&["N 5 8"], of(&[8, 3], None, false), Ok("[N, 5, 3]"));
    check(&["N 5 8", "N 5 3"], of(&[8, 3], None, true), Ok("[N, 5, 3]"));
    check(&["N 5 8", "N 1 3"], of(&[8, 3], None, true), Err("a residual of shape"));
    check(
        &["N 8"],
        of(&[3, 8], None, false),
        Err("expected a weight of shape [8, 8], found [3, 8] in `c`"),
    );
    check(&["N 8"], of(&[8, 3], Some(8), false), Err("a bias of shape [3]"));
    check(&["N 8"], of(&[8], None, false), Err("a weight of two axes"));
    check(&["8 N"], of(&[1, 3], None, false), Err("items must not see each other"));
    let matmul = |_: &mut Builder| Op::MatMul;
    check(&["N 8 5 6", "N 8 6 7"], matmul, Ok("[N, 8, 5, 7]"));
    check(&["N 8 5 6", "1 1 6 7"], matmul, Ok("[N, 8, 5, 7]"));
    check(&["N 6", "6 7"], matmul, Ok("[N, 7]"));
    check(&["5 6", "6 N"], matmul, Ok("[5, N]"));
    check(&["N 8 5 6", "N 8 5 7"], matmul, Err("a second input with 6 rows"));
    check(&["N 8 5 6", "N 6 7"], matmul, Err("as many axes"));
    check(&["5 N", "N 6"], matmul, Err("items must not see each other"));
    check(&["N 6", "6 N"], matmul, Err("at most one axis that grows"));
    check(&["6", "6"], matmul, Err("two inputs of at least two axes"));
}

#[test]
fn pointwise() {
    let add = |_: &mut Builder| Op::Binary(Binary::Add);
    check(&["N 3 4 4", "N 3 4 4"], add, Ok("[N, 3, 4, 4]"));
    check(&["N 3 4 4", "3 1 1"], add, Ok("[N, 3, 4, 4]"));
    check(&["3 1", "N 1 4"], add, Ok("[N, 3, 4]"));
    check(&["", "N"], add, Ok("[N]"));
    check(&["N 3", "N 3"], |_| relu(), Err("as many inputs as relu takes"));
    check(
        &["N 4", "5 4"],
        add,
        Err("expected a shape that is broadcast to [N, 4], found [5, 4]"),
    );
    check(&["N 4", "2N 4"], add, Err("a shape that is broadcast"));
    check(&["N 1", "N"], add, Err("at most one axis that grows"));
    check(&["N 4", "N 3"], add, Err("a shape that is broadcast"));
    check(&["N 4"], add, Err("as many inputs as add takes, found 1 inputs"));
    check(&["N 4", "4", "1"], |_| Op::Select, Ok("[N, 4]"));
    check(&["N 4", "4", "2"], |_| Op::Select, Err("a shape that is broadcast"));
    check(&["N 4"], |_| relu(), Ok("[N, 4]"));
    check(&["N 4"], |_| Op::Unary(Unary::Celu { alpha: 0.0 }), Err("other than 0"));
    check(
        &["N 4"],
        |_| {
            Op::Unary(Unary::Selu {
                alpha: 0.0,
                gamma: f32::NAN,
            })
        },
        Err("a finite gamma"),
    );
    let scale = |factor: usize, shift: usize| {
        move |builder: &mut Builder| Op::Scale {
            factor: constant(builder, &[factor]),
            shift: constant(builder, &[shift]),
        }
    };
    check(&["N 4 2"], scale(4, 4), Ok("[N, 4, 2]"));
    check(&["N 4 2"], scale(4, 2), Err("a shift of shape [4]"));
    check(&["N"], scale(1, 1), Err("expected an axis 1"));
}

#[test]
fn norms() {
    let layer = |axes: usize, scale: &'static [usize], epsilon: f64| {
        move |builder: &mut Builder| {
            let scale = Some(constant(builder, scale));
            Op::LayerNorm(LayerNorm {
                axes,
                epsilon,
                scale,
                shift: None,
            })
        }
    };
    check(&["N 5 8"], layer(1, &[8], 1e-5), Ok("[N, 5, 8]"));
    check(&["N 5 8"], layer(2, &[5, 8], 0.0), Ok("[N, 5, 8]"));
    check(&["N 5 8"], layer(2, &[8], 0.0), Err("a scale of 40 numbers"));
    check(&["N 5 8"], layer(3, &[40], 0.0), Err("items must not see each other"));
    check(&["N 5 8"], layer(4, &[40], 0.0), Err("at least 4 axes"));
    check(&["N 5 8"], layer(0, &[1], 0.0), Err("and one"));
    check(&["N 5 8"], layer(1, &[8], f64::NAN), Err("an epsilon of at least 0"));
    let group = |groups: usize, scale: usize| {
        move |builder: &mut Builder| {
            let shift = Some(constant(builder, &[scale]));
            Op::GroupNorm(GroupNorm {
                groups,
                epsilon: 0.0,
                scale: None,
                shift,
            })
        }
    };
    check(&["N 6 3 3"], group(2, 6), Ok("[N, 6, 3, 3]"));
    check(&["N 6 3 3"], group(4, 6), Err("groups that divide"));
    check(&["N 6 3 3"], group(2, 3), Err("a shift of shape [6]"));
    check(&["1 6 N"], group(2, 6), Err("items must not see each other"));
    let local = |size: usize, alpha: f64| {
        move |_: &mut Builder| {
            Op::LocalResponseNorm(LocalResponseNorm {
                size,
                alpha,
                beta: 0.75,
                bias: 1.0,
            })
        }
    };
    check(&["N 6 3 3"], local(5, 1e-4), Ok("[N, 6, 3, 3]"));
    check(&["N 6 3 3"], local(0, 1e-4), Err("a size of at least 1"));
    check(&["N 6 3 3"], local(5, f64::INFINITY), Err("a finite alpha"));
}

#[test]
fn reductions() {
    let mean = |axes: &'static [usize], keep| {
        move |_: &mut Builder| Op::Reduce {
            reduction: Reduction::Mean,
            axes: axes.to_vec(),
            keep,
        }
    };
    check(&["N 3 4 5"], mean(&[2, 3], true), Ok("[N, 3, 1, 1]"));
    check(&["N 3 4 5"], mean(&[1, 3], false), Ok("[N, 4]"));
    check(&["N 3"], mean(&[], false), Err("axes in ascending order"));
    check(&["N 3 4"], mean(&[2, 1], false), Err("axes in ascending order"));
    check(&["N 3"], mean(&[2], false), Err("an axis 2"));
    check(&["N 3"], mean(&[0], false), Err("items must not see each other"));
    let largest = |axis, keep| {
        move |_: &mut Builder| Op::ArgExtreme {
            smallest: false,
            axis,
            keep,
            last: false,
        }
    };
    check(&["N 3 4"], largest(1, false), Ok("[N, 4]"));
    check(&["N 3 4"], largest(0, false), Err("items must not see each other"));
    let softmax = |axis| move |_: &mut Builder| Op::Softmax { axis, log: false };
    check(&["N 3 4"], softmax(2), Ok("[N, 3, 4]"));
    check(&["N 3 4"], softmax(3), Err("an axis 3"));
    check(&["N 3 4"], softmax(0), Err("items must not see each other"));
}

#[test]
fn reshapes() {
    let to = |target: &'static str| move |_: &mut Builder| Op::Reshape(shape(target));
    check(&["N 3 4"], to("N 12"), Ok("[N, 12]"));
    check(&["N 4 6"], to("4N 6"), Ok("[4N, 6]"));
    check(&["4N 6"], to("N 2 2 6"), Ok("[N, 2, 2, 6]"));
    check(&["1 N 6"], to("N 6"), Ok("[N, 6]"));
    check(&["4 N 6"], to("4 2N 3"), Ok("[4, 2N, 3]"));
    check(&["3 4"], to("2 6"), Ok("[2, 6]"));
    check(&["N 3 4"], to("N 11"), Err("as many numbers as [N, 3, 4] has"));
    check(&["N 3 4"], to("12"), Err("as many numbers"));
    check(&["12"], to("N 12"), Err("as many numbers"));
    check(&["N 3 4"], to("N N 12"), Err("at most one axis that grows"));
    check(&["N 1 1"], to("N 1 1 1 1 1 1 1 1"), Err("at most 8 axes"));
    // The numbers outside of the items must stay outside of them.
    check(&["4 N 6"], to("N 24"), Err("items must not mix"));
    check(&["N 4 6"], to("4 N 6"), Err("items must not mix"));
    check(&["6 N 6"], to("4 N 9"), Err("items must not mix"));
    check(&["4 N 6"], to("2 2N 6"), Ok("[2, 2N, 6]"));
}

#[test]
fn items_keep_their_place() {
    // As PyTorch's attention does: `[tokens, N, width]` as rows, and back.
    let (mut builder, operands) = with(&["N 4 6"]);
    let node = |builder: &mut Builder, op, inputs: &[Operand]| builder.node("", op, inputs).map(Operand::Value);
    let tokens_first = node(&mut builder, Op::Transpose(vec![1, 0, 2]), &operands).unwrap();
    let rows = node(&mut builder, Op::Reshape(shape("4N 6")), &[tokens_first]).unwrap();
    let other_rows = node(&mut builder, Op::Reshape(shape("4N 6")), &operands).unwrap();
    let mixed = node(&mut builder, Op::Binary(Binary::Add), &[rows, other_rows]).unwrap_err();
    assert!(mixed.to_string().contains("at the same place in all inputs"), "{mixed}");
    let back = node(&mut builder, Op::Reshape(shape("4 N 6")), &[rows]).unwrap();
    node(&mut builder, Op::Binary(Binary::Add), &[back, tokens_first]).unwrap();
    let wrong = node(&mut builder, Op::Reshape(shape("N 4 6")), &[rows]).unwrap_err();
    assert!(wrong.to_string().contains("items must not mix"), "{wrong}");
    let again = node(&mut builder, Op::Transpose(vec![1, 0, 2]), &[back]).unwrap();
    let major = |builder: &Builder, operand| match operand {
        Operand::Value(id) => builder.value(id).is_some_and(crate::Value::is_item_major),
        Operand::Constant(_) => false,
    };
    let places = [operands[0], tokens_first, rows, other_rows, back, again].map(|operand| major(&builder, operand));
    assert_eq!(places, [true, false, false, true, false, true]);
    let item = |operand| match operand {
        Operand::Value(id) => builder.value(id).and_then(crate::Value::item),
        Operand::Constant(_) => None,
    };
    assert_eq!(item(again), Some(vec![4, 6]));
    assert_eq!(item(other_rows), Some(vec![4, 6]));
    assert_eq!(item(rows), None);
}

#[test]
fn transposes_and_concats() {
    let order = |order: &'static [usize]| move |_: &mut Builder| Op::Transpose(order.to_vec());
    check(&["N 3 4"], order(&[2, 0, 1]), Ok("[4, N, 3]"));
    check(&["N 3 4"], order(&[0, 1]), Err("each axis of [N, 3, 4] once"));
    check(&["N 3 4"], order(&[0, 1, 1]), Err("each axis"));
    check(&["N 3 4"], order(&[0, 1, 3]), Err("each axis"));
    let along = |axis| move |_: &mut Builder| Op::Concat { axis };
    check(&["N 3 4", "N 2 4", "N 1 4"], along(1), Ok("[N, 6, 4]"));
    check(&["N 3 4"], along(1), Ok("[N, 3, 4]"));
    check(&["N 3 4", "N 3 4"], along(0), Err("items must not see each other"));
    check(
        &["N 3 4", "1 3 4"],
        along(1),
        Err("a shape as [N, 3, 4] in all axes but axis 1"),
    );
    check(&["N 3 4", "N 3"], along(1), Err("a shape as"));
    check(&["N 3 4", "N 3 4"], along(3), Err("an axis 3"));
}

#[test]
fn slices() {
    let part = |starts: &'static [usize], steps: &'static [isize], text: &'static str| {
        move |_: &mut Builder| Op::Slice {
            starts: starts.to_vec(),
            steps: steps.to_vec(),
            shape: shape(text),
        }
    };
    check(&["N 8"], part(&[0, 2], &[1, 2], "N 3"), Ok("[N, 3]"));
    check(&["N 8"], part(&[0, 7], &[1, -1], "N 8"), Ok("[N, 8]"));
    check(&["N 8"], part(&[0, 7], &[1, -1], "N 9"), Err("a part of [N, 8]"));
    check(&["N 8"], part(&[0, 2], &[1, 2], "N 4"), Err("a part of"));
    check(&["N 8"], part(&[0, 8], &[1, -1], "N 1"), Err("a part of"));
    check(&["N 8"], part(&[0, 0], &[1, 0], "N 4"), Err("a part of"));
    check(&["N 8"], part(&[0, 0], &[1, isize::MIN], "N 2"), Err("a part of"));
    check(&["N 8"], part(&[0, 0], &[1, 1], "N 0"), Err("a part of"));
    check(&["N 8"], part(&[1, 0], &[1, 1], "N 8"), Err("a part of"));
    check(&["N 8"], part(&[0, 0], &[-1, 1], "N 8"), Err("a part of"));
    check(&["N 8"], part(&[0, 0], &[1, 1], "1 8"), Err("a part of"));
    check(&["N 8"], part(&[0, 0], &[1, 1], "N 2N"), Err("a part of"));
    check(&["N 8"], part(&[0], &[1], "N"), Err("for each axis"));
}

#[test]
fn pads_expansions_and_gathers() {
    let pad = |before: &'static [usize], after: &'static [usize], mode| {
        move |_: &mut Builder| Op::Pad {
            before: before.to_vec(),
            after: after.to_vec(),
            mode,
        }
    };
    check(&["N 3"], pad(&[0, 5], &[0, 1], PadMode::Constant(0.0)), Ok("[N, 9]"));
    check(&["N 3"], pad(&[0, 2], &[0, 2], PadMode::Reflect), Ok("[N, 7]"));
    check(
        &["N 3"],
        pad(&[0, 3], &[0, 0], PadMode::Reflect),
        Err("pads of at most 2"),
    );
    check(&["N 3"], pad(&[0, 3], &[0, 4], PadMode::Wrap), Err("pads of at most 3"));
    check(
        &["N 3"],
        pad(&[1, 0], &[0, 0], PadMode::Edge),
        Err("no pad of the batched axis"),
    );
    check(
        &["N 3"],
        pad(&[0, usize::MAX], &[0, 4], PadMode::Edge),
        Err("pads of at most"),
    );
    check(&["N 3"], pad(&[0], &[0], PadMode::Edge), Err("two pads for each axis"));
    check(
        &["N 3"],
        pad(&[0, 1], &[0, 0], PadMode::Constant(f32::NAN)),
        Err("a number to pad with"),
    );
    let to = |target: &'static str| move |_: &mut Builder| Op::Expand(shape(target));
    check(&["3 1"], to("N 3 4"), Ok("[N, 3, 4]"));
    check(&["1 3"], to("N 3"), Ok("[N, 3]"));
    check(&["N 1"], to("N 3"), Ok("[N, 3]"));
    check(&["N 1"], to("4 3"), Err("a shape that [N, 1] is broadcast to"));
    check(&["2 3"], to("N 3"), Err("a shape that"));
    check(&["N 3"], to("3"), Err("a shape that"));
    let gather = |axis, indices: &'static [usize], shape: &'static [usize]| {
        move |_: &mut Builder| Op::Gather {
            axis,
            indices: indices.to_vec(),
            shape: shape.to_vec(),
        }
    };
    check(&["N 3 4"], gather(1, &[0], &[]), Ok("[N, 4]"));
    check(&["N 3 4"], gather(1, &[2, 2, 0, 1], &[2, 2]), Ok("[N, 2, 2, 4]"));
    check(&["N 3 4"], gather(1, &[3], &[1]), Err("indices below 3"));
    check(&["N 3 4"], gather(1, &[0], &[2]), Err("as many indices"));
    check(&["N 3 4"], gather(0, &[0], &[1]), Err("items must not see each other"));
}

#[test]
fn limits_of_a_network() {
    let mut builder = Builder::new("x", shape("N 4"));
    assert!(builder.constant("none", &[0, 3], Vec::new()).is_err());
    assert!(builder.constant("few", &[4], vec![1.0]).is_err());
    assert!(builder.constant("huge", &[usize::MAX, usize::MAX], vec![1.0]).is_err());
    assert!(builder.constant("deep", &[1; 9], vec![1.0]).is_err());
    let shared: std::sync::Arc<[f32]> = vec![1.0; 1 << 20].into();
    let mut many = 0;
    let full = loop {
        match builder.constant("large", &[1 << 20], std::sync::Arc::clone(&shared)) {
            Ok(_) => many += 1,
            Err(misfit) => break misfit.to_string(),
        }
    };
    assert_eq!(many, 1 << 10);
    assert!(full.contains("bytes of constants"), "{full}");

    let mut builder = Builder::new("x", shape("N 4"));
    let errors = (0..=MAX_CONSTANTS).filter_map(|_| builder.constant("c", &[], vec![1.0]).err());
    assert_eq!(errors.count(), 1);

    let (mut builder, operands) = with(&["N 8192 4096"]);
    let mut nodes = 0;
    let spent = loop {
        match builder.node("relu", relu(), &operands) {
            Ok(_) => nodes += 1,
            Err(misfit) => break misfit.to_string(),
        }
    };
    assert_eq!(nodes, 1 << 13);
    assert!(spent.contains("steps of arithmetic"), "{spent}");

    let (mut builder, operands) = with(&["N"]);
    let errors = (0..=MAX_NODES).filter_map(|_| builder.node("relu", relu(), &operands).err());
    assert_eq!(errors.count(), 1);
}

#[test]
fn names_are_bounded() {
    let (mut builder, operands) = with(&["N 4"]);
    let name = format!("x{}", "\u{e9}".repeat(1 << 20));
    let value = builder.node(&name, relu(), &operands).unwrap();
    assert_eq!(builder.value(value).unwrap().name.len(), 255);
}

/// What a hostile file may say is refused, or runs: nothing panics, overflows or grows without end.
#[test]
fn nothing_panics() {
    let random = Random(0x1234_5678_9ABC_DEF1);
    let mut hostile = Hostile { random, constants: 4 };
    let (mut refused, mut run) = (0, 0);
    for _ in 0..60_000 {
        let inputs = ["N 3 4 4", "N 4 3", "N 4", "2N 1 3 2", "4 1 3"];
        let mut drawn = || inputs[hostile.random.below(inputs.len())];
        let drawn = [drawn(), drawn(), drawn()];
        let (mut builder, mut operands) = with(&drawn);
        for lengths in [&[4][..], &[3], &[2, 3, 1, 2], &[4, 3]] {
            constant(&mut builder, lengths);
        }
        let op = hostile.op();
        operands.truncate(1 + hostile.random.below(3));
        let Ok(value) = builder.node("node", op.clone(), &operands) else {
            refused += 1;
            continue;
        };
        builder.output("y", value);
        let Ok(graph) = builder.finish() else { continue };
        assert!(!graph.to_string().is_empty());
        if graph.shape(value).elements().is_none_or(|elements| elements > 1 << 12) || is_long(&op) {
            continue;
        }
        let input = fill(&graph.shape(graph.input()).at(2).unwrap(), 1);
        let out = interpret(&graph, 2, &input).unwrap_or_else(|fault| panic!("{fault}\n{graph}"));
        let after = optimise(graph, &Options::default());
        assert_eq!(interpret(&after, 2, &input).unwrap().len(), out.len());
        run += 1;
    }
    assert!(refused > 10_000 && run > 3_000, "{refused} refused, {run} run");
}

/// A window that is slow to compute by the book, though it is allowed.
fn is_long(op: &Op) -> bool {
    let window = match op {
        Op::Convolution(conv) => &conv.window,
        Op::TransposedConvolution(conv) => &conv.window,
        Op::Pool(pool) => &pool.window,
        _ => return false,
    };
    window.kernel.iter().any(|length| *length > 64)
}

#[test]
fn ends_of_a_network() {
    let finish = |input: Shape, outputs: usize| {
        let mut builder = Builder::new("x", input);
        let input = builder.input();
        (0..outputs).for_each(|_| builder.output("y", input));
        builder.finish().map(|_| ()).map_err(|misfit| misfit.to_string())
    };
    assert_eq!(finish(shape("N 4"), 1), Ok(()));
    assert!(finish(shape("N 4"), 0).unwrap_err().contains("outputs"));
    assert_eq!(finish(shape("1 4"), 1), Ok(()));
    assert!(finish(shape("4 N"), 1).unwrap_err().contains("first axis"));
    assert!(finish(shape("N 0"), 1).unwrap_err().contains("at least 1"));
    assert!(finish(Shape(vec![Axis::batch(usize::MAX), Axis::fixed(2)]), 1).is_err());
}
