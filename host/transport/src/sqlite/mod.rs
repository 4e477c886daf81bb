//! A table of an SQLite file as a source, as a destination, and for dead letters. Knows no broker and no plugin.
//!
//! ```text
//! images          rows that wait, or are in flight: what producers insert
//! images_claims   one row for each that a host has or had: its phase, its owner, its attempt, its crash count
//! images_owners   one row for each host that takes from the table: how long its claims hold without a renewal
//! images_dead     dead letters, with the row that they were
//! ```
//!
//! A host claims rows under its name and renews the name's lease. Rows of a name whose lease is over come back, marked as
//! redelivered. Every step is one transaction, so any number of hosts share a file, and a kill loses nothing. What the host
//! notes of a row lies in a table of its own: a row is written once, and its body is never copied for a claim.

mod ack;
mod config;
mod dead_letters;
mod destination;
mod error;
mod file;
mod job;
mod keeper;
mod keys;
mod quarantine;
mod row;
mod settling;
mod shared;
mod source;
mod tables;
mod taking;
#[cfg(test)]
mod tests;

pub use keys::{Done, TableDestinationConfig, TableSourceConfig};

use super::Registered;

/// SQLite, registered.
pub const REGISTERED: Registered = Registered {
    transport: &keys::TRANSPORT,
    source: |source| Some(source.as_kind::<TableSourceConfig>()?),
    destination: |destination| Some(destination.as_kind::<TableDestinationConfig>()?),
    connection: |_| None,
    metrics: &[&shared::TAKEN_OVER],
};
