//! `millrace ready`: whether a running host can take messages, as an exit code.

use std::process::ExitCode;

use clap::Args;

use super::{HostArguments, place};
use crate::admin::{Client, HostAddress};
use crate::cli::output::{plain, print};
use crate::control::Readiness;

/// The most of a reason: it may have the name of a queue in it.
const TEXT_CHARS: usize = 1000;

/// `millrace ready`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    #[command(flatten)]
    host: HostArguments,
    /// The address of health and metrics (`admin` of the host's file), for a host with `control = "off"`
    #[arg(long, value_name = "URL", conflicts_with_all = ["file", "control", "token_file"])]
    url: Option<String>,
}

const EXAMPLES: &str = "\
Exit code 0: every pipeline can take messages. 1: one cannot, and it is said why; or no host is there.

Examples:
  millrace ready                          the host that runs ./plugins.toml
  millrace ready -f /etc/millrace/plugins.toml && echo yes
  millrace ready --url http://127.0.0.1:9464

In a pod of Kubernetes:
  readinessProbe:
    exec: { command: [millrace, ready, -f, /etc/millrace/plugins.toml] }
    timeoutSeconds: 5";

pub(in crate::cli) async fn ready(options: Options) -> anyhow::Result<ExitCode> {
    let readiness = match &options.url {
        Some(url) => match place(url)? {
            HostAddress::Socket(_) => anyhow::bail!("--url {url}: it is like `http://127.0.0.1:9464`"),
            at @ HostAddress::Tcp(_) => Client::new(at, None).page().await?,
        },
        None => {
            let host = options.host.host()?;
            let status = host.client.status().await.map_err(|error| host.explain(error))?;
            status.readiness
        }
    };
    match options.host.json {
        true => print(super::json_line(&readiness)?)?,
        false => print(told(&readiness))?,
    };
    Ok(match readiness.ready {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// One line, and one more for each reason.
fn told(readiness: &Readiness) -> String {
    let mut text = match readiness.ready {
        true => "ready".to_owned(),
        // That it runs is no reason.
        false if readiness.phase == "running" => "not ready".to_owned(),
        false => format!("not ready: {}", plain(&readiness.phase, 63)),
    };
    for (name, pipeline) in &readiness.pipelines {
        for why in &pipeline.why {
            text += &format!("\n  {}: {}", plain(name, 63), plain(why, TEXT_CHARS));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_ready_is_told_by_pipeline() {
        let json = r#"{"ready":false,"phase":"running","pipelines":{
            "images":{"ready":true,"why":[]},
            "thumbs":{"ready":false,"why":["waiting for the broker","holding 2 for 7 s: queue `\u001b`"]}}}"#;
        let readiness: Readiness = serde_json::from_str(json).unwrap();
        let expected = "not ready\n  thumbs: waiting for the broker\n  thumbs: holding 2 for 7 s: queue `\\u{1b}`";
        assert_eq!(told(&readiness), expected);
        let ready = Readiness {
            ready: true,
            ..Readiness::default()
        };
        assert_eq!(told(&ready), "ready");
    }
}
