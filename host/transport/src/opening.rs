//! Opening what a checked table declares: the host's half of a transport's configuration. Knows no kind of transport.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::config::{
    Config, ConnectionConfig, ConnectionName, DestinationConfig, PipelineConfig, SourceConfig, Transport,
};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::connection::{Connection, Connections};
use super::dead_letters::DeadLetterStore;
use super::findings::{Away, Findings};
use super::output::Destination;
use super::source::{Source, Until};
use crate::metric::Metric;

/// One line of the registry: a transport's declaration, and how its checked tables are opened.
#[derive(Clone, Copy)]
pub struct Registered {
    /// Its kinds and their keys.
    pub transport: &'static Transport,
    /// A source of one of its kinds, ready to be opened.
    pub source: fn(&dyn SourceConfig) -> Option<&dyn OpenSource>,
    /// A destination of one of its kinds, ready to be bound.
    pub destination: fn(&dyn DestinationConfig) -> Option<&dyn BindDestination>,
    /// A connection of one of its kinds, ready to connect.
    pub connection: fn(&dyn ConnectionConfig) -> Option<&dyn Connect>,
    /// What its sources and connections count; `docs/operating.md` says what each means.
    pub metrics: &'static [&'static Metric],
}

/// `source = { .. }`, as its kind opens it.
pub trait OpenSource: SourceConfig {
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

/// `[pipeline.NAME.destination.NAME]`, as its kind binds it.
pub trait BindDestination: DestinationConfig {
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

/// `[broker]`, or `[connection.NAME]`, as its kind connects it.
pub trait Connect: ConnectionConfig {
    /// Connects in the background; the log calls it by its name.
    fn start(&self, name: &ConnectionName, host_id: &str) -> Box<dyn Connection>;

    /// A connection that is never made: destinations can be bound to it.
    fn offline(&self) -> Box<dyn Connection>;

    /// Reads the files that it names; blocking.
    ///
    /// # Errors
    /// The key, what is wrong with its file, and what to do.
    fn check_files(&self) -> Result<(), (&'static str, String, &'static str)> {
        Ok(())
    }

    /// Checks everything that a file names on it against the broker, and changes nothing there.
    ///
    /// # Errors
    /// When the broker does not answer: then nothing is known.
    fn look<'a>(
        &'a self,
        name: &'a ConnectionName,
        config: &'a Config,
        findings: &'a mut Findings<'_>,
    ) -> BoxFuture<'a, Result<(), Away>>;
}

/// The surroundings of a source that is opened.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    pub pipeline: &'a PipelineConfig,
    /// The connections that pipelines need.
    pub connections: &'a Connections,
    /// Whether it ends when it is empty.
    pub until: Until,
}

/// Why a source, a destination or a connection cannot be opened.
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

    /// It may open later: a connection is waited for. A source or a destination that is not there at the start ends it all the same.
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

/// The connection of this name, as the type of its kind.
pub fn connection_as<'a, T: Connection>(connections: &'a Connections, name: &ConnectionName) -> Option<&'a T> {
    let connection: &dyn Any = connections.get(name)?.as_ref();
    connection.downcast_ref()
}
