//! `millrace reload`, `rollback`, `pause` and `resume`: asks for a change, and says what came of it.

use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use super::status::trial;
use super::table::style_of;
use super::{Host, HostArguments, json_line, lines};
use crate::admin::ClientError;
use crate::cli::output::{plain, print};
use crate::config::Name;
use crate::control::{ChangeOutcome, ChangeRecord, Command, Status};

/// The most of one line of what is changed.
const LINE_CHARS: usize = 1000;

/// `millrace reload`
#[derive(Debug, Args)]
#[command(after_help = RELOAD_EXAMPLES)]
pub struct ReloadOptions {
    /// Waits until it is done (exit code 0) or refused (exit code 1, and why)
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    host: HostArguments,
}

const RELOAD_EXAMPLES: &str = "\
Examples:
  millrace reload --wait                  the host that runs ./plugins.toml
  cp crop.wasm plugins/ && millrace reload --wait || echo \"still the old one\"
  millrace reload --wait --json | jq -r .reason";

/// `millrace rollback`
#[derive(Debug, Args)]
#[command(after_help = ROLLBACK_EXAMPLES)]
pub struct RollbackOptions {
    /// The plugin, or a model while it is on trial
    plugin: String,
    #[command(flatten)]
    host: HostArguments,
}

const ROLLBACK_EXAMPLES: &str = "\
Examples:
  millrace rollback crop                  to the version before the one that serves
  millrace status                         shows both versions of each plugin";

/// `millrace pause` and `millrace resume`
#[derive(Debug, Args)]
#[command(after_help = PAUSE_EXAMPLES)]
pub struct PipelineOptions {
    /// The pipeline
    pipeline: String,
    #[command(flatten)]
    host: HostArguments,
}

const PAUSE_EXAMPLES: &str = "\
Examples:
  millrace pause images                   stops receiving; finishes the messages in flight
  millrace resume images";

pub(in crate::cli) async fn reload(options: ReloadOptions) -> anyhow::Result<ExitCode> {
    if options.wait {
        return ask(&options.host, Command::Reload).await;
    }
    let host = options.host.host()?;
    let begun = host.client.begin(&Command::Reload).await;
    begun.map_err(|error| host.explain(error))?;
    match options.host.json {
        true => print("{\"accepted\":true}")?,
        false => print("accepted; `millrace history` shows the outcome")?,
    };
    Ok(ExitCode::SUCCESS)
}

/// The outcome of a reload. The words are harmless.
pub(in crate::cli) enum Reloaded {
    /// The parts that the file names serve.
    Made {
        /// In words that a terminal may have, with colours.
        told: String,
        change: Box<ChangeRecord>,
    },
    /// It was refused, or undone.
    Not(String),
}

/// Whether a host runs this file.
///
/// # Errors
/// When there is one that does not answer, or none can be asked.
pub(in crate::cli) async fn is_there(file: &Path) -> anyhow::Result<bool> {
    let host = Host::of_file(file)?;
    match host.client.status().await {
        Ok(_) => Ok(true),
        Err(ClientError::Away { source, .. })
            if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
        {
            Ok(false)
        }
        Err(error) => Err(host.explain(error)),
    }
}

/// Has the host that runs this file read it again, and waits until that is done or refused.
///
/// # Errors
/// When there is no answer.
pub(in crate::cli) async fn reload_of(file: &Path) -> anyhow::Result<Reloaded> {
    let host = Host::of_file(file)?;
    let change = host.client.change(&Command::Reload).await;
    let change = change.map_err(|error| host.explain(error))?;
    Ok(match change.outcome {
        ChangeOutcome::Done | ChangeOutcome::Unchanged => Reloaded::Made {
            told: told(&change) + &trials(&host, &change).await,
            change: Box::new(change),
        },
        ChangeOutcome::Refused | ChangeOutcome::Undone => Reloaded::Not(told(&change)),
    })
}

pub(in crate::cli) async fn rollback(options: RollbackOptions) -> anyhow::Result<ExitCode> {
    let plugin = name(options.plugin, "plugin")?;
    ask(&options.host, Command::Rollback { plugin }).await
}

pub(in crate::cli) async fn pause(options: PipelineOptions) -> anyhow::Result<ExitCode> {
    let pipeline = name(options.pipeline, "pipeline")?;
    ask(&options.host, Command::Pause { pipeline }).await
}

pub(in crate::cli) async fn resume(options: PipelineOptions) -> anyhow::Result<ExitCode> {
    let pipeline = name(options.pipeline, "pipeline")?;
    ask(&options.host, Command::Resume { pipeline }).await
}

/// Told here in the words of the command line, before anybody is asked.
fn name(text: String, kind: &str) -> anyhow::Result<String> {
    match Name::new(&text) {
        Some(_) => Ok(text),
        None => bail!("`{}` cannot be the name of a {kind}", plain(&text, 63)),
    }
}

async fn ask(arguments: &HostArguments, command: Command) -> anyhow::Result<ExitCode> {
    let host = arguments.host()?;
    let change = host.client.change(&command).await;
    let change = change.map_err(|error| host.explain(error))?;
    let is_made = matches!(change.outcome, ChangeOutcome::Done | ChangeOutcome::Unchanged);
    if arguments.json {
        print(json_line(&change)?)?;
    } else if is_made {
        let text = told(&change) + &trials(&host, &change).await;
        print(text.trim_end())?;
    } else {
        crate::streams::error(told(&change).trim_end());
    }
    Ok(match is_made {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// The outcome of a change.
pub(super) fn word(outcome: ChangeOutcome) -> &'static str {
    match outcome {
        ChangeOutcome::Done => "done",
        ChangeOutcome::Unchanged => "unchanged",
        ChangeOutcome::Refused => "refused",
        ChangeOutcome::Undone => "undone",
    }
}

/// A change, in full.
pub(super) fn told(change: &ChangeRecord) -> String {
    let style = style_of(word(change.outcome));
    let (generation, took_ms) = (change.generation, change.took_ms);
    let mut text = match change.outcome {
        ChangeOutcome::Done => format!("{style}done{style:#}: generation {generation} serves ({took_ms} ms)\n"),
        ChangeOutcome::Unchanged => format!("nothing to change: generation {generation} serves\n"),
        ChangeOutcome::Refused => {
            let step = change
                .step
                .as_deref()
                .map(|step| format!(" at step {}", plain(step, 64)));
            let step = step.unwrap_or_default();
            format!("{style}refused{style:#}{step}: generation {generation} serves on\n")
        }
        ChangeOutcome::Undone => format!("{style}undone{style:#}: generation {generation} serves again\n"),
    };
    for change in &change.changes {
        text += &format!("  {}\n", plain(change, LINE_CHARS));
    }
    if let Some(reason) = &change.reason {
        text += &format!("\n{}\n", lines(reason));
    }
    text
}

/// Says which pipelines watch what now serves: it may yet be undone.
async fn trials(host: &Host, change: &ChangeRecord) -> String {
    if change.outcome != ChangeOutcome::Done {
        return String::new();
    }
    match host.client.status().await {
        Ok(status) => on_trial(&status),
        Err(error) => {
            // The change is made all the same.
            tracing::debug!(%error, "cannot ask whether a version is on trial");
            String::new()
        }
    }
}

fn on_trial(status: &Status) -> String {
    let mut text = String::new();
    for pipeline in &status.pipelines {
        if let Some(trial_status) = &pipeline.trial {
            let (name, far) = (plain(&pipeline.name, 63), trial(trial_status));
            text += &format!("on trial in pipeline {name}: {far} messages; undone if worse than before\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(outcome: ChangeOutcome, step: Option<&str>, reason: Option<&str>, expected: &str) {
        let change = ChangeRecord {
            number: 3,
            at: "2026-01-01T23:57:00.000Z".to_owned(),
            by: "control (uid 1000)".to_owned(),
            changes: vec!["plugin crop: 1a2b3c4d5e6f -> 7a8b9c0d1e2f".to_owned()],
            outcome,
            generation: 7,
            step: step.map(str::to_owned),
            reason: reason.map(str::to_owned),
            took_ms: 420,
        };
        assert_eq!(anstream::adapter::strip_str(&told(&change)).to_string(), expected);
    }

    #[test]
    fn what_came_of_a_change_is_told_in_full() {
        check(
            ChangeOutcome::Done,
            None,
            None,
            "done: generation 7 serves (420 ms)\n  plugin crop: 1a2b3c4d5e6f -> 7a8b9c0d1e2f\n",
        );
        check(
            ChangeOutcome::Refused,
            Some("smoke-test"),
            Some("expected `arrow`\n  found \u{1b}[2J`star`"),
            "refused at step smoke-test: generation 7 serves on\n  plugin crop: 1a2b3c4d5e6f -> 7a8b9c0d1e2f\n\n\
             expected `arrow`\n  found \\u{1b}[2J`star`\n",
        );
        check(
            ChangeOutcome::Undone,
            None,
            Some("3 of 50 messages failed"),
            "undone: generation 7 serves again\n  plugin crop: 1a2b3c4d5e6f -> 7a8b9c0d1e2f\n\n3 of 50 messages failed\n",
        );
    }

    #[test]
    fn what_is_on_trial_is_said() {
        let status: Status = serde_json::from_value(serde_json::json!({
            "version": "0.1.0", "host_id": "h", "config": "/p.toml", "phase": "running", "uptime_s": 1, "generation": 8,
            "plugins": [], "models": [], "last_change": null,
            "pipelines": [
                { "name": "images", "state": "running", "why": null, "received": 0, "in_flight": 0, "acked": 0, "skipped": 0,
                  "rejected": 0, "trial": { "seen": 0, "of": 100, "worse": 0 } },
                { "name": "other", "state": "running", "why": null, "received": 0, "in_flight": 0, "acked": 0, "skipped": 0,
                  "rejected": 0, "trial": null },
            ],
        }))
        .unwrap();
        assert_eq!(
            on_trial(&status),
            "on trial in pipeline images: 0 of 100 messages; undone if worse than before\n"
        );
    }

    #[test]
    fn only_names_are_asked_for() {
        assert_eq!(name("crop-2".to_owned(), "plugin").unwrap(), "crop-2");
        let refused = name("../\u{1b}".to_owned(), "plugin").unwrap_err().to_string();
        assert_eq!(refused, "`../\\u{1b}` cannot be the name of a plugin");
    }
}
