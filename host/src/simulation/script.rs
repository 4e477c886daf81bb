//! The work of a simulation: the outcome of each kind of message, unless this version ails. Knows no acknowledgement.

use std::sync::Arc;

use super::fakes::Host;
use super::output::Output;
use super::world::{Kind, Queue};
use crate::breaker::FailingComponent;
use crate::disposition::{Disposition, PluginIdentity, Reason, ReasonClass, Stage};
use crate::message::Envelope;
use crate::recall::Recall;
use crate::transport::PendingOutput;
use crate::work::{Attempt, Work};

/// The work: by kind, unless this version of it ails.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) host: Arc<Host>,
    pub(super) generation: u64,
    pub(super) ailment: Option<Ailment>,
    pub(super) recall: Recall,
}

/// A message at work, until its work ends or is recalled. A dead host works on nothing.
struct Working<'h> {
    host: &'h Host,
    tag: u64,
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.host.world.state().working.remove(&self.tag);
    }
}

/// How a bad version fails every message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ailment {
    Refuses,
    Skips,
    Retries,
    Panics,
}

impl Work for Script {
    fn generation(&self) -> u64 {
        self.generation
    }

    fn attempts(&self) -> u32 {
        self.host.world.state().attempts
    }

    fn has(&self, _: Stage, _: &str) -> bool {
        false
    }

    fn recall(&self) -> &Recall {
        &self.recall
    }

    fn failing_component(&self, _: &Reason) -> Option<FailingComponent> {
        None
    }

    async fn results(&self, attempt: &mut Attempt<'_>) -> Result<Vec<PendingOutput>, Disposition> {
        let host = &self.host;
        let message = &attempt.message;
        let (id, tag): (usize, u64) = (message.id.parse().unwrap(), message.key.parse().unwrap());
        let kind = {
            let mut state = host.world.state();
            let is_in_quarantine = state
                .unacked
                .get(&tag)
                .is_some_and(|it| it.queue == Queue::QuarantineQueue);
            state.begin(host.number, tag, id, message.attempt, is_in_quarantine);
            state.kinds[id]
        };
        let working = Working { host, tag };
        host.step(20).await;
        if kind == Kind::Poison {
            *host.world.state().n_crashes_by.entry(id).or_default() += 1;
            host.world.kill(host.number);
        }
        host.live().await;
        drop(working);
        let plugin = PluginIdentity {
            name: "script".to_owned(),
            digest: String::new(),
        };
        let reason = |class, text: &str| Reason {
            stage: Stage::Preprocess,
            class,
            text: text.to_owned(),
            plugin: Some(Arc::new(plugin)),
        };
        match self.ailment {
            None => {}
            Some(Ailment::Refuses) => return Err(Disposition::Reject(reason(ReasonClass::Refused, "ails"))),
            Some(Ailment::Retries) => return Err(Disposition::Retry(reason(ReasonClass::Retried, "ails"))),
            Some(Ailment::Panics) => std::panic::resume_unwind(Box::new("the version panics")),
            Some(Ailment::Skips) => {
                attempt.notes.skipped = true;
                return Err(Disposition::Ack);
            }
        }
        let n = match kind {
            Kind::Good(n) => n,
            Kind::Skip => {
                attempt.notes.skipped = true;
                return Err(Disposition::Ack);
            }
            Kind::Reject => return Err(Disposition::Reject(reason(ReasonClass::Refused, "no"))),
            // Without the hook, which would print a thousand backtraces.
            Kind::Panics => std::panic::resume_unwind(Box::new("the script panics")),
            Kind::Retry(more) if message.attempt > more => 1,
            Kind::Retry(_) if message.attempt < self.attempts() => {
                return Err(Disposition::Retry(reason(ReasonClass::Retried, "later")));
            }
            Kind::Retry(_) => return Err(Disposition::Reject(reason(ReasonClass::AttemptsSpent, "spent"))),
            Kind::Poison => unreachable!("the host is dead"),
        };
        let output = |index| -> PendingOutput {
            Box::new(Output {
                host: Arc::clone(host),
                tag,
                id,
                index,
            })
        };
        Ok((0..n).map(output).collect())
    }

    /// The class travels as the id.
    fn dead_letter(&self, _attempt: &Attempt<'_>, reason: &Reason) -> Envelope {
        Envelope {
            message_id: reason.class.as_str().to_owned(),
            ..Envelope::default()
        }
    }
}
