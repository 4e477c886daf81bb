//! `millrace check`: every mistake of a file and of what it names, at once.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use comfy_table::{Table, presets};

use super::{FileArguments, MISTAKEN, online, output, pace};
use crate::config::{Config, ConfigErrors, Rendering, Warning};
use crate::memory::{self, MemoryBound};
use crate::reload::{self, LoadedConfig, LoadedFiles};
use crate::sandbox::{Compiler, CompilerProcess, Sandbox};
use crate::streams::{self, Severity};
use crate::supervisor::undone_before;
use crate::transport::REGISTRY;

/// `millrace check`
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    file: FileArguments,
    /// Checks the broker too: whether queues and exchanges are as the file says. Changes nothing there (exit code 1 without
    /// a connection)
    #[arg(long)]
    online: bool,
}

pub(super) async fn check(options: &Options) -> anyhow::Result<ExitCode> {
    let loaded_config = match load(&options.file) {
        Ok((loaded_config, _)) => loaded_config,
        Err(code) => return Ok(code),
    };
    warn(&loaded_config.config, &undone_before(&loaded_config));
    warn(
        &loaded_config.config,
        &pace::warnings(&loaded_config.config, &loaded_config.loaded),
    );
    let LoadedConfig { config, loaded, .. } = loaded_config;
    let online = match (config.connections.is_empty(), options.online) {
        (false, true) => match look(&config).await {
            Ok(()) => ", and none at the broker",
            Err(code) => return Ok(code),
        },
        (true, true) => ", and no broker to look at",
        (_, false) => "",
    };
    output::print(format_args!(
        "{}: no mistakes ({}, {}, {}){online}\n\n{}",
        options.file.file.display(),
        output::count(config.pipelines.len(), "pipeline"),
        output::count(config.plugins.len(), "plugin"),
        output::count(config.models.len(), "model"),
        memory_table(&config, &loaded),
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints what brokers have against the file.
async fn look(config: &Config) -> Result<(), ExitCode> {
    let findings = online::look(config)
        .await
        .map_err(|online::Unanswered { shown, why }| {
            streams::error(format_args!("{shown}: {why}"));
            ExitCode::FAILURE
        })?;
    warn(config, &findings.warnings);
    findings.errors.into_result().map_err(|errors| {
        streams::say(Severity::Error, errors.render(Rendering::of_stderr()));
        ExitCode::from(MISTAKEN)
    })
}

/// The most memory that a run of the file may take, term by term.
fn memory_table(config: &Config, loaded: &LoadedFiles) -> String {
    let bound = MemoryBound::of(config, loaded.models());
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_header(["MEMORY", "AT MOST", "FROM"]);
    for (term, working) in bound.terms().iter().zip(MemoryBound::workings(config, loaded.models())) {
        let from = match working.is_empty() {
            true => term.from.to_owned(),
            false => format!("{working}: {}", term.from),
        };
        table.add_row([term.name, &memory::shown(term.bytes), &from]);
    }
    table.add_row(["together", &memory::shown(bound.total()), ""]);
    let table = table.trim_fmt();
    match MemoryBound::with_small_messages(config, loaded.models()) {
        Some(total) => format!(
            "{table}\n\nMessages and results are counted as large as they may be: with `max_message = \"1MiB\"` (in [broker] too, where \
             there is one) and `max_results = \"256KiB\"` it is {} together.",
            memory::shown(total)
        ),
        None => table,
    }
}

/// The result of reading a file.
pub(super) type Read = Result<(Config, Vec<Warning>), ConfigErrors>;

/// Reads a file and loads what it names; prints every mistake. `run` refuses by the same words what `check` refuses.
pub(super) fn load(arguments: &FileArguments) -> Result<(LoadedConfig, Arc<Sandbox>), ExitCode> {
    let (read, sandbox) = open(arguments)?;
    Ok((load_config(read, &sandbox)?, sandbox))
}

/// Reads a file, and opens the sandbox for what it names.
pub(super) fn open(arguments: &FileArguments) -> Result<(Read, Arc<Sandbox>), ExitCode> {
    let read = Config::load(&arguments.file, &REGISTRY);
    let workers = read.as_ref().map_or(1, |(config, _)| config.host.workers);
    match Sandbox::start(workers, Compiler::Child(CompilerProcess::default())) {
        Ok(sandbox) => Ok((read, Arc::new(sandbox))),
        Err(error) => {
            streams::error(&error);
            Err(ExitCode::FAILURE)
        }
    }
}

/// Prints every mistake, and says how the process ends: a machine that lacks something makes no file wrong.
pub(super) fn refuse(errors: &ConfigErrors) -> ExitCode {
    streams::say(Severity::Error, errors.render(Rendering::of_stderr()));
    match errors.are_machines() {
        true => ExitCode::FAILURE,
        false => ExitCode::from(MISTAKEN),
    }
}

/// Loads what a file names; prints every mistake. Blocking: compiles.
pub(super) fn load_config(read: Read, sandbox: &Sandbox) -> Result<LoadedConfig, ExitCode> {
    let loaded_config = reload::load_config(read, sandbox).map_err(|errors| refuse(&errors))?;
    warn(&loaded_config.config, &loaded_config.warnings);
    Ok(loaded_config)
}

/// Prints warnings, where there are any.
fn warn(config: &Config, warnings: &[Warning]) {
    if !warnings.is_empty() {
        streams::say(
            Severity::Warning,
            config.render_warnings(warnings, Rendering::of_stderr()),
        );
    }
}
