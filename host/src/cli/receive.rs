//! `millrace receive`: what arrives, for people or as JSON.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use serde_json::{Map, Value, json};

use super::BrokerArguments;
use super::output::{Reader, plain, print};
use crate::message::Message;
use crate::streams::{self, Severity};
use crate::transport::amqp::{self, Taking};

/// The most of a body that is printed for people.
const SHOWN_CHARS: usize = 2000;

/// `millrace receive`
#[derive(Debug, Args)]
pub struct Options {
    /// The queue; waits until it exists
    queue: String,
    /// Ends after this many messages; without it, at Ctrl-C
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Ends when nothing has come for this long, such as `10s` (exit code 1 where --count is not reached)
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    idle: Option<std::time::Duration>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    broker: BrokerArguments,
}

pub(super) async fn receive(options: Options) -> anyhow::Result<ExitCode> {
    let Options {
        queue,
        count,
        idle,
        json,
        broker,
    } = options;
    if count == Some(0) {
        return Ok(ExitCode::SUCCESS);
    }
    let (arrived, mut arrivals) = tokio::sync::watch::channel(0_u64);
    let url = broker.access();
    let mut printed = Ok(Reader::Reads);
    let is_missing = AtomicBool::new(false);
    let look = |is_there: bool| {
        is_missing.store(!is_there, Ordering::Relaxed);
        if !is_there {
            let text = format!("queue `{}` is not there yet: waiting for it", plain(&queue, 255));
            streams::say(Severity::Note, text);
        }
    };
    let receiving = amqp::receive(&url, &queue, look, |message| {
        printed = print(if json { as_json(message) } else { as_text(message) });
        if !matches!(printed, Ok(Reader::Reads)) {
            return Taking::Refused;
        }
        arrived.send_modify(|n| *n += 1);
        if count.is_some_and(|count| *arrived.borrow() >= count) {
            Taking::Last
        } else {
            Taking::More
        }
    });
    let idling = async {
        let Some(idle) = idle else {
            return std::future::pending().await;
        };
        while let Ok(Ok(())) = tokio::time::timeout(idle, arrivals.changed()).await {}
    };
    tokio::select! {
        received = receiving => received?,
        () = idling => {}
        signal = tokio::signal::ctrl_c() => signal?,
    }
    // A reader that stops has what it wanted.
    if printed? == Reader::Left {
        return Ok(ExitCode::SUCCESS);
    }
    if is_missing.load(Ordering::Relaxed) {
        anyhow::bail!(
            "there is no queue `{}`: `millrace run` declares the queues of its file",
            plain(&queue, 255)
        );
    }
    let complete = count.is_none_or(|count| *arrived.borrow() >= count);
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn as_text(message: &Message) -> String {
    let mut text = format!(
        "{} (correlation id {})\n",
        message.id.escape_debug(),
        message.correlation_id.as_deref().unwrap_or("none").escape_debug()
    );
    for (name, value) in &message.headers {
        text += &format!("  {}: {}\n", name.escape_debug(), value.escape_debug());
    }
    match std::str::from_utf8(&message.body) {
        Ok(body) => {
            text.extend(
                body.chars()
                    .take(SHOWN_CHARS)
                    .map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }),
            );
        }
        Err(_) => text += &format!("({} bytes)", message.body.len()),
    }
    text
}

fn as_json(message: &Message) -> String {
    let headers: Map<String, Value> = message
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    let mut object = json!({
        "message_id": message.id,
        "correlation_id": message.correlation_id,
        "content_type": message.content_type,
        "redelivered": message.redelivered,
        "headers": headers,
        "bytes": message.body.len(),
    });
    if let (Some(object), Ok(body)) = (object.as_object_mut(), std::str::from_utf8(&message.body)) {
        // A JSON body is a part of the object, so that `jq` reaches into it.
        object.insert(
            "body".to_owned(),
            serde_json::from_str(body).unwrap_or_else(|_| json!(body)),
        );
    }
    object.to_string()
}
