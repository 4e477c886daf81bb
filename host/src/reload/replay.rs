//! One message through the stages of a pipeline, for inspection. Nothing that they make is sent, counted or logged.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::breaker::Breaker;
use crate::counters::PipelineCounters;
use crate::disposition::Disposition;
use crate::generation::Stages;
use crate::message::Message;
use crate::quota::LineQuota;
use crate::transport::PendingOutput;
use crate::work::{Attempt, Notes, Seen, Work};

/// The outcome of a message.
#[derive(Debug)]
pub struct Replayed {
    /// The results, addressed; or what would become of the message.
    pub made: Result<Vec<PendingOutput>, Disposition>,
    /// Notes on the way.
    pub notes: Notes,
}

/// Lets stages process a message; `seen` says whether what each makes is kept for the caller.
pub async fn replay(pipeline: &str, stages: &Stages, message: Message, host_id: &str, seen: Option<Seen>) -> Replayed {
    // The work belongs to no message: nothing of it is counted or logged.
    let (counters, lines) = (PipelineCounters::default(), LineQuota::new(0));
    let breaker = Breaker::new(pipeline, CancellationToken::new());
    let mut attempt = Attempt {
        pipeline,
        host_id,
        message: Arc::new(message),
        counters: &counters,
        lines: &lines,
        ticket: breaker.quarantined_ticket(),
        notes: Notes {
            seen: seen.map(Box::new),
            ..Notes::default()
        },
    };
    let made = stages.results(&mut attempt).await;
    Replayed {
        made,
        notes: attempt.notes,
    }
}
