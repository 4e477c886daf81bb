//! The seams: a source, its acknowledgements and a destination, all of which act as the world says. A dead host goes no
//! further: whatever it calls never returns.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::world::{Kind, Queue, Queued, Returned, Unacked, World};
use crate::disposition::ReasonClass;
use crate::isolation::ExclusiveGuard;
use crate::message::Message;
use crate::transport::redelivery_grace::RedeliveryGrace;
use crate::transport::settle::{Delivered, Purpose, settle};
use crate::transport::{
    self, AckHandle, DeliverError, Delivery, Hold, Quarantine, QuarantineQueue, Settled, Settlement, SourceError,
    SourceHealth,
};

/// One life of a host.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) number: usize,
    pub(super) world: Arc<World>,
    pub(super) hold: Hold,
    pub(super) prefetch: usize,
}

/// The broker's main queue.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) host: Arc<Host>,
    consuming: Consuming,
    // Prefetched, and not handed to the pipeline yet.
    ahead: VecDeque<Delivery>,
}

/// The broker's quarantine queue.
#[derive(Debug)]
struct FakeQuarantine {
    host: Arc<Host>,
    consuming: Consuming,
}

/// A consumer or a getter, with its memory of its channel.
#[derive(Debug)]
struct Consuming {
    session: Option<u64>,
    began_in: u64,
    grace: Arc<RedeliveryGrace>,
}

/// A delivery that is not acknowledged yet.
#[derive(Debug)]
struct FakeAck {
    host: Arc<Host>,
    tag: u64,
    is_in_quarantine: bool,
    is_settled: bool,
    grace: Arc<RedeliveryGrace>,
}

/// A result.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) host: Arc<Host>,
    pub(super) tag: u64,
    pub(super) id: usize,
    pub(super) index: usize,
}

impl Host {
    /// A moment in which others may act. A dead host does not return from it.
    pub(super) async fn step(&self, at_most_ms: u64) {
        let pause = self.world.state().random.below(at_most_ms + 1);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        self.live().await;
    }

    pub(super) async fn live(&self) {
        if !self.world.state().alive.contains(&self.number) {
            std::future::pending::<()>().await;
        }
    }

    fn take(self: &Arc<Self>, queue: Queue, consuming: &mut Consuming) -> Option<Delivery> {
        let mut state = self.world.state();
        if !state.alive.contains(&self.number) {
            return None;
        }
        match consuming.session.replace(state.session) {
            None => consuming.began_in = state.session,
            Some(before) if before != state.session => consuming.grace.begin(),
            Some(_) => {}
        }
        let number = self.number;
        let n_in_flight = state
            .unacked
            .values()
            .filter(|it| it.host == number && it.queue == queue)
            .count();
        if n_in_flight >= self.prefetch {
            return None;
        }
        let mut queued = state.queue(queue).pop_front()?;
        state.n_deliveries += 1;
        let (tag, session) = (state.n_deliveries, state.session);
        let quarantine = match queue {
            Queue::Main => consuming.grace.of_ordinary(queued.redelivered),
            Queue::QuarantineQueue => consuming.grace.of_quarantined(queued.redelivered, queued.crash_count),
        };
        // A host that was there when the broker restarted knows better.
        let unknown = match queued.returned.take() {
            Some(Returned::ByRestart(session)) => session <= consuming.began_in,
            Some(Returned::ByDrain) => true,
            None => false,
        };
        if unknown && queue == Queue::QuarantineQueue && matches!(quarantine, Quarantine::Due { .. }) {
            state.miscounted.insert(queued.id);
        }
        let message = Message {
            id: queued.id.to_string(),
            key: tag.to_string(),
            attempt: queued.attempt,
            redelivered: queued.redelivered,
            ..Message::default()
        };
        let unacked = Unacked {
            host: number,
            session,
            queue,
            queued,
            n_confirmed: 0,
            is_moved: false,
            is_dead: false,
        };
        state.unacked.insert(tag, unacked);
        let ack_handle = FakeAck {
            host: Arc::clone(self),
            tag,
            is_in_quarantine: matches!(quarantine, Quarantine::Inside { .. }),
            is_settled: false,
            grace: Arc::clone(&consuming.grace),
        };
        Some(Delivery {
            message,
            malformed: None,
            quarantine,
            ack: Box::new(ack_handle),
        })
    }
}

impl Source {
    pub(super) fn new(host: Arc<Host>) -> Self {
        Self {
            host,
            consuming: Consuming::new(),
            ahead: VecDeque::new(),
        }
    }

    async fn next_delivery(&mut self) -> Delivery {
        let world = Arc::clone(&self.host.world);
        loop {
            let changed = world.changed.notified();
            self.host.live().await;
            self.hand_over();
            if let Some(delivery) = self.ahead.pop_front() {
                let (host, n_held) = (self.host.number, self.host.hold.n_held());
                self.host.world.state().demand(n_held == 0, || {
                    format!(
                        "host {host} takes message {} while it holds {n_held}",
                        delivery.message.id
                    )
                });
                return delivery;
            }
            changed.await;
        }
    }

    /// Cancels; returns the messages that were handed over before the answer.
    async fn cancel(&mut self) -> Vec<Delivery> {
        self.host.step(2).await;
        self.hand_over();
        let host = Arc::clone(&self.host);
        let mut state = host.world.state();
        // A quorum queue takes back, and marks, messages that are between queue and channel at that moment.
        if state.random.chance(10)
            && let Some(mut queued) = state.main.pop_front()
        {
            (queued.redelivered, queued.returned) = (true, Some(Returned::ByDrain));
            state.main.push_front(queued);
        }
        drop(state);
        self.ahead.drain(..).collect()
    }

    /// Asks once more, which may bring a message.
    async fn ask_once_more(&mut self) -> Option<Delivery> {
        self.host.step(2).await;
        self.host.take(Queue::Main, &mut self.consuming)
    }

    /// The broker hands over some of its messages.
    fn hand_over(&mut self) {
        while let Some(delivery) = self.host.take(Queue::Main, &mut self.consuming) {
            self.ahead.push_back(delivery);
            if self.host.world.state().random.chance(30) {
                break;
            }
        }
    }
}

impl transport::Source for Source {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Delivery>, SourceError>> {
        self.next_delivery().map(|delivery| Ok(Some(delivery))).boxed()
    }

    fn stop_consuming(&mut self) -> BoxFuture<'_, Vec<Delivery>> {
        self.cancel().boxed()
    }

    fn last(&mut self) -> BoxFuture<'_, Option<Delivery>> {
        self.ask_once_more().boxed()
    }

    fn quarantine(&self) -> Option<Box<dyn QuarantineQueue>> {
        Some(Box::new(FakeQuarantine {
            host: Arc::clone(&self.host),
            consuming: Consuming::new(),
        }))
    }

    fn health(&self) -> SourceHealth {
        SourceHealth::open()
    }
}

impl FakeQuarantine {
    async fn wait(&mut self) {
        loop {
            let changed = self.host.world.changed.notified();
            let is_alive = self.host.world.state().alive.contains(&self.host.number);
            if is_alive && !self.host.world.state().quarantine_queue.is_empty() {
                return;
            }
            changed.await;
        }
    }
}

impl QuarantineQueue for FakeQuarantine {
    fn waiting(&mut self) -> BoxFuture<'_, ()> {
        self.wait().boxed()
    }

    fn take<'a>(&'a mut self, _: &'a ExclusiveGuard) -> BoxFuture<'a, Option<Delivery>> {
        ready(self.host.take(Queue::QuarantineQueue, &mut self.consuming)).boxed()
    }
}

impl Consuming {
    fn new() -> Self {
        Self {
            session: None,
            began_in: 0,
            grace: Arc::default(),
        }
    }
}

/// A copy that is being published.
#[derive(Debug)]
enum Copy {
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
    /// Settles once: returns the delivery, or `None` where the broker does not know it any more.
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
        // The host does not know what the broker took back meanwhile, and may copy it.
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
            format!("message {id} was acknowledged before its results were confirmed: {unacked:?}")
        });
        drop(state);
        self.host.world.changed.notify_waiters();
        Settled::Done
    }

    async fn nack(mut self) -> Settled {
        if self.is_in_quarantine {
            self.grace.begin();
        }
        let Some(unacked) = self.let_go().await else {
            return Settled::Lost("its channel is gone".to_owned());
        };
        let mut state = self.host.world.state();
        let id = unacked.queued.id;
        let (is_cut, takes_copies) = (self.host.hold.is_cut(), state.takes_copies);
        state.demand(unacked.queue == Queue::Main || is_cut, || {
            format!("message {id} stays in quarantine, though its host has time to put it back")
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

/// It is not known to have arrived.
#[derive(Debug, thiserror::Error)]
#[error("the confirm was lost")]
struct Lost;

impl transport::Output for Output {
    fn send(&self) -> BoxFuture<'_, Result<(), DeliverError>> {
        self.try_send().map(|sent| sent.map_err(DeliverError::new)).boxed()
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Output {
    async fn try_send(&self) -> Result<(), Lost> {
        self.host.step(3).await;
        let takes = {
            let mut state = self.host.world.state();
            let takes = state.takes_results && !state.random.chance(3);
            if takes {
                *state.results.entry(self.id).or_default().entry(self.index).or_default() += 1;
            }
            takes
        };
        self.host.step(3).await;
        let mut state = self.host.world.state();
        if !takes || state.random.chance(3) {
            return Err(Lost);
        }
        if let Some(unacked) = state.unacked.get_mut(&self.tag) {
            unacked.n_confirmed += 1;
        }
        Ok(())
    }
}
