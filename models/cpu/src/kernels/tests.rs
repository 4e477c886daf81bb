//! Functions at their edges, calls that do not fit, threads whose work panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use millrace_graph::Activation;

use super::{Buffer, Crew, Function, Kernels, Operand, Row, Set, Step};

const SETS: [Set; 4] = [Set::Avx512, Set::Avx2, Set::Neon, Set::Portable];

/// A function over a row, by the kernels of a set.
fn along(kernels: &Kernels, activation: Activation, numbers: &[f32]) -> Vec<f32> {
    let mut output = Buffer::zeroed(numbers.len());
    kernels.row(&Row {
        input: Operand {
            floats: numbers.into(),
            step: Step::Each,
        },
        function: Function::Activation(activation),
        output: output.share(),
        length: numbers.len(),
    });
    output.floats().iter().take(numbers.len()).copied().collect()
}

#[test]
fn activations_are_right_to_a_millionth_and_keep_what_is_no_number() {
    let steps = if cfg!(miri) { 20 } else { 20_000 };
    let mut numbers: Vec<f32> = (0..=steps)
        .map(|step| (step as f32 / steps as f32 - 0.5) * 220.0)
        .collect();
    numbers.extend((0..=steps).map(|step| (step as f32 / steps as f32 - 0.5) * 10.0));
    numbers.extend([
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        0.0,
        -0.0,
        1e30,
        -1e30,
        88.5,
        -88.5,
        f32::MIN_POSITIVE,
    ]);
    for kernels in SETS.into_iter().filter_map(Kernels::find) {
        for activation in Activation::EACH {
            for (number, found) in numbers.iter().zip(along(kernels, activation, &numbers)) {
                let wanted = activation.apply(*number);
                let near = (found - wanted).abs() <= 1e-6 * wanted.abs().max(1.0);
                // By the book, infinity times 0 is no number; a limit is as good.
                let same = found == wanted || wanted.is_nan() && (found.is_nan() || number.is_infinite());
                assert!(near || same, "{activation:?} of {number}: {found}, not {wanted}");
            }
        }
    }
}

#[test]
fn a_call_that_would_leave_its_buffers_panics() {
    for kernels in SETS.into_iter().filter_map(Kernels::find) {
        let numbers = [0.0; 8];
        let mut output = Buffer::zeroed(16);
        let call = Row {
            input: Operand {
                floats: numbers.as_slice().into(),
                step: Step::Each,
            },
            function: Function::Activation(Activation::Relu),
            output: output.share(),
            length: 9,
        };
        assert!(catch_unwind(AssertUnwindSafe(|| kernels.row(&call))).is_err());
    }
}

#[test]
fn a_crew_outlives_a_body_that_panics() {
    for members in 1..4 {
        let mut crew = Crew::new(members).unwrap();
        let failed = crew.run(&|number| assert!(number > 0, "number {number}"));
        assert_eq!(failed, Err("number 0".to_owned()));
        let failed = crew.run(&|number| assert!(number + 1 < members, "number {number}"));
        assert_eq!(failed, Err(format!("number {}", members - 1)));
        let count = AtomicUsize::new(0);
        for _ in 0..100 {
            let done = crew.run(&|_| {
                count.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(done, Ok(()));
        }
        assert_eq!(count.load(Ordering::Relaxed), 100 * members);
    }
}
