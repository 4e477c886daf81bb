//! What the tables of a file that are SQLite's open, once they are checked. Reads none.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::dead_letters::TableStore;
use super::destination::TableDestination;
use super::file::{ANSWER_LIMIT, File};
use super::keys::{TableDestinationConfig, TableSourceConfig};
use super::source::TableSource;
use crate::config::Config;
use crate::{
    BindDestination, Capabilities, Connections, DeadLetterStore, Destination, DestinationConfig, OpenError, OpenSource,
    Opening, Redelivery, Source, SourceConfig,
};

/// What a table can do.
pub(super) static TABLE: Capabilities = Capabilities {
    gives_back: true,
    // A lease that is over means a host that crashed, was frozen, or could not reach the file.
    redelivery: Redelivery::Ambiguous,
    ends: true,
    hands_over_ahead: false,
    names_files: false,
    takes_replies: false,
};

impl SourceConfig for TableSourceConfig {
    fn capabilities(&self) -> &'static Capabilities {
        &TABLE
    }

    fn prefetch(&self) -> u16 {
        self.prefetch
    }

    fn settling_limit(&self) -> Option<Duration> {
        Some(ANSWER_LIMIT)
    }
}

impl OpenSource for TableSourceConfig {
    fn open<'a>(&'a self, opening: Opening<'a>) -> BoxFuture<'a, Result<Option<Box<dyn Source>>, OpenError>> {
        async move {
            let pipeline = opening.pipeline;
            let source = TableSource::open(self, &pipeline.name, pipeline.max_message_bytes, opening.until).await?;
            Ok(Some(Box::new(source) as Box<dyn Source>))
        }
        .boxed()
    }

    fn dead_letters(&self, _: &Config) -> Result<Box<dyn DeadLetterStore>, OpenError> {
        let file = File::of(&self.file).map_err(OpenError::passing)?;
        Ok(Box::new(TableStore::new(file, &self.table, &self.dead())))
    }
}

impl DestinationConfig for TableDestinationConfig {
    fn settling_limit(&self) -> Option<Duration> {
        Some(ANSWER_LIMIT)
    }
}

impl BindDestination for TableDestinationConfig {
    fn prepare(&self) -> BoxFuture<'_, Result<(), OpenError>> {
        async {
            let file = File::of(&self.file).map_err(OpenError::passing)?;
            TableDestination::new(file, &self.table).prepare().await
        }
        .boxed()
    }

    fn bind(&self, _: &dyn SourceConfig, _: &Connections) -> Result<Option<Arc<dyn Destination>>, OpenError> {
        let file = File::of(&self.file).map_err(OpenError::passing)?;
        Ok(Some(Arc::new(TableDestination::new(file, &self.table))))
    }
}
