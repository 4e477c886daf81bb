//! The pages for scrapers and supervisors: `/livez`, `/readyz`, `/metrics`. Changes nothing.

use std::convert::Infallible;
use std::net::SocketAddr;

use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tracing::info;

use super::server::{Answered, answered, serve};
use super::{AdminError, Answer, PLAIN, Viewer, health, metrics};
use crate::callers::names_loopback;

/// The pages, served while it lives.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    task: JoinHandle<Infallible>,
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
        let (bound, listener) = bound.await.map_err(|source| AdminError::Pages { address, source })?;
        info!(address = %bound, "serving health and metrics");
        // Others reach the address under names that this host does not know, and the pages are public anyway.
        let is_public = !bound.ip().to_canonical().is_loopback();
        let task = tokio::spawn(serve(listener, move |request, _| {
            std::future::ready(page(&request, is_public, &viewer))
        }));
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

fn page(request: &Parts, is_public: bool, viewer: &Viewer) -> Answered {
    if !is_public && !names_loopback(&request.headers) {
        let text = "the header `Host` does not name this machine\n".to_owned();
        return answered(StatusCode::FORBIDDEN, PLAIN, text);
    }
    let answer = answer(&request.method, request.uri.path(), viewer);
    answered(answer.status, answer.content_type, answer.text)
}

fn answer(method: &Method, path: &str, viewer: &Viewer) -> Answer {
    let plain = |status, text: &str| Answer {
        status,
        content_type: PLAIN,
        text: text.to_owned(),
    };
    if *method != Method::GET && *method != Method::HEAD {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "nothing can be changed here\n");
    }
    match path {
        "/livez" => plain(StatusCode::OK, "ok\n"),
        "/readyz" => health::answer(&viewer()),
        "/metrics" => Answer {
            status: StatusCode::OK,
            content_type: metrics::CONTENT_TYPE,
            text: metrics::text(&viewer()),
        },
        _ => plain(StatusCode::NOT_FOUND, "there are /livez, /readyz and /metrics\n"),
    }
}
