//! The control interface: status, history and changes as JSON, at a socket for the host's owner or at a port for
//! clients with has the token. Knows how to ask, and not how anything is changed.

mod client;
mod guard;
mod routes;
mod socket;
#[cfg(test)]
mod tests;

pub use client::{Client, ClientError, HostAddress};
pub use socket::find_socket;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::header::{ALLOW, HeaderValue, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

use super::AdminError;
use super::server::{Answered, JSON, Peer, answered, refused, serve};
use crate::config::{ControlConfig, Secret};
use crate::control::{ChangeOutcome, ChangeRecord, Control, Unanswered};
use crate::error_chain::ErrorChain;
use crate::journal;
use guard::AccessGuard;
use routes::{ControlRequest, When};
use socket::Claim;

/// How long the socket of a host that was killed may still answer.
const LET_GO: Duration = Duration::from_secs(2);

/// The control interface, served while it lives; its socket goes with it.
#[derive(Debug)]
pub struct ControlServer {
    at: ListenAddress,
    task: JoinHandle<Infallible>,
}

#[derive(Debug)]
enum ListenAddress {
    Socket(Claim),
    Address(SocketAddr),
}

/// Why a request gets no other answer.
#[derive(Debug)]
struct RequestError {
    status: StatusCode,
    why: String,
    /// The method that there is.
    allow: Option<&'static str>,
}

impl ControlServer {
    /// Begins to serve the control interface of the host that runs a file; `None` where it is off.
    ///
    /// A default path may be in use, as when two hosts run the same file: then there is no socket, and the log says so.
    ///
    /// # Errors
    /// When the place that the file names cannot be had.
    pub async fn start(place: &ControlConfig, config: &Path, control: Control) -> Result<Option<Self>, AdminError> {
        match place {
            ControlConfig::Off => Ok(None),
            ControlConfig::Socket(path) => {
                socket::make_folder(path)?;
                Self::at_socket(path, control).await.map(Some)
            }
            ControlConfig::Tcp { address, token } => Self::at_address(*address, token, control).await.map(Some),
            ControlConfig::Auto => Ok(Self::by_itself(config, control).await),
        }
    }

    /// The socket or the address, for people.
    pub fn shown(&self) -> String {
        match &self.at {
            ListenAddress::Socket(claim) => claim.path().display().to_string(),
            ListenAddress::Address(address) => address.to_string(),
        }
    }

    async fn by_itself(config: &Path, control: Control) -> Option<Self> {
        let paths = match socket::paths(config) {
            Ok(paths) => paths,
            Err(error) => {
                warn!(%error, "no control socket: the host cannot compute its path; set `control = \"PATH\"` in [host]");
                return None;
            }
        };
        let path = paths.first()?;
        let started = async {
            let folder = socket::make_folder(path)?;
            socket::check_private(folder)?;
            Self::at_socket(path, control).await
        };
        match started.await {
            Ok(server) => Some(server),
            Err(AdminError::InUse { .. }) => {
                warn!(
                    socket = %path.display(),
                    "another host that runs this file owns the control socket: this host has none; set `control = \"PATH\"` in [host] to give it its own"
                );
                None
            }
            Err(error) => {
                warn!(
                    error = %ErrorChain(&error),
                    "no control socket: set `control = \"PATH\"` in [host] for another path, or `control = \"off\"` to run without one"
                );
                None
            }
        }
    }

    async fn at_socket(path: &Path, control: Control) -> Result<Self, AdminError> {
        // The system may still be closing the socket of a host that was killed a moment ago.
        let until = Instant::now() + LET_GO;
        let (listener, claim) = loop {
            match socket::listen(path).await {
                Err(AdminError::InUse { .. }) if Instant::now() < until => tokio::time::sleep(LET_GO / 20).await,
                listening => break listening?,
            }
        };
        info!(socket = %path.display(), "serving control");
        Ok(Self {
            at: ListenAddress::Socket(claim),
            task: tokio::spawn(serve(listener, answerer(AccessGuard::owner(), control))),
        })
    }

    async fn at_address(address: SocketAddr, token: &Secret, control: Control) -> Result<Self, AdminError> {
        if token.expose().is_empty() {
            return Err(AdminError::NoToken { address });
        }
        let bound = async {
            let listener = TcpListener::bind(address).await?;
            Ok((listener.local_addr()?, listener))
        };
        let (bound, listener) = bound
            .await
            .map_err(|source| AdminError::ControlAddress { address, source })?;
        info!(address = %bound, "serving control");
        Ok(Self {
            at: ListenAddress::Address(bound),
            task: tokio::spawn(serve(listener, answerer(AccessGuard::token(token, bound), control))),
        })
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answerer(
    guard: AccessGuard,
    control: Control,
) -> impl Fn(Parts, Peer) -> futures_util::future::BoxFuture<'static, Answered> + Clone + Send + 'static {
    move |request, peer| {
        let (guard, control) = (guard.clone(), control.clone());
        Box::pin(async move {
            let answer = answer(&request, peer, &guard, &control).await;
            answer.unwrap_or_else(|refusal| {
                // Anybody on this machine can cause it, as often as they like: not for the log of every day.
                debug!(
                    status = refusal.status.as_u16(),
                    why = refusal.why,
                    "a request was refused"
                );
                refusal.answered()
            })
        })
    }
}

async fn answer(request: &Parts, peer: Peer, guard: &AccessGuard, control: &Control) -> Result<Answered, RequestError> {
    let by = guard.admit(&request.headers, peer)?;
    match routes::read(&request.method, request.uri.path(), request.uri.query())? {
        ControlRequest::Status => json(StatusCode::OK, &control.status()),
        ControlRequest::History => json(StatusCode::OK, &control.history()),
        ControlRequest::Log { plugin, after } => json(StatusCode::OK, &journal::about(&plugin, after)),
        ControlRequest::Change { command, answer } => match answer {
            When::Made => {
                let change = control.ask(command, by).await?;
                json(status_of(&change), &change)
            }
            When::Accepted => {
                drop(control.begin(command, by)?);
                json(StatusCode::ACCEPTED, &serde_json::json!({ "accepted": true }))
            }
        },
    }
}

/// A script that looks at the status alone must not take a refusal for a success.
fn status_of(change: &ChangeRecord) -> StatusCode {
    match change.outcome {
        ChangeOutcome::Done | ChangeOutcome::Unchanged => StatusCode::OK,
        ChangeOutcome::Refused | ChangeOutcome::Undone => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

fn json(status: StatusCode, value: &impl Serialize) -> Result<Answered, RequestError> {
    match serde_json::to_string(value) {
        Ok(text) => Ok(answered(status, JSON, text + "\n")),
        Err(error) => Err(RequestError::new(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string())),
    }
}

impl RequestError {
    fn new(status: StatusCode, why: &str) -> Self {
        Self {
            status,
            why: why.to_owned(),
            allow: None,
        }
    }

    fn method(allow: &'static str) -> Self {
        Self {
            allow: Some(allow),
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, &format!("use {allow} for this path"))
        }
    }

    fn answered(self) -> Answered {
        let mut answered = refused(self.status, &self.why);
        if let Some(allow) = self.allow {
            answered.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            answered.headers_mut().insert(WWW_AUTHENTICATE, bearer);
        }
        answered
    }
}

impl From<Unanswered> for RequestError {
    fn from(unanswered: Unanswered) -> Self {
        let status = match unanswered {
            Unanswered::Unknown(_) => StatusCode::NOT_FOUND,
            Unanswered::Busy => StatusCode::TOO_MANY_REQUESTS,
            Unanswered::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, &unanswered.to_string())
    }
}
