//! The worker threads, and how lanes share them. Knows nothing of what a job does.
//!
//! Jobs wait in a queue for each lane; a worker that is free takes the next job of the lane that has used the least CPU
//! time. So a lane of short calls is not made to wait for as many long ones of another, a hostile lane gets no more of
//! the workers than an honest one, and no lane holds all workers while there are others.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::instance_cache::InstanceCache;
use super::limits::thread_cpu_time;
use super::meter::PluginMeter;

/// Jobs of a lane that are queued or running, for each worker that the lane may hold: one runs, and the rest wait,
/// because a job of tens of microseconds is over before its caller has woken up to hand in the next, and a worker that
/// finds none begins a job of another lane, which may be long.
const JOBS_PER_WORKER: usize = 32;

/// A worker's stack: the guest's share, and plenty for the host's functions that it calls.
const STACK_BYTES: usize = 2 << 20;

/// A piece of work; it answers its caller itself.
pub(super) struct Job {
    run: Box<dyn FnOnce(&mut InstanceCache) + Send>,
    meter: Arc<PluginMeter>,
    since: Instant,
}

/// The workers have stopped.
#[derive(Debug)]
pub(super) struct Stopped;

/// When a job's turn is, among those of its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// After those that came before it, once the lane has a slot for it.
    InTurn,
    /// Before all that are not first themselves, without a slot.
    First,
}

/// The state that the worker threads and their callers share.
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
    // Where the next worker begins to look: one after the lane that was served last, for lanes that used the same.
    next: usize,
    // The time used by the lane that was served last: a lane that comes back from a pause begins here, so that it has
    // saved up nothing.
    level: Duration,
    last_id: u64,
    // Counts plugins that are gone: a worker that has seen fewer looks through its cached instances.
    retired: u64,
    stopping: bool,
}

struct LaneState {
    id: u64,
    // Invariant: `running` <= `share`.
    share: usize,
    running: usize,
    // CPU time of its jobs that are over.
    used: Duration,
    // Bounded by the messages in flight: each has at most one.
    first: VecDeque<Job>,
    // Bounded by the lane's slots.
    jobs: VecDeque<(Job, OwnedSemaphorePermit)>,
}

/// The next step of a worker.
enum Next {
    Run {
        lane: u64,
        job: Job,
        permit: Option<OwnedSemaphorePermit>,
    },
    Retire,
    Stop,
}

impl Job {
    /// Work that a meter counts, and that waits from now on.
    pub(super) fn new(meter: &Arc<PluginMeter>, run: impl FnOnce(&mut InstanceCache) + Send + 'static) -> Self {
        Self {
            run: Box::new(run),
            meter: Arc::clone(meter),
            since: Instant::now(),
        }
    }
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
            level: Duration::ZERO,
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
            used: Duration::ZERO,
            first: VecDeque::new(),
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

    /// Lets workers end after their current job; jobs that wait are dropped.
    pub(super) fn stop(&self) {
        let mut board = self.board();
        board.stopping = true;
        let waiting: Vec<_> = board
            .lanes
            .iter_mut()
            .map(|lane| (std::mem::take(&mut lane.first), std::mem::take(&mut lane.jobs)))
            .collect();
        drop(board);
        self.changed.notify_all();
        // Not under the lock: a job may hold the last of a plugin, which then asks for the lock itself.
        drop(waiting);
    }

    fn work(&self) {
        let mut instance_cache = InstanceCache::default();
        let mut retired = 0;
        loop {
            match self.next(&mut retired) {
                Next::Run { lane, job, permit } => {
                    let (waited, began) = (job.since.elapsed(), thread_cpu_time());
                    (job.run)(&mut instance_cache);
                    let used = thread_cpu_time().saturating_sub(began);
                    job.meter.add(waited, used);
                    self.ran(lane, used);
                    drop(permit);
                }
                Next::Retire => instance_cache.drop_retired(),
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
    fn ran(&self, lane: u64, used: Duration) {
        let mut board = self.board();
        let waiting = board
            .lanes
            .iter_mut()
            .find(|state| state.id == lane)
            .is_some_and(|state| {
                state.running = state.running.saturating_sub(1);
                state.used = state.used.saturating_add(used);
                state.has_work()
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
    /// Takes the next job of the lane that has used the least, of those that have one and have not their share already.
    fn take(&mut self) -> Option<Next> {
        let n_lanes = self.lanes.len();
        let in_turn = (0..n_lanes).map(|step| self.next.wrapping_add(step) % n_lanes);
        let waiting = in_turn.filter_map(|index| {
            let lane = self.lanes.get(index)?;
            (lane.running < lane.share && lane.has_work()).then_some((lane.used, index))
        });
        let (used, index) = waiting.min_by_key(|(used, _)| *used)?;
        let lane = self.lanes.get_mut(index)?;
        let (job, permit) = lane.next()?;
        lane.running = lane.running.saturating_add(1);
        let lane = lane.id;
        (self.next, self.level) = (index.wrapping_add(1), used);
        Some(Next::Run { lane, job, permit })
    }

    /// Queues a job of a lane.
    fn add(&mut self, id: u64, job: Job, permit: Option<OwnedSemaphorePermit>) -> Result<(), Stopped> {
        let level = self.level;
        let lane = self.lanes.iter_mut().find(|lane| lane.id == id).ok_or(Stopped)?;
        if !lane.has_work() && lane.running == 0 {
            lane.used = lane.used.max(level);
        }
        match permit {
            Some(permit) => lane.jobs.push_back((job, permit)),
            None => lane.first.push_back(job),
        }
        Ok(())
    }
}

impl LaneState {
    fn has_work(&self) -> bool {
        !self.first.is_empty() || !self.jobs.is_empty()
    }

    fn next(&mut self) -> Option<(Job, Option<OwnedSemaphorePermit>)> {
        if let Some(job) = self.first.pop_front() {
            return Some((job, None));
        }
        self.jobs.pop_front().map(|(job, permit)| (job, Some(permit)))
    }
}

impl LaneQueue {
    /// Queues a job: one that is first at once, another as soon as the lane has room for it.
    ///
    /// # Cancellation
    /// Before there is room, nothing happened; afterwards the job runs, whether anybody waits for its answer or not.
    ///
    /// # Errors
    /// When the workers have stopped.
    pub(super) async fn submit(&self, job: Job, order: Order) -> Result<(), Stopped> {
        let permit = match order {
            Order::InTurn => Some(Arc::clone(&self.slots).acquire_owned().await.map_err(|_| Stopped)?),
            Order::First => None,
        };
        let mut board = self.workers.board();
        if board.stopping {
            return Err(Stopped);
        }
        board.add(self.id, job, permit)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A board with lanes that have used so many milliseconds and have so many jobs.
    fn board(lanes: &[(u64, usize)]) -> Board {
        let slots = Arc::new(Semaphore::new(100));
        let lane = |(id, (used_ms, n_jobs)): (usize, &(u64, usize))| {
            let permit = || Arc::clone(&slots).try_acquire_owned().unwrap();
            let jobs = std::iter::repeat_with(|| (Job::new(&Arc::default(), |_| {}), permit()));
            LaneState {
                id: id as u64,
                share: 2,
                running: 0,
                used: Duration::from_millis(*used_ms),
                first: VecDeque::new(),
                jobs: jobs.take(*n_jobs).collect(),
            }
        };
        Board {
            lanes: lanes.iter().enumerate().map(lane).collect(),
            next: 0,
            level: Duration::ZERO,
            last_id: 0,
            retired: 0,
            stopping: false,
        }
    }

    #[track_caller]
    fn check(board: &mut Board, expected: &[u64]) {
        let taken = std::iter::from_fn(|| match board.take() {
            Some(Next::Run { lane, .. }) => Some(lane),
            _ => None,
        });
        assert_eq!(taken.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_lane_that_used_the_least_is_served_first_and_no_lane_has_more_than_its_share() {
        check(&mut board(&[(500, 3), (20, 3), (100, 1)]), &[1, 1, 2, 0, 0]);
    }

    #[test]
    fn lanes_that_used_the_same_take_turns() {
        check(&mut board(&[(0, 2), (0, 2)]), &[0, 1, 0, 1]);
    }

    #[test]
    fn a_lane_that_paused_has_saved_up_nothing() {
        let mut board = board(&[(500, 1), (0, 0)]);
        check(&mut board, &[0]);
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        board.add(1, Job::new(&Arc::default(), |_| {}), Some(permit)).unwrap();
        let used: Vec<_> = board.lanes.iter().map(|lane| lane.used).collect();
        assert_eq!(used, [Duration::from_millis(500); 2]);
    }

    #[test]
    fn a_job_that_is_first_comes_before_those_that_came_before_it() {
        let mut board = board(&[(0, 3)]);
        let meter = Arc::new(PluginMeter::default());
        board.add(0, Job::new(&meter, |_| {}), None).unwrap();
        let Some(Next::Run { job, permit, .. }) = board.take() else {
            panic!("there is work");
        };
        assert!(Arc::ptr_eq(&job.meter, &meter) && permit.is_none());
        assert!(matches!(board.take(), Some(Next::Run { permit: Some(_), .. })));
    }
}
