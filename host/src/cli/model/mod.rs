//! `millrace model`: from a file out of training to a folder that serves. One file a verb. Whatever a file says is
//! printed escaped.

mod import;
mod inspect;

mod run;

mod bench;
mod chart;

mod agreement;
mod compare;

mod known;
mod pictures;
mod place;
mod steps;
mod subject;

use std::process::ExitCode;

use clap::Subcommand;

use super::block_on;

/// `millrace model`
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Shows the inputs, outputs, size and cost of a model, and everything in it that is not supported (exit code 2)
    Inspect(inspect::Options),
    /// Makes a model folder from a network or from weights: .onnx, .pth, .pt or .safetensors
    Import(import::Options),
    /// Classifies pictures, or shows the outputs of a network for them
    Run(run::Options),
    /// Measures latency, images a second and memory, by device, threads and batch size
    Bench(bench::Options),
    /// Runs two models over a folder of pictures, and shows where they agree
    Compare(compare::Options),
}

pub(super) fn execute(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Inspect(options) => inspect::inspect(&options),
        Verb::Import(options) => block_on(import::import(options)),
        Verb::Run(options) => run::run(&options),
        Verb::Bench(options) => bench::bench(&options),
        Verb::Compare(options) => compare::compare(&options),
    }
}
