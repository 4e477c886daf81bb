//! One connection: requests one after the other, with bounds on heads, on silence and on slow readers. Knows no path.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tracing::debug;

use super::exchange;
use super::routes::Routes;
use super::slow_reader::SlowReader;
use crate::shared_address;

/// How long a client may take for a request's head, and keep a connection without one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// A request's first line and headers.
const HEAD_MAX_BYTES: usize = 16 << 10;

/// Headers of a request.
const HEADERS_MAX: usize = 64;

/// What is read ahead: a whole head, and parts of a body.
const BUFFER_BYTES: usize = 32 << 10;

/// How long, and how much, is read of a body that was refused, so that its client reads the answer: a system that is sent
/// more than it reads resets the connection, and drops the answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 1 << 20;

/// Serves a connection until its client leaves; from `closing` on, until the request in progress is answered.
pub(super) async fn serve(stream: TcpStream, routes: Arc<Routes>, mut closing: watch::Receiver<bool>) {
    // Answers are small: they must not wait for more.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot set TCP_NODELAY");
    }
    let is_unread = Arc::new(AtomicBool::new(false));
    let unread = Arc::clone(&is_unread);
    let service = service_fn(move |request: Request<Incoming>| {
        let (routes, is_unread) = (Arc::clone(&routes), Arc::clone(&unread));
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let answer = exchange::answer(&routes, parts, body, &is_unread).await;
            Ok::<_, Infallible>(answer.into_response())
        })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES)
        .max_header_size(HEAD_MAX_BYTES)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(SlowReader::new(stream)), service);
    let mut is_closing = false;
    let ended = loop {
        let ended = tokio::select! {
            ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => Some(ended),
            () = shared_address::is_closing(&mut closing), if !is_closing => None,
        };
        match ended {
            Some(ended) => break ended,
            None => {
                is_closing = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended badly");
    }
    let stream = connection.into_parts().io.into_inner().into_inner();
    if is_unread.load(Ordering::Relaxed) {
        linger(stream).await;
    }
}

async fn linger(mut stream: TcpStream) {
    if stream.shutdown().await.is_err() {
        return; // the client is gone
    }
    let mut rest = stream.take(LINGER_BYTES);
    let mut sink = tokio::io::sink();
    let reading = tokio::io::copy(&mut rest, &mut sink);
    if let Ok(Err(error)) = tokio::time::timeout(LINGER, reading).await {
        debug!(%error, "a client left before it had its answer");
    }
}
