//! The state of a store for its guest: the call in progress, and the bounds around it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millrace_types::disposition::PluginIdentity;
use millrace_types::message::{Message, Prediction};
use millrace_types::quota::LineQuota;

use super::limits::{CallClock, MemoryLimiter, Start};
use super::log::CallLog;

/// The caller that waits for an answer. Without it the call is ended at the next tick: it would hold a worker that
/// others wait for.
#[derive(Debug, Clone, Default)]
pub(super) struct Caller {
    is_gone: Arc<AtomicBool>,
}

/// Held by the caller itself while it waits.
#[derive(Debug)]
#[must_use = "dropping it ends the call"]
pub(super) struct Waiting {
    is_gone: Arc<AtomicBool>,
}

/// A call as an instance sees it before it knows what is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Invocation<'a> {
    /// The message that it is about, for the log.
    pub(super) message_id: &'a str,
    pub(super) caller: &'a Caller,
    /// When it began on this thread.
    pub(super) began: Start,
}

/// The host's side of one instance.
#[derive(Debug)]
pub(super) struct State {
    /// The message of the call in progress.
    pub(super) message: Option<Arc<Message>>,
    /// The prediction of the call in progress, for routers.
    pub(super) prediction: Option<Arc<Prediction>>,
    /// The caller of the call in progress.
    pub(super) caller: Caller,
    /// The time of the call in progress.
    pub(super) clock: CallClock,
    /// The memory of the instance's memories and tables.
    pub(super) limiter: MemoryLimiter,
    /// The plugin's log.
    pub(super) log: CallLog,
}

impl State {
    /// The state of a new instance; its clock runs.
    pub(super) fn new(
        plugin: &Arc<PluginIdentity>,
        log: &Arc<LineQuota>,
        (began, deadline): (Start, Duration),
        memory_bytes: usize,
    ) -> Self {
        Self {
            message: None,
            prediction: None,
            caller: Caller::default(),
            clock: CallClock::new(began, deadline),
            limiter: MemoryLimiter::new(memory_bytes),
            log: CallLog::new(Arc::clone(plugin), Arc::clone(log)),
        }
    }
}

impl Caller {
    /// A caller that waits, and what it holds meanwhile.
    pub(super) fn new() -> (Self, Waiting) {
        let is_gone = Arc::default();
        let waiting = Waiting {
            is_gone: Arc::clone(&is_gone),
        };
        (Self { is_gone }, waiting)
    }

    /// Whether no caller waits any more.
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.is_gone.store(true, Ordering::Relaxed);
    }
}
