//! How messages were answered, by status. Knows no message.

use std::sync::atomic::{AtomicU64, Ordering};

use super::reply::Status;
use crate::Sample;
use crate::metric::{Metric, counter};

pub(super) static MESSAGES: Metric = counter(
    "millrace_zmq_messages_total",
    "Messages of ZeroMQ clients by the status of their answer; `joined` waits for the answer of the same message, `lost` is one that \
     no answer goes to and that could not be read.",
);

/// All that a message can become.
const STATUSES: [&str; 5] = ["done", "dead", "again", JOINED, LOST];
const JOINED: &str = "joined";
const LOST: &str = "lost";

/// Counts of one source.
#[derive(Debug, Default)]
pub(super) struct Counts([AtomicU64; STATUSES.len()]);

impl Counts {
    /// One is answered.
    pub(super) fn answered(&self, status: Status) {
        self.add(status.as_str());
    }

    /// One waits for the answer of another.
    pub(super) fn joined(&self) {
        self.add(JOINED);
    }

    /// One that nobody is told about cannot be read.
    pub(super) fn lost(&self) {
        self.add(LOST);
    }

    /// The counts as they are.
    pub(super) fn samples(&self) -> Vec<Sample> {
        let samples = STATUSES.iter().zip(&self.0).map(|(status, n)| Sample {
            metric: &MESSAGES,
            label: Some(("status", *status)),
            value: n.load(Ordering::Relaxed),
        });
        samples.filter(|sample| sample.value > 0).collect()
    }

    fn add(&self, status: &str) {
        let all = STATUSES.iter().zip(&self.0);
        for (_, n) in all.filter(|(known, _)| **known == status) {
            n.fetch_add(1, Ordering::Relaxed);
        }
    }
}
