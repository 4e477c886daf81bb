//! Where messages come from and go to: the seam between a pipeline and its transports. A transport is one folder here and one
//! line in `registry`; nothing else knows a kind.

#![expect(missing_docs, reason = "a part of the host: only this repository uses it")]

mod ack;
mod commit_order;
mod connection;
mod dead_letters;
mod denied;
mod findings;
mod health;
mod opening;
mod output;
pub mod registry;
mod source;

pub mod deadline;
mod hold;
pub mod redelivery_grace;
pub mod settle;
mod shared_address;

#[cfg(test)]
mod config_tests;

pub mod callers;
pub mod isolation;

pub mod amqp;
pub mod folder;
pub mod http;
pub mod sqlite;
#[cfg(feature = "zmq")]
pub mod zmq;

pub use millrace_config::{
    Capabilities, ConnectionConfig, ConnectionName, DestinationConfig, Redelivery, SourceConfig,
};

pub use ack::{AckHandle, Settled, Settlement};
pub use commit_order::{CommitOrder, CommitTurn, LaneEnded};
pub use connection::{Connection, ConnectionStatus, ConnectionWatch, Connections, Sample};
pub use dead_letters::{DeadLetterError, DeadLetterStore, Handle, HeldDeadLetter, OpenStore, Requeuer};
pub use denied::{Denied, GROWTH_MAX, Unfit, denied_or_undeliverable};
pub use findings::{Away, Findings};
pub use health::{SourceHealth, Waiting};
pub use hold::{GaveUp, Hold, Holding};
pub use hold::{HOLD_LIMIT, reserve};
pub use opening::{BindDestination, Connect, OpenError, OpenSource, Opening, Registered, connection_as};
pub use output::{DeliverError, Destination, Output, PendingOutput};
pub use registry::REGISTRY;
pub use source::{
    Attention, Backlog, Delivery, Malformed, Quarantine, QuarantineQueue, Samples, Source, SourceError, Until,
};

use millrace_config as config;
use millrace_types::{dead_letter, digest, disposition, error_chain, failpoints, message, metric, quota};
