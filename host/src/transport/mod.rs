//! Where messages come from and go to: the seam between a pipeline and its transports. A transport is one folder here and one
//! line in `registry`; nothing else knows a kind.

mod ack;
pub(crate) mod config;
mod connection;
mod dead_letters;
mod denied;
mod findings;
mod health;
pub(crate) mod kind;
mod output;
pub(crate) mod registry;
mod source;

pub(crate) mod deadline;
pub(crate) mod grace;
mod hold;
pub(crate) mod settle;

pub mod amqp;
pub mod folder;

pub use ack::{AckHandle, Settled, Settlement};
pub use config::{Capabilities, ConnectionConfig, DestinationConfig, OpenError, Opening, SourceConfig, connection_as};
pub use connection::{Connection, ConnectionName, ConnectionStatus, ConnectionWatch, Connections, Sample};
pub use dead_letters::{DeadLetterError, DeadLetterStore, Handle, HeldDeadLetter, OpenStore, WayBack};
pub use denied::{Denied, GROWTH_MAX, Unfit, denied_or_undeliverable};
pub use findings::{Away, Findings};
pub use health::{SourceHealth, Waiting};
pub use hold::{GaveUp, Hold, Holding};
pub(crate) use hold::{HOLD_LIMIT, reserve};
pub use output::{DeliverError, Destination, Output, PendingOutput};
pub use source::{Attention, Backlog, Delivery, Malformed, Quarantine, QuarantineQueue, Source, SourceError, Until};
