//! Looking at a broker without changing it: whether what a file names is there. Knows no file.

use std::sync::Arc;

use super::config::{BrokerConfig, QueueSourceConfig, QueueType};
use super::kinds::{self, Objection};
use super::line::Line;
use super::link::{ConnectError, Link, LinkName};
use super::topology::{self, TopologyError};

/// A connection that only asks.
#[derive(Debug)]
pub(super) struct Inspector {
    link: Link,
    line: Arc<Line>,
}

/// Whether a queue or an exchange exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// It does, and as the file says.
    There,
    /// It does not, and `millrace run` would declare it.
    ToBeDeclared,
}

impl Inspector {
    /// Connects.
    ///
    /// # Errors
    /// When the broker is away, or refuses.
    pub(super) async fn connect(config: &BrokerConfig) -> Result<Self, ConnectError> {
        let link = Link::new(config.access(), LinkName::tool("millrace check"));
        let line = link.line().await?;
        Ok(Self { link, line })
    }

    /// Looks at a source queue, as the file declares it.
    ///
    /// # Errors
    /// When it is not as the file says, may not be used, or belongs to others and does not exist.
    pub(super) async fn source(&self, source: &QueueSourceConfig) -> Result<Presence, TopologyError> {
        topology::inspect_source(&self.line, source).await
    }

    /// The objections to a source queue that others declared, and whether it is a quorum queue, where that can be found
    /// out.
    ///
    /// # Errors
    /// [`TopologyError::Unfit`] for a stream, and whatever the broker says.
    pub(super) async fn objections(&self, queue: &str) -> Result<(Vec<Objection>, Option<bool>), TopologyError> {
        kinds::refuse_streams(&self.line, queue).await?;
        kinds::objections(&self.line, queue).await
    }

    /// Looks at a queue of dead letters.
    ///
    /// # Errors
    /// As [`Inspector::source`].
    pub(super) async fn dead_letters(&self, queue: &str) -> Result<Presence, TopologyError> {
        topology::inspect(&self.line, queue, QueueType::Quorum).await
    }

    /// Looks at a destination's queue, which is used as it is; `declare` says how it is declared where it is missing.
    ///
    /// # Errors
    /// As [`Inspector::source`].
    pub(super) async fn destination(&self, queue: &str, declare: QueueType) -> Result<Presence, TopologyError> {
        topology::inspect(&self.line, queue, declare).await
    }

    /// Looks at an exchange, which the host never declares.
    ///
    /// # Errors
    /// When it is not there, or may not be used.
    pub(super) async fn exchange(&self, exchange: &str) -> Result<(), TopologyError> {
        topology::expect_exchange(&self.line, exchange).await
    }

    /// Closes the connection.
    pub(super) async fn close(self) {
        self.link.close().await;
    }
}
