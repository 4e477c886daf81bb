//! What several pipelines share: a connection to a broker. Knows no kind of broker.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::config::OpenError;
use super::health::Waiting;
use crate::config::ConnectionName;
use crate::metric::Metric;

/// A connection, made again for as long as the host runs.
pub trait Connection: Any + fmt::Debug + Send + Sync {
    /// Sees it from outside.
    fn watch(&self) -> Arc<dyn ConnectionWatch>;

    /// Connects once, to tell a broker that says no from one that is away.
    ///
    /// # Errors
    /// Both, by [`OpenError::is_final`].
    fn probe(&self) -> BoxFuture<'_, Result<(), OpenError>>;

    /// Closes it in good order; to be called when every source, delivery and destination on it is gone.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// Sees a connection while the host runs, and does not keep it open.
pub trait ConnectionWatch: fmt::Debug + Send + Sync {
    /// The connection now.
    fn status(&self) -> ConnectionStatus;

    /// Ends it, after which it is made again: a way on where nothing else has helped.
    fn cut(&self);
}

/// A connection at one moment.
#[derive(Debug, Clone, Default)]
pub struct ConnectionStatus {
    /// Whether messages can come by it.
    pub is_receiving: bool,
    /// Whether a pipeline that stands still is explained by it.
    pub explains_a_stall: bool,
    /// What is waited for on it, or for it.
    pub waits: Option<Waiting>,
    /// Why pipelines that need it cannot take: every reason that there is.
    pub why: Vec<String>,
    /// What is counted of it.
    pub samples: Vec<Sample>,
}

/// A number of a metric.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Of what.
    pub metric: &'static Metric,
    /// Its label and the label's value, where it has one.
    pub label: Option<(&'static str, &'static str)>,
    /// The number.
    pub value: u64,
}

/// The connections of a host, by name.
pub type Connections = BTreeMap<ConnectionName, Box<dyn Connection>>;
