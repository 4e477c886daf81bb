//! `millrace status`: what a running host serves, and how it does.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;

use super::HostArguments;
use super::table::{ago, coloured, lasting, shown, table, version};
use crate::cli::output::{plain, print};
use crate::control::{ChangeRecord, Status, TrialStatus};

/// The most of a text from elsewhere: a path, the name of a device.
const TEXT_CHARS: usize = 1000;

/// `millrace status`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    #[command(flatten)]
    host: HostArguments,
}

const EXAMPLES: &str = "\
Examples:
  millrace status                         the host that runs ./plugins.toml
  millrace status -f /etc/millrace/plugins.toml
  millrace status --json | jq '.pipelines[] | select(.state != \"running\")'
  millrace status --control http://127.0.0.1:9465 --token-file token";

pub(in crate::cli) async fn status(options: Options) -> anyhow::Result<ExitCode> {
    let host = options.host.host()?;
    let status = host.client.status().await.map_err(|error| host.explain(error))?;
    match options.host.json {
        true => print(super::json_line(&status)?)?,
        false => print(told(&status, SystemTime::now())?.trim_end())?,
    };
    Ok(ExitCode::SUCCESS)
}

fn told(status: &Status, now: SystemTime) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    writeln!(
        text,
        "millrace {}: {}, generation {}, up {}",
        plain(&status.version, TEXT_CHARS),
        coloured(&plain(&status.phase, TEXT_CHARS)),
        status.generation,
        lasting(status.uptime_s)
    )?;
    writeln!(
        text,
        "file  {}",
        plain(&status.config.display().to_string(), TEXT_CHARS)
    )?;
    writeln!(text, "host  {}", plain(&status.host_id, TEXT_CHARS))?;
    if let Some(change) = &status.last_change {
        writeln!(text, "\nlast change, {}", headline(change, now))?;
        for change in &change.changes {
            writeln!(text, "  {}", plain(change, TEXT_CHARS))?;
        }
        if change.reason.is_some() {
            writeln!(text, "  `millrace history {}` says why", change.number)?;
        }
    }
    pipelines(&mut text, status)?;
    plugins(&mut text, status);
    models(&mut text, status);
    Ok(text)
}

/// `3 min ago by file: refused at step plugins`.
pub(super) fn headline(change: &ChangeRecord, now: SystemTime) -> String {
    let step = change
        .step
        .as_deref()
        .map(|step| format!(" at step {}", plain(step, 64)));
    format!(
        "{} by {}: {}{}",
        ago(&change.at, now),
        plain(&change.by, 64),
        coloured(super::change::word(change.outcome)),
        step.unwrap_or_default()
    )
}

fn pipelines(text: &mut String, status: &Status) -> std::fmt::Result {
    let mut rows = table([
        "PIPELINE",
        "STATE",
        "RECEIVED",
        "IN FLIGHT",
        "ACKED",
        "SKIPPED",
        "REJECTED",
        "TRIAL",
    ]);
    for pipeline in &status.pipelines {
        rows.add_row([
            plain(&pipeline.name, 63),
            plain(&pipeline.state, 63),
            pipeline.received.to_string(),
            pipeline.in_flight.to_string(),
            pipeline.acked.to_string(),
            pipeline.skipped.to_string(),
            pipeline.rejected.to_string(),
            pipeline.trial.as_ref().map_or_else(|| "-".to_owned(), trial),
        ]);
    }
    write!(text, "\n{}", shown(&rows, "STATE"))?;
    for pipeline in &status.pipelines {
        if let Some(why) = &pipeline.why {
            writeln!(text, "  {}: {}", plain(&pipeline.name, 63), plain(why, TEXT_CHARS))?;
        }
    }
    Ok(())
}

/// How far a trial is.
pub(super) fn trial(trial: &TrialStatus) -> String {
    let TrialStatus { seen, of, worse, .. } = trial;
    match worse {
        0 => format!("{seen} of {of}"),
        worse => format!("{seen} of {of}, {worse} worse"),
    }
}

fn plugins(text: &mut String, status: &Status) {
    if status.plugins.is_empty() {
        return;
    }
    let mut rows = table(["PLUGIN", "ROLE", "VERSION", "SINCE", "BEFORE"]);
    for plugin in &status.plugins {
        let before = plugin.previous_digest.as_deref();
        rows.add_row([
            plain(&plugin.name, 63),
            plain(&plugin.role, 63),
            plain(&version(&plugin.digest), 12),
            format!("generation {}", plugin.since_generation),
            before.map_or_else(|| "-".to_owned(), |digest| plain(&version(digest), 12)),
        ]);
    }
    *text += &format!("\n{}\n", rows.trim_fmt());
}

fn models(text: &mut String, status: &Status) {
    if status.models.is_empty() {
        return;
    }
    let mut rows = table(["MODEL", "VERSION", "SINCE", "DEVICE"]);
    for model in &status.models {
        rows.add_row([
            plain(&model.name, 63),
            plain(&version(&model.digest), 12),
            format!("generation {}", model.since_generation),
            plain(&model.device, 64),
        ]);
    }
    *text += &format!("\n{}\n", rows.trim_fmt());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{ChangeOutcome, ModelStatus, PipelineStatus, PluginStatus};

    fn pipeline(name: &str, state: &str) -> PipelineStatus {
        PipelineStatus {
            name: name.to_owned(),
            state: state.to_owned(),
            why: None,
            received: 1200,
            in_flight: 4,
            acked: 1100,
            skipped: 20,
            rejected: 7,
            trial: None,
        }
    }

    fn example() -> Status {
        Status {
            version: "0.1.0".to_owned(),
            host_id: "worker-3-4f1c".to_owned(),
            config: "/srv/mill/plugins.toml".into(),
            phase: "running".to_owned(),
            uptime_s: 11_000,
            generation: 7,
            plugins: vec![PluginStatus {
                name: "crop".to_owned(),
                role: "preprocessor".to_owned(),
                digest: "1a2b3c4d5e6f7a8b9c0d".to_owned(),
                since_generation: 6,
                previous_digest: Some("0f0f0f0f0f0f0f0f".to_owned()),
            }],
            models: vec![ModelStatus {
                name: "shapes".to_owned(),
                digest: "99887766554433221100".to_owned(),
                device: "cpu".to_owned(),
                since_generation: 1,
            }],
            pipelines: vec![
                PipelineStatus {
                    trial: Some(TrialStatus {
                        seen: 37,
                        of: 100,
                        worse: 1,
                        in_flight: 2,
                        oldest_s: 0,
                    }),
                    ..pipeline("images", "running")
                },
                PipelineStatus {
                    why: Some("holding 2 for 7 s: queue `a`".to_owned()),
                    ..pipeline("thumbnails", "holding")
                },
            ],
            last_change: Some(ChangeRecord {
                number: 12,
                at: "2026-01-01T23:57:00.000Z".to_owned(),
                by: "file".to_owned(),
                changes: vec!["plugin crop: 1a2b3c4d5e6f -> 7a8b9c0d1e2f".to_owned()],
                outcome: ChangeOutcome::Refused,
                generation: 7,
                step: Some("smoke-test".to_owned()),
                reason: Some("expected `arrow`\nfound `star`".to_owned()),
                took_ms: 420,
            }),
            readiness: Default::default(),
        }
    }

    #[test]
    fn a_status_reads_like_this() {
        let now = humantime::parse_rfc3339("2026-01-02T00:00:00Z").unwrap();
        let text = told(&example(), now).unwrap();
        let plain = anstream::adapter::strip_str(&text).to_string();
        let expected = "\
millrace 0.1.0: running, generation 7, up 3 h
file  /srv/mill/plugins.toml
host  worker-3-4f1c

last change, 3 min ago by file: refused at step smoke-test
  plugin crop: 1a2b3c4d5e6f -> 7a8b9c0d1e2f
  `millrace history 12` says why

 PIPELINE    STATE    RECEIVED  IN FLIGHT  ACKED  SKIPPED  REJECTED  TRIAL
 images      running  1200      4          1100   20       7         37 of 100, 1 worse
 thumbnails  holding  1200      4          1100   20       7         -
  thumbnails: holding 2 for 7 s: queue `a`

 PLUGIN  ROLE          VERSION       SINCE         BEFORE
 crop    preprocessor  1a2b3c4d5e6f  generation 6  0f0f0f0f0f0f

 MODEL   VERSION       SINCE         DEVICE
 shapes  998877665544  generation 1  cpu
";
        assert_eq!(plain, expected);
        assert!(text.contains("\u{1b}[31mholding\u{1b}[0m  1200"), "{text:?}");
    }

    #[test]
    fn what_a_host_says_moves_no_cursor() {
        let mut status = example();
        let hostile = "\u{1b}[2J\u{202e}".to_owned();
        status.version.clone_from(&hostile);
        status.phase.clone_from(&hostile);
        status.host_id.clone_from(&hostile);
        status.config = hostile.clone().into();
        status.pipelines[0].name.clone_from(&hostile);
        status.pipelines[0].state.clone_from(&hostile);
        status.pipelines[1].why = Some(hostile.clone());
        status.plugins[0].digest.clone_from(&hostile);
        status.models[0].device.clone_from(&hostile);
        let change = status.last_change.as_mut().unwrap();
        change.by.clone_from(&hostile);
        change.at.clone_from(&hostile);
        change.step = Some(hostile.clone());
        change.changes = vec![hostile.clone()];
        let text = told(&status, SystemTime::UNIX_EPOCH).unwrap();
        assert!(!text.contains("\u{1b}[2J") && !text.contains('\u{202e}'), "{text:?}");
        let json = super::super::json_line(&status).unwrap();
        assert!(!json.contains(['\u{1b}', '\u{202e}']), "{json:?}");
        assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), status);
    }
}
