//! What every part of a host has in common: as plain data, messages, what a model and plugins make of them, and what becomes
//! of them; and small tools that every part uses. Knows no file format, no broker, no sandbox and no device.

#![expect(missing_docs, reason = "a part of the host: only this repository uses it")]

pub mod dead_letter;
pub mod disposition;
pub mod kept_prediction;
pub mod message;
pub mod plugins;

pub mod digest;
pub mod error_chain;
pub mod failpoints;
pub mod histogram;
pub mod log_fields;
pub mod metric;
pub mod quota;
pub mod scarcity;
pub mod waiters;
