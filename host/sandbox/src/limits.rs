//! The bounds of a call: CPU time, wall-clock time, memory. Every crossed bound is a [`Breach`] that says the limit, what
//! was asked and what is allowed.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{ResourceLimiter, Result, StoreContextMut, UpdateDeadline};

use super::state::State;
use super::text::size;

/// Wall-clock time that a call may take, in deadlines. CPU time is what a plugin is charged for; but a call that is not
/// over after ten times that, on a machine so busy, holds a worker that others wait for.
const WALL_FACTOR: u32 = 10;

/// Added to the wall-clock time: pauses of seconds (a snapshot, a frozen container) must not condemn short deadlines.
const WALL_SLACK: Duration = Duration::from_secs(5);

/// Bytes of a table's element.
const TABLE_ELEMENT_BYTES: usize = size_of::<usize>();

/// A bound that a plugin crossed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Breach {
    #[error("ran past its deadline of {} of CPU time (used {})", seconds(.allowed), seconds(.used))]
    CpuTime {
        /// Charged so far.
        used: Duration,
        /// The plugin's deadline.
        allowed: Duration,
    },
    /// Wall-clock time.
    #[error("took {} of wall-clock time, allowed {} (used {} of CPU time)", seconds(.took), seconds(.allowed), seconds(.used))]
    WallTime {
        /// Since the call began.
        took: Duration,
        /// The cap.
        allowed: Duration,
        /// CPU time charged so far.
        used: Duration,
    },
    /// Memories and tables together.
    #[error("asked for {} of memory, allowed {}", size(*.asked), size(*.allowed))]
    Memory {
        /// Bytes that it would have had.
        asked: usize,
        /// The plugin's memory.
        allowed: usize,
    },
    /// It tried to end the process.
    #[error("called exit")]
    Exit,
    /// Its answer is not awaited any more: no fault of the plugin's.
    #[error("its caller gave up")]
    Abandoned,
    /// It called what its runtime imports unasked and no plugin gets.
    #[error("called `{function}` of `{interface}`, which is not granted")]
    NotGranted {
        /// An interface of WASI.
        interface: String,
        /// In the interface's own words.
        function: String,
    },
}

/// When something began on this thread. Reading the CPU time of a thread is a system call: once is enough for all that
/// begins at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    cpu: Duration,
    wall: Instant,
}

/// The time of one call, charged to the thread that it runs on.
#[derive(Debug)]
pub(super) struct CallClock {
    began: Start,
    cpu_allowed: Duration,
    wall_allowed: Duration,
}

/// The memory of the memories and tables of one instance together.
#[derive(Debug)]
pub(super) struct MemoryLimiter {
    allowed: usize,
    // Memories and tables never shrink, so this is the high-water mark, too.
    in_use: usize,
    // The size of the growth in progress; taken back when the growth fails.
    growing: usize,
}

/// The wall-clock time that a call may take whose CPU time has this limit.
pub fn wall_time(deadline: Duration) -> Duration {
    deadline.saturating_mul(WALL_FACTOR).saturating_add(WALL_SLACK)
}

impl Start {
    /// This moment.
    pub(super) fn now() -> Self {
        Self {
            cpu: thread_cpu_time(),
            wall: Instant::now(),
        }
    }

    /// CPU time of this thread since.
    pub(super) fn cpu_used(&self) -> Duration {
        thread_cpu_time().saturating_sub(self.cpu)
    }

    /// When it was.
    pub(super) fn at(&self) -> Instant {
        self.wall
    }
}

impl CallClock {
    /// The clock of a call that began on this thread.
    pub(super) fn new(began: Start, deadline: Duration) -> Self {
        Self {
            began,
            cpu_allowed: deadline,
            wall_allowed: wall_time(deadline),
        }
    }

    /// CPU time charged so far.
    pub(super) fn used(&self) -> Duration {
        self.began.cpu_used()
    }

    fn check(&self) -> Result<(), Breach> {
        let (used, took) = (self.used(), self.began.wall.elapsed());
        if used > self.cpu_allowed {
            return Err(Breach::CpuTime {
                used,
                allowed: self.cpu_allowed,
            });
        }
        if took > self.wall_allowed {
            return Err(Breach::WallTime {
                took,
                allowed: self.wall_allowed,
                used,
            });
        }
        Ok(())
    }
}

/// The question of the tick to a running guest.
pub(super) fn on_tick(store: StoreContextMut<'_, State>) -> Result<UpdateDeadline> {
    if store.data().caller.is_gone() {
        return Err(Breach::Abandoned.into());
    }
    store.data().clock.check()?;
    Ok(UpdateDeadline::Continue(1))
}

impl MemoryLimiter {
    /// A limiter for one instance.
    pub(super) fn new(allowed: usize) -> Self {
        Self {
            allowed,
            in_use: 0,
            growing: 0,
        }
    }

    /// The most bytes that the instance had.
    pub(super) fn peak(&self) -> usize {
        self.in_use
    }

    /// A refusal is an error and not `-1`: a guest can only abort, and the reason would be lost.
    fn grow(&mut self, bytes: usize) -> Result<bool> {
        let asked = self.in_use.saturating_add(bytes);
        if asked > self.allowed {
            return Err(Breach::Memory {
                asked,
                allowed: self.allowed,
            }
            .into());
        }
        (self.in_use, self.growing) = (asked, bytes);
        Ok(true)
    }

    fn shrink_back(&mut self) {
        self.in_use = self.in_use.saturating_sub(self.growing);
        self.growing = 0;
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        self.grow(desired.saturating_sub(current))
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> Result<()> {
        self.shrink_back();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        self.grow(desired.saturating_sub(current).saturating_mul(TABLE_ELEMENT_BYTES))
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> Result<()> {
        self.shrink_back();
        Ok(())
    }
}

/// CPU time of the current thread since it began.
fn thread_cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

fn seconds(duration: &Duration) -> String {
    format!("{:.3} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_share_one_bound() {
        let mut limiter = MemoryLimiter::new(1 << 20);
        assert!(limiter.memory_growing(0, 1 << 19, None).unwrap());
        assert!(limiter.table_growing(0, 1024, None).unwrap());
        let error = limiter.memory_growing(0, 1 << 19, None).unwrap_err();
        assert_eq!(error.to_string(), "asked for 1.01 MiB of memory, allowed 1 MiB");
        assert_eq!(limiter.peak(), (1 << 19) + 8192);
    }

    #[test]
    fn a_growth_that_fails_is_taken_back() {
        let mut limiter = MemoryLimiter::new(1 << 20);
        assert!(limiter.memory_growing(0, 1 << 20, None).unwrap());
        limiter.memory_grow_failed(wasmtime::format_err!("no")).unwrap();
        assert_eq!(limiter.peak(), 0);
        assert!(limiter.memory_growing(0, 1 << 20, None).unwrap());
    }

    #[test]
    fn breaches_say_asked_and_allowed() {
        let (used, allowed) = (Duration::from_millis(1003), Duration::from_secs(1));
        let text = Breach::CpuTime { used, allowed }.to_string();
        assert_eq!(text, "ran past its deadline of 1.000 s of CPU time (used 1.003 s)");
        let text = Breach::Memory {
            asked: 71 << 20,
            allowed: 64 << 20,
        }
        .to_string();
        assert_eq!(text, "asked for 71 MiB of memory, allowed 64 MiB");
    }
}
