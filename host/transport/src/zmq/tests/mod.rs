//! Sources and destinations over real sockets, without a host.

mod answers;
mod hostile;
mod peers;

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::codec::{Frames, Incoming, SocketType};
use super::endpoint::Endpoint;
use super::keys::{SourceSocket, ZmqSourceConfig};
use super::source::ZmqSource;
use super::wire::{self, Reader, WireError, Writer};
use crate::config::Name;
use crate::disposition::{Disposition, Reason, ReasonClass, Stage};
use crate::message::Envelope;
use crate::{Delivery, Hold, PendingOutput, Settled, Settlement, Source};

/// The largest body.
const MAX_BYTES: usize = 1 << 20;

fn config() -> ZmqSourceConfig {
    ZmqSourceConfig {
        endpoint: Endpoint::read("tcp://127.0.0.1:0").unwrap(),
        socket: SourceSocket::Router,
        prefetch: 2,
        connections: 8,
        topics: Vec::new(),
    }
}

async fn open(config: &ZmqSourceConfig) -> ZmqSource {
    let mut source = open_unready(config).await;
    source.ready().await;
    source
}

async fn open_unready(config: &ZmqSourceConfig) -> ZmqSource {
    let name = Name::new("images").unwrap();
    ZmqSource::open(config, &name, MAX_BYTES).await.unwrap()
}

async fn next(source: &mut ZmqSource) -> Delivery {
    source.next().await.unwrap().unwrap()
}

async fn settle(delivery: Delivery, disposition: Disposition, results: &[PendingOutput]) -> Settled {
    let Delivery { message, ack, .. } = delivery;
    let hold = Hold::new("images", CancellationToken::new(), Duration::ZERO);
    let dead_letter = |reason: &Reason| Envelope {
        headers: [
            ("x-millrace-reason".into(), reason.class.to_string()),
            ("x-millrace-text".into(), reason.to_string()),
        ]
        .into(),
        ..Envelope::default()
    };
    let settlement = Settlement {
        disposition: &disposition,
        otherwise: &Disposition::Return,
        message: &message,
        results,
        hold: &hold,
        dead_letter: &dead_letter,
    };
    ack.settle(settlement).await
}

fn reason(class: ReasonClass) -> Reason {
    Reason {
        stage: Stage::Preprocess,
        class,
        text: "no picture".to_owned(),
        plugin: None,
    }
}

/// A client of our own codec; the suite and the book have foreign ones.
struct Client {
    reader: Reader,
    writer: Writer,
}

/// An id, a status, why, and results.
type Answer = (String, String, Value, Vec<String>);

impl Client {
    async fn connect(port: u16) -> Self {
        Self::of(SocketType::Dealer, port).await.unwrap()
    }

    async fn of(socket: SocketType, port: u16) -> Result<Self, WireError> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (reader, writer, _) = wire::shake(stream, socket, 64 << 20).await?;
        Ok(Self { reader, writer })
    }

    async fn send(&mut self, frames: &[&[u8]]) {
        let frames = frames.iter().map(|frame| Bytes::copy_from_slice(frame)).collect();
        self.writer.send(frames).await.unwrap();
    }

    async fn ask(&mut self, id: &str, body: &str) {
        self.send(&[id.as_bytes(), b"{}", body.as_bytes()]).await;
    }

    async fn frames(&mut self) -> Result<Frames, WireError> {
        loop {
            match self.reader.pop()? {
                Some(Incoming::Message(frames)) => return Ok(frames),
                Some(other) => panic!("{other:?}"),
                None => self.reader.read().await?,
            }
        }
    }

    async fn answer(&mut self) -> Answer {
        let frames = self.frames().await.unwrap();
        let texts: Vec<String> = frames
            .iter()
            .map(|frame| String::from_utf8(frame.to_vec()).unwrap())
            .collect();
        let [id, status, fields, results @ ..] = texts.as_slice() else {
            panic!("{texts:?}");
        };
        let fields = serde_json::from_str(fields).unwrap();
        (id.clone(), status.clone(), fields, results.to_vec())
    }

    /// Whether nothing comes any more.
    async fn is_closed(&mut self) -> bool {
        self.frames().await.is_err()
    }
}
