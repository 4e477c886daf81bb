//! The tables of a file that are a transport's own, once they are checked: values that can be compared. Knows no kind of
//! transport, and opens nothing.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Name;

/// The name of a connection: that of `[connection.NAME]`, or none for `[broker]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ConnectionName(pub Option<Name>);

/// What a kind of source can do. Settlement, quarantine, the command line and the docs ask for it, and never for the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether it takes back one message by itself. Where it does not, a message goes back as a copy alone, which is tried for as
    /// long as a message may be held; one that cannot be copied either is left unsettled.
    pub gives_back: bool,
    /// What it says of a message that it hands over again.
    pub redelivery: Redelivery,
    /// Whether it knows that it is empty, so that a run can end by itself (`--once`).
    pub ends: bool,
    /// Whether it hands over more than is worked on, which must go back at a stop.
    pub hands_over_ahead: bool,
    /// Whether a message's key is the name of a file, which names its results, too.
    pub names_files: bool,
    /// Whether a message can say where its answer goes.
    pub takes_replies: bool,
}

/// What a source says of a message that it hands over again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redelivery {
    /// Nothing: a message that hosts crash over is never found out, and none is quarantined.
    Untold,
    /// That it does, but not why: an outage of its own looks like the crash of a host. A host that lost it, and lives, puts
    /// redeliveries down to the outage for a minute.
    Ambiguous,
    /// That a host crashed with it in flight: nothing else makes one.
    Certain,
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

    /// The longest that settling one message may wait for answers, where its connection does not say it.
    fn settling_limit(&self) -> Option<Duration> {
        None
    }

    /// The address at which others reach it, where messages can ask for a reply there.
    fn address(&self) -> Option<&str> {
        None
    }
}

/// `[pipeline.NAME.destination.NAME]`
pub trait DestinationConfig: Comparable {
    /// The connection that it needs.
    fn connection(&self) -> Option<&ConnectionName> {
        None
    }

    /// The longest that one try to send a result may wait for an answer, where its connection does not say it.
    fn settling_limit(&self) -> Option<Duration> {
        None
    }
}

/// `[broker]`, or `[connection.NAME]`
pub trait ConnectionConfig: Comparable {
    /// Its address as people may see it, without a password.
    fn shown(&self) -> String;

    /// What it connects to, equal for two connections to the same: without credentials.
    fn server(&self) -> String;

    /// Bytes of the largest body that it takes.
    fn body_bytes_max(&self) -> usize;

    /// The same where no body is larger than this.
    fn with_body_bytes_max(&self, bytes: usize) -> Arc<dyn ConnectionConfig>;

    /// Bytes that are kept of what is on its way.
    fn publishing_bytes(&self) -> u64;

    /// The longest that settling one message may wait for answers on it.
    fn settling_limit(&self) -> Duration;
}

impl ConnectionName {
    /// The place of its table in the file: `broker`, or `connection.NAME`.
    pub fn place(&self) -> String {
        match &self.0 {
            None => "broker".to_owned(),
            Some(name) => format!("connection.{name}"),
        }
    }
}

impl fmt::Display for ConnectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.place())
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
