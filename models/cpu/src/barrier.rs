//! Where the threads that share a step wait for each other.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Looks at the counter before the processor is left to others: the shares of a step end within microseconds.
const SPINS: usize = 2000;

/// A barrier for many meetings. A thread that panics breaks it, so that nobody waits for it.
pub(crate) struct Barrier {
    members: usize,
    arrived: AtomicUsize,
    broken: AtomicBool,
}

impl Barrier {
    pub(crate) fn new(members: usize) -> Self {
        Self {
            members,
            arrived: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
        }
    }

    /// Waits at the meeting of this number, from 1 on. Whether all have come.
    pub(crate) fn wait(&self, meeting: usize) -> bool {
        let all = meeting * self.members;
        self.arrived.fetch_add(1, Ordering::AcqRel);
        let mut spins = 0;
        while self.arrived.load(Ordering::Acquire) < all {
            if self.broken.load(Ordering::Acquire) {
                return false;
            }
            spins += 1;
            match spins < SPINS {
                true => std::hint::spin_loop(),
                false => std::thread::yield_now(),
            }
        }
        true
    }

    /// Breaks the barrier when it is dropped by a panic.
    pub(crate) fn guard(&self) -> Guard<'_> {
        Guard { barrier: self }
    }
}

/// See [`Barrier::guard`].
pub(crate) struct Guard<'a> {
    barrier: &'a Barrier,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.barrier.broken.store(true, Ordering::Release);
        }
    }
}
