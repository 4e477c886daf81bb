//! What the executor refuses, and what it says.

use millrace_cpu::{Error, Executor, InstructionSet, Options};
use millrace_graph::{
    Builder, Coordinates, GroupNorm, Interpolation, Op, Operand, PadMode, Resize, Shape, TransposedConvolution, Window,
};

use crate::generate::{Kind, graph};

#[test]
fn options_out_of_range_are_refused() {
    let graph = graph(1, Kind::Tokens);
    let check = |options: Options, expected: &str| {
        let error = Executor::new(&graph, options).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some(expected));
    };
    let good = Options::default();
    check(
        Options { threads: 0, ..good },
        "`threads` must be from 1 to 1024, not 0",
    );
    check(
        Options { max_batch: 0, ..good },
        "`max_batch` must be from 1 to 1024, not 0",
    );
    check(
        Options {
            max_batch: 1025,
            ..good
        },
        "`max_batch` must be from 1 to 1024, not 1025",
    );
}

#[test]
fn an_instruction_set_of_another_processor_is_refused() {
    let other = if cfg!(target_arch = "aarch64") {
        InstructionSet::Avx2
    } else {
        InstructionSet::Neon
    };
    let options = Options {
        instruction_set: other,
        ..Options::default()
    };
    let error = Executor::new(&graph(1, Kind::Tokens), options).err();
    assert_eq!(error, Some(Error::InstructionSet(other)));
}

#[test]
fn calls_that_do_not_fit_are_refused() {
    let graph = graph(3, Kind::Maps);
    let mut executor = Executor::new(
        &graph,
        Options {
            max_batch: 2,
            ..Options::default()
        },
    )
    .unwrap();
    let floats = executor.input_len();
    let outputs = executor.output_lens().len();
    let mut check = |input: usize, items: usize, outputs: usize| {
        executor
            .run(&vec![0.0; input], items, &mut vec![Vec::new(); outputs])
            .err()
    };
    assert_eq!(check(floats, 1, outputs), None);
    assert_eq!(check(0, 0, outputs), None);
    assert_eq!(check(3 * floats, 3, outputs), Some(Error::Batch { items: 3, most: 2 }));
    let expected = 2 * floats;
    assert_eq!(
        check(floats, 2, outputs),
        Some(Error::Input {
            items: 2,
            expected,
            found: floats
        })
    );
    assert_eq!(
        check(floats, 1, 0),
        Some(Error::Outputs {
            expected: outputs,
            found: 0
        })
    );
}

#[test]
fn memory_grows_with_threads_and_is_told() {
    let graph = graph(3, Kind::Maps);
    let bytes = |threads: usize| {
        Executor::new(
            &graph,
            Options {
                threads,
                ..Options::default()
            },
        )
        .unwrap()
        .memory_bytes()
    };
    assert!(bytes(1) > 0);
    assert!(bytes(3) > bytes(1));
}

#[test]
fn maps_are_resized_padded_normalised_and_upsampled_by_kernels() {
    let mut builder = Builder::new("x", Shape::batch_of(&[8, 5, 6]));
    let mut value = builder.input();
    let weight = builder.constant("weight", &[8, 8, 3, 3], vec![0.1; 576]).unwrap();
    let window = Window {
        kernel: [3; 2],
        stride: [2; 2],
        dilation: [1; 2],
        before: [1; 2],
        after: [1; 2],
    };
    let ops = [
        Op::Resize(Resize {
            out: [10, 9],
            scale: [2.0, 1.5],
            interpolation: Interpolation::Linear,
            coordinates: Coordinates::HalfPixel,
        }),
        Op::Pad {
            before: vec![0, 0, 1, 2],
            after: vec![0, 0, 0, 1],
            mode: PadMode::Reflect,
        },
        Op::Pad {
            before: vec![0, 2, 0, 0],
            after: vec![0, 6, 0, 0],
            mode: PadMode::Constant(1.0),
        },
        Op::GroupNorm(GroupNorm {
            groups: 4,
            epsilon: 1e-5,
            scale: None,
            shift: None,
        }),
        Op::Slice {
            starts: vec![0; 4],
            steps: vec![1; 4],
            shape: Shape::batch_of(&[8, 11, 12]),
        },
        Op::TransposedConvolution(TransposedConvolution {
            weight,
            bias: None,
            window,
            output_padding: [1, 0],
            groups: 1,
        }),
    ];
    for op in ops {
        value = builder.node("node", op, &[Operand::Value(value)]).unwrap();
    }
    builder.output("y", value);
    let executor = Executor::new(&builder.finish().unwrap(), Options::default()).unwrap();
    assert_eq!(executor.plain_nodes(), [""; 0]);
}
