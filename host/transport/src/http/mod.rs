//! HTTP as a source, and its answers as a destination: a request is a message, and its answer is the acknowledgement. Knows
//! no plugin and no pipeline.
//!
//! ```text
//! POST /classify  ──▶ Head        what the head says; refused before the body is read
//!                 ──▶ RequestQueue       a slot (else 429), whether the pipeline takes (else 503)
//!                 ──▶ body        bounded in bytes and time
//!                 ──▶ Delivery    in the queue to the pipeline
//! 200, 202, 422 ◀── HttpAck     the settlement, or 504 when `answer_within` has passed
//! ```
//!
//! A slot is taken before a body is read, and given back when the answer is written: no more than `prefetch` messages, with
//! their answers, are in memory. An address belongs to the process and not to a pipeline: pipelines with different paths
//! share it, and a pipeline whose source changed takes it over without a connection that breaks.

mod ack;
mod answer;
mod body;
mod config;
mod connection;
mod counts;
mod destination;
mod exchange;
mod head;
mod keys;
mod listener;
mod request_queue;
mod routes;
mod slow_reader;
mod source;
#[cfg(test)]
mod tests;

use super::Registered;
use keys::{AnswerConfig, HttpSourceConfig};

/// HTTP, registered.
pub const REGISTERED: Registered = Registered {
    transport: &keys::TRANSPORT,
    source: |source| Some(source.as_kind::<HttpSourceConfig>()?),
    destination: |destination| Some(destination.as_kind::<AnswerConfig>()?),
    connection: |_| None,
    metrics: &[&counts::ANSWERS],
};
