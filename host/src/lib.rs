//! The Millrace host: takes messages from a source, lets sandboxed plugins and a model work on
//! them, delivers the results, and only then acknowledges.

mod chain;
pub mod config;
pub mod connect;
pub mod disposition;
pub mod message;
pub mod sandbox;
