//! A queue as a place of dead letters, for `millrace dlq`. Knows no frame.

use std::collections::BTreeSet;
use std::io::Read;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{DeadLetterHandle, DeadLetters, PuttingBack};
use crate::amqp::config::{BrokerAccess, BrokerConfig, QueueSourceConfig};
use crate::config::Config;
use crate::dead_letter::DeadLetter;
use crate::dead_letters::own;
use crate::message::Message;
use crate::{DeadLetterError, DeadLetterStore, Handle, HeldDeadLetter, OpenError, OpenStore, Requeuer};

/// A queue of dead letters.
#[derive(Debug)]
pub struct QueueStore {
    access: BrokerAccess,
    queue: String,
    /// The source queues of the file; none where no file was read.
    sources: Option<BTreeSet<String>>,
}

/// The file names no broker.
#[derive(Debug, thiserror::Error)]
#[error("the file has no {0}")]
struct NoBroker(String);

impl QueueStore {
    /// A queue that the command line names.
    pub fn named(access: BrokerAccess, queue: String) -> Self {
        Self {
            access,
            queue,
            sources: None,
        }
    }

    /// That of a source.
    ///
    /// # Errors
    /// When the file does not say where its broker is.
    pub(in super::super) fn of(source: &QueueSourceConfig, config: &Config) -> Result<Self, OpenError> {
        let broker = config.connections.get(&source.connection);
        let broker = broker.and_then(|broker| broker.as_kind::<BrokerConfig>());
        let broker = broker.ok_or_else(|| OpenError::fatal(NoBroker(source.connection.to_string())))?;
        let sources = config.pipelines.values();
        let sources = sources.filter_map(|pipeline| pipeline.source.as_kind::<QueueSourceConfig>());
        let sources = sources.filter(|other| other.connection == source.connection);
        Ok(Self {
            access: broker.access(),
            queue: source.dead_letter.clone(),
            sources: Some(sources.map(|source| source.queue.clone()).collect()),
        })
    }
}

impl DeadLetterStore for QueueStore {
    fn shown(&self) -> String {
        format!("queue `{}`", self.queue)
    }

    fn are_files(&self) -> bool {
        false
    }

    fn open(&self) -> BoxFuture<'_, Result<Box<dyn OpenStore>, DeadLetterError>> {
        async {
            let dead_letters = DeadLetters::open(&self.access, &self.queue).await;
            let dead_letters = dead_letters.map_err(DeadLetterError::new)?;
            Ok(Box::new(dead_letters) as Box<dyn OpenStore>)
        }
        .boxed()
    }

    fn target(&self, dead_letter: &DeadLetter, to: Option<&str>) -> Result<String, String> {
        if let Some(to) = to {
            return Ok(to.to_owned());
        }
        let Some(queue) = dead_letter.queue() else {
            return Err("it does not name the queue that it came from: name one with --to".to_owned());
        };
        // A dead letter is not trusted: it must not choose among all queues that the person may publish to.
        match self.sources.as_ref().is_none_or(|sources| sources.contains(queue)) {
            true => Ok(queue.to_owned()),
            false => Err(format!(
                "it came from `{queue}`, which is not a source in the file: name a queue with --to"
            )),
        }
    }

    fn requeuer(&self) -> Box<dyn Requeuer> {
        Box::new(PuttingBack::start(&self.access))
    }
}

impl OpenStore for DeadLetters {
    fn n_left(&self) -> usize {
        usize::try_from(DeadLetters::n_left(self)).unwrap_or(usize::MAX)
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Box<dyn HeldDeadLetter>>, DeadLetterError>> {
        async {
            let held = DeadLetters::next(self).await.map_err(DeadLetterError::new)?;
            Ok(held.map(|held| Box::new(held) as Box<dyn HeldDeadLetter>))
        }
        .boxed()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, Result<(), DeadLetterError>> {
        DeadLetters::close(*self)
            .map(|closed| closed.map_err(DeadLetterError::new))
            .boxed()
    }
}

impl HeldDeadLetter for DeadLetterHandle {
    fn dead_letter(&self) -> &DeadLetter {
        &self.dead_letter
    }

    fn handle(&self) -> Handle {
        Handle::Id(self.dead_letter.id.clone())
    }

    fn message(&self) -> Result<Message, DeadLetterError> {
        DeadLetterHandle::message(self).map_err(DeadLetterError::new)
    }

    fn open_body(&self) -> Result<Box<dyn Read + '_>, DeadLetterError> {
        Ok(Box::new(self.body()))
    }
}

impl Requeuer for PuttingBack {
    fn open(&self) -> BoxFuture<'_, ()> {
        PuttingBack::open(self).boxed()
    }

    fn put_back(&self, held: Box<dyn HeldDeadLetter>, to: String) -> BoxFuture<'_, Result<String, DeadLetterError>> {
        async move {
            let held = own::<DeadLetterHandle>(held)?;
            PuttingBack::put_back(self, held, &to)
                .await
                .map_err(DeadLetterError::new)?;
            Ok(format!("queue `{to}`"))
        }
        .boxed()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        PuttingBack::close(*self).boxed()
    }
}
