//! The counts of a model's device thread. Knows no queue and no device.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::queue::Closed;
use crate::histogram::{Histogram, SIZES, TIMES};

/// Counts batches; it goes from a model to the one that replaces it, so that its counts go on.
#[derive(Debug)]
pub struct ModelMeter {
    // Locked by a device thread once for each batch, and by who looks.
    counts: Mutex<ModelCounts>,
}

/// Everything that is counted, at one moment.
#[derive(Debug, Clone)]
pub struct ModelCounts {
    /// Batches, by why they closed.
    pub closed: BTreeMap<Closed, u64>,
    /// How many messages were in each.
    pub sizes: Histogram,
    /// How long each message waited for the device.
    pub waited: Histogram,
    /// How long the device ran each batch.
    pub device: Histogram,
}

impl Default for ModelMeter {
    fn default() -> Self {
        let counts = Mutex::new(ModelCounts {
            closed: BTreeMap::new(),
            sizes: Histogram::new(&SIZES),
            waited: Histogram::new(&TIMES),
            device: Histogram::new(&TIMES),
        });
        Self { counts }
    }
}

impl ModelMeter {
    /// Counts a batch that closed, whose items waited so long.
    pub(crate) fn closed(&self, closed: Closed, waited: impl ExactSizeIterator<Item = Duration>) {
        let mut counts = self.lock();
        *counts.closed.entry(closed).or_default() += 1;
        counts.sizes.add(waited.len() as u64);
        waited.for_each(|waited| counts.waited.add_time(waited));
    }

    /// Counts a batch that the device ran.
    pub(crate) fn ran(&self, took: Duration) {
        self.lock().device.add_time(took);
    }

    /// Everything at this moment.
    pub fn counts(&self) -> ModelCounts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, ModelCounts> {
        // Nothing between the additions of one change can panic.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
