//! What a process takes of the machine, as `/proc` tells it. Knows no process in particular.

use anyhow::{Context, Result};

/// What a process takes now, and what it took at its height.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Resident memory now.
    pub resident_bytes: u64,
    /// Resident memory at its height.
    pub peak_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open files, sockets and the like.
    pub files: usize,
}

impl Usage {
    /// Looks at a process.
    ///
    /// # Errors
    /// When it has ended.
    pub fn of(pid: u32) -> Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the process has ended")?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let value = line.and_then(|line| line.split_whitespace().next());
            Ok(value.with_context(|| format!("no {name}"))?.parse()?)
        };
        Ok(Self {
            resident_bytes: field("VmRSS:")? * 1024,
            peak_bytes: field("VmHWM:")? * 1024,
            threads: field("Threads:")?,
            files: std::fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
        })
    }
}
