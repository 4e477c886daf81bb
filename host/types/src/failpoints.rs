//! Places where a test makes the host die, panic, wait or fail. Knows no module; in a build without debug assertions,
//! which is what is deployed, there is nothing behind it: one build serves development and tests.
//!
//! `MILLRACE_FAILPOINTS` says what happens where: `PLACE[(ID)]=ACTION[@HITS]`, separated by commas. ID, a message id,
//! is for places that know one. HITS counts from 1: `@3` the third, `@2..4` the second to the fourth, `@2..` the
//! second and all that follow; without it every one. ACTION: `abort`, `panic`, `fail`, `lost`, `wait:100ms`, or
//! `while:FILE`, which waits while the file is there.

// Written by hand and not taken from the crate `fail`: that one cannot abort, nor distinguish messages, and brings a
// second random number generator.

/// A place that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failpoint {
    /// Before what a file names is loaded. Knows no id.
    Load,
    /// A message was taken.
    Delivered,
    /// Before the preprocessor is called.
    Preprocess,
    /// A plugin is called, on a worker thread. Knows no id.
    Call,
    /// Its tensor is in front of the model. Knows no id.
    Queued,
    /// A batch is on the device. Knows no id; may `fail`, or lose the device (`lost`).
    Model,
    /// A result was published and is not confirmed. The id is the publish's correlation id.
    Published,
    /// Every result was confirmed.
    Confirmed,
    /// Before a copy or a dead letter is published.
    Copy,
    /// A copy or a dead letter was confirmed, and the original not acknowledged.
    Copied,
    /// The source has the acknowledgement.
    Settled,
    /// The watch over pipelines looks. Knows no id; `fail` makes it patient for a second alone.
    Stall,
}

/// A failure that a place makes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The work fails.
    Fail,
    /// The worker is gone.
    Lost,
}

#[cfg(not(debug_assertions))]
mod points {
    use super::{Failpoint, Fault};

    /// Does nothing in this build.
    #[inline]
    pub fn before_abort(_flush: fn()) {}

    /// Does nothing in this build.
    #[inline]
    pub async fn pass(_place: Failpoint, _id: &str) {}

    /// Does nothing in this build.
    #[inline]
    pub fn hit(_place: Failpoint) -> Option<Fault> {
        None
    }
}

#[cfg(debug_assertions)]
mod points;

pub use points::{before_abort, hit, pass};
