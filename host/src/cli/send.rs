//! `millrace send`: files as messages.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use indicatif::ProgressBar;

use super::BrokerArguments;
use super::output::print;
use crate::transport::amqp;

/// `millrace send`
#[derive(Debug, Args)]
pub struct Options {
    /// The queue
    queue: String,
    /// The files; each becomes one message, with its content type by its extension and its name as correlation id
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Sends all files this many times
    #[arg(long, value_name = "N", default_value_t = 1)]
    repeat: usize,
    #[command(flatten)]
    broker: BrokerArguments,
}

pub(super) async fn send(options: Options) -> anyhow::Result<ExitCode> {
    let files: Vec<PathBuf> = std::iter::repeat_n(options.files, options.repeat).flatten().collect();
    let bar = ProgressBar::new(files.len() as u64);
    let sent = amqp::send(&options.broker.access(), &options.queue, &files, |_| bar.inc(1)).await;
    let n_sent = bar.position();
    bar.finish_and_clear();
    print(format_args!(
        "{n_sent} of {} sent to `{}`, confirmed",
        files.len(),
        options.queue
    ))?;
    if let Err(error) = sent {
        let hint = match &error {
            amqp::ClientError::Publish {
                source: amqp::PublishError::Unroutable { .. },
                ..
            } => "\nis the queue there? `millrace run` declares the queues of its file",
            _ => "",
        };
        anyhow::bail!("{:#}{hint}", anyhow::Error::from(error));
    }
    Ok(ExitCode::SUCCESS)
}
