//! The log of a pipeline about its quarantine: one line when messages enter it, one when they have run. Every one of a
//! prefetch enters it when a host crashes, and hundreds of lines say no more than one. Knows no source.

use std::sync::{Mutex, PoisonError};

use tokio::time::{Duration, Instant};
use tracing::{info, warn};

/// Messages that are quarantined this long after the last belong to another crash.
const ONE_CRASH: Duration = Duration::from_secs(60);

/// A drain may leave a few messages that a broker marks: those that it was just handing out. More than that, and a host
/// has crashed with messages in flight.
const FEW: u64 = 4;

/// Counts the quarantined messages of a pipeline.
#[derive(Debug, Default)]
pub struct QuarantineLog {
    // std Mutex: never held over an await.
    crash: Mutex<Option<CrashBatch>>,
}

/// Messages that were redelivered together.
#[derive(Debug)]
struct CrashBatch {
    began: Instant,
    last: Instant,
    n_in_quarantine: u64,
    n_run: u64,
}

impl QuarantineLog {
    /// Counts a message that enters quarantine after so many crashes; logs the first, and every one that crashed a host
    /// while alone.
    pub fn entered(&self, pipeline: &str, id: &str, crash_count: u32) {
        if crash_count > 1 {
            warn!(
                crash_count,
                "a host crashed while this message ran alone: the crash is counted, and the message runs alone again"
            );
        }
        let now = Instant::now();
        let mut crash = self.crash.lock().unwrap_or_else(PoisonError::into_inner);
        if crash
            .as_ref()
            .is_none_or(|crash| now.duration_since(crash.last) > ONE_CRASH)
        {
            let first = id.escape_debug();
            info!(
                pipeline, %first,
                "messages come again that were in flight when a host ended: each is quarantined and runs alone once"
            );
            *crash = None;
        }
        let crash = crash.get_or_insert_with(|| CrashBatch {
            began: now,
            last: now,
            n_in_quarantine: 0,
            n_run: 0,
        });
        crash.last = now;
        crash.n_in_quarantine += 1;
        if crash.n_in_quarantine == FEW + 1 {
            warn!(
                pipeline,
                "a host was killed or crashed: more messages come again than a drain leaves behind"
            );
        }
    }

    /// Counts a message that ran alone; logs when all that this host quarantined have run.
    pub fn ran(&self, pipeline: &str) {
        let mut crash = self.crash.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(CrashBatch {
            began,
            n_in_quarantine,
            n_run,
            ..
        }) = crash.as_mut()
        else {
            return; // another host quarantined it
        };
        *n_run += 1;
        if n_run == n_in_quarantine {
            let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            info!(pipeline, n_run, took_ms, "all quarantined messages have run");
        }
    }
}
