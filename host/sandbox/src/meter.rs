//! The costs of the calls of a plugin, whichever version of it was called. Knows no plugin.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millrace_types::histogram::{Histogram, TIMES};

/// Counts calls; every version of a plugin that is loaded has the same one.
#[derive(Debug)]
pub(super) struct PluginMeter {
    counts: Mutex<Costs>,
}

/// The costs of calls.
#[derive(Debug, Clone)]
pub(super) struct Costs {
    /// CPU time of workers.
    pub(super) cpu: Duration,
    /// How long each call waited for a worker.
    pub(super) waited: Histogram,
}

/// A plugin at one moment.
#[derive(Debug, Clone)]
pub struct PluginCounts {
    /// Its name in `plugins.toml`.
    pub name: String,
    /// CPU time of its calls.
    pub cpu: Duration,
    /// How long each of its calls waited for a worker.
    pub waited: Histogram,
    /// The most memory that an instance had, of the versions that are loaded now.
    pub memory_peak_bytes: u64,
}

impl Default for PluginMeter {
    fn default() -> Self {
        let waited = Histogram::new(&TIMES);
        let cpu = Duration::ZERO;
        Self {
            counts: Mutex::new(Costs { cpu, waited }),
        }
    }
}

impl PluginMeter {
    /// Counts a call.
    pub(super) fn add(&self, waited: Duration, cpu: Duration) {
        let mut counts = self.lock();
        counts.cpu = counts.cpu.saturating_add(cpu);
        counts.waited.add_time(waited);
    }

    /// Everything at this moment.
    pub(super) fn costs(&self) -> Costs {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Costs> {
        // Nothing between the additions of one call can panic.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
