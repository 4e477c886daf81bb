//! The tables of a file that are a transport's own, once they are checked: values that can be compared, and that open what
//! they declare. Knows no kind of transport.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::connection::{Connection, ConnectionName, Connections};
use super::dead_letters::DeadLetterStore;
use super::findings::{Away, Findings};
use super::output::Destination;
use super::source::{Source, Until};
use crate::config::{Config, PipelineConfig};

/// What a kind of source can do. Settlement, quarantine, the command line and the docs ask for it, and never for the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether one message can be given back by itself; else it goes back as a copy.
    pub gives_back: bool,
    /// Whether it says that a message was delivered before.
    pub tells_redelivery: bool,
    /// Whether it says how often.
    pub counts_redelivery: bool,
    /// Whether letting go of a message lets go of all before it.
    pub order_binds_commits: bool,
    /// Whether its quarantined messages wait apart from the others.
    pub has_quarantine_queue: bool,
    /// Whether it knows that it is empty, so that a run can end by itself (`--once`).
    pub ends: bool,
    /// Whether it hands over more than is worked on, which must go back at a stop.
    pub hands_over_ahead: bool,
    /// Whether a message's key is the name of a file, which names its results, too.
    pub names_files: bool,
    /// Whether a message can say where its answer goes.
    pub takes_replies: bool,
}

/// A table that can be compared with another, whatever kind that is of.
pub trait Comparable: Any + fmt::Debug + Send + Sync {
    /// Whether the other is of the same kind and says the same.
    fn same(&self, other: &dyn Any) -> bool;
}

impl<T: Any + PartialEq + fmt::Debug + Send + Sync> Comparable for T {
    fn same(&self, other: &dyn Any) -> bool {
        other.downcast_ref::<T>() == Some(self)
    }
}

/// `source = { .. }`: where a pipeline's messages come from, and where its dead letters go.
pub trait SourceConfig: Comparable {
    /// What it can do.
    fn capabilities(&self) -> &'static Capabilities;

    /// Messages in flight.
    fn prefetch(&self) -> u16;

    /// The connection that it needs.
    fn connection(&self) -> Option<&ConnectionName> {
        None
    }

    /// Bytes of the largest body that it may hand over, for a pipeline that takes `max_message_bytes`.
    fn body_bytes_max(&self, max_message_bytes: usize, _connection: Option<&dyn ConnectionConfig>) -> usize {
        max_message_bytes
    }

    /// The address at which others reach it, where messages can ask for a reply there.
    fn address(&self) -> Option<&str> {
        None
    }

    /// Opens it; `None` where its connection is not there.
    ///
    /// # Errors
    /// When waiting would not help.
    fn open<'a>(&'a self, opening: Opening<'a>) -> BoxFuture<'a, Result<Option<Box<dyn Source>>, OpenError>>;

    /// Where its dead letters lie. Needs nothing but the file.
    ///
    /// # Errors
    /// When the file does not say enough.
    fn dead_letters(&self, config: &Config) -> Result<Box<dyn DeadLetterStore>, OpenError>;
}

/// `[pipeline.NAME.destination.NAME]`
pub trait DestinationConfig: Comparable {
    /// The connection that it needs.
    fn connection(&self) -> Option<&ConnectionName> {
        None
    }

    /// Makes it ready for results.
    ///
    /// # Errors
    /// When it would take none.
    fn prepare(&self) -> BoxFuture<'_, Result<(), OpenError>> {
        ready(Ok(())).boxed()
    }

    /// Binds it to what it needs; `None` where its connection is not there.
    ///
    /// # Errors
    /// When a name does not fit.
    fn bind(
        &self,
        source: &dyn SourceConfig,
        connections: &Connections,
    ) -> Result<Option<Arc<dyn Destination>>, OpenError>;
}

/// `[broker]`, or `[connection.NAME]`
pub trait ConnectionConfig: Comparable {
    /// Its address as people may see it, without a password.
    fn shown(&self) -> String;

    /// Connects in the background.
    fn start(&self, host_id: &str) -> Box<dyn Connection>;

    /// A connection that is never made: destinations can be bound to it.
    fn offline(&self) -> Box<dyn Connection>;

    /// Bytes of the largest body that it takes.
    fn body_bytes_max(&self) -> usize;

    /// The same where no body is larger than this.
    fn with_body_bytes_max(&self, bytes: usize) -> Arc<dyn ConnectionConfig>;

    /// Bytes that are kept of what is on its way.
    fn publishing_bytes(&self) -> u64;

    /// The longest that settling one message may wait for answers on it.
    fn settling_limit(&self) -> Duration;

    /// Looks at the files that it names; blocking.
    ///
    /// # Errors
    /// The key, what is wrong with its file, and what to do.
    fn check_files(&self) -> Result<(), (&'static str, String, &'static str)> {
        Ok(())
    }

    /// What it has against what a file names on it. Changes nothing there.
    ///
    /// # Errors
    /// When it is away: then nothing can be said.
    fn look<'a>(
        &'a self,
        name: &'a ConnectionName,
        config: &'a Config,
        findings: &'a mut Findings<'_>,
    ) -> BoxFuture<'a, Result<(), Away>>;
}

/// What a source is opened with.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// The pipeline.
    pub pipeline: &'a PipelineConfig,
    /// The connections that pipelines need.
    pub connections: &'a Connections,
    /// Whether it ends when it is empty.
    pub until: Until,
}

/// Why a source, a destination or a connection cannot be had.
#[derive(Debug)]
pub struct OpenError {
    cause: Box<dyn Error + Send + Sync>,
    is_final: bool,
}

impl OpenError {
    /// Waiting would not help.
    pub fn fatal(cause: impl Error + Send + Sync + 'static) -> Self {
        Self {
            cause: Box::new(cause),
            is_final: true,
        }
    }

    /// It may be had later.
    pub fn passing(cause: impl Error + Send + Sync + 'static) -> Self {
        Self {
            cause: Box::new(cause),
            is_final: false,
        }
    }

    /// Whether waiting would not help.
    pub fn is_final(&self) -> bool {
        self.is_final
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl Error for OpenError {
    // The cause is shown by this error itself.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.source()
    }
}

impl PartialEq for dyn SourceConfig {
    fn eq(&self, other: &Self) -> bool {
        self.same(other)
    }
}

impl PartialEq for dyn DestinationConfig {
    fn eq(&self, other: &Self) -> bool {
        self.same(other)
    }
}

impl PartialEq for dyn ConnectionConfig {
    fn eq(&self, other: &Self) -> bool {
        self.same(other)
    }
}

impl dyn SourceConfig {
    /// The same as what a kind knows it as.
    pub fn as_kind<T: SourceConfig>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }
}

impl dyn DestinationConfig {
    /// The same as what a kind knows it as.
    pub fn as_kind<T: DestinationConfig>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }
}

impl dyn ConnectionConfig {
    /// The same as what a kind knows it as.
    pub fn as_kind<T: ConnectionConfig>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }
}

/// The connection of this name, as what its kind knows it as.
pub fn connection_as<'a, T: Connection>(connections: &'a Connections, name: &ConnectionName) -> Option<&'a T> {
    let connection: &dyn Any = connections.get(name)?.as_ref();
    connection.downcast_ref()
}
