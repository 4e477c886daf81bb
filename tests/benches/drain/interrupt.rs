//! Ctrl-C, and being asked to end: whatever was started ends, too.

use std::fs;

use anyhow::{Result, bail};
use rustix::process::{Pid, Signal, getpgid, kill_process};
use tokio::signal::unix::{SignalKind, signal};

/// Does the work, and leaves no process behind when somebody ends it before.
///
/// # Errors
/// Those of the work; and when it was ended.
pub(crate) async fn ends(work: impl Future<Output = Result<()>>) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let ended = tokio::select! {
        ended = work => return ended,
        _ = interrupt.recv() => "interrupted",
        _ = terminate.recv() => "terminated",
        _ = hang_up.recv() => "the terminal was closed",
    };
    // What the work held is dropped by now, and has ended its processes; threads may hold more.
    end_children();
    bail!("{ended}")
}

/// Kills every child of this process group. A broker has a group of its own, and ends by itself.
fn end_children() {
    let Ok(own) = getpgid(None) else { return };
    for child in children() {
        if getpgid(Some(child)).is_ok_and(|group| group == own)
            && let Err(error) = kill_process(child, Signal::KILL)
        {
            eprintln!("process {} may still run: {error}", child.as_raw_nonzero());
        }
    }
}

/// The children of all threads.
fn children() -> Vec<Pid> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let numbers = lists.flat_map(|list| {
        let numbers = list.split_whitespace().filter_map(|number| number.parse().ok());
        numbers.collect::<Vec<i32>>()
    });
    numbers.filter_map(Pid::from_raw).collect()
}
