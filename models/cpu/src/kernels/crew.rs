//! Threads that run one closure at a time together with whoever lends it to them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Looks at a counter before a thread goes to sleep: some 20 microseconds, which is as long as it takes to wake one.
const SPINS: usize = 2000;

/// What the threads run: called with the number of each.
type Body<'a> = dyn Fn(usize) + Sync + 'a;

/// A body whose borrow is longer than the compiler can see.
#[derive(Clone, Copy)]
struct Job(*const Body<'static>);

// SAFETY: the body is `Sync`, and lives until all threads have finished with it: `Crew::run` waits for them.
unsafe impl Send for Job {}

/// Threads that wait for work. The caller of [`Crew::run`] is one of them.
pub(crate) struct Crew {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    /// There is a job, or it is time to end.
    begin: Condvar,
    /// The last thread has finished.
    finished: Condvar,
    /// How many jobs there have been; also in the state, but here it is seen without the lock.
    jobs: AtomicUsize,
    /// Threads that have not finished the job.
    running: AtomicUsize,
}

struct State {
    job: Option<Job>,
    jobs: usize,
    sleeping: usize,
    caller_sleeps: bool,
    stop: bool,
    /// What the first panic of the job said.
    panic: Option<String>,
}

impl Shared {
    /// A panic under the lock is none of a body's: bodies run without it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Crew {
    /// A crew of so many, the caller among them.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub(crate) fn new(members: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                job: None,
                jobs: 0,
                sleeping: 0,
                caller_sleeps: false,
                stop: false,
                panic: None,
            }),
            begin: Condvar::new(),
            finished: Condvar::new(),
            jobs: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
        });
        let mut crew = Self {
            shared,
            threads: Vec::new(),
        };
        for number in 1..members {
            let shared = Arc::clone(&crew.shared);
            let thread = std::thread::Builder::new().name(format!("cpu-{number}"));
            crew.threads.push(thread.spawn(move || work(&shared, number))?);
        }
        Ok(crew)
    }

    /// How many they are.
    pub(crate) fn members(&self) -> usize {
        self.threads.len() + 1
    }

    /// Runs the body once on each thread, with its number from 0 on, and waits for all.
    ///
    /// # Errors
    /// What the first panic said, if one panicked.
    pub(crate) fn run(&mut self, body: &Body<'_>) -> Result<(), String> {
        if self.threads.is_empty() {
            return caught(|| body(0));
        }
        let job: *const Body<'_> = body;
        // SAFETY: the two types differ in their lifetimes alone. Nobody uses the job behind the end of this function: it
        // waits until `running` is 0, and each thread counts down when it has finished with it.
        let job = Job(unsafe { std::mem::transmute::<*const Body<'_>, *const Body<'static>>(job) });
        let shared = &self.shared;
        shared.running.store(self.threads.len(), Ordering::Relaxed);
        let mut state = shared.lock();
        state.job = Some(job);
        state.jobs += 1;
        state.panic = None;
        shared.jobs.store(state.jobs, Ordering::Release);
        if state.sleeping > 0 {
            shared.begin.notify_all();
        }
        drop(state);
        let own = catch_unwind(AssertUnwindSafe(|| body(0)));
        self.wait();
        let mut state = shared.lock();
        state.job = None;
        match (own, state.panic.take()) {
            (Err(panic), _) => Err(message(panic.as_ref())),
            (Ok(()), Some(panic)) => Err(panic),
            (Ok(()), None) => Ok(()),
        }
    }

    /// Until all threads have finished.
    fn wait(&self) {
        let shared = &self.shared;
        for _ in 0..SPINS {
            if shared.running.load(Ordering::Acquire) == 0 {
                return;
            }
            std::hint::spin_loop();
        }
        let mut state = shared.lock();
        state.caller_sleeps = true;
        while shared.running.load(Ordering::Acquire) > 0 {
            state = shared.finished.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.caller_sleeps = false;
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.begin.notify_all();
        for thread in self.threads.drain(..) {
            // A thread catches what its bodies panic with, so it ends in order.
            if thread.join().is_err() {
                debug_assert!(false, "a thread of the crew panicked outside a body");
            }
        }
    }
}

/// What a thread does all its life.
fn work(shared: &Shared, number: usize) {
    let mut seen = 0;
    while let Some((job, jobs)) = next(shared, seen) {
        seen = jobs;
        // SAFETY: the caller of `run` waits until this thread has counted down, below.
        let body = unsafe { &*job.0 };
        let result = catch_unwind(AssertUnwindSafe(|| body(number)));
        if let Err(panic) = result {
            shared.lock().panic.get_or_insert_with(|| message(panic.as_ref()));
        }
        if shared.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            let state = shared.lock();
            if state.caller_sleeps {
                shared.finished.notify_all();
            }
        }
    }
}

/// The next job and its number; nothing when it is time to end. Looks for a while, then sleeps.
fn next(shared: &Shared, seen: usize) -> Option<(Job, usize)> {
    for _ in 0..SPINS {
        if shared.jobs.load(Ordering::Acquire) != seen {
            break;
        }
        std::hint::spin_loop();
    }
    let mut state = shared.lock();
    loop {
        if state.stop {
            return None;
        }
        if state.jobs != seen
            && let Some(job) = state.job
        {
            return Some((job, state.jobs));
        }
        state.sleeping += 1;
        state = shared.begin.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.sleeping -= 1;
    }
}

/// Runs a body on this thread.
///
/// # Errors
/// What it said, if it panicked.
pub(crate) fn caught(body: impl FnOnce()) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|panic| message(panic.as_ref()))
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}
