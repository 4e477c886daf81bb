//! One connection of ZeroMQ: a socket's bytes as messages, bounded in size and in time, both ways. Knows no message of a pipeline.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::debug;

use super::codec::{self, Decoder, Frames, Incoming, ProtocolError, SocketType};

/// How long a peer may take for greeting and handshake.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(5);

/// What is read at once, of what is small.
const READ_BYTES: usize = 16 << 10;

/// How long a message may take to be complete, and how many bytes of it must come, or be taken, in each second after that.
const PATIENCE: Duration = Duration::from_secs(5);
const BYTES_PER_SECOND: usize = 32 << 10;
/// How long a peer may take until it reads what it is sent.
const UNREAD: Duration = Duration::from_secs(10);

/// How long a peer may say nothing until it is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(30);
/// How often it is asked until it is taken for gone.
const PINGS_MAX: u32 = 3;
/// Peers of ZMTP 3.0 cannot be asked: they may be silent for so long.
const LONG_SILENCE: Duration = Duration::from_secs(3_600);
/// When a peer of ours may take us for gone, in tenths of a second.
const OUR_TTL_DECISECONDS: u16 = 1_200;

/// Parts that go out in one write.
const SLICES: usize = 32;

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("the peer closed the connection")]
    Closed,
    #[error("the connection broke")]
    Io(#[from] io::Error),
    #[error("the peer is none")]
    Protocol(#[from] ProtocolError),
    #[error("the peer is too slow: {0}")]
    Slow(&'static str),
}

/// A connection after its handshake: what comes.
#[derive(Debug)]
pub(super) struct Reader {
    half: OwnedReadHalf,
    decoder: Decoder,
    shared: Arc<Shared>,
    /// When a message that is not complete began, or else when the peer was last heard of.
    began: Instant,
    /// Bytes since then.
    n_read: usize,
    n_pings: u32,
}

/// A connection after its handshake: what goes.
#[derive(Debug)]
pub(super) struct Writer {
    half: OwnedWriteHalf,
    shared: Arc<Shared>,
    out: VecDeque<Bytes>,
    minor: u8,
}

/// What the reader has the writer say.
#[derive(Debug, Default)]
struct Shared {
    // std Mutex: never held over an await.
    control: Mutex<Control>,
    /// There is something to say. One waits.
    output: Notify,
}

#[derive(Debug, Default)]
struct Control {
    /// The last question that is not answered: who asks often, and does not read, makes no heap of answers.
    pong: Option<Bytes>,
    ping: bool,
}

impl Shared {
    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Greets a peer, and shakes hands with it as a socket of type `own`; gives its type, too. `bytes_max` bounds a message with all its
/// frames.
///
/// # Errors
/// When the peer is none, is another kind of socket, or takes too long.
pub(super) async fn shake(
    stream: TcpStream,
    own: SocketType,
    bytes_max: usize,
) -> Result<(Reader, Writer, SocketType), WireError> {
    // Messages and answers are small: they must not wait for more.
    stream.set_nodelay(true)?;
    let greeting = greet(stream, Decoder::new(own, bytes_max), codec::hello(own));
    let greeted = tokio::time::timeout(HANDSHAKE, greeting).await;
    let (stream, decoder, peer) = greeted.map_err(|_| WireError::Slow("it does not finish its handshake"))??;
    let (read, write) = stream.into_split();
    let shared = Arc::<Shared>::default();
    let writer = Writer {
        half: write,
        shared: Arc::clone(&shared),
        out: VecDeque::new(),
        minor: decoder.minor(),
    };
    let reader = Reader {
        half: read,
        decoder,
        shared,
        began: Instant::now(),
        n_read: 0,
        n_pings: 0,
    };
    Ok((reader, writer, peer))
}

async fn greet(
    mut stream: TcpStream,
    mut decoder: Decoder,
    hello: Bytes,
) -> Result<(TcpStream, Decoder, SocketType), WireError> {
    stream.write_all(&hello).await?;
    loop {
        if let Some(peer) = decoder.handshake()? {
            return Ok((stream, decoder, peer));
        }
        if stream.read_buf(decoder.room(READ_BYTES)).await? == 0 {
            return Err(WireError::Closed);
        }
    }
}

impl Reader {
    /// What has come, and no ping; nothing where more must be read.
    ///
    /// # Errors
    /// When the peer breaks the rules, or a message is too large.
    pub(super) fn pop(&mut self) -> Result<Option<Incoming>, WireError> {
        while let Some(incoming) = self.decoder.next()? {
            match incoming {
                Incoming::Ping(context) => {
                    self.shared.control().pong = Some(codec::pong(&context));
                    self.shared.output.notify_one();
                }
                Incoming::Pong | Incoming::Other => {}
                incoming => {
                    self.forgive();
                    return Ok(Some(incoming));
                }
            }
        }
        Ok(None)
    }

    /// What the message that has begun will have in memory, as far as that is known.
    pub(super) fn n_expected(&self) -> usize {
        self.decoder.n_expected()
    }

    /// The time that went by was ours, and not the peer's.
    pub(super) fn forgive(&mut self) {
        self.began = Instant::now();
        self.n_read = 0;
    }

    /// Reads some bytes, when [`Reader::pop`] has nothing more.
    ///
    /// # Errors
    /// When the connection is over: the peer closed it, or is too slow.
    ///
    /// # Cancellation
    /// Safe.
    pub(super) async fn read(&mut self) -> Result<(), WireError> {
        let was_amid = self.decoder.is_amid();
        let patience = match (was_amid, self.takes_pings()) {
            (true, _) => PATIENCE + seconds_for(self.n_read),
            (false, true) => SILENCE,
            (false, false) => LONG_SILENCE,
        };
        let reading = self.half.read_buf(self.decoder.room(READ_BYTES));
        let Ok(read) = tokio::time::timeout_at(self.began + patience, reading).await else {
            return self.lost_patience(was_amid);
        };
        let n_bytes = read?;
        if n_bytes == 0 {
            return Err(WireError::Closed);
        }
        if !was_amid {
            self.forgive();
        }
        self.n_read += n_bytes;
        self.n_pings = 0;
        Ok(())
    }

    /// A message does not come to its end; or nothing comes, and the peer is asked whether it is there.
    fn lost_patience(&mut self, is_amid: bool) -> Result<(), WireError> {
        if is_amid {
            return Err(WireError::Slow("a message does not come to its end"));
        }
        if !self.takes_pings() || self.n_pings >= PINGS_MAX {
            return Err(WireError::Slow("it says nothing, and does not answer"));
        }
        self.n_pings += 1;
        self.forgive();
        self.shared.control().ping = true;
        self.shared.output.notify_one();
        Ok(())
    }

    fn takes_pings(&self) -> bool {
        self.decoder.minor() >= 1
    }
}

impl Writer {
    /// Sends a message, and waits until the system has all of it.
    ///
    /// # Errors
    /// When the connection is over, or the peer does not read.
    pub(super) async fn send(&mut self, frames: Frames) -> Result<(), WireError> {
        self.out.extend(codec::message(frames));
        self.flush().await
    }

    /// Says what the peer is to send.
    ///
    /// # Errors
    /// As [`Writer::send`].
    pub(super) async fn subscribe(&mut self, topic: &[u8]) -> Result<(), WireError> {
        self.out.extend(codec::subscribe(topic, self.minor));
        self.flush().await
    }

    /// Waits until the reader has something to say.
    ///
    /// # Cancellation
    /// Safe.
    pub(super) async fn output(&self) {
        self.shared.output.notified().await;
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// As [`Writer::send`].
    ///
    /// # Cancellation
    /// What is not written waits on.
    pub(super) async fn flush(&mut self) -> Result<(), WireError> {
        let control = std::mem::take(&mut *self.shared.control());
        let ping = control.ping.then(|| codec::ping(OUR_TTL_DECISECONDS));
        self.out.extend(control.pong.into_iter().chain(ping));
        // From when the peer lets us wait.
        let mut slow: Option<(Instant, usize)> = None;
        while !self.out.is_empty() {
            let slices: Vec<IoSlice<'_>> = self.out.iter().take(SLICES).map(|part| IoSlice::new(part)).collect();
            let written = match self.half.write_vectored(&slices).now_or_never() {
                Some(written) => written?,
                None => {
                    let (since, n_since) = *slow.get_or_insert((Instant::now(), 0));
                    let until = since + UNREAD + seconds_for(n_since);
                    match tokio::time::timeout_at(until, self.half.write_vectored(&slices)).await {
                        Ok(written) => written?,
                        Err(_) => return Err(WireError::Slow("it does not read")),
                    }
                }
            };
            if written == 0 {
                return Err(WireError::Closed);
            }
            if let Some((_, n_since)) = &mut slow {
                *n_since += written;
            }
            self.advance(written);
        }
        Ok(())
    }

    fn advance(&mut self, mut n_bytes: usize) {
        while let Some(part) = self.out.front_mut() {
            if part.len() > n_bytes {
                part.advance(n_bytes);
                return;
            }
            n_bytes -= part.len();
            self.out.pop_front();
        }
    }
}

/// Takes what a peer still sends, for as long, and drops it: a system that is sent more than it reads resets the connection, and
/// what the peer was told is lost.
pub(super) async fn linger(mut reader: Reader, mut writer: Writer, lasts: Duration, bytes_max: u64) {
    if writer.half.shutdown().await.is_err() {
        return; // the peer is gone
    }
    let mut rest = (&mut reader.half).take(bytes_max);
    let mut sink = tokio::io::sink();
    if let Ok(Err(error)) = tokio::time::timeout(lasts, tokio::io::copy(&mut rest, &mut sink)).await {
        debug!(%error, "a peer left before it had its answer");
    }
}

fn seconds_for(n_bytes: usize) -> Duration {
    Duration::from_millis((n_bytes as u64).saturating_mul(1_000) / BYTES_PER_SECOND as u64)
}
