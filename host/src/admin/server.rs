//! Requests over HTTP: bounded connections, each with one bounded request and a bounded time. Knows no page.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::debug;

/// The type of an answer for programs.
pub(super) const JSON: &str = "application/json";

/// Connections at once: a scraper, a supervisor, a person, and some that were forgotten. Twice as many as changes wait
/// for their turn, so that clients that wait for one do not keep others from asking how it goes.
const CONNECTIONS_MAX: usize = 32;

/// Of these, connections of one other machine: it cannot keep all others out.
const CONNECTIONS_OF_ONE_MAX: usize = 8;

/// A request's first line and headers.
const HEAD_MAX_BYTES: usize = 16 << 10;

/// A request's body. Nothing is asked by one; some clients send an empty object all the same.
const BODY_MAX_BYTES: usize = 4 << 10;

/// How long a client may take to send the head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a client may take for its request, and again for the answer, which may be read slowly. What the host itself
/// takes in between, for a change, is not the client's.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);

/// The pause after cannot accept a connection: the process has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An answer.
pub(super) type Answered = Response<Full<Bytes>>;

/// The peer of a connection, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Peer {
    /// A user of this machine.
    User(u32),
    /// A peer at an address.
    Address(IpAddr),
}

impl Peer {
    /// How many connections it may have at once.
    fn connections_max(self) -> usize {
        match self {
            Self::Address(address) if !address.is_loopback() => CONNECTIONS_OF_ONE_MAX,
            Self::Address(_) | Self::User(_) => CONNECTIONS_MAX,
        }
    }
}

/// Where connections come from.
pub(super) trait Listen: Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection, and whose it is.
    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;
}

impl Listen for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<(TcpStream, Peer)> {
        let (stream, address) = self.accept().await?;
        Ok((stream, Peer::Address(address.ip().to_canonical())))
    }
}

impl Listen for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _) = self.accept().await?;
        let peer = Peer::User(stream.peer_cred()?.uid());
        Ok((stream, peer))
    }
}

/// An answer: its status, the type of its text, its text.
pub(super) fn answered(status: StatusCode, content_type: &'static str, text: String) -> Answered {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// The reason for the missing answer.
pub(super) fn refused(status: StatusCode, why: &str) -> Answered {
    let text = serde_json::json!({ "error": why }).to_string() + "\n";
    answered(status, JSON, text)
}

/// Has `answer` answer every request. Ends when it is dropped, and its connections with it.
pub(super) async fn serve<L, A, F>(listener: L, answer: A) -> Infallible
where
    L: Listen,
    A: Fn(Parts, Peer) -> F + Clone + Send + 'static,
    F: Future<Output = Answered> + Send + 'static,
{
    // Dropping it ends its connections.
    let mut connections = JoinSet::new();
    let mut by_task = HashMap::new();
    loop {
        tokio::select! {
            // Beyond the limit they wait in the system's queue, which is bounded too.
            accepted = listener.next(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, peer)) => {
                    let n_theirs = by_task.values().filter(|other| **other == peer).count();
                    if n_theirs >= peer.connections_max() {
                        debug!(?peer, "too many connections from this peer: closing another");
                        continue;
                    }
                    let answer = answer.clone();
                    let task = connections.spawn(connection(stream, move |parts| answer(parts, peer)));
                    by_task.insert(task.id(), peer);
                }
                Err(error) => {
                    debug!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next_with_id() => match ended {
                Ok((id, ())) => drop(by_task.remove(&id)),
                Err(error) => {
                    by_task.remove(&error.id());
                    debug!(%error, "a connection failed");
                }
            },
        }
    }
}

async fn connection<S, A, F>(stream: S, answer: A)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Parts) -> F + Clone + Send + 'static,
    F: Future<Output = Answered> + Send + 'static,
{
    let (working, mut is_working) = watch::channel(false);
    let service = service_fn(move |request| respond(request, answer.clone(), working.clone()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    loop {
        let works = *is_working.borrow_and_update();
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    debug!(%error, "cannot read a request");
                }
                return;
            }
            // The client's time starts again when the host has its answer.
            Ok(()) = is_working.changed() => {}
            () = tokio::time::sleep(CLIENT_TIMEOUT), if !works => {
                debug!("closed a connection: the client is too slow");
                return;
            }
        }
    }
}

async fn respond<A, F>(
    request: Request<Incoming>,
    answer: A,
    working: watch::Sender<bool>,
) -> Result<Answered, Infallible>
where
    A: Fn(Parts) -> F,
    F: Future<Output = Answered>,
{
    let (parts, body) = request.into_parts();
    Ok(match Limited::new(body, BODY_MAX_BYTES).collect().await {
        Ok(_) => {
            working.send_replace(true);
            let answered = answer(parts).await;
            working.send_replace(false);
            answered
        }
        Err(error) if error.is::<LengthLimitError>() => {
            let why = format!("requests have no body here: the host reads at most {BODY_MAX_BYTES} bytes");
            refused(StatusCode::PAYLOAD_TOO_LARGE, &why)
        }
        Err(_) => refused(StatusCode::BAD_REQUEST, "the body cannot be read"),
    })
}
