//! CPU time, of processes and of the machine, as `/proc` tells it.

use std::time::Instant;

use anyhow::{Context, Result};

/// What `/proc` counts CPU time in: `USER_HZ`, which Linux has fixed at 100 for programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// Places in a line of `/proc/PID/stat`, from after the name, which may hold spaces.
const UTIME: usize = 11;
const STIME: usize = 12;
const CUTIME: usize = 13;
const CSTIME: usize = 14;

/// User and system time of a process so far, in seconds; also of one that has ended and was not waited for.
pub(crate) fn cpu(pid: u32) -> Result<f64> {
    sum(pid, &[UTIME, STIME])
}

/// The same with its children that have ended, such as those that compile plugins.
pub(crate) fn cpu_with_children(pid: u32) -> Result<f64> {
    sum(pid, &[UTIME, STIME, CUTIME, CSTIME])
}

fn sum(pid: u32, places: &[usize]) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the process has ended")?;
    let (_, fields) = stat.rsplit_once(')').context("no process name")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let mut ticks = 0.0;
    for place in places {
        ticks += fields.get(*place).context("a short line")?.parse::<f64>()?;
    }
    Ok(ticks / TICKS_PER_SECOND)
}

/// The load average of the last minute.
pub(crate) fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split_whitespace().next().and_then(|load| load.parse().ok());
    first.unwrap_or(f64::NAN)
}

/// The machine at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    at: Instant,
    /// CPU time that programs, the system and other machines on the same cores had, in seconds, of all cores together.
    busy: f64,
    cores: f64,
}

impl Machine {
    /// Looks at it.
    pub(crate) fn now() -> Result<Self> {
        let stat = std::fs::read_to_string("/proc/stat")?;
        let all = stat.lines().next().context("an empty /proc/stat")?;
        let fields: Vec<f64> = all
            .split_whitespace()
            .skip(1)
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        // user, nice, system, idle, iowait, irq, softirq, steal; guests are in user.
        let busy = [0, 1, 2, 5, 6, 7]
            .iter()
            .filter_map(|place| fields.get(*place))
            .sum::<f64>();
        Ok(Self {
            at: Instant::now(),
            busy: busy / TICKS_PER_SECOND,
            cores: stat
                .lines()
                .filter(|line| line.starts_with("cpu"))
                .count()
                .saturating_sub(1) as f64,
        })
    }

    /// The part of the machine that others had since an earlier moment, given what ours had of it in CPU seconds.
    pub(crate) fn foreign_since(&self, earlier: &Self, ours: f64) -> f64 {
        let wall = (self.at - earlier.at).as_secs_f64() * self.cores;
        ((self.busy - earlier.busy - ours) / wall).max(0.0)
    }
}
