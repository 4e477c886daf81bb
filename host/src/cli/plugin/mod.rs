//! `millrace plugin`: what the author of a plugin does, from nothing to a plugin in a running host. One file a verb. Whatever
//! a plugin, a message or a case says is printed escaped.

mod new;

mod build;
mod watch;

mod run;
mod test;

mod bench;
mod benched;

mod check;
mod inspect;

mod cargo;
mod component;
mod shown;
mod subject;

use std::process::ExitCode;

use clap::Subcommand;

pub(super) use shown::{body, labels, results, tensor};

use super::block_on;

/// `millrace plugin`
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Makes a Rust crate with a plugin that builds and has tests
    New(new::Options),
    /// Builds a plugin for the host, by cargo
    Build(build::Options),
    /// Builds and tests at every save, and swaps the plugin into a running host
    Watch(watch::Options),
    /// Calls a plugin with one message and shows the result
    Run(run::Options),
    /// Runs a plugin's cases (exit code 1 when one fails)
    Test(test::Options),
    /// Measures the cost of a plugin's cases, and compares it with an earlier measurement
    Bench(bench::Options),
    /// Checks whether a host would load a plugin, and shows its imports and costs (exit code 2 when a host would refuse it)
    Check(check::Options),
    /// Shows the contents of a plugin's file: its WIT, its producers, its metadata
    Inspect(inspect::Options),
}

pub(super) fn execute(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::New(options) => new::new(&options),
        Verb::Build(options) => build::build(&options),
        Verb::Watch(options) => block_on(watch::watch(options)),
        Verb::Run(options) => block_on(run::run(options)),
        Verb::Test(options) => block_on(test::test(options)),
        Verb::Bench(options) => block_on(bench::bench(options)),
        Verb::Check(options) => block_on(check::check(options)),
        Verb::Inspect(options) => inspect::inspect(&options),
    }
}
