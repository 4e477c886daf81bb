//! The tables of a file that are ZeroMQ's, once they are checked. Reads none.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::codec::SocketType;
use super::dial::Target;
use super::keys::{DestinationSocket, ZmqDestinationConfig, ZmqSourceConfig, ZmqTarget};
use super::peer_destination::{Patience, PeerDestination};
use super::reply_destination::ReplyDestination;
use super::source::ZmqSource;
use crate::config::Config;
use crate::{
    BindDestination, Capabilities, Connections, DeadLetterStore, Destination, DestinationConfig, OpenError, OpenSource,
    Opening, Redelivery, Source, SourceConfig,
};

/// What a peer's answer may have: its reason, and results that are not looked at.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// What a ZeroMQ source can do.
pub(super) static ZMQ: Capabilities = Capabilities {
    gives_back: true,               // to its client, which sends it again
    redelivery: Redelivery::Untold, // a message that crashed a host comes again only if its client sends it
    ends: false,
    hands_over_ahead: false, // what waits is answered with `again`
    names_files: false,
    takes_replies: false, // its answer goes to its client
};

/// Dead letters are asked for, and there are none.
#[derive(Debug, thiserror::Error)]
#[error(
    "a ZeroMQ source keeps no dead letters: the client has the message, and its answer (`dead`) said why the host rejected it"
)]
struct NoDeadLetters;

impl SourceConfig for ZmqSourceConfig {
    fn capabilities(&self) -> &'static Capabilities {
        &ZMQ
    }

    fn prefetch(&self) -> u16 {
        self.prefetch
    }
}

impl OpenSource for ZmqSourceConfig {
    fn open<'a>(&'a self, opening: Opening<'a>) -> BoxFuture<'a, Result<Option<Box<dyn Source>>, OpenError>> {
        async move {
            let pipeline = opening.pipeline;
            let source = ZmqSource::open(self, &pipeline.name, pipeline.max_message_bytes).await?;
            Ok(Some(Box::new(source) as Box<dyn Source>))
        }
        .boxed()
    }

    fn dead_letters(&self, _: &Config) -> Result<Box<dyn DeadLetterStore>, OpenError> {
        Err(OpenError::fatal(NoDeadLetters))
    }
}

impl DestinationConfig for ZmqDestinationConfig {
    fn settling_limit(&self) -> Option<Duration> {
        match self.target {
            ZmqTarget::Reply => None,
            ZmqTarget::Peer(_) => Some(self.confirm_within),
        }
    }
}

impl BindDestination for ZmqDestinationConfig {
    fn bind(&self, _: &dyn SourceConfig, _: &Connections) -> Result<Option<Arc<dyn Destination>>, OpenError> {
        let ZmqTarget::Peer(endpoint) = &self.target else {
            return Ok(Some(Arc::new(ReplyDestination)));
        };
        let within = self.confirm_within;
        let (socket, patience) = match self.socket {
            DestinationSocket::Dealer => {
                let resend = self.resend_after;
                (SocketType::Dealer, Patience::Answer { within, resend })
            }
            DestinationSocket::Push => (SocketType::Push, Patience::Written { within }),
            DestinationSocket::Pub => (SocketType::Pub, Patience::Written { within }),
        };
        let target = Target {
            endpoint: endpoint.clone(),
            socket,
            bytes_max: ANSWER_BYTES_MAX,
        };
        let topic = self.topic.clone();
        Ok(Some(Arc::new(PeerDestination::new(target, patience, topic))))
    }
}
