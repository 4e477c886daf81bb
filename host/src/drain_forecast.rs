//! Whether a pipeline could finish its messages in flight before a drain is over, by its current pace. Knows no source.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::counters::PipelineCounters;

/// How often it is looked: long enough to see a pace, and not so long that it changes meanwhile.
const LOOK: Duration = Duration::from_secs(10);

/// Looks in a row that must agree, so that one slow batch raises no warning.
const AGREEING: u32 = 2;

/// The time that a pipeline is expected to need for its messages in flight.
#[derive(Debug)]
pub struct DrainForecast {
    limit: Duration,
    // std Mutex: never held over an await.
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    n_finished: u64,
    n_too_long: u32,
    is_reported: bool,
    estimate: Option<DrainEstimate>,
}

/// How long the messages in flight take.
#[derive(Debug, Clone, Copy, PartialEq)]
struct DrainEstimate {
    n_in_flight: u64,
    per_second: f64,
    time: Duration,
}

impl DrainForecast {
    /// One of a pipeline that is drained within `limit`, but for what is kept for giving back.
    pub fn new(limit: Duration) -> Self {
        Self {
            limit,
            seen: Mutex::default(),
        }
    }

    /// Looks now and then, and logs when it becomes too much and when it no longer is. Does not end.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn watch(&self, pipeline: &str, counters: &PipelineCounters, is_waiting: impl Fn() -> bool) {
        self.lock().n_finished = counters.n_finished();
        loop {
            let began = Instant::now();
            tokio::time::sleep(LOOK).await;
            // Messages that wait for a destination say nothing about the pace.
            let n_in_flight = if is_waiting() { 0 } else { counters.n_in_flight() };
            self.look(pipeline, n_in_flight, counters.n_finished(), began.elapsed());
        }
    }

    fn look(&self, pipeline: &str, n_in_flight: u64, n_finished: u64, elapsed: Duration) {
        let mut seen = self.lock();
        let n_new = n_finished.saturating_sub(std::mem::replace(&mut seen.n_finished, n_finished));
        let estimate = estimate(n_in_flight, n_new, elapsed).filter(|estimate| estimate.time > self.limit);
        seen.n_too_long = estimate.map_or(0, |_| seen.n_too_long.saturating_add(1));
        seen.estimate = estimate.filter(|_| seen.n_too_long >= AGREEING);
        let is_too_long = seen.estimate.is_some();
        if std::mem::replace(&mut seen.is_reported, is_too_long) == is_too_long {
            return;
        }
        match seen.estimate {
            Some(DrainEstimate {
                n_in_flight,
                per_second,
                time,
            }) => warn!(
                pipeline,
                n_in_flight,
                per_second,
                needs_s = time.as_secs(),
                drain_s = self.limit.as_secs(),
                "the messages in flight take longer than a drain: a stop returns some of them; lower `prefetch` or raise `drain`"
            ),
            None => info!(pipeline, "the messages in flight fit into a drain again"),
        }
    }

    /// The excess, in words.
    pub fn too_long(&self) -> Option<String> {
        let DrainEstimate {
            n_in_flight,
            per_second,
            time,
        } = self.lock().estimate?;
        Some(format!(
            "{n_in_flight} messages in flight at {per_second:.1}/s take {} s, longer than the {} s of a drain: lower `prefetch` or raise `drain`",
            time.as_secs(),
            self.limit.as_secs()
        ))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The estimate at the pace of the last look; `None` where there was none.
fn estimate(n_in_flight: u64, n_new: u64, elapsed: Duration) -> Option<DrainEstimate> {
    if n_new == 0 || elapsed.is_zero() {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "a pace is an estimate")]
    let (in_flight, new) = (n_in_flight as f64, n_new as f64);
    let per_second = new / elapsed.as_secs_f64();
    let time = Duration::try_from_secs_f64(in_flight / per_second).ok()?;
    Some(DrainEstimate {
        n_in_flight,
        per_second,
        time,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_longer_than_a_drain_is_seen_when_two_looks_agree_and_forgotten_when_one_does_not() {
        let drain_forecast = DrainForecast::new(Duration::from_secs(22));
        let mut n_finished = 0;
        let mut look = |n_in_flight, n_new| {
            n_finished += n_new;
            drain_forecast.look("images", n_in_flight, n_finished, LOOK);
            drain_forecast.too_long()
        };
        for (n_in_flight, n_new, is_reported) in [
            (256, 1000, false),
            (256, 100, false), // 25.6 s, once
            (256, 1000, false),
            (256, 100, false),
            (256, 100, true),
            (256, 120, false), // 21.3 s
            (256, 0, false),   // says nothing
            (0, 100, false),
        ] {
            assert_eq!(look(n_in_flight, n_new).is_some(), is_reported, "{n_in_flight} {n_new}");
        }
        look(256, 100);
        assert_eq!(
            look(256, 100).as_deref(),
            Some(
                "256 messages in flight at 10.0/s take 25 s, longer than the 22 s of a drain: lower `prefetch` or raise `drain`"
            )
        );
    }
}
