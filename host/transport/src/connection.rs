//! A connection to a broker, which several pipelines share. Knows no kind of broker.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::health::Waiting;
use super::opening::OpenError;
use crate::config::ConnectionName;
use crate::metric::Metric;

/// A connection, made again for as long as the host runs.
pub trait Connection: Any + fmt::Debug + Send + Sync {
    /// A view of its state.
    fn watch(&self) -> Arc<dyn ConnectionWatch>;

    /// Connects once, and says whether a failure is a refusal or an outage.
    ///
    /// # Errors
    /// A refusal that waiting does not mend is [`OpenError::is_final`].
    fn check(&self) -> BoxFuture<'_, Result<(), OpenError>>;

    /// Closes it in good order; to be called when every source, delivery and destination on it is gone.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// A view of a connection while the host runs, which does not keep it open.
pub trait ConnectionWatch: fmt::Debug + Send + Sync {
    /// The connection now.
    fn status(&self) -> ConnectionStatus;

    /// Closes it at its socket, after which the host connects again: the last resort.
    fn cut(&self);
}

/// A connection at one moment.
#[derive(Debug, Clone, Default)]
pub struct ConnectionStatus {
    /// Whether messages can come by it.
    pub is_receiving: bool,
    /// Whether a pipeline that stands still is explained by it.
    pub explains_a_stall: bool,
    /// The answer or the connection that is awaited.
    pub waits: Option<Waiting>,
    /// Every reason why pipelines that need it cannot receive.
    pub why: Vec<String>,
    /// Its metrics.
    pub samples: Vec<Sample>,
}

/// A number of a metric.
#[derive(Debug, Clone)]
pub struct Sample {
    pub metric: &'static Metric,
    /// Its label and the label's value, where it has one.
    pub label: Option<(&'static str, &'static str)>,
    pub value: u64,
}

/// The connections of a host, by name.
pub type Connections = BTreeMap<ConnectionName, Box<dyn Connection>>;
