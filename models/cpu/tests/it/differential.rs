//! Random graphs in the executor and in the interpreter: the same numbers, for every instruction set of this machine,
//! several threads and several items.

use millrace_cpu::{Executor, InstructionSet, Options};
use millrace_graph::{Graph, interpret};

use crate::generate::{Kind, graph};
use crate::random::Random;

/// Graphs of each kind: few under Miri, which is a thousand times slower.
const GRAPHS: u64 = if cfg!(miri) { 6 } else { 400 };

/// What results may differ by, relative to the largest.
const TOLERANCE: f32 = 2e-5;

#[test]
fn graphs_of_maps_yield_what_the_interpreter_yields() {
    for seed in 0..GRAPHS {
        check(seed, Kind::Maps);
    }
}

#[test]
fn graphs_of_tokens_yield_what_the_interpreter_yields() {
    for seed in 0..GRAPHS {
        check(seed, Kind::Tokens);
    }
}

#[test]
fn graphs_of_grouped_convolutions_yield_what_the_interpreter_yields() {
    for seed in 0..GRAPHS {
        check(seed, Kind::Groups);
    }
}

#[test]
fn graphs_of_wide_maps_yield_what_the_interpreter_yields() {
    for seed in 0..GRAPHS / 8 {
        check(seed, Kind::WideMaps);
    }
}

fn check(seed: u64, kind: Kind) {
    let graph = graph(seed, kind);
    let mut random = Random::new(seed + 1_000_000);
    let items = random.from(1, if cfg!(miri) { 2 } else { 5 });
    let floats = graph.shape(graph.input()).elements().unwrap();
    let input = random.floats(floats * items);
    let wanted = by_the_book(&graph, &input, items);
    for instruction_set in InstructionSet::available() {
        let options = Options {
            threads: random.from(1, 3),
            instruction_set,
            max_batch: random.from(items, 20),
        };
        let mut executor = Executor::new(&graph, options).unwrap();
        if random.from(0, 3) > 0 {
            executor.share_all();
        }
        let mut outputs = vec![Vec::new(); wanted.len()];
        // Twice: the second run finds the memory as the first left it.
        for _ in 0..2 {
            executor
                .run(&input, items, &mut outputs)
                .unwrap_or_else(|error| panic!("seed {seed}: {error}\n{graph:#?}"));
            for (found, wanted) in outputs.iter().zip(&wanted) {
                let difference = difference(found, wanted);
                assert!(
                    difference < TOLERANCE,
                    "{kind:?} {seed}, {options:?}, {items} items: {difference}\n{:#?}",
                    graph.nodes()
                );
            }
        }
    }
}

/// Item by item, so that each item's numbers stand together.
fn by_the_book(graph: &Graph, input: &[f32], items: usize) -> Vec<Vec<f32>> {
    let mut outputs = vec![Vec::new(); graph.outputs().len()];
    for item in input.chunks(input.len() / items) {
        for (output, numbers) in outputs.iter_mut().zip(interpret(graph, 1, item).unwrap()) {
            output.extend(numbers);
        }
    }
    outputs
}

/// The largest, relative to the largest number that is wanted.
fn difference(found: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(found.len(), wanted.len());
    let largest = wanted.iter().fold(1.0_f32, |largest, number| largest.max(number.abs()));
    let each =
        found.iter().zip(wanted).map(
            |(found, wanted)| match found == wanted || found.is_nan() && wanted.is_nan() {
                true => 0.0,
                false => (found - wanted).abs() / largest,
            },
        );
    each.fold(0.0, |most, this| if this > most || this.is_nan() { this } else { most })
}
