//! Threads that wait on a condition variable, counted under its lock. The standard library asks the system to wake a thread
//! even where none waits, which costs more than the work of many jobs. Knows nothing of what is waited for.

use std::sync::Condvar;

/// Those who wait. It lies beside the state that they wait for, under the same lock.
#[derive(Debug, Default)]
pub struct Waiters {
    waiting: usize,
    // Invariant: so many of them at most were woken and have not run yet. Fewer cost a wake too many; more would leave one
    // asleep.
    woken: usize,
}

impl Waiters {
    /// One more begins to wait.
    pub fn begin(&mut self) {
        self.waiting = self.waiting.saturating_add(1);
    }

    /// One has ended waiting: woken, or not, since waits may end by themselves.
    pub fn end(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
        self.woken = self.woken.saturating_sub(1);
    }

    /// Wakes one where one sleeps.
    pub fn wake_one(&mut self, changed: &Condvar) {
        if self.waiting > self.woken {
            self.woken = self.woken.saturating_add(1);
            changed.notify_one();
        }
    }

    /// Wakes all.
    pub fn wake_all(&mut self, changed: &Condvar) {
        self.woken = self.waiting;
        changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, mpsc};
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// Threads that take one item each, waiting in short steps that end by themselves: however wakes and ends meet, no item
    /// is left while a thread waits.
    #[test]
    fn no_thread_is_left_asleep() {
        let shared = Arc::new((Mutex::new((Waiters::default(), 0_usize)), Condvar::new()));
        let (taken, all) = mpsc::channel();
        let take = |n: usize, step: Option<Duration>| {
            let (shared, taken) = (Arc::clone(&shared), taken.clone());
            thread::spawn(move || {
                let (state, changed) = &*shared;
                for _ in 0..n {
                    let mut state = state.lock().unwrap();
                    while state.1 == 0 {
                        state.0.begin();
                        state = match step {
                            None => changed.wait(state).unwrap(),
                            Some(step) => changed.wait_timeout(state, step).unwrap().0,
                        };
                        state.0.end();
                    }
                    state.1 -= 1;
                    drop(state);
                    taken.send(()).unwrap();
                }
            })
        };
        let threads = [
            take(3000, None),
            take(3000, None),
            take(3000, Some(Duration::from_micros(50))),
        ];
        for _ in 0..9000 {
            let mut state = shared.0.lock().unwrap();
            state.1 += 1;
            state.0.wake_one(&shared.1);
        }
        for n in 0..9000 {
            all.recv_timeout(Duration::from_secs(20))
                .unwrap_or_else(|_| panic!("{n} of 9000 items were taken: the rest lies there, and the threads sleep"));
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn none_is_woken_twice() {
        let (mut waiters, changed) = (Waiters::default(), Condvar::new());
        waiters.wake_one(&changed);
        assert_eq!(waiters.woken, 0);
        waiters.begin();
        waiters.wake_one(&changed);
        waiters.wake_one(&changed);
        assert_eq!((waiters.waiting, waiters.woken), (1, 1));
        waiters.end();
        assert_eq!((waiters.waiting, waiters.woken), (0, 0));
    }
}
