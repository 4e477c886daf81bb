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

use millrace_types::waiters::Waiters;

use super::instance_cache::InstanceCache;
use super::limits::Start;
use super::meter::PluginMeter;

/// A worker's stack: the guest's share, and plenty for the host's functions that it calls.
const STACK_BYTES: usize = 2 << 20;

/// The work of a job, and how much CPU time it took since it began.
type Run = dyn FnOnce(&mut InstanceCache, Start) -> Duration + Send;

/// A piece of work; it answers its caller itself.
pub(super) struct Job {
    run: Box<Run>,
    meter: Arc<PluginMeter>,
    since: Instant,
}

/// The workers have stopped.
#[derive(Debug)]
pub(super) struct Stopped;

/// When a job's turn is, among those of its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// After those that came before it.
    InTurn,
    /// Before all that are not first themselves.
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
}

struct Board {
    lanes: Vec<LaneState>,
    // Where the next worker begins to look: one after the lane that was served last, for lanes that used the same.
    next: usize,
    // The time used by the lane that was served last: a lane that comes back from a pause begins here, so that it has
    // saved up nothing.
    level: Duration,
    last_id: u64,
    waiters: Waiters,
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
    // Both are bounded by the messages in flight: each has at most one.
    first: VecDeque<Job>,
    jobs: VecDeque<Job>,
}

/// The next step of a worker.
enum Next {
    Run { lane: u64, job: Job },
    Retire,
    Stop,
}

impl Job {
    /// Work that a meter counts, and that waits from now on.
    pub(super) fn new(
        meter: &Arc<PluginMeter>,
        run: impl FnOnce(&mut InstanceCache, Start) -> Duration + Send + 'static,
    ) -> Self {
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
            waiters: Waiters::default(),
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
        LaneQueue {
            workers: Arc::clone(self),
            id,
        }
    }

    /// Lets workers drop the instances of plugins that are gone.
    pub(super) fn retire(&self) {
        let mut board = self.board();
        board.retired = board.retired.saturating_add(1);
        board.waiters.wake_all(&self.changed);
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
        board.waiters.wake_all(&self.changed);
        drop(board);
        // Not under the lock: a job may hold the last of a plugin, which then asks for the lock itself.
        drop(waiting);
    }

    fn work(&self) {
        let mut instance_cache = InstanceCache::default();
        let (mut retired, mut ran) = (0, None);
        loop {
            match self.next(&mut retired, ran.take()) {
                Next::Run { lane, job } => {
                    let began = Start::now();
                    let waited = began.at().saturating_duration_since(job.since);
                    let used = (job.run)(&mut instance_cache, began);
                    job.meter.add(waited, used);
                    ran = Some((lane, used));
                }
                Next::Retire => instance_cache.drop_retired(),
                Next::Stop => return,
            }
        }
    }

    /// Waits for what to do next, after a job of a lane that took so long.
    fn next(&self, retired: &mut u64, ran: Option<(u64, Duration)>) -> Next {
        let mut board = self.board();
        if let Some((lane, used)) = ran
            && board.ran(lane, used)
        {
            board.waiters.wake_one(&self.changed);
        }
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
            board.waiters.begin();
            board = self.changed.wait(board).unwrap_or_else(PoisonError::into_inner);
            board.waiters.end();
        }
    }

    /// No code of ours panics under this lock; were it poisoned, its counters would still be right.
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    /// Counts a job as over. Whether a worker that passed its lane by should look again: the lane had its share, and has more
    /// work than the worker that asks will take.
    fn ran(&mut self, id: u64, used: Duration) -> bool {
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.id == id) else {
            return false;
        };
        let had_its_share = lane.running >= lane.share;
        lane.running = lane.running.saturating_sub(1);
        lane.used = lane.used.saturating_add(used);
        had_its_share && lane.has_work()
    }

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
        let job = lane.next()?;
        lane.running = lane.running.saturating_add(1);
        let lane = lane.id;
        (self.next, self.level) = (index.wrapping_add(1), used);
        Some(Next::Run { lane, job })
    }

    /// Queues a job of a lane.
    fn add(&mut self, id: u64, job: Job, order: Order) -> Result<(), Stopped> {
        let level = self.level;
        let lane = self.lanes.iter_mut().find(|lane| lane.id == id).ok_or(Stopped)?;
        if !lane.has_work() && lane.running == 0 {
            lane.used = lane.used.max(level);
        }
        match order {
            Order::InTurn => lane.jobs.push_back(job),
            Order::First => lane.first.push_back(job),
        }
        Ok(())
    }
}

impl LaneState {
    fn has_work(&self) -> bool {
        !self.first.is_empty() || !self.jobs.is_empty()
    }

    fn next(&mut self) -> Option<Job> {
        self.first.pop_front().or_else(|| self.jobs.pop_front())
    }
}

impl LaneQueue {
    /// Queues a job. It runs, whether its caller still waits for its answer or not.
    ///
    /// # Errors
    /// When the workers have stopped.
    pub(super) fn submit(&self, job: Job, order: Order) -> Result<(), Stopped> {
        let mut board = self.workers.board();
        if board.stopping {
            return Err(Stopped);
        }
        board.add(self.id, job, order)?;
        board.waiters.wake_one(&self.workers.changed);
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

    fn job() -> Job {
        Job::new(&Arc::default(), |_, _| Duration::ZERO)
    }

    #[test]
    fn a_worker_that_waits_is_woken_for_a_lane_that_had_its_share() {
        let mut board = board(&[(0, 3)]);
        check(&mut board, &[0, 0]);
        assert!(
            board.ran(0, Duration::ZERO),
            "one is left, and the other worker may have passed it by"
        );
        check(&mut board, &[0]);
        assert!(!board.ran(0, Duration::ZERO), "nothing is left");
    }

    /// A board with lanes that have used so many milliseconds and have so many jobs.
    fn board(lanes: &[(u64, usize)]) -> Board {
        let lane = |(id, (used_ms, n_jobs)): (usize, &(u64, usize))| {
            let jobs = std::iter::repeat_with(job);
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
            waiters: Waiters::default(),
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
        board.add(1, job(), Order::InTurn).unwrap();
        let used: Vec<_> = board.lanes.iter().map(|lane| lane.used).collect();
        assert_eq!(used, [Duration::from_millis(500); 2]);
    }

    #[test]
    fn a_job_that_is_first_comes_before_those_that_came_before_it() {
        let mut board = board(&[(0, 3)]);
        let meter = Arc::new(PluginMeter::default());
        board
            .add(0, Job::new(&meter, |_, _| Duration::ZERO), Order::First)
            .unwrap();
        let Some(Next::Run { job, .. }) = board.take() else {
            panic!("there is work");
        };
        assert!(Arc::ptr_eq(&job.meter, &meter));
        assert!(matches!(board.take(), Some(Next::Run { job, .. }) if !Arc::ptr_eq(&job.meter, &meter)));
    }
}
