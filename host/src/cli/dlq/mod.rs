//! `millrace dlq`: dead letters listed, shown, saved and put back. Their contents are printed escaped.

mod list;
mod place;
mod requeue;
mod save;
mod show;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::output;
use place::PlaceArguments;

/// `millrace dlq`
#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    verb: Verb,
}

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists dead letters; changes nothing
    Ls(list::Options),
    /// Shows one dead letter in full
    Show(show::Options),
    /// Saves one to a folder as a test case: its body, and `case.json`
    Save(save::Options),
    /// Puts messages back where they came from, with their headers and properties
    Requeue(requeue::Options),
}

pub(super) async fn dlq(options: Options) -> anyhow::Result<ExitCode> {
    match options.verb {
        Verb::Ls(options) => list::list(options).await,
        Verb::Show(options) => show::show(options).await,
        Verb::Save(options) => save::save(options).await,
        Verb::Requeue(options) => requeue::requeue(options).await,
    }
}
