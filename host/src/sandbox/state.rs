//! What a store holds for its guest: the call in progress, and the bounds around it.

use std::sync::Arc;
use std::time::Duration;

use super::limits::{CallClock, MemoryLimiter};
use super::log::CallLog;
use crate::disposition::PluginIdentity;
use crate::message::{Message, Prediction};
use crate::quota::LineQuota;

/// The host's side of one instance.
#[derive(Debug)]
pub(super) struct State {
    /// The message of the call in progress.
    pub(super) message: Option<Arc<Message>>,
    /// The prediction of the call in progress, for routers.
    pub(super) prediction: Option<Arc<Prediction>>,
    /// The time of the call in progress.
    pub(super) clock: CallClock,
    /// What the instance's memories and tables take.
    pub(super) limiter: MemoryLimiter,
    /// What the plugin says.
    pub(super) log: CallLog,
}

impl State {
    /// The state of a new instance; its clock runs.
    pub(super) fn new(
        plugin: &Arc<PluginIdentity>,
        log: &Arc<LineQuota>,
        deadline: Duration,
        memory_bytes: usize,
    ) -> Self {
        Self {
            message: None,
            prediction: None,
            clock: CallClock::start(deadline),
            limiter: MemoryLimiter::new(memory_bytes),
            log: CallLog::new(Arc::clone(plugin), Arc::clone(log)),
        }
    }
}
