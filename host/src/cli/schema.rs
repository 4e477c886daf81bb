//! `millrace schema`: the JSON Schema of a file that users write, for the editors of TOML.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::output;
use crate::config;

/// `millrace schema`
#[derive(Debug, Args)]
pub struct Options {
    /// Of which file
    #[arg(value_enum, default_value_t = Which::Plugins)]
    which: Which,
}

/// A file that users write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// `plugins.toml`
    Plugins,
    /// `model.toml` of a model folder
    Model,
    /// A case of a plugin
    Case,
}

pub(super) fn schema(options: &Options) -> anyhow::Result<ExitCode> {
    let schema = match options.which {
        Which::Plugins => config::schema(),
        Which::Model => millrace_models::manifest_schema(),
        Which::Case => config::case_schema(),
    };
    output::print(format_args!("{schema:#}"))?;
    Ok(ExitCode::SUCCESS)
}
