//! The Millrace host: takes messages from a source, lets sandboxed plugins and a model work on
//! them, delivers the results, and only then acknowledges.

#![expect(missing_docs, reason = "the library of a binary: only this repository uses it")]

pub mod admin;
pub mod breaker;
pub mod cases;
pub mod cli;
pub mod control;
pub mod counters;
mod deliver;
pub mod drain_forecast;
pub mod envelope;
pub mod generation;
pub mod inference;
pub mod instruments;
pub mod journal;
pub mod machine;
pub mod memory;
pub mod pipeline;
pub mod progress;
pub mod quarantine_log;
pub mod recall;
pub mod reload;
pub mod run;
#[cfg(test)]
pub mod simulation;
mod stages;
pub mod streams;
pub mod supervisor;
pub mod trial;
pub mod watch;
pub mod watchdog;
pub mod work;

pub use millrace_config as config;
pub use millrace_sandbox as sandbox;
pub use millrace_transport as transport;
pub use millrace_transport::{callers, isolation};
pub use millrace_types::{dead_letter, disposition, histogram, kept_prediction, message, metric, plugins, quota};
use millrace_types::{error_chain, failpoints, log_fields, waiters};
