//! One connection to the broker, made again whenever it is gone. Knows nothing of queues.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::{Connection, ErrorKind};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::guard::SpeaksTls;
use super::tls::TlsError;
use super::transport;
use crate::config::BrokerAccess;
use crate::connect::hold::backoff;

/// The longest a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How far apart the tries grow, before jitter: a broker that restarts is found again within ten seconds.
const RECONNECT_CAP: Duration = Duration::from_secs(5);

/// A broker that says no is asked again no sooner: it logs every refusal, and only a person can change its mind.
const REFUSAL_PAUSE: Duration = Duration::from_secs(5);

/// A connection that outlives its sockets.
#[derive(Debug)]
pub(super) struct Link {
    access: BrokerAccess,
    name: String,
    // tokio's Mutex: held over the await of a connect, so that one caller connects and the others wait for it.
    current: Mutex<Current>,
    n_made: AtomicU64,
}

#[derive(Debug)]
enum Current {
    None,
    Made(Arc<Connection>),
    /// The broker said no, at this time.
    Refused(ConnectError, Instant),
}

/// Why there is no connection.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// The broker answers, and says no: credentials, virtual host. Waiting does not help.
    #[error("the broker refused the connection: {0}")]
    Refused(String),
    /// There is no safe connection.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The broker does not answer, or not yet.
    #[error("the broker cannot be reached: {0}")]
    Away(String),
}

impl Link {
    pub(super) fn new(access: BrokerAccess, name: String) -> Self {
        Self {
            access,
            name,
            current: Mutex::new(Current::None),
            n_made: AtomicU64::new(0),
        }
    }

    /// The connection, made now if there is none.
    pub(super) async fn connection(&self) -> Result<Arc<Connection>, ConnectError> {
        let mut current = self.current.lock().await;
        match &*current {
            Current::Made(connection) if connection.status().connected() => return Ok(Arc::clone(connection)),
            Current::Refused(error, since) if since.elapsed() < REFUSAL_PAUSE => return Err(error.clone()),
            _ => *current = Current::None,
        }
        let connecting = transport::connect(&self.access, &self.name);
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
        let late = |_| ConnectError::Away(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()));
        match connected.map_err(late).and_then(|connected| connected) {
            Ok(connection) => {
                info!(connection = self.name, "connected to the broker");
                let connection = Arc::new(connection);
                *current = Current::Made(Arc::clone(&connection));
                self.n_made.fetch_add(1, Ordering::Relaxed);
                Ok(connection)
            }
            Err(error) => {
                if error.is_permanent() {
                    *current = Current::Refused(error.clone(), Instant::now());
                }
                Err(error)
            }
        }
    }

    /// Whether there is a connection now.
    pub(super) fn is_connected(&self) -> bool {
        // While it is locked one is being made.
        self.current
            .try_lock()
            .is_ok_and(|current| matches!(&*current, Current::Made(connection) if connection.status().connected()))
    }

    /// How often a connection was made.
    pub(super) fn n_made(&self) -> u64 {
        self.n_made.load(Ordering::Relaxed)
    }

    /// Drops a connection that misbehaved, so that the next caller makes a new one.
    pub(super) async fn abandon(&self, connection: &Arc<Connection>) {
        let mut current = self.current.lock().await;
        if matches!(&*current, Current::Made(current) if Arc::ptr_eq(current, connection)) {
            *current = Current::None;
        }
    }

    /// Closes the connection in good order.
    pub(super) async fn close(&self) {
        let current = std::mem::replace(&mut *self.current.lock().await, Current::None);
        if let Current::Made(connection) = current
            && connection.status().connected()
            && let Err(error) = connection.close(200, "done".into()).await
        {
            // A channel that was dropped a moment ago may be closing still: that is no news.
            debug!(connection = self.name, %error, "the connection was not closed in good order");
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
                    match error.is_permanent() {
                        true => {
                            error!(connection = self.name, %error, retry_ms, "the broker says no: this needs a person")
                        }
                        false => warn!(connection = self.name, %error, retry_ms, "no connection to the broker"),
                    }
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }
}

impl ConnectError {
    /// Whether only a change of the file, or of the broker by its owner, helps.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            Self::Tls(error) => error.is_permanent(),
            Self::Away(_) => false,
        }
    }
}

impl From<lapin::Error> for ConnectError {
    fn from(error: lapin::Error) -> Self {
        if let ErrorKind::IOError(error) = error.kind()
            && let Some(SpeaksTls) = error.get_ref().and_then(|inner| inner.downcast_ref())
        {
            return Self::Refused(format!("{SpeaksTls}; write `amqps://` for `amqp://` in its URL"));
        }
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
