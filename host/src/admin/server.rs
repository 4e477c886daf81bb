//! The socket: bounded connections, each with one bounded request and a bounded time. Knows no page.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tracing::{debug, info};

use super::{Viewer, answer};

/// Connections at once: a scraper, a supervisor, a person, and some that were forgotten.
const CONNECTIONS_MAX: usize = 32;

/// A request's first line and headers.
const HEAD_MAX_BYTES: usize = 16 << 10;

/// How long a client may take to send them.
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a connection may live: it is for one request, whose answer may be read slowly.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// The pause after a connection could not be taken: the process has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The pages, served while it lives.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    task: JoinHandle<Infallible>,
}

/// Why they cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve health and metrics at {address}")]
pub struct AdminError {
    address: SocketAddr,
    source: std::io::Error,
}

impl Admin {
    /// Begins to serve; port 0 takes a free one.
    ///
    /// # Errors
    /// When the port is taken, or the system refuses.
    pub async fn start(address: SocketAddr, viewer: Viewer) -> Result<Self, AdminError> {
        let bound = async {
            let listener = TcpListener::bind(address).await?;
            Ok((listener.local_addr()?, listener))
        };
        let (bound, listener) = bound.await.map_err(|source| AdminError { address, source })?;
        info!(address = %bound, "serving health and metrics");
        let task = tokio::spawn(serve(listener, viewer));
        Ok(Self { address: bound, task })
    }

    /// Where they are served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, viewer: Viewer) -> Infallible {
    // Dropping it ends its connections.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Beyond the limit they wait in the system's queue, which is bounded too.
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(stream, viewer.clone()))),
                Err(error) => {
                    debug!(%error, "a connection could not be taken");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => if let Err(error) = ended {
                debug!(%error, "a connection ended badly");
            },
        }
    }
}

async fn connection(stream: TcpStream, viewer: Viewer) {
    let service = service_fn(move |request| respond(request, viewer.clone()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a request could not be read"),
        Err(_) => debug!("a client read too slowly"),
    }
}

async fn respond(request: Request<Incoming>, viewer: Viewer) -> Result<Response<Full<Bytes>>, Infallible> {
    let answer = answer(request.method(), request.uri().path(), &viewer);
    let mut response = Response::new(Full::new(Bytes::from(answer.text)));
    *response.status_mut() = answer.status;
    let content_type = HeaderValue::from_static(answer.content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    Ok(response)
}
