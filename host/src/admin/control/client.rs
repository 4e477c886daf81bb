//! The other end of the control interface: asks a running host. Knows no terminal.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::routes::{self, AT_ONCE, HISTORY, STATUS};
use crate::config::Secret;
use crate::control::{ChangeRecord, Command, Readiness, Status};
use crate::journal::Lines;

/// The longest answer: a history that is full of long reasons.
const ANSWER_MAX_BYTES: usize = 16 << 20;

/// How long a host may take to answer what it knows.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a host is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostAddress {
    Socket(PathBuf),
    /// At `host:port`.
    Tcp(String),
}

/// Asks one host.
#[derive(Debug)]
pub struct Client {
    place: HostAddress,
    token: Option<Secret>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No host is there.
    #[error("no host answers at {place}")]
    Away { place: HostAddress, source: io::Error },
    /// The token cannot be sent.
    #[error("the token has characters that an HTTP header cannot carry")]
    Token,
    /// The host says no.
    #[error("{why}")]
    Refused {
        /// The status of its answer.
        status: u16,
        why: String,
    },
    /// The connection ended.
    #[error("the host stopped before it answered")]
    Left(#[source] hyper::Error),
    /// The answer is none of ours.
    #[error("the server at {place} is not a Millrace host, or is one of another version: {why}")]
    Strange {
        place: HostAddress,
        /// The problem.
        why: String,
    },
    /// No answer came.
    #[error("the host at {place} does not answer")]
    Late { place: HostAddress },
}

impl std::fmt::Display for HostAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Tcp(authority) => write!(f, "http://{authority}"),
        }
    }
}

impl Client {
    /// Will ask there.
    pub fn new(place: HostAddress, token: Option<Secret>) -> Self {
        Self { place, token }
    }

    /// Where it asks.
    pub fn place(&self) -> &HostAddress {
        &self.place
    }

    /// How the host is.
    ///
    /// # Errors
    /// When it is not there, or refuses.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.at_once(Method::GET, STATUS).await
    }

    /// The changes, the oldest first.
    ///
    /// # Errors
    /// When the host is not there, or refuses.
    pub async fn history(&self) -> Result<Vec<ChangeRecord>, ClientError> {
        self.at_once(Method::GET, HISTORY).await
    }

    /// The lines of the host's log about a plugin, after the line with this number.
    ///
    /// # Errors
    /// When the host is not there, or refuses.
    pub async fn log(&self, plugin: &str, after: u64) -> Result<Lines, ClientError> {
        self.at_once(Method::GET, &routes::log(plugin, after)).await
    }

    /// Asks for a change, and waits until it is made or refused, however long that takes.
    ///
    /// # Errors
    /// When the host is not there, leaves, or does not try.
    pub async fn change(&self, command: &Command) -> Result<ChangeRecord, ClientError> {
        self.ask(Method::POST, &routes::path(command)).await
    }

    /// Asks for a change, and waits until it is accepted.
    ///
    /// # Errors
    /// As for [`Client::change`].
    pub async fn begin(&self, command: &Command) -> Result<(), ClientError> {
        #[derive(Deserialize)]
        struct Accepted {}
        let target = format!("{}?{AT_ONCE}", routes::path(command));
        let Accepted {} = self.at_once(Method::POST, &target).await?;
        Ok(())
    }

    /// Whether a host can take messages, as its page of health says it: for a host that is asked at no other place.
    ///
    /// # Errors
    /// When nothing answers, or something else does.
    pub async fn page(&self) -> Result<Readiness, ClientError> {
        let asked = async {
            let (_, body) = self.answer(Method::GET, "/readyz").await?;
            serde_json::from_slice(&body).map_err(|error| self.strange(error.to_string()))
        };
        self.in_time(asked).await
    }

    async fn at_once<T: DeserializeOwned>(&self, method: Method, target: &str) -> Result<T, ClientError> {
        self.in_time(self.ask(method, target)).await
    }

    async fn in_time<T>(&self, asked: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
        tokio::time::timeout(ANSWER_TIMEOUT, asked).await.unwrap_or_else(|_| {
            Err(ClientError::Late {
                place: self.place.clone(),
            })
        })
    }

    /// Sends a request, and gives what comes.
    async fn answer(&self, method: Method, target: &str) -> Result<(StatusCode, Bytes), ClientError> {
        let request = self.request(method, target)?;
        let away = |source| ClientError::Away {
            place: self.place.clone(),
            source,
        };
        match &self.place {
            HostAddress::Socket(path) => {
                let stream = UnixStream::connect(path).await.map_err(away)?;
                self.exchange(stream, request).await
            }
            HostAddress::Tcp(authority) => {
                let stream = TcpStream::connect(authority).await.map_err(away)?;
                self.exchange(stream, request).await
            }
        }
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, target: &str) -> Result<T, ClientError> {
        let (status, body) = self.answer(method, target).await?;
        // A change that was refused is an answer, too.
        if status.is_success() || status == StatusCode::UNPROCESSABLE_ENTITY {
            return serde_json::from_slice(&body).map_err(|error| self.strange(error.to_string()));
        }
        #[derive(Deserialize)]
        struct Refused {
            error: String,
        }
        let refused: Refused =
            serde_json::from_slice(&body).map_err(|_| self.strange(format!("it answers `{status}`")))?;
        Err(ClientError::Refused {
            status: status.as_u16(),
            why: refused.error,
        })
    }

    fn request(&self, method: Method, target: &str) -> Result<Request<Empty<Bytes>>, ClientError> {
        let host = match &self.place {
            HostAddress::Socket(_) => "localhost",
            HostAddress::Tcp(authority) => authority,
        };
        let request = Request::builder().method(method).uri(target).header(HOST, host);
        let request = request.body(Empty::new());
        let mut request = request.map_err(|error| self.strange(error.to_string()))?;
        // It is not asked for at a socket.
        if let (HostAddress::Tcp(_), Some(token)) = (&self.place, &self.token) {
            let bearer = HeaderValue::try_from(format!("Bearer {}", token.expose()));
            let mut bearer = bearer.map_err(|_| ClientError::Token)?;
            bearer.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, bearer);
        }
        Ok(request)
    }

    async fn exchange<S>(&self, stream: S, request: Request<Empty<Bytes>>) -> Result<(StatusCode, Bytes), ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(ClientError::Left)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(ClientError::Left)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_MAX_BYTES).collect().await;
            let body = body.map_err(|error| self.strange(error.to_string()))?;
            Ok((head.status, body.to_bytes()))
        };
        tokio::pin!(connection, answer);
        // Either may be first: the connection ends with the answer.
        tokio::select! {
            answered = &mut answer => return answered,
            ended = &mut connection => if let Err(error) = ended {
                tracing::debug!(%error, "the connection broke");
            },
        }
        answer.await
    }

    fn strange(&self, why: String) -> ClientError {
        ClientError::Strange {
            place: self.place.clone(),
            why,
        }
    }
}
