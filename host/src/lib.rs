//! The Millrace host: takes messages from a source, lets sandboxed plugins and a model work on
//! them, delivers the results, and only then acknowledges.

pub mod admin;
pub mod aside;
pub mod breaker;
pub mod cases;
mod chain;
pub mod cli;
pub mod config;
pub mod control;
pub mod disposition;
pub mod envelope;
mod failpoints;
pub mod gate;
pub mod generation;
pub mod histogram;
pub mod inference;
pub mod instruments;
pub mod journal;
pub mod kept_prediction;
pub mod letter;
pub mod machine;
pub mod memory;
pub mod message;
pub mod metric;
pub mod outlook;
pub mod pipeline;
pub mod plugins;
pub mod progress;
pub mod quota;
pub mod recall;
pub mod reload;
pub mod run;
pub mod sandbox;
#[cfg(test)]
pub mod simulation;
mod stages;
pub mod streams;
pub mod supervisor;
pub mod tally;
pub mod transport;
pub mod trial;
pub mod watch;
pub mod watchdog;
pub mod work;
