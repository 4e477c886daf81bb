//! `millrace plugin`: what the author of a plugin does, from nothing to a plugin in a running host. One file a verb.

mod build;
mod check;
mod inspect;
mod new;
mod watch;

mod cargo;
mod component;

use std::process::ExitCode;

use clap::Subcommand;

/// `millrace plugin`
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Makes a Rust crate with a plugin that builds and has tests
    New(new::Options),
    /// Builds a plugin for the host, by cargo
    Build(build::Options),
    /// Builds and tests at every save, and swaps the plugin into a running host
    Watch(watch::Options),
    /// Says whether a host would take a plugin into service, what it needs and what it costs (exit code 2 when it would not)
    Check(check::Options),
    /// Shows what a plugin's file says of itself: its WIT, its makers, its metadata
    Inspect(inspect::Options),
}

pub(super) fn execute(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::New(options) => new::new(&options),
        Verb::Build(options) => build::build(&options),
        Verb::Watch(options) => super::block_on(watch::watch(options)),
        Verb::Check(options) => super::block_on(check::check(options)),
        Verb::Inspect(options) => inspect::inspect(&options),
    }
}
