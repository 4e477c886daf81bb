//! The worker threads, and how lanes share them. Knows nothing of what a job does.
//!
//! Jobs wait in a queue for each lane; a worker that is free takes the next job of the next lane that may have one. So
//! every lane gets its turn after at most one job of each other lane, and no lane holds all workers while there are
//! others.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::residents::Residents;

/// Jobs of a lane that are queued or running, for each worker that the lane may hold: one runs, and three wait, because
/// a job of tens of microseconds is over before its caller has woken up to hand in the next.
const JOBS_PER_WORKER: usize = 4;

/// A worker's stack: the guest's share, and plenty for the host's functions that it calls.
const STACK_BYTES: usize = 2 << 20;

/// A piece of work; it answers its caller itself.
pub(super) type Job = Box<dyn FnOnce(&mut Residents) + Send>;

/// The workers have stopped.
#[derive(Debug)]
pub(super) struct Stopped;

/// What the worker threads and everybody who has work for them share.
pub(super) struct Workers {
    n_workers: usize,
    board: Mutex<Board>,
    changed: Condvar,
}

/// A pipeline's queue of jobs; gone when its last owner is.
pub(super) struct LaneQueue {
    workers: Arc<Workers>,
    id: u64,
    slots: Arc<Semaphore>,
}

struct Board {
    lanes: Vec<LaneState>,
    // Where the next worker begins to look: one after the lane that was served last.
    next: usize,
    last_id: u64,
    // Counts plugins that are gone: a worker that has seen fewer looks through its residents.
    retired: u64,
    stopping: bool,
}

struct LaneState {
    id: u64,
    // Invariant: `running` <= `share`.
    share: usize,
    running: usize,
    jobs: VecDeque<(Job, OwnedSemaphorePermit)>,
}

/// What a worker does next.
enum Next {
    Run {
        lane: u64,
        job: Job,
        permit: OwnedSemaphorePermit,
    },
    Retire,
    Stop,
}

impl Workers {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system refuses a thread; those that were started end.
    pub(super) fn start(n_workers: usize) -> std::io::Result<(Arc<Self>, Vec<JoinHandle<()>>)> {
        let board = Board {
            lanes: Vec::new(),
            next: 0,
            last_id: 0,
            retired: 0,
            stopping: false,
        };
        let workers = Arc::new(Self {
            n_workers,
            board: Mutex::new(board),
            changed: Condvar::new(),
        });
        let mut threads = Vec::with_capacity(n_workers);
        for n in 0..n_workers {
            let shared = Arc::clone(&workers);
            let thread = thread::Builder::new()
                .name(format!("sandbox-{n}"))
                .stack_size(STACK_BYTES);
            match thread.spawn(move || shared.work()) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    workers.stop();
                    return Err(error);
                }
            }
        }
        Ok((workers, threads))
    }

    /// Adds a lane that shares the workers with others, or has them alone.
    pub(super) fn lane(self: &Arc<Self>, n_lanes: usize) -> LaneQueue {
        // One worker stays for the others. Where there is but one, lanes take turns.
        let share = if n_lanes > 1 {
            self.n_workers.saturating_sub(1).max(1)
        } else {
            self.n_workers
        };
        let mut board = self.board();
        board.last_id = board.last_id.saturating_add(1);
        let id = board.last_id;
        board.lanes.push(LaneState {
            id,
            share,
            running: 0,
            jobs: VecDeque::new(),
        });
        drop(board);
        let slots = Arc::new(Semaphore::new(share.saturating_mul(JOBS_PER_WORKER)));
        LaneQueue {
            workers: Arc::clone(self),
            id,
            slots,
        }
    }

    /// Lets workers drop the instances of plugins that are gone.
    pub(super) fn retire(&self) {
        let mut board = self.board();
        board.retired = board.retired.saturating_add(1);
        drop(board);
        self.changed.notify_all();
    }

    /// Lets workers end after the job in hand; jobs that wait are dropped.
    pub(super) fn stop(&self) {
        let mut board = self.board();
        board.stopping = true;
        let waiting: Vec<_> = board
            .lanes
            .iter_mut()
            .map(|lane| std::mem::take(&mut lane.jobs))
            .collect();
        drop(board);
        self.changed.notify_all();
        // Not under the lock: a job may hold the last of a plugin, which then asks for the lock itself.
        drop(waiting);
    }

    fn work(&self) {
        let mut residents = Residents::default();
        let mut retired = 0;
        loop {
            match self.next(&mut retired) {
                Next::Run { lane, job, permit } => {
                    job(&mut residents);
                    self.ran(lane);
                    drop(permit);
                }
                Next::Retire => residents.drop_retired(),
                Next::Stop => return,
            }
        }
    }

    fn next(&self, retired: &mut u64) -> Next {
        let mut board = self.board();
        loop {
            if board.stopping {
                return Next::Stop;
            }
            if *retired != board.retired {
                *retired = board.retired;
                return Next::Retire;
            }
            if let Some(next) = board.take() {
                return next;
            }
            board = self.changed.wait(board).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Counts a job as over. Another worker may have passed this lane by because it had its share.
    fn ran(&self, lane: u64) {
        let mut board = self.board();
        let waiting = board
            .lanes
            .iter_mut()
            .find(|state| state.id == lane)
            .is_some_and(|state| {
                state.running = state.running.saturating_sub(1);
                !state.jobs.is_empty()
            });
        drop(board);
        if waiting {
            self.changed.notify_one();
        }
    }

    /// No code of ours panics under this lock; were it poisoned, its counters would still be right.
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    /// Takes the next job of the next lane that has one and has not its share already.
    fn take(&mut self) -> Option<Next> {
        let n_lanes = self.lanes.len();
        for step in 0..n_lanes {
            let index = self.next.wrapping_add(step) % n_lanes;
            let Some(lane) = self.lanes.get_mut(index) else {
                continue;
            };
            if lane.running < lane.share
                && let Some((job, permit)) = lane.jobs.pop_front()
            {
                lane.running = lane.running.saturating_add(1);
                let next = Next::Run {
                    lane: lane.id,
                    job,
                    permit,
                };
                self.next = index.wrapping_add(1);
                return Some(next);
            }
        }
        None
    }
}

impl LaneQueue {
    /// Queues a job as soon as the lane has room for it.
    ///
    /// # Cancellation
    /// Before there is room, nothing happened; afterwards the job runs, whether anybody waits for its answer or not.
    ///
    /// # Errors
    /// When the workers have stopped.
    pub(super) async fn submit(&self, job: Job) -> Result<(), Stopped> {
        let permit = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| Stopped)?;
        let mut board = self.workers.board();
        if board.stopping {
            return Err(Stopped);
        }
        let Some(lane) = board.lanes.iter_mut().find(|lane| lane.id == self.id) else {
            return Err(Stopped);
        };
        lane.jobs.push_back((job, permit));
        drop(board);
        self.workers.changed.notify_one();
        Ok(())
    }
}

impl Drop for LaneQueue {
    fn drop(&mut self) {
        let mut board = self.workers.board();
        let position = board.lanes.iter().position(|lane| lane.id == self.id);
        // Jobs are left only when their callers are gone; not dropped under the lock, see `stop`.
        let gone = position.map(|position| board.lanes.remove(position));
        drop(board);
        drop(gone);
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers")
            .field("n_workers", &self.n_workers)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for LaneQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneQueue")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
