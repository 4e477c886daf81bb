//! The queue in front of a model: when a batch closes. Knows no device.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::waiters::Waiters;

/// Items that wait for the device, and how many more are on their way.
///
/// Its length is bounded by the prefetch of the pipelines that use the model: each message in flight has one item.
#[derive(Debug)]
pub(super) struct Queue<T> {
    // std's Mutex and Condvar: a device thread is not a task, and nothing is held over an await.
    state: Mutex<State<T>>,
    changed: Condvar,
    max_batch: usize,
    max_wait: Duration,
}

/// The items that the device runs at once.
#[derive(Debug)]
pub(super) struct Batch<T> {
    /// Each with when it came into the queue.
    pub(super) items: Vec<(Instant, T)>,
    /// Why no more were waited for.
    pub(super) closed: Closed,
}

/// Why a batch closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Closed {
    /// It was as large as a batch may be.
    Full,
    /// Nothing more was on its way.
    Idle,
    /// Its first item had waited as long as one may.
    Waited,
    /// The model is taken out of service.
    Closing,
}

impl Closed {
    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Idle => "idle",
            Self::Waited => "waited",
            Self::Closing => "closing",
        }
    }
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<(Instant, T)>,
    n_reserved: usize,
    waiters: Waiters,
    closed: bool,
}

impl<T> Queue<T> {
    pub(super) fn new(max_batch: usize, max_wait: Duration) -> Self {
        let state = State {
            items: VecDeque::new(),
            n_reserved: 0,
            waiters: Waiters::default(),
            closed: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            max_batch: max_batch.max(1),
            max_wait,
        }
    }

    /// Announces an item that may come.
    pub(super) fn reserve(&self) {
        self.lock().n_reserved += 1;
    }

    /// Says that an announced item will not come.
    pub(super) fn cancel_reservation(&self) {
        let mut state = self.lock();
        state.n_reserved -= 1;
        if state.n_reserved == 0 {
            state.waiters.wake_one(&self.changed);
        }
    }

    /// Puts an announced item into the queue.
    pub(super) fn push(&self, item: T) {
        let mut state = self.lock();
        state.n_reserved -= 1;
        state.items.push_back((Instant::now(), item));
        // The device thread need not wake for an item that neither begins nor closes a batch.
        if state.items.len() == 1 || state.items.len() >= self.max_batch || state.n_reserved == 0 {
            state.waiters.wake_one(&self.changed);
        }
    }

    /// The next batch, 1 to `max_batch` items. Its clock starts at its first item; it closes when it is full, when the
    /// clock is at `max_wait`, or at once when nothing is on its way. `None` when the queue is closed and empty.
    pub(super) fn next_batch(&self) -> Option<Batch<T>> {
        let mut state = self.lock();
        loop {
            let Some((first, _)) = state.items.front() else {
                if state.closed {
                    return None;
                }
                state.waiters.begin();
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.waiters.end();
                continue;
            };
            let left = self.max_wait.saturating_sub(first.elapsed());
            if let Some(closed) = self.closes(&state, left) {
                let n = state.items.len().min(self.max_batch);
                let items = state.items.drain(..n).collect();
                if !state.items.is_empty() {
                    // Another device thread may be asleep.
                    state.waiters.wake_one(&self.changed);
                }
                return Some(Batch { items, closed });
            }
            state.waiters.begin();
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            state.waiters.end();
        }
    }

    fn closes(&self, state: &State<T>, left: Duration) -> Option<Closed> {
        if state.items.len() >= self.max_batch {
            Some(Closed::Full)
        } else if state.n_reserved == 0 {
            Some(Closed::Idle)
        } else if left.is_zero() {
            Some(Closed::Waited)
        } else {
            state.closed.then_some(Closed::Closing)
        }
    }

    /// Lets the device threads end once the queue is empty.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.waiters.wake_all(&self.changed);
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing panics while it is held; a poisoned lock still guards a consistent state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn queue(max_batch: usize, max_wait: Duration, n_items: usize, n_reserved: usize) -> Queue<usize> {
        let queue = Queue::new(max_batch, max_wait);
        for _ in 0..n_items + n_reserved {
            queue.reserve();
        }
        for item in 0..n_items {
            queue.push(item);
        }
        queue
    }

    fn next(queue: &Queue<usize>) -> Option<(Vec<usize>, Closed)> {
        let Batch { items, closed } = queue.next_batch()?;
        Some((items.into_iter().map(|(_, item)| item).collect(), closed))
    }

    #[test]
    fn a_lone_message_never_waits() {
        let began = Instant::now();
        assert_eq!(next(&queue(64, LONG, 1, 0)), Some((vec![0], Closed::Idle)));
        assert!(began.elapsed() < LONG);
    }

    #[test]
    fn a_full_batch_closes_while_others_approach() {
        let queue = queue(4, LONG, 6, 3);
        assert_eq!(next(&queue), Some((vec![0, 1, 2, 3], Closed::Full)));
    }

    #[test]
    fn a_batch_closes_at_max_wait_while_others_approach() {
        let queue = queue(64, Duration::from_millis(1), 2, 1);
        assert_eq!(next(&queue), Some((vec![0, 1], Closed::Waited)));
    }

    #[test]
    fn a_batch_closes_when_the_last_that_approached_turns_away() {
        let queue = queue(64, LONG, 2, 1);
        std::thread::scope(|scope| {
            let batch = scope.spawn(|| next(&queue));
            queue.cancel_reservation();
            assert_eq!(batch.join().unwrap(), Some((vec![0, 1], Closed::Idle)));
        });
    }

    #[test]
    fn what_a_batch_leaves_wakes_another_thread() {
        let queue = queue(2, LONG, 0, 4);
        std::thread::scope(|scope| {
            let batches = [(); 2].map(|()| scope.spawn(|| next(&queue)));
            (0..4).for_each(|item| queue.push(item));
            let mut found = batches.map(|batch| batch.join().unwrap().unwrap().0);
            found.sort();
            assert_eq!(found, [vec![0, 1], vec![2, 3]]);
        });
    }

    #[test]
    fn a_closed_queue_gives_what_it_has_and_then_nothing() {
        let queue = queue(64, LONG, 1, 1);
        queue.close();
        assert_eq!(next(&queue), Some((vec![0], Closed::Closing)));
        assert_eq!(next(&queue), None);
    }
}
