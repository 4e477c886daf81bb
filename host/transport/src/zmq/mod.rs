//! ZeroMQ as a source and a destination: a message has an answer, and the answer is its acknowledgement. Knows no plugin and no
//! pipeline.
//!
//! ```text
//! id, headers, body  ──▶ wire          ZMTP, bounded in bytes and time
//!                    ──▶ InFlight      the same message is in flight: its client waits for that answer, too
//!                    ──▶ MessageQueue  a slot (waited for), whether the pipeline takes (else `again`)
//!                    ──▶ Delivery      in the queue to the pipeline
//! id, done | dead | again, why ◀── ReplyAck   the settlement
//! ```
//!
//! A message that is larger than 8 KiB is not read before it has a slot, which is given back when the answer is written. An address belongs to the process and not to a pipeline: a pipeline whose source changed takes it over, with its
//! connections and what is in flight.

mod ack;
mod address;
mod codec;
mod config;
mod connection;
mod counts;
mod dial;
mod endpoint;
mod in_flight;
mod keys;
mod link;
mod listener;
mod message_queue;
mod peer_destination;
mod reply;
mod reply_destination;
mod request;
mod source;
#[cfg(test)]
mod tests;
mod wire;

use super::Registered;
pub use endpoint::Endpoint;
pub use keys::{DestinationSocket, SourceSocket, ZmqDestinationConfig, ZmqSourceConfig, ZmqTarget};

/// ZeroMQ, registered.
pub const REGISTERED: Registered = Registered {
    transport: &keys::TRANSPORT,
    source: |source| Some(source.as_kind::<ZmqSourceConfig>()?),
    destination: |destination| Some(destination.as_kind::<ZmqDestinationConfig>()?),
    connection: |_| None,
    metrics: &[&counts::MESSAGES],
};
