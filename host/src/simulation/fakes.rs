//! A source and its quarantine, which do what the world says. A host that is dead goes no further: whatever it calls never
//! returns.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::ack::FakeAck;
use super::world::{Lane, Queue, Returned, Unacked, World};
use crate::isolation::ExclusiveGuard;
use crate::message::Message;
use crate::transport::redelivery_grace::RedeliveryGrace;
use crate::transport::{
    self, CommitOrder, Delivery, Hold, Quarantine, QuarantineQueue, Redelivery, SourceError, SourceHealth, Until,
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
    until: Until,
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
    order: CommitOrder,
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
        let number = self.number;
        match consuming.session.replace(state.session) {
            None => consuming.began_in = state.session,
            Some(before) if before != state.session => consuming.begin_again(),
            Some(_) => {}
        }
        match state.rewind(number, queue) {
            Lane::Open => {}
            Lane::Ending => return None,
            Lane::Rewound => consuming.begin_again(),
        }
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
        let is_ambiguous = state.source.capabilities.redelivery == Redelivery::Ambiguous;
        if unknown && is_ambiguous && queue == Queue::QuarantineQueue && matches!(quarantine, Quarantine::Due { .. }) {
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
            is_left: false,
        };
        state.unacked.insert(tag, unacked);
        let ack_handle = FakeAck {
            host: Arc::clone(self),
            tag,
            is_in_quarantine: matches!(quarantine, Quarantine::Inside { .. }),
            is_settled: false,
            grace: Arc::clone(&consuming.grace),
            turn: state.source.is_in_order.then(|| consuming.order.turn()),
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
    pub(super) fn new(host: Arc<Host>, until: Until) -> Self {
        Self {
            consuming: Consuming::of(&host),
            host,
            until,
            ahead: VecDeque::new(),
        }
    }

    async fn next_delivery(&mut self) -> Option<Delivery> {
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
                return Some(delivery);
            }
            if self.until == Until::Empty && world.state().is_at_rest() {
                return None;
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
            && state.source.capabilities.redelivery == Redelivery::Ambiguous
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
        self.next_delivery().map(Ok).boxed()
    }

    fn stop_consuming(&mut self) -> BoxFuture<'_, Vec<Delivery>> {
        self.cancel().boxed()
    }

    fn last(&mut self) -> BoxFuture<'_, Option<Delivery>> {
        self.ask_once_more().boxed()
    }

    fn quarantine(&self) -> Option<Box<dyn QuarantineQueue>> {
        let redelivery = self.host.world.state().source.capabilities.redelivery;
        (redelivery != Redelivery::Untold).then(|| -> Box<dyn QuarantineQueue> {
            Box::new(FakeQuarantine {
                host: Arc::clone(&self.host),
                consuming: Consuming::of(&self.host),
            })
        })
    }

    fn health(&self) -> SourceHealth {
        SourceHealth::open()
    }
}

impl FakeQuarantine {
    async fn wait(&mut self) {
        loop {
            let changed = self.host.world.changed.notified();
            {
                let mut state = self.host.world.state();
                let is_alive = state.alive.contains(&self.host.number);
                if is_alive && state.rewind(self.host.number, Queue::QuarantineQueue) == Lane::Rewound {
                    self.consuming.begin_again();
                }
                if is_alive && !state.quarantine_queue.is_empty() {
                    return;
                }
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
    fn of(host: &Host) -> Self {
        let grace = RedeliveryGrace::new(host.world.state().source.capabilities);
        Self {
            session: None,
            began_in: 0,
            grace: Arc::new(grace),
            order: CommitOrder::default(),
        }
    }

    /// It lost its channel, or went back to what it had left, and lives.
    fn begin_again(&mut self) {
        self.grace.begin();
        self.order = CommitOrder::default();
    }
}
