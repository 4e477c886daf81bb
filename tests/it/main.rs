//! The whole system, tested from outside: one binary, one module for each thing that must hold.

mod author;
mod blame;
mod book;
mod bounds;
mod breaker;
mod broker;
mod cases;
mod chains;
mod check;
mod confirms;
#[cfg(test)]
mod conformance;
mod connection;
#[cfg(test)]
mod contract;
mod crash;
mod dlq;
mod folder;
mod health;
mod hostile;
mod http;
mod models;
mod online;
mod performance;
mod queue;
mod reload;
mod routing;
// Said here, so that the lints know its helpers for tests, too.
mod quarantine;
#[cfg(test)]
mod sandbox;
mod schema;
mod settlement;
mod shipped_plugins;
mod silence;
mod stopping;
#[cfg(test)]
mod streams;
mod tidy;
mod walls;
