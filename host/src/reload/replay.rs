//! One message through the stages of a pipeline, with somebody who looks on. Nothing that they make is sent, counted or
//! told.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::breaker::Breaker;
use crate::disposition::Disposition;
use crate::generation::Stages;
use crate::message::Message;
use crate::quota::LineQuota;
use crate::tally::Tally;
use crate::transport::PendingOutput;
use crate::work::{Attempt, Notes, Seen, Work};

/// What came of a message.
#[derive(Debug)]
pub struct Replayed {
    /// The results, addressed; or what would become of the message.
    pub made: Result<Vec<PendingOutput>, Disposition>,
    /// What was learned on the way.
    pub notes: Notes,
}

/// Lets stages process a message; `seen` says whether what each makes is kept for the caller.
pub async fn replay(pipeline: &str, stages: &Stages, message: Message, host_id: &str, seen: Option<Seen>) -> Replayed {
    // What it does is no message's: nothing of it is counted or told.
    let (tally, lines) = (Tally::default(), LineQuota::new(0));
    let breaker = Breaker::new(pipeline, CancellationToken::new());
    let mut attempt = Attempt {
        pipeline,
        host_id,
        message: Arc::new(message),
        tally: &tally,
        lines: &lines,
        ticket: breaker.ticket_of_suspect(),
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
