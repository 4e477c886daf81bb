//! What the whole-system tests stand on: a broker of their own, the real host as a child process, an AMQP client and
//! the judge of what was lost. Knows the host by its command line alone.

pub mod admin;
pub mod amqp;
pub mod attacks;
pub mod bindings;
pub mod book;
pub mod broker;
pub mod certificates;
pub mod clang;
pub mod control;
pub mod fake_broker;
pub mod figures;
pub mod flow;
pub mod host;
pub mod http;
pub mod oracle;
pub mod port;
pub mod process;
pub mod random;
pub mod relay;
pub mod report;
pub mod samples;
pub mod scene;
pub mod versions;
pub mod wat;
pub mod wire;
pub mod zmq;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long any condition may take on a slow, busy machine before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again and again until there is an answer; fails after [`PATIENCE`], saying what was waited for.
///
/// # Errors
/// When the time is over.
pub fn wait_for<T>(what: &str, ask: impl FnMut() -> Option<T>) -> Result<T> {
    wait_at_most(PATIENCE, what, ask)
}

/// As [`wait_for`], with a deadline of its own.
///
/// # Errors
/// When the time is over.
pub fn wait_at_most<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            bail!("waited {} s for {what}", limit.as_secs());
        }
        // The pause between two questions, not a guess at how long the answer takes.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A name that no other test has: it begins with what it is for.
pub fn unique(prefix: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "{prefix}-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}
