//! `millrace check`: every mistake of a file and of what it names, at once.

use std::process::ExitCode;

use clap::Args;
use comfy_table::{Table, presets};

use super::{FileArguments, MISTAKEN, online, output};
use crate::config::{BrokerConfig, Config, Rendering};
use crate::memory::{self, MemoryBound};
use crate::reload::{self, Gathered, Loaded};
use crate::sandbox::{Compiler, CompilerProcess, Sandbox};
use crate::streams::{self, Severity};

/// `millrace check`
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    file: FileArguments,
    /// Looks at the broker too: whether queues and exchanges are there as the file says. Changes nothing there (exit code
    /// 1 when the broker is away)
    #[arg(long)]
    online: bool,
}

pub(super) async fn check(options: &Options) -> anyhow::Result<ExitCode> {
    let Gathered { config, loaded, .. } = match load(&options.file) {
        Ok((gathered, _)) => gathered,
        Err(code) => return Ok(code),
    };
    let online = match (&config.broker, options.online) {
        (Some(broker), true) => match look(&config, broker).await {
            Ok(()) => ", and none at the broker",
            Err(code) => return Ok(code),
        },
        (None, true) => ", and no broker to look at",
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

/// Prints what the broker has against the file.
async fn look(config: &Config, broker: &BrokerConfig) -> Result<(), ExitCode> {
    let rendering = Rendering::of_stderr();
    let findings = online::look(config, broker).await.map_err(|online::Away(error)| {
        streams::error(format_args!("{}: {error}", broker.shown_url()));
        ExitCode::FAILURE
    })?;
    if !findings.warnings.is_empty() {
        streams::say(Severity::Warning, config.render_warnings(&findings.warnings, rendering));
    }
    findings.errors.into_result().map_err(|errors| {
        streams::say(Severity::Error, errors.render(rendering));
        ExitCode::from(MISTAKEN)
    })
}

/// The most memory that a run of the file may take, term by term.
fn memory_table(config: &Config, loaded: &Loaded) -> String {
    let bound = MemoryBound::of(config, loaded);
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_header(["MEMORY", "AT MOST", "FROM"]);
    for (term, working) in bound.terms().iter().zip(MemoryBound::workings(config, loaded)) {
        let from = match working.is_empty() {
            true => term.from.to_owned(),
            false => format!("{working}: {}", term.from),
        };
        table.add_row([term.name, &memory::shown(term.bytes), &from]);
    }
    table.add_row(["together", &memory::shown(bound.total()), ""]);
    let table = table.trim_fmt();
    match MemoryBound::with_small_messages(config, loaded) {
        Some(total) => format!(
            "{table}\n\nMessages and results are counted as large as they may be: with `max_message = \"1MiB\"` (in [broker] too, where \
             there is one) and `max_results = \"256KiB\"` it is {} together.",
            memory::shown(total)
        ),
        None => table,
    }
}

/// Reads a file and loads what it names; prints every mistake. `run` refuses by the same words what `check` refuses.
pub(super) fn load(arguments: &FileArguments) -> Result<(Gathered, Sandbox), ExitCode> {
    let rendering = Rendering::of_stderr();
    let read = Config::load(&arguments.file);
    let workers = read.as_ref().map_or(1, |(config, _)| config.host.workers);
    let sandbox = Sandbox::start(workers, Compiler::Child(CompilerProcess::default())).map_err(|error| {
        streams::error(&error);
        ExitCode::FAILURE
    })?;
    let gathered = reload::gather(read, &sandbox).map_err(|errors| {
        streams::say(Severity::Error, errors.render(rendering));
        match errors.are_machines() {
            true => ExitCode::FAILURE,
            false => ExitCode::from(MISTAKEN),
        }
    })?;
    if !gathered.warnings.is_empty() {
        streams::say(
            Severity::Warning,
            gathered.config.render_warnings(&gathered.warnings, rendering),
        );
    }
    Ok((gathered, sandbox))
}
