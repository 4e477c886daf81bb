//! A folder as a destination: a result gets a name, and is written until it is synced. Knows no source.

use std::fmt;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::deliver::{deliver, result_name};
use super::named_folder::NamedFolder;
use crate::message::{Envelope, Message, Outbound};
use crate::{DeliverError, Denied, Destination, Output, PendingOutput};

/// A folder that results are written into.
#[derive(Debug)]
pub(super) struct FolderDestination {
    /// Where files are written.
    pub(super) folder: NamedFolder,
    /// Whether a message's key is a file's name, which names its results too.
    pub(super) key_is_name: bool,
}

/// A result that is to be a file.
#[derive(Debug)]
struct NamedFile {
    folder: NamedFolder,
    name: String,
    body: Vec<u8>,
    /// Its properties and headers.
    envelope: Envelope,
}

impl Destination for FolderDestination {
    fn address(
        &self,
        message: &Message,
        outbound: Outbound,
        index: usize,
        envelope: Envelope,
    ) -> Result<PendingOutput, Denied> {
        let Outbound {
            destination, key, body, ..
        } = outbound;
        if let Some(key) = key {
            return Err(Denied::Key { destination, key });
        }
        let key = self.key_is_name.then_some(message.key.as_str());
        let name = result_name(key, index, envelope.content_type.as_deref(), &envelope.message_id);
        Ok(Box::new(NamedFile {
            folder: self.folder.clone(),
            name,
            body,
            envelope,
        }))
    }
}

impl Output for NamedFile {
    fn send(&self) -> BoxFuture<'_, Result<(), DeliverError>> {
        async {
            let delivered = deliver(&self.folder, &self.name, &self.body, &self.envelope).await;
            delivered.map_err(DeliverError::new)
        }
        .boxed()
    }
}

impl fmt::Display for NamedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "folder {}", self.folder.path().display())
    }
}
