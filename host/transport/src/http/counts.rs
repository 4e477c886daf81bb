//! How requests were answered, by status. Knows no request.

use std::sync::atomic::{AtomicU64, Ordering};

use hyper::StatusCode;

use crate::Sample;
use crate::metric::{Metric, counter};

pub(super) static ANSWERS: Metric = counter(
    "millrace_http_answers_total",
    "Requests by the status of their answer; `none` where the client was gone before.",
);

/// Every status that a request for messages can get.
const STATUSES: [&str; 16] = [
    "200", "202", "204", "400", "401", "403", "405", "408", "413", "415", "422", "429", "500", "503", "504", GONE,
];
/// No answer.
const GONE: &str = "none";

/// Counts of one path.
#[derive(Debug, Default)]
pub(super) struct Counts([AtomicU64; STATUSES.len()]);

/// A request that is not answered yet: dropped so, it counts as gone.
#[derive(Debug)]
pub(super) struct Counting<'a> {
    counts: &'a Counts,
    is_answered: bool,
}

impl Counts {
    /// Counts a request.
    pub(super) fn begin(&self) -> Counting<'_> {
        Counting {
            counts: self,
            is_answered: false,
        }
    }

    /// The counts as they are.
    pub(super) fn samples(&self) -> Vec<Sample> {
        let samples = STATUSES.iter().zip(&self.0).map(|(status, n)| Sample {
            metric: &ANSWERS,
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

impl Counting<'_> {
    /// It is answered.
    pub(super) fn answered(mut self, status: StatusCode) {
        self.is_answered = true;
        self.counts.add(status.as_str());
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.counts.add(GONE);
        }
    }
}
