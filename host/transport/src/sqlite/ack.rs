//! A claimed row that is to be settled. Knows no plugin and no pipeline.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::OwnedSemaphorePermit;
use tracing::warn;

use super::error::SqliteError;
use super::settling::{self, Ending};
use super::shared::{Release, Shared, after_ms};
use super::taking::Taken;
use crate::disposition::Disposition;
use crate::error_chain::ErrorChain;
use crate::message::Message;
use crate::{AckHandle, Delivery, GaveUp, Quarantine, Settled, Settlement};

/// How long a row that went back rests, so that it does not spin.
const REST: Duration = Duration::from_secs(1);
/// The delay of the second attempt; each further one doubles it.
const RETRY: Duration = Duration::from_secs(1);
/// The longest delay of an attempt.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How long giving back a row may take, where it could not be settled in time.
const LAST_TRY: Duration = Duration::from_secs(2);

/// A claimed row: settled exactly once.
///
/// Dropped without that, the row goes back: as it was, or where the pipeline had it, marked as redelivered. Where the file does
/// not let it, the lease is over one day.
#[derive(Debug)]
pub(super) struct RowAck {
    shared: Arc<Shared>,
    seq: i64,
    owner: Arc<str>,
    quarantine: Quarantine,
    is_handed_out: bool,
    is_settled: bool,
    // Counts among the messages in flight; a quarantined one is alone.
    _slot: Option<OwnedSemaphorePermit>,
}

/// A row that is claimed and not handed out.
#[derive(Debug)]
pub(super) struct Found {
    message: Message,
    malformed: Option<String>,
    ack: RowAck,
}

impl Found {
    pub(super) fn new(
        shared: &Arc<Shared>,
        owner: &Arc<str>,
        taken: Taken,
        (slot, is_quarantined): (Option<OwnedSemaphorePermit>, bool),
    ) -> Self {
        let quarantine = match is_quarantined {
            true => shared.grace.of_quarantined(taken.redelivered, taken.crash_count),
            false => shared.grace.of_ordinary(taken.redelivered),
        };
        Self {
            message: taken.message,
            malformed: taken.malformed,
            ack: RowAck {
                shared: Arc::clone(shared),
                seq: taken.seq,
                owner: Arc::clone(owner),
                quarantine,
                is_handed_out: false,
                is_settled: false,
                _slot: slot,
            },
        }
    }

    /// Hands it to the pipeline.
    pub(super) fn delivery(self) -> Delivery {
        let mut ack = self.ack;
        ack.is_handed_out = true;
        Delivery {
            message: self.message,
            malformed: self.malformed,
            quarantine: ack.quarantine,
            ack: Box::new(ack),
        }
    }
}

impl RowAck {
    async fn end(&self, ending: Ending) -> Result<bool, SqliteError> {
        let (tables, seq, owner) = (Arc::clone(&self.shared.tables), self.seq, Arc::clone(&self.owner));
        let work = move |connection: &rusqlite::Connection| settling::end(connection, &tables, (seq, &owner), &ending);
        self.shared.file.write("settle a message in", work).await
    }

    /// Carries it out; a step that fails is held, and tried again.
    async fn settle_row(mut self, settlement: Settlement<'_>) -> Settled {
        let ending = self.ending(settlement.disposition, &settlement);
        let what = format!(
            "table `{}` in `{}`",
            self.shared.tables.rows,
            self.shared.file.path().display()
        );
        let step = || self.end(ending.clone());
        let hold = settlement.hold;
        let ended = match hold.until_done_unless(&what, step, || self.is_void()).await {
            Ok(is_ours) => {
                self.is_settled = true;
                return match (is_ours, settlement.disposition) {
                    (false, _) => Settled::Lost("its lease was over, and another host has it".to_owned()),
                    (true, Disposition::Return) => Settled::Returned,
                    (true, _) => Settled::Done,
                };
            }
            Err(GaveUp) => {
                let back = self.ending(settlement.otherwise, &settlement);
                tokio::time::timeout(LAST_TRY, self.end(back)).await
            }
        };
        let why = match ended {
            Ok(Ok(true)) => {
                self.is_settled = true;
                return Settled::Returned;
            }
            Ok(Ok(false)) => {
                self.is_settled = true;
                "another host has it".to_owned()
            }
            Ok(Err(error)) => ErrorChain(&error).to_string(),
            Err(_) => "the file did not answer in time".to_owned(),
        };
        Settled::Lost(why)
    }

    fn ending(&self, disposition: &Disposition, settlement: &Settlement<'_>) -> Ending {
        match disposition {
            Disposition::Ack => Ending::Done(self.shared.done),
            Disposition::Reject(reason) => {
                let envelope = (settlement.dead_letter)(reason);
                Ending::Dead {
                    id: envelope.message_id,
                    message_id: settlement.message.id.clone(),
                    // Texts always serialise.
                    facts: serde_json::to_string(&envelope.headers).unwrap_or_default(),
                }
            }
            Disposition::Retry(_) => {
                let attempt = settlement.message.attempt.saturating_add(1);
                Ending::Waits {
                    attempt: Some(attempt),
                    redelivered: false,
                    due_ms: after_ms(delay_of(attempt)),
                }
            }
            Disposition::Return => Ending::Waits {
                attempt: None,
                redelivered: false,
                due_ms: after_ms(REST),
            },
            Disposition::Quarantine { crash_count } => Ending::Quarantined {
                crash_count: *crash_count,
            },
        }
    }
}

impl AckHandle for RowAck {
    /// Whether the lease was over: another host has the row.
    fn is_void(&self) -> bool {
        self.shared.state().owner != self.owner
    }

    fn settle<'a>(self: Box<Self>, settlement: Settlement<'a>) -> BoxFuture<'a, Settled> {
        self.settle_row(settlement).boxed()
    }
}

impl Drop for RowAck {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        let ending = match self.quarantine {
            _ if !self.is_handed_out => Ending::AsItWas,
            Quarantine::Inside { crash_count } => Ending::Quarantined { crash_count },
            Quarantine::Due { .. } => Ending::AsItWas,
            Quarantine::None => Ending::Waits {
                attempt: None,
                redelivered: true,
                due_ms: after_ms(REST),
            },
        };
        if self.is_handed_out {
            warn!(seq = self.seq, "message was dropped unsettled: it will be redelivered");
        }
        self.shared.release(Release {
            seq: self.seq,
            owner: Arc::clone(&self.owner),
            ending,
        });
    }
}

fn delay_of(attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(2).min(16);
    RETRY.saturating_mul(1 << doublings).min(RETRY_MAX)
}
