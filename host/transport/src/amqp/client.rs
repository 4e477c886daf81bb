//! `millrace send` and `millrace receive`: a small client for trying things out.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Consumer};

use super::config::BrokerAccess;
use super::line::{self, BrokerCallError, Channel, Line};
use super::link::{ConnectError, Link, LinkName};
use super::properties::{self, TooLong, short};
use super::publisher::{Publish, PublishError, Publisher};
use super::refusal::Meaning;
use crate::message::Message;

/// Publishes that wait for their confirm at a time: enough to hide the round trip.
const IN_FLIGHT: usize = 64;

/// Messages that `receive` holds unprinted.
const PREFETCH: u16 = 32;

/// How often a missing queue is looked for.
const LOOK: Duration = Duration::from_millis(500);

/// How long a file's confirm may take.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a client's work ended early.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file is not known to have arrived.
    #[error("{} was not sent", path.display())]
    Publish {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: PublishError,
    },
    /// A name does not fit.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// The queue ended, was not there, or the connection broke.
    #[error("receiving from `{queue}` ended: {why}")]
    Receive {
        queue: String,
        /// The broker's words.
        why: String,
    },
}

/// Publishes files, confirmed; calls `sent` after each.
///
/// # Errors
/// The first file that is not known to have arrived.
pub async fn send(
    access: &BrokerAccess,
    queue: &str,
    files: &[PathBuf],
    mut sent: impl FnMut(&Path),
) -> Result<(), ClientError> {
    let routing_key = short("queue", queue)?;
    let link = Arc::new(Link::new(access.clone(), LinkName::tool("millrace send")));
    link.line().await?;
    let nonces = uuid::Uuid::new_v4().to_string();
    let (publisher, task) = Publisher::new(link, nonces, CONFIRM_TIMEOUT);
    let task = tokio::spawn(task);
    publisher.open().await;
    let all = stream::iter(files)
        .map(async |path| {
            let publish = Arc::new(Publish {
                exchange: "".into(),
                routing_key: routing_key.clone(),
                mandatory: true,
                body: Arc::new(tokio::fs::read(path).await.map_err(|source| ClientError::Read {
                    path: path.clone(),
                    source,
                })?),
                properties: file_properties(path)?.into(),
                target_queue: None,
            });
            publisher
                .publish(&publish)
                .await
                .map_err(|source| ClientError::Publish {
                    path: path.clone(),
                    source,
                })?;
            Ok::<_, ClientError>(path)
        })
        .buffer_unordered(IN_FLIGHT)
        .try_for_each(|path| {
            sent(path);
            std::future::ready(Ok(()))
        })
        .await;
    drop(publisher);
    if let Err(error) = task.await {
        tracing::error!(%error, "the publishing task panicked: a bug of Millrace, please report it");
    }
    all
}

fn file_properties(path: &Path) -> Result<BasicProperties, TooLong> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let content_type = mime_guess::from_path(path)
        .first_raw()
        .unwrap_or("application/octet-stream");
    Ok(BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type(content_type.into())
        .with_message_id(uuid::Uuid::new_v4().to_string().as_str().into())
        .with_correlation_id(short("file name", name)?))
}

/// The fate of a message that was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taking {
    /// It is accepted, and so is the next.
    More,
    /// It is accepted, and no other.
    Last,
    /// It goes back, and no other is accepted.
    Refused,
}

/// Hands over arriving messages until `take` wants no more, and acknowledges those that it accepted. Waits for a missing
/// queue; calls `is_there` once when the queue is missing and once when it exists.
///
/// # Errors
/// When the broker refuses, or the connection breaks.
pub async fn receive(
    access: &BrokerAccess,
    queue: &str,
    mut is_there: impl FnMut(bool),
    mut take: impl FnMut(&Message) -> Taking,
) -> Result<(), ClientError> {
    let link = Link::new(access.clone(), LinkName::tool("millrace receive"));
    let line = link.line().await?;
    let ended = |failure: BrokerCallError| ClientError::Receive {
        queue: queue.to_owned(),
        why: failure.to_string(),
    };
    let name = short("queue", queue)?;
    let mut waits = false;
    let (channel, mut consumer) = loop {
        match consume(&line, &name).await {
            Ok(consuming) => break consuming,
            // The broker closed only the channel.
            Err(failure)
                if failure
                    .refusal()
                    .is_some_and(|refusal| refusal.meaning == Meaning::Missing) =>
            {
                if !std::mem::replace(&mut waits, true) {
                    is_there(false);
                }
                tokio::time::sleep(LOOK).await;
            }
            Err(failure) => return Err(ended(failure)),
        }
    };
    is_there(true);
    let mut taking = true;
    while taking {
        let next = tokio::select! {
            next = consumer.next() => next.ok_or("the broker cancelled the consumer"),
            () = line.over() => Err("the connection is gone"),
        };
        let delivery = match next {
            Ok(delivery) => delivery,
            Err(why) => {
                return Err(ClientError::Receive {
                    queue: queue.to_owned(),
                    why: why.to_owned(),
                });
            }
        };
        let mut delivery = delivery.map_err(BrokerCallError::Answered).map_err(ended)?;
        let message = properties::message(queue, &mut delivery);
        let answer = take(&message);
        taking = answer == Taking::More;
        if answer != Taking::Refused {
            line::ack(&delivery, link.limit()).await.map_err(ended)?;
        }
    }
    // Messages that were prefetched beyond go back now, and not only when the connection is gone.
    channel.give_back_up_to(0).await.map_err(ended)?;
    drop(consumer);
    channel.close().await.map_err(ended)?;
    link.close().await;
    Ok(())
}

/// Subscribes to a queue, on a channel of its own.
async fn consume(line: &Arc<Line>, queue: &ShortString) -> Result<(Channel, Consumer), BrokerCallError> {
    let channel = line.channel().await?;
    channel.prefetch(PREFETCH).await?;
    let consumer = channel.consume(queue.clone(), FieldTable::default()).await?;
    Ok((channel, consumer))
}
