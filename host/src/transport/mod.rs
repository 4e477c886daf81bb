//! Where messages come from and go to: the seam between a pipeline and its transports. A transport is one folder here and one
//! line in `registry`; nothing else knows a kind.

mod ack;
mod commit_order;
pub(crate) mod config;
mod connection;
mod dead_letters;
mod denied;
mod findings;
mod health;
mod output;
pub mod registry;
mod source;

pub(crate) mod deadline;
mod hold;
pub(crate) mod redelivery_grace;
pub(crate) mod settle;

#[cfg(test)]
mod config_tests;

pub mod amqp;
pub mod folder;
pub mod http;

pub use crate::config::{Capabilities, ConnectionConfig, ConnectionName, DestinationConfig, Redelivery, SourceConfig};

pub use ack::{AckHandle, Settled, Settlement};
pub use commit_order::{CommitOrder, CommitTurn, LaneEnded};
pub use config::{BindDestination, Connect, OpenError, OpenSource, Opening, Registered, connection_as};
pub use connection::{Connection, ConnectionStatus, ConnectionWatch, Connections, Sample};
pub use dead_letters::{DeadLetterError, DeadLetterStore, Handle, HeldDeadLetter, OpenStore, WayBack};
pub use denied::{Denied, GROWTH_MAX, Unfit, denied_or_undeliverable};
pub use findings::{Away, Findings};
pub use health::{SourceHealth, Waiting};
pub use hold::{GaveUp, Hold, Holding};
pub(crate) use hold::{HOLD_LIMIT, reserve};
pub use output::{DeliverError, Destination, Output, PendingOutput};
pub use registry::REGISTRY;
pub use source::{
    Attention, Backlog, Delivery, Malformed, Quarantine, QuarantineQueue, Samples, Source, SourceError, Until,
};
