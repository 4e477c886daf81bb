//! Each pass on a small network: what it was and what it becomes are in `tests/passes`, as text, and both yield the same
//! numbers. `UPDATE_GENERATED=1` writes the files anew.

mod pieces;

use pieces::with_number;

use std::path::Path;

use super::{Options, optimise};
use crate::graph::{Graph, Operand};
use crate::op::{Activation, Adaptive, Binary, Op, PadMode, PoolKind, Reduction, TransposedConvolution, Window};
use crate::testing::net::{Net, assert_same, assert_sound};
use crate::testing::{conv, pool, relu, shape, square, transposed};

fn check(name: &str, net: Net, outputs: &[Operand]) -> Graph {
    check_with(name, net, outputs, &Options::default())
}

fn check_with(name: &str, net: Net, outputs: &[Operand], options: &Options) -> Graph {
    let before = net.ends(outputs);
    let after = optimise(before.clone(), options);
    assert_same(&before, &after, 1e-5);
    assert_sound(&after);
    let found = format!("before\n{before}\nafter\n{after}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/passes")
        .join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, expected, "{}", path.display());
    after
}

#[test]
fn constants_are_folded() {
    let mut net = Net::new("N 4");
    let (one, other) = (net.constant(&[2, 2]), net.constant(&[2, 1]));
    let sum = net.binary(Binary::Mul, one, other);
    let sum = net.reshape(sum, "4");
    let x = net.x;
    let y = net.binary(Binary::Div, x, sum);
    // What nobody needs goes.
    net.activation(Activation::Relu, sum);
    // A constant that grows with the batch stays.
    let expanded = net.node(Op::Expand(shape("N 4")), &[sum]);
    let y = net.binary(Binary::Sub, y, expanded);
    check("constants", net, &[y]);
}

#[test]
fn what_does_nothing_goes() {
    let mut net = Net::new("N 4 6");
    let mut x = net.x;
    let (zero, one) = (net.number(0.0), net.number(1.0));
    x = net.activation(Activation::Relu, x);
    x = net.activation(Activation::Relu, x);
    x = net.binary(Binary::Add, zero, x);
    x = net.binary(Binary::Mul, x, one);
    x = net.reshape(x, "N 4 6");
    x = net.transpose(x, &[0, 1, 2]);
    x = net.node(Op::Concat { axis: 1 }, &[x]);
    x = net.node(Op::Expand(shape("N 4 6")), &[x]);
    x = net.node(
        Op::Slice {
            starts: vec![0; 3],
            steps: vec![1; 3],
            shape: shape("N 4 6"),
        },
        &[x],
    );
    x = net.node(
        Op::Pad {
            before: vec![0; 3],
            after: vec![0; 3],
            mode: PadMode::Edge,
        },
        &[x],
    );
    x = net.node(
        Op::Gather {
            axis: 1,
            indices: vec![0, 1, 2, 3],
            shape: vec![4],
        },
        &[x],
    );
    // This one broadcasts.
    let wide = net.constant(&[2, 1, 1, 1]);
    let zeros = net.binary(Binary::Sub, wide, wide);
    x = net.binary(Binary::Add, x, zeros);
    check("identities", net, &[x]);
}

#[test]
fn sizes_that_are_right_already() {
    let mut net = Net::new("N 4 7 7");
    let mut x = net.x;
    x = net.activation(Activation::Relu, x);
    x = net.node(Op::AdaptiveAverage(Adaptive { out: [7, 7] }), &[x]);
    x = net.node(pool(PoolKind::Max, square(1, 1, 0)), &[x]);
    x = net.node(Op::Resize(crate::testing::resize([7, 7], [1.0, 1.0])), &[x]);
    x = net.node(pool(PoolKind::Max, square(1, 2, 0)), &[x]);
    check("sizes", net, &[x]);
}

#[test]
fn an_output_stays_a_node() {
    let mut net = Net::new("N 4");
    let same = net.x;
    let same = net.reshape(same, "N 4");
    check("outputs", net, &[same, same]);
}

#[test]
fn reshapes_and_transposes_merge() {
    let mut net = Net::new("N 4 6");
    let x = net.x;
    let mut y = net.transpose(x, &[2, 0, 1]);
    y = net.transpose(y, &[1, 2, 0]);
    y = net.reshape(y, "N 2 12");
    y = net.reshape(y, "N 24 1");
    y = net.transpose(y, &[0, 2, 1]);
    y = net.node(
        Op::Gather {
            axis: 2,
            indices: vec![20, 17, 14],
            shape: vec![3],
        },
        &[y],
    );
    let odd = Op::Slice {
        starts: vec![0, 3, 1],
        steps: vec![1, -1, 2],
        shape: shape("N 4 3"),
    };
    let z = net.node(odd, &[x]);
    let part = Op::Slice {
        starts: vec![0, 1, 2],
        steps: vec![1, 2, -2],
        shape: shape("N 2 2"),
    };
    let z = net.node(part, &[z]);
    check("layout", net, &[y, z]);
}

#[test]
fn taps_that_padding_alone_meets_go() {
    let mut outputs = Vec::new();
    let mut net = Net::new("N 2 4 5");
    let x = net.x;
    let mut dilated = |dilation: [usize; 2], before: [usize; 2], after: [usize; 2]| {
        let weight = net.weight(&[3, 2, 3, 3]);
        let window = Window {
            dilation,
            before,
            after,
            ..square(3, 1, 0)
        };
        outputs.push(net.node(Op::Convolution(conv(weight, window)), &[x]));
    };
    // The one in the middle stays; one row of two; those of one side.
    dilated([6, 6], [6, 6], [6, 6]);
    dilated([3, 7], [3, 7], [3, 7]);
    dilated([5, 1], [9, 1], [1, 1]);
    // Each tap meets a number.
    dilated([2, 2], [2, 2], [2, 2]);
    check("taps", net, &outputs);
}

#[test]
fn pads_go_into_windows() {
    let pad = |mode| Op::Pad {
        before: vec![0, 0, 1, 0],
        after: vec![0, 0, 1, 2],
        mode,
    };
    let zeros = pad(PadMode::Constant(0.0));
    let mut net = Net::new("N 2 6 6");
    let x = net.x;
    let padded = net.node(zeros.clone(), &[x]);
    let conv = net.convolution(padded, [2, 2, 3, 3], 1);
    // With zeros for pads the largest number is another, where all are below.
    let max = net.node(pool(PoolKind::Max, square(2, 2, 0)), &[padded]);
    let mean = net.node(pool(PoolKind::Average, square(2, 2, 0)), &[padded]);
    let counting = PoolKind::AverageWithPadding { counted: [1, 0] };
    let counting = net.node(
        pool(
            counting,
            Window {
                after: [1, 1],
                ..square(3, 1, 1)
            },
        ),
        &[padded],
    );
    let positive = net.activation(Activation::Relu, x);
    let padded = net.node(zeros, &[positive]);
    let max_of_positive = net.node(pool(PoolKind::Max, square(3, 1, 0)), &[padded]);
    // A window of nothing but pads.
    let nothing = net.node(pool(PoolKind::Max, square(2, 2, 0)), &[padded]);
    let padded = net.node(pad(PadMode::Constant(f32::NEG_INFINITY)), &[x]);
    let max_of_all = net.node(pool(PoolKind::Max, square(3, 1, 0)), &[padded]);
    let reflected = net.node(pad(PadMode::Reflect), &[x]);
    let other = net.convolution(reflected, [2, 2, 3, 3], 0);
    check(
        "pads",
        net,
        &[conv, max, mean, counting, max_of_positive, nothing, max_of_all, other],
    );
}

#[test]
fn scales_go_into_products() {
    let mut net = Net::new("N 4 6 6");
    let x = net.x;
    let mut y = net.convolution(x, [4, 2, 3, 3], 1);
    y = net.scale(y, 4);
    let by_channel = net.constant(&[1, 4, 1, 1]);
    y = net.binary(Binary::Mul, by_channel, y);
    let by_channel = net.constant(&[4, 1, 1]);
    y = net.binary(Binary::Sub, by_channel, y);
    let weight = net.weight(&[4, 3, 2, 2]);
    let conv = TransposedConvolution {
        groups: 2,
        ..transposed(weight, square(2, 2, 0))
    };
    y = net.node(Op::TransposedConvolution(conv), &[y]);
    y = net.scale(y, 6);
    // Behind what no channel can be told apart in, it stays; two become one.
    y = net.activation(Activation::Relu, y);
    y = net.scale(y, 6);
    let by_channel = net.constant(&[6, 1, 1]);
    y = net.binary(Binary::Div, y, by_channel);
    y = net.activation(Activation::Tanh, y);
    let by_channel = net.constant(&[6, 1, 1]);
    y = net.binary(Binary::Mul, y, by_channel);
    let along_another = net.constant(&[12, 1]);
    y = net.binary(Binary::Mul, y, along_another);
    check("scales", net, &[y]);
}

#[test]
fn products_with_constants_are_linear_layers() {
    let mut net = Net::new("N 5 8");
    let x = net.x;
    let weight = net.constant(&[1, 8, 6]);
    let mut y = net.node(Op::MatMul, &[x, weight]);
    let bias = net.constant(&[6]);
    y = net.binary(Binary::Add, bias, y);
    // A layer scale behind a transpose.
    y = net.transpose(y, &[0, 2, 1]);
    let by_channel = net.constant(&[6, 1]);
    y = net.binary(Binary::Mul, y, by_channel);
    let several = net.constant(&[1, 3, 5]);
    let kept = net.reshape(y, "N 2 3 5");
    let many = net.reshape(several, "1 1 3 5");
    let kept = net.transpose(kept, &[0, 1, 3, 2]);
    let kept = net.node(Op::MatMul, &[kept, many]);
    check("products", net, &[y, kept]);
}

#[test]
fn means_of_whole_maps() {
    let mut net = Net::new("N 4 6 5");
    let x = net.x;
    let kept = net.mean(x, &[2, 3]);
    let axes = vec![2, 3];
    let dropped = net.node(
        Op::Reduce {
            reduction: Reduction::Mean,
            axes,
            keep: false,
        },
        &[x],
    );
    let window = Window {
        kernel: [6, 5],
        ..square(1, 1, 0)
    };
    let pooled = net.node(pool(PoolKind::Average, window), &[x]);
    let part = net.node(Op::AdaptiveAverage(Adaptive { out: [2, 1] }), &[x]);
    let row = net.mean(x, &[3]);
    check("averages", net, &[kept, dropped, pooled, part, row]);
}

#[test]
fn branches_are_joined() {
    let mut net = Net::new("N 4 6 6");
    let x = net.x;
    let mut large = net.convolution(x, [4, 2, 3, 3], 1);
    large = net.scale(large, 4);
    let mut small = net.convolution(x, [4, 2, 1, 1], 0);
    small = net.scale(small, 4);
    let itself = net.scale(x, 4);
    let mut y = net.binary(Binary::Add, small, large);
    y = net.binary(Binary::Add, y, itself);
    y = net.node(relu(), &[y]);
    // With steps of two and a window that lies aside.
    let weight = net.weight(&[4, 4, 3, 1]);
    let tall = Window {
        kernel: [3, 1],
        stride: [2, 2],
        before: [1, 0],
        after: [1, 0],
        ..square(1, 1, 0)
    };
    let tall = net.node(Op::Convolution(crate::testing::conv(weight, tall)), &[y]);
    let weight = net.weight(&[4, 4, 2, 1]);
    let aside = Window {
        kernel: [2, 1],
        stride: [2, 2],
        before: [1, 0],
        after: [0, 0],
        ..square(1, 1, 0)
    };
    let aside = net.node(Op::Convolution(crate::testing::conv(weight, aside)), &[y]);
    let sum = net.binary(Binary::Add, tall, aside);
    // Of other maps, and in other groups: two convolutions.
    let one = net.convolution(y, [4, 4, 1, 1], 0);
    let other = net.convolution(y, [4, 1, 3, 3], 1);
    let apart = net.binary(Binary::Add, one, other);
    check("parallel", net, &[sum, apart]);
}

/// Two blocks of a residual network.
fn residual() -> (Net, Vec<Operand>) {
    let mut net = Net::new("N 3 6 6");
    let x = net.x;
    let mut stem = net.convolution(x, [4, 3, 3, 3], 1);
    stem = net.scale(stem, 4);
    stem = net.node(relu(), &[stem]);
    let mut body = net.convolution(stem, [4, 4, 3, 3], 1);
    body = net.activation(Activation::Silu, body);
    body = net.convolution(body, [4, 4, 3, 3], 1);
    let shortcut = net.convolution(stem, [4, 4, 1, 1], 0);
    let mut y = net.binary(Binary::Add, body, shortcut);
    y = net.node(relu(), &[y]);
    let other = net.convolution(y, [4, 1, 3, 3], 1);
    y = net.binary(Binary::Add, y, other);
    // Read twice, so it stays.
    let kept = net.convolution(y, [4, 4, 1, 1], 0);
    let first = net.node(relu(), &[kept]);
    let second = net.binary(Binary::Add, kept, first);
    let flat = net.reshape(second, "N 144");
    let flat = net.linear(flat, [144, 5], true);
    let last = net.activation(Activation::Gelu, flat);
    (net, vec![last])
}

#[test]
fn sums_and_activations_go_into_products() {
    let (net, outputs) = residual();
    check("fuse", net, &outputs);
}

#[test]
fn executors_choose() {
    let (net, outputs) = residual();
    let options = Options {
        residuals: false,
        activations: false,
    };
    let graph = check_with("fuse-nothing", net, &outputs, &options);
    assert!(
        graph
            .nodes()
            .iter()
            .all(|node| !node.op.has_residual() && node.op.activation().is_none())
    );
}

#[test]
fn folding_never_leaves_the_range() {
    let mut net = Net::new("N 2 4 4");
    let x = net.x;
    let mut y = net.convolution(x, [2, 2, 3, 3], 1);
    let huge = Operand::Constant(net.builder.constant("huge", &[2, 1, 1], vec![3e38, 3e38]).unwrap());
    let small = Operand::Constant(net.builder.constant("small", &[2, 1, 1], vec![1e-38, 1e-38]).unwrap());
    y = net.binary(Binary::Mul, y, small);
    let mut z = net.binary(Binary::Mul, y, huge);
    let weight = net.builder.constant("large", &[2, 2, 1, 1], vec![2.0; 4]).unwrap();
    z = net.node(Op::Convolution(crate::testing::conv(weight, square(1, 1, 0))), &[z]);
    let tiny = with_number(&mut net, Binary::Mul, z, 1e-30, false);
    let large = with_number(&mut net, Binary::Mul, tiny, 1e30, false);
    let vast = Operand::Constant(net.builder.constant("vast", &[2, 1, 1], vec![3e38, 1.0]).unwrap());
    let beyond = net.convolution(large, [2, 2, 1, 1], 0);
    let beyond = net.binary(Binary::Mul, beyond, vast);
    let beyond = net.binary(Binary::Mul, beyond, vast);
    let graph = check("range", net, &[beyond]);
    let infinite = |constant: &crate::Constant| constant.data.iter().any(|number| !number.is_finite());
    assert!(!graph.constants().iter().any(infinite));
}

#[test]
fn a_long_chain_takes_no_time() {
    let mut net = Net::new("N 4");
    let mut x = net.x;
    let number = net.number(1.5);
    for index in 0..20_000 {
        x = match index % 4 {
            0 => net.reshape(x, "N 4"),
            1 => net.binary(Binary::Mul, x, number),
            2 => net.activation(Activation::Sigmoid, x),
            _ => net.transpose(x, &[0, 1]),
        };
    }
    let graph = net.ends(&[x]);
    let started = std::time::Instant::now();
    assert_eq!(optimise(graph, &Options::default()).nodes().len(), 10_000);
    assert!(started.elapsed().as_secs() < 60);
}

#[test]
fn networks_at_random_compute_the_same() {
    let mut rewritten = 0;
    for seed in 0..400 {
        let before = crate::testing::random::graph(seed, true);
        let after = optimise(before.clone(), &Options::default());
        assert_same(&before, &after, 1e-3);
        assert_sound(&after);
        // Nothing is left to be found.
        let again = optimise(after.clone(), &Options::default());
        assert_eq!(again.to_string(), after.to_string(), "seed {seed}");
        rewritten += usize::from(before.nodes().len() != after.nodes().len());
    }
    assert!(rewritten > 300, "{rewritten}");
}
