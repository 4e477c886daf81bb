//! The tables of a file that are HTTP's, once they are checked. Reads none.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::destination::AnswerDestination;
use super::keys::{AnswerConfig, HttpSourceConfig};
use super::source::HttpSource;
use crate::config::Config;
use crate::{
    BindDestination, Capabilities, Connections, DeadLetterStore, Destination, DestinationConfig, OpenError, OpenSource,
    Opening, Redelivery, Source, SourceConfig,
};

/// What an HTTP source can do.
pub(super) static HTTP: Capabilities = Capabilities {
    gives_back: true,               // to its client, which may send it again
    redelivery: Redelivery::Untold, // a message that crashed a host comes again only if its client sends it
    ends: false,
    hands_over_ahead: false, // what waits is answered with 503
    names_files: false,
    takes_replies: false, // its answer is the answer of its request
};

/// Dead letters are asked for, and there are none.
#[derive(Debug, thiserror::Error)]
#[error(
    "an HTTP source keeps no dead letters: the client has the message, and its answer (422 or 500) said why the host rejected it"
)]
struct NoDeadLetters;

impl SourceConfig for HttpSourceConfig {
    fn capabilities(&self) -> &'static Capabilities {
        &HTTP
    }

    fn prefetch(&self) -> u16 {
        self.prefetch
    }
}

impl OpenSource for HttpSourceConfig {
    fn open<'a>(&'a self, opening: Opening<'a>) -> BoxFuture<'a, Result<Option<Box<dyn Source>>, OpenError>> {
        async move {
            let pipeline = opening.pipeline;
            let source = HttpSource::open(self, &pipeline.name, pipeline.max_message_bytes).await?;
            Ok(Some(Box::new(source) as Box<dyn Source>))
        }
        .boxed()
    }

    fn dead_letters(&self, _: &Config) -> Result<Box<dyn DeadLetterStore>, OpenError> {
        Err(OpenError::fatal(NoDeadLetters))
    }
}

impl DestinationConfig for AnswerConfig {}

impl BindDestination for AnswerConfig {
    fn bind(&self, _: &dyn SourceConfig, _: &Connections) -> Result<Option<Arc<dyn Destination>>, OpenError> {
        Ok(Some(Arc::new(AnswerDestination)))
    }
}
