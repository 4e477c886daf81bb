//! A connection to a peer, made again whenever it is over. Knows no message.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::codec::SocketType;
use super::endpoint::Endpoint;
use super::wire::{self, Reader, WireError, Writer};

/// How long a connection of the system's may take.
const CONNECT: Duration = Duration::from_secs(5);
/// The pauses between two tries.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Whom to connect to, and as what.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) endpoint: Endpoint,
    pub(super) socket: SocketType,
    /// The largest message that it may send.
    pub(super) bytes_max: usize,
}

/// The pauses between tries: longer each time, until a connection lasts.
#[derive(Debug)]
pub(super) struct Pauses {
    next: Duration,
    connected: Option<Instant>,
}

impl Target {
    /// Connects once.
    ///
    /// # Errors
    /// When the peer is not there, or is no peer.
    pub(super) async fn connect(&self) -> Result<(Reader, Writer), WireError> {
        let Some((host, port)) = self.endpoint.peer() else {
            return Err(WireError::Closed);
        };
        let connecting = TcpStream::connect((host, port));
        let stream = match tokio::time::timeout(CONNECT, connecting).await {
            Ok(connected) => connected?,
            Err(_) => return Err(WireError::Slow("it does not take the connection")),
        };
        let (reader, writer, _) = wire::shake(stream, self.socket, self.bytes_max).await?;
        Ok((reader, writer))
    }
}

impl Pauses {
    pub(super) fn new() -> Self {
        Self {
            next: PAUSE_MIN,
            connected: None,
        }
    }

    /// A peer answered.
    pub(super) fn connected(&mut self) {
        self.connected = Some(Instant::now());
    }

    /// Waits until the next try.
    pub(super) async fn wait(&mut self) {
        // One that takes connections and ends them is not asked ten times a second.
        if self.connected.take().is_some_and(|since| since.elapsed() > PAUSE_MAX) {
            self.next = PAUSE_MIN;
        }
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(PAUSE_MAX);
    }
}
