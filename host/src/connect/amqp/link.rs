//! One connection to the broker, made again whenever it is gone. Knows nothing of queues.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::{Connection, ConnectionProperties, ErrorKind};
use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::config::Secret;
use crate::connect::hold::backoff;

/// The longest a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How far apart the tries grow, before jitter: a broker that restarts is found again within ten seconds.
const RECONNECT_CAP: Duration = Duration::from_secs(5);

/// A connection that outlives its sockets.
#[derive(Debug)]
pub(super) struct Link {
    url: Secret,
    name: String,
    // tokio's Mutex: held over the await of a connect, so that one caller connects and the others wait for it.
    current: Mutex<Option<Arc<Connection>>>,
    n_made: AtomicU64,
}

/// Why there is no connection.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// The broker answers, and says no: credentials, virtual host. Waiting does not help.
    #[error("the broker refused the connection: {0}")]
    Refused(String),
    /// The broker does not answer, or not yet.
    #[error("the broker cannot be reached: {0}")]
    Away(String),
}

impl Link {
    pub(super) fn new(url: Secret, name: String) -> Self {
        Self {
            url,
            name,
            current: Mutex::new(None),
            n_made: AtomicU64::new(0),
        }
    }

    /// The connection, made now if there is none.
    pub(super) async fn connection(&self) -> Result<Arc<Connection>, ConnectError> {
        let mut current = self.current.lock().await;
        if let Some(connection) = current.as_ref().filter(|connection| connection.status().connected()) {
            return Ok(Arc::clone(connection));
        }
        *current = None;
        let properties = ConnectionProperties::default().with_connection_name(self.name.as_str().into());
        let connecting = Connection::connect(self.url.expose(), properties);
        let connection = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| ConnectError::Away(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs())))?
            .map_err(ConnectError::from)?;
        info!(connection = self.name, "connected to the broker");
        let connection = Arc::new(connection);
        *current = Some(Arc::clone(&connection));
        self.n_made.fetch_add(1, Ordering::Relaxed);
        Ok(connection)
    }

    /// Whether there is a connection now.
    pub(super) fn is_connected(&self) -> bool {
        // While it is locked one is being made.
        self.current.try_lock().is_ok_and(|current| {
            let connected = |connection: &Arc<Connection>| connection.status().connected();
            current.as_ref().is_some_and(connected)
        })
    }

    /// How often a connection was made.
    pub(super) fn n_made(&self) -> u64 {
        self.n_made.load(Ordering::Relaxed)
    }

    /// Drops a connection that misbehaved, so that the next caller makes a new one.
    pub(super) async fn abandon(&self, connection: &Arc<Connection>) {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection)) {
            *current = None;
        }
    }

    /// Closes the connection in good order.
    pub(super) async fn close(&self) {
        if let Some(connection) = self.current.lock().await.take()
            && connection.status().connected()
            && let Err(error) = connection.close(200, "done".into()).await
        {
            warn!(connection = self.name, %error, "the connection was not closed in good order");
        }
    }

    /// Tries `attempt` until it succeeds, for ever.
    pub(super) async fn until_made<T, F>(&self, mut attempt: impl FnMut() -> F) -> T
    where
        F: Future<Output = Result<T, ConnectError>>,
    {
        let mut pauses = backoff(RECONNECT_CAP);
        loop {
            match attempt().await {
                Ok(made) => return made,
                Err(error) => {
                    let pause = pauses.next().unwrap_or(RECONNECT_CAP);
                    let retry_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                    warn!(connection = self.name, %error, retry_ms, "no connection to the broker");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }
}

impl From<lapin::Error> for ConnectError {
    fn from(error: lapin::Error) -> Self {
        let refused = match error.kind() {
            ErrorKind::ProtocolError(error) => matches!(
                error.kind(),
                AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) | AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED)
            ),
            ErrorKind::InvalidProtocolVersion(_) | ErrorKind::AuthProviderError(_) => true,
            _ => false,
        };
        if refused {
            Self::Refused(error.to_string())
        } else {
            Self::Away(error.to_string())
        }
    }
}
