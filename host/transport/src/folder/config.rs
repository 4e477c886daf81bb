//! What the tables of a file that are a folder's open, once they are checked. Reads none.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::dead_letters::FolderStore;
use super::destination::FolderDestination;
pub use super::keys::{FolderDestinationConfig, FolderSourceConfig};
use super::named_folder::NamedFolder;
use super::{FolderSource, deliver};
use crate::config::Config;
use crate::{
    BindDestination, Capabilities, Connections, DeadLetterStore, Destination, DestinationConfig, OpenError, OpenSource,
    Opening, Redelivery, Source, SourceConfig,
};

/// The capabilities of a folder.
pub static FOLDER: Capabilities = Capabilities {
    gives_back: true,
    redelivery: Redelivery::Certain, // the system frees the lock of a host when that ends, and at no other time
    ends: true,
    hands_over_ahead: false,
    names_files: true,
    takes_replies: false,
};

impl SourceConfig for FolderSourceConfig {
    fn capabilities(&self) -> &'static Capabilities {
        &FOLDER
    }

    fn prefetch(&self) -> u16 {
        self.prefetch
    }
}

impl OpenSource for FolderSourceConfig {
    fn open<'a>(&'a self, opening: Opening<'a>) -> BoxFuture<'a, Result<Option<Box<dyn Source>>, OpenError>> {
        async move {
            let source = FolderSource::open(self, opening.pipeline.max_message_bytes, opening.until).await;
            let source = source.map_err(OpenError::fatal)?;
            Ok(Some(Box::new(source) as Box<dyn Source>))
        }
        .boxed()
    }

    fn dead_letters(&self, _: &Config) -> Result<Box<dyn DeadLetterStore>, OpenError> {
        Ok(Box::new(FolderStore::of(&self.folder)))
    }
}

impl DestinationConfig for FolderDestinationConfig {}

impl BindDestination for FolderDestinationConfig {
    fn prepare(&self) -> BoxFuture<'_, Result<(), OpenError>> {
        deliver::prepare(&self.folder)
            .map(|prepared| prepared.map_err(OpenError::fatal))
            .boxed()
    }

    fn bind(&self, source: &dyn SourceConfig, _: &Connections) -> Result<Option<Arc<dyn Destination>>, OpenError> {
        Ok(Some(Arc::new(FolderDestination {
            folder: NamedFolder::new(&self.folder),
            key_is_name: source.capabilities().names_files,
        })))
    }
}
