//! A delivery that is owed, and how it is settled: by copies, as at a broker. A host that is dead goes no further.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::fakes::Host;
use super::output::Lost;
use super::world::{Kind, Queue, Queued, Returned, Unacked};
use crate::disposition::ReasonClass;
use crate::message::Message;
use crate::transport::redelivery_grace::RedeliveryGrace;
use crate::transport::settle::{Delivered, Purpose, settle};
use crate::transport::{AckHandle, Capabilities, CommitTurn, Settled, Settlement};

/// A delivery that is owed.
#[derive(Debug)]
pub(super) struct FakeAck {
    pub(super) host: Arc<Host>,
    pub(super) tag: u64,
    pub(super) is_in_quarantine: bool,
    pub(super) is_settled: bool,
    pub(super) grace: Arc<RedeliveryGrace>,
    pub(super) turn: Option<CommitTurn>,
}

/// A copy on its way.
#[derive(Debug)]
pub(super) enum Copy {
    /// Into a queue.
    To(Queue, Queued),
    /// Among the dead letters.
    Dead(usize, ReasonClass),
}

impl std::fmt::Display for Copy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl FakeAck {
    /// Settles once: gives what is let go of, or `None` where the broker does not know it any more.
    async fn let_go(&mut self) -> Option<Unacked> {
        self.host.step(2).await;
        self.is_settled = true;
        let mut state = self.host.world.state();
        let is_current = state
            .unacked
            .get(&self.tag)
            .is_some_and(|it| it.session == state.session);
        is_current.then(|| state.unacked.remove(&self.tag)).flatten()
    }

    /// Leaves it unsettled: its source hands it over again, and everything behind it.
    async fn leave(&mut self) -> Settled {
        self.host.step(2).await;
        self.is_settled = true;
        let mut state = self.host.world.state();
        let (session, tag) = (state.session, self.tag);
        let Some(own) = state.unacked.get(&tag).filter(|it| it.session == session).cloned() else {
            return Settled::Lost("its channel is gone".to_owned());
        };
        let is_behind = state.before(tag, &own).any(|it| it.is_left);
        let has_time = !self.host.hold.is_cut() && !state.refuses_copies_for_long();
        let id = own.queued.id;
        let can_copy = state.takes_copies_by_now();
        state.demand(is_behind || !has_time || own.queue == Queue::Main, || {
            format!("message {id} stays apart, though its host has time to put it back")
        });
        state.demand(is_behind || !can_copy, || {
            format!("message {id} is left unsettled, though a copy could go back")
        });
        state.n_left += 1;
        if let Some(own) = state.unacked.get_mut(&tag) {
            own.is_left = true;
        }
        drop(state);
        self.host.world.changed.notify_waiters();
        Settled::Returned
    }
}

impl Drop for FakeAck {
    fn drop(&mut self) {
        let mut state = self.host.world.state();
        let is_owed = !self.is_settled && state.alive.contains(&self.host.number) && !std::thread::panicking();
        let tag = self.tag;
        state.demand(!is_owed, || format!("delivery {tag} was dropped unsettled"));
    }
}

impl AckHandle for FakeAck {
    fn is_void(&self) -> bool {
        Delivered::is_void(self)
    }

    fn settle<'a>(self: Box<Self>, settlement: Settlement<'a>) -> BoxFuture<'a, Settled> {
        settle(*self, settlement).boxed()
    }
}

impl Delivered for FakeAck {
    type Copy = Copy;
    type Error = Lost;

    fn capabilities(&self) -> &'static Capabilities {
        self.host.world.state().source.capabilities
    }

    fn turn(&mut self) -> Option<CommitTurn> {
        self.turn.take()
    }

    fn is_in_quarantine(&self) -> bool {
        self.is_in_quarantine
    }

    fn is_void(&self) -> bool {
        let mut state = self.host.world.state();
        let session = state.session;
        // A host does not know at once.
        state.unacked.get(&self.tag).is_none_or(|it| it.session != session) && state.random.chance(50)
    }

    fn copy(&self, message: &Message, purpose: Purpose) -> Option<Copy> {
        let id: usize = message.id.parse().unwrap();
        let mut state = self.host.world.state();
        let was_in_quarantine = state
            .unacked
            .get(&self.tag)
            .is_some_and(|it| it.queue == Queue::QuarantineQueue);
        let is_poison = state.kinds[id] == Kind::Poison;
        let has_grace = matches!(purpose, Purpose::PutBack | Purpose::Retry { .. });
        state.demand(!(was_in_quarantine && is_poison && has_grace), || {
            format!("message {id} leaves the quarantine though no host outlived it")
        });
        // What the broker took back meanwhile can still be copied: the host does not know.
        let own = state.unacked.get(&self.tag).map_or(1, |it| it.queued.attempt);
        let queued = |attempt, crash_count| Queued {
            id,
            attempt,
            crash_count,
            redelivered: false,
            returned: None,
        };
        Some(match purpose {
            Purpose::Retry { attempt } => Copy::To(Queue::Main, queued(attempt, 0)),
            Purpose::PutBack => Copy::To(Queue::Main, queued(own, 0)),
            Purpose::Quarantine { crash_count } => Copy::To(Queue::QuarantineQueue, queued(own, crash_count)),
            Purpose::DeadLetter(envelope) => {
                let classes = [ReasonClass::Refused, ReasonClass::HostFault, ReasonClass::AttemptsSpent];
                let class = classes.into_iter().find(|class| class.as_str() == envelope.message_id);
                Copy::Dead(id, class.unwrap_or(ReasonClass::Malformed))
            }
        })
    }

    async fn publish(&self, copy: &Copy) -> Result<(), Lost> {
        self.host.step(3).await;
        {
            let mut state = self.host.world.state();
            if !state.takes_copies {
                return Err(Lost);
            }
            match copy {
                Copy::To(queue, queued) => {
                    *state.n_extra.entry(queued.id).or_default() += 1;
                    state.queue(*queue).push_back(queued.clone());
                }
                Copy::Dead(id, class) => state.dead.entry(*id).or_default().push(*class),
            }
        }
        self.host.world.changed.notify_waiters();
        self.host.step(2).await;
        let mut state = self.host.world.state();
        if state.random.chance(3) {
            return Err(Lost);
        }
        if let Some(unacked) = state.unacked.get_mut(&self.tag) {
            match copy {
                Copy::To(..) => unacked.is_moved = true,
                Copy::Dead(..) => unacked.is_dead = true,
            }
        }
        Ok(())
    }

    async fn ack(mut self) -> Settled {
        let Some(unacked) = self.let_go().await else {
            return Settled::Lost("its channel is gone".to_owned());
        };
        let mut state = self.host.world.state();
        let id = unacked.queued.id;
        let n_before = state.before(self.tag, &unacked).count();
        let is_in_order = state.source.is_in_order;
        state.demand(!is_in_order || n_before == 0, || {
            format!("message {id} is let go of, and {n_before} before it with it")
        });
        let is_done = match state.kinds[id] {
            Kind::Good(n) => unacked.n_confirmed == n,
            Kind::Retry(_) => unacked.n_confirmed == 1,
            Kind::Skip => true,
            Kind::Reject | Kind::Panics | Kind::Poison => false,
        };
        match unacked {
            Unacked { is_moved: true, .. } => *state.n_extra.entry(id).or_default() -= 1,
            Unacked { is_dead: true, .. } => {}
            _ => drop(state.done.insert(id)),
        }
        state.demand(is_done || unacked.is_moved || unacked.is_dead, || {
            format!("message {id} was acknowledged before what it caused was confirmed: {unacked:?}")
        });
        drop(state);
        self.host.world.changed.notify_waiters();
        Settled::Done
    }

    async fn nack(mut self) -> Settled {
        if self.is_in_quarantine {
            self.grace.begin();
            self.host.world.state().n_graces += 1;
        }
        if !Delivered::capabilities(&self).gives_back {
            return self.leave().await;
        }
        let Some(unacked) = self.let_go().await else {
            return Settled::Lost("its channel is gone".to_owned());
        };
        let mut state = self.host.world.state();
        let id = unacked.queued.id;
        let takes_copies = state.takes_copies_by_now();
        let has_time = !self.host.hold.is_cut() && !state.refuses_copies_for_long();
        state.demand(unacked.queue == Queue::Main || !has_time, || {
            format!("message {id} stays apart, though its host has time to put it back")
        });
        state.demand(!takes_copies, || {
            format!("message {id} will be delivered again, though a copy could go back")
        });
        state.put_back(unacked, Some(Returned::ByDrain));
        drop(state);
        self.host.world.changed.notify_waiters();
        Settled::Returned
    }
}
