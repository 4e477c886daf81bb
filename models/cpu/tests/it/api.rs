//! What the executor refuses, and what it says.

use millrace_cpu::{Error, Executor, InstructionSet, Options};

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
