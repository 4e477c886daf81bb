//! A peer of ZeroMQ as a destination: a result is safe when the peer says that it is done, or, where the file asks for no more,
//! when it is sent. Knows no socket.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::codec::{Frames, SocketType};
use super::dial::Target;
use super::link::{Link, LinkState, Outgoing, PeerAnswer};
use super::reply::Status;
use super::reply_destination::headers;
use crate::message::{Envelope, Message, Outbound};
use crate::{DeliverError, Denied, Destination, Output, PendingOutput};

/// A peer.
#[derive(Debug)]
pub(super) struct PeerDestination(Arc<Peer>);

/// What every result to a peer needs.
#[derive(Debug)]
pub(super) struct Peer {
    target: Target,
    patience: Patience,
    /// What results are published as, where they are; else the destination's name.
    topic: Option<String>,
    /// Made with the first result, so that a file can be looked at without a connection.
    link: OnceLock<Link>,
}

/// What is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Patience {
    /// An answer, for so long; a result without one is sent again after so long.
    Answer { within: Duration, resend: Duration },
    /// That the system has it, for so long.
    Written { within: Duration },
}

/// Why a result is not known to be safe.
#[derive(Debug, thiserror::Error)]
enum PeerError {
    #[error("the peer {peer} is not connected: {why}")]
    Away { peer: String, why: String },
    #[error("the peer {peer} does not answer")]
    Silent { peer: String },
    #[error("the peer {peer} asks for the result again: {words}")]
    Again { peer: String, words: String },
    #[error("the peer {peer} refuses the result: {words}")]
    Dead { peer: String, words: String },
}

/// A result on its way to a peer.
#[derive(Debug)]
struct PeerOutput {
    peer: Arc<Peer>,
    id: Bytes,
    frames: Frames,
}

impl PeerDestination {
    /// Results go to this peer.
    pub(super) fn new(target: Target, patience: Patience, topic: Option<String>) -> Self {
        Self(Arc::new(Peer {
            target,
            patience,
            topic,
            link: OnceLock::new(),
        }))
    }
}

impl Destination for PeerDestination {
    fn address(&self, _: &Message, outbound: Outbound, _: usize, envelope: Envelope) -> Result<PendingOutput, Denied> {
        let Outbound {
            destination, key, body, ..
        } = outbound;
        if let Some(key) = key {
            return Err(Denied::Key { destination, key });
        }
        let id = Bytes::copy_from_slice(envelope.message_id.as_bytes());
        let mut frames = Frames::with_capacity(4);
        if self.0.target.socket == SocketType::Pub {
            let topic = self.0.topic.clone().unwrap_or(destination);
            frames.push(topic.into());
        }
        frames.extend([id.clone(), headers(&envelope)?, body.into()]);
        let peer = Arc::clone(&self.0);
        Ok(Box::new(PeerOutput { peer, id, frames }))
    }
}

impl Output for PeerOutput {
    fn send(&self) -> BoxFuture<'_, Result<(), DeliverError>> {
        async move {
            match self.peer.patience {
                Patience::Answer { within, resend } => self.ask(within, resend).await,
                Patience::Written { within } => self.push(within).await,
            }
        }
        .boxed()
    }
}

impl fmt::Display for PeerOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.peer.target.endpoint)
    }
}

impl PeerOutput {
    /// Sends it until it is answered: again after `resend`, and by each new connection.
    async fn ask(&self, within: Duration, resend: Duration) -> Result<(), DeliverError> {
        let link = self.peer.link();
        let mut expected = link.expect(&self.id);
        let deadline = Instant::now() + within;
        let mut state = link.state();
        loop {
            let connection = self.peer.connection(deadline).await?;
            let sending = link.send(self.outgoing(None));
            if tokio::time::timeout_at(deadline, sending).await.is_err() {
                return Err(self.peer.silent());
            }
            let is_over = |state: &LinkState| !matches!(state, LinkState::Up(now) if *now == connection);
            tokio::select! {
                answer = &mut expected.answer => return match answer {
                    Ok(answer) => self.peer.judge(answer),
                    Err(_) => Err(self.peer.silent()),
                },
                _ = state.wait_for(is_over) => {}
                () = tokio::time::sleep(resend) => {}
                () = tokio::time::sleep_until(deadline) => return Err(self.peer.silent()),
            }
        }
    }

    /// Sends it once, until the system has it.
    async fn push(&self, within: Duration) -> Result<(), DeliverError> {
        let deadline = Instant::now() + within;
        self.peer.connection(deadline).await?;
        let (written, is_written) = oneshot::channel();
        let sending = async {
            self.peer.link().send(self.outgoing(Some(written))).await;
            is_written.await
        };
        match tokio::time::timeout_at(deadline, sending).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(self.peer.silent()),
        }
    }

    fn outgoing(&self, written: Option<oneshot::Sender<()>>) -> Outgoing {
        let frames = self.frames.clone();
        Outgoing { frames, written }
    }
}

impl Peer {
    fn link(&self) -> &Link {
        self.link.get_or_init(|| Link::start(self.target.clone()))
    }

    fn name(&self) -> String {
        self.target.endpoint.to_string()
    }

    /// The number of the connection, waited for.
    async fn connection(&self, deadline: Instant) -> Result<u64, DeliverError> {
        let mut state = self.link().state();
        let up = state.wait_for(|state| matches!(state, LinkState::Up(_)));
        if let Ok(Ok(state)) = tokio::time::timeout_at(deadline, up).await
            && let LinkState::Up(number) = *state
        {
            return Ok(number);
        }
        let why = match &*self.link().state().borrow() {
            LinkState::Down(why) => why.clone(),
            LinkState::Up(_) => "it comes and goes".to_owned(),
        };
        let peer = self.name();
        Err(DeliverError::new(PeerError::Away { peer, why }))
    }

    fn judge(&self, answer: PeerAnswer) -> Result<(), DeliverError> {
        let (peer, words) = (self.name(), answer.words);
        match answer.status {
            Status::Done => Ok(()),
            Status::Dead => Err(DeliverError::refused(PeerError::Dead { peer, words })),
            Status::Again => Err(DeliverError::new(PeerError::Again { peer, words })),
        }
    }

    fn silent(&self) -> DeliverError {
        let peer = self.name();
        DeliverError::new(PeerError::Silent { peer })
    }
}
