//! The world of a simulation: one broker with its queues, the hosts' actions at it, and the invariants. Knows no host.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::schedule::Random;
use crate::disposition::ReasonClass;
use crate::transport::{Capabilities, HOLD_LIMIT, Redelivery};

/// The longest pause before two more tries of a host (five seconds each, and as much jitter), with the tries themselves: one
/// of them may lose its confirm.
const TWO_TRIES: Duration = Duration::from_secs(22);

/// The kind of a message, which decides on its right outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Has this many results.
    Good(usize),
    /// A plugin skips it.
    Skip,
    /// A plugin rejects it.
    Reject,
    /// A plugin asks for this many more attempts, then it is good.
    Retry(u32),
    /// The host panics over it.
    Panics,
    /// It crashes the host.
    Poison,
}

/// One message in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Queued {
    pub(super) id: usize,
    pub(super) attempt: u32,
    pub(super) crash_count: u32,
    pub(super) redelivered: bool,
    /// Why it is redelivered, where no host crashed: a truth that hosts do not see.
    pub(super) returned: Option<Returned>,
}

/// How a delivery came back without a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Returned {
    /// The broker restarted, and this session began.
    ByRestart(u64),
    /// Its host's drain ended before it could do better.
    ByDrain,
}

/// A queue that the host receives from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Queue {
    /// Of ordinary messages.
    Main,
    /// Of quarantined messages.
    QuarantineQueue,
}

/// What a source of a world can do.
#[derive(Debug, Clone, Copy)]
pub(super) struct SourceKind {
    pub(super) capabilities: &'static Capabilities,
    /// Whether letting go of a message lets go of all that its host was handed before it.
    pub(super) is_in_order: bool,
}

/// Where a host is in what it was handed in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// It goes on.
    Open,
    /// Something was left unsettled, and something behind that is still in flight.
    Ending,
    /// What was left, and all behind it, is in its queue again.
    Rewound,
}

/// A delivery that is not settled.
#[derive(Debug, Clone)]
pub(super) struct Unacked {
    pub(super) host: usize,
    pub(super) session: u64,
    pub(super) queue: Queue,
    pub(super) queued: Queued,
    /// Results that were confirmed for this delivery.
    pub(super) n_confirmed: usize,
    /// Whether a copy into a queue was.
    pub(super) is_moved: bool,
    /// Whether a dead letter was.
    pub(super) is_dead: bool,
    /// Whether its host will not settle it.
    pub(super) is_left: bool,
}

/// Everything that is not a host. All changes are one lock long: nothing happens in between.
#[derive(Debug)]
pub(super) struct World {
    state: Mutex<State>,
    pub(super) changed: Notify,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) random: Random,
    pub(super) source: SourceKind,
    pub(super) kinds: Vec<Kind>,
    pub(super) attempts: u32,
    /// Whether the main queue is classic: returned messages keep their place, and all may be marked after a restart.
    pub(super) is_classic: bool,
    pub(super) main: VecDeque<Queued>,
    pub(super) quarantine_queue: VecDeque<Queued>,
    pub(super) unacked: BTreeMap<u64, Unacked>,
    pub(super) n_deliveries: u64,
    /// Grows when the broker restarts: deliveries from before cannot be acknowledged any more.
    pub(super) session: u64,
    pub(super) results: BTreeMap<usize, BTreeMap<usize, u64>>,
    pub(super) dead: BTreeMap<usize, Vec<ReasonClass>>,
    /// Acknowledged because they were done.
    pub(super) done: BTreeSet<usize>,
    /// Copies in the queues beyond the one that each message needs: a confirm was lost, or a host died after it.
    pub(super) n_extra: BTreeMap<usize, i64>,
    pub(super) alive: BTreeSet<usize>,
    /// The deliveries at work, and whether each runs alone.
    pub(super) working: BTreeMap<u64, (usize, bool)>,
    pub(super) highest_attempt: BTreeMap<usize, u32>,
    pub(super) n_crashes_by: BTreeMap<usize, u32>,
    /// Whether the destination, and the queues for copies, take anything.
    pub(super) takes_results: bool,
    pub(super) takes_copies: bool,
    /// Since when copies have been taken or refused.
    since: Instant,
    /// Since when they have been refused, but for moments in which a host may not have tried; nothing before the first time.
    refused_since: Option<Instant>,
    /// Quarantined messages that ran alone.
    pub(super) n_in_quarantine: u64,
    /// Quarantined messages that came back without a crash, and whose next host counted one: it could not know better.
    pub(super) miscounted: BTreeSet<usize>,
    /// Versions that were undone.
    pub(super) n_undone: u64,
    /// Messages that were left unsettled, and how often a living host went back to such.
    pub(super) n_left: u64,
    pub(super) n_rewound: u32,
    /// How often a host that gave a quarantined message back put the next redeliveries down to itself.
    pub(super) n_graces: u32,
    pub(super) broken: Vec<String>,
}

impl World {
    pub(super) fn new(
        random: Random,
        source: SourceKind,
        kinds: Vec<Kind>,
        (attempts, is_classic): (u32, bool),
    ) -> Arc<Self> {
        let queued = |id| Queued {
            id,
            attempt: 1,
            crash_count: 0,
            redelivered: false,
            returned: None,
        };
        let state = State {
            random,
            source,
            attempts,
            is_classic,
            main: (0..kinds.len()).map(queued).collect(),
            kinds,
            quarantine_queue: VecDeque::new(),
            unacked: BTreeMap::new(),
            n_deliveries: 0,
            session: 0,
            results: BTreeMap::new(),
            dead: BTreeMap::new(),
            done: BTreeSet::new(),
            n_extra: BTreeMap::new(),
            alive: BTreeSet::new(),
            working: BTreeMap::new(),
            highest_attempt: BTreeMap::new(),
            n_crashes_by: BTreeMap::new(),
            takes_results: true,
            takes_copies: true,
            since: Instant::now(),
            refused_since: None,
            n_in_quarantine: 0,
            miscounted: BTreeSet::new(),
            n_undone: 0,
            n_left: 0,
            n_rewound: 0,
            n_graces: 0,
            broken: Vec::new(),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            changed: Notify::new(),
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Ends a host at once: its messages in flight are redelivered.
    pub(super) fn kill(&self, host: usize) {
        let mut state = self.state();
        state.alive.remove(&host);
        let works = |state: &State, delivery: &u64| state.unacked.get(delivery).is_some_and(|it| it.host == host);
        let done: Vec<u64> = state.working.keys().copied().filter(|it| works(&state, it)).collect();
        state.working.retain(|delivery, _| !done.contains(delivery));
        state.requeue(|unacked| unacked.host == host, None);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Cuts every connection: every unsettled message is redelivered, and its acknowledgement is void.
    pub(super) fn restart(&self) {
        let mut state = self.state();
        state.session += 1;
        let session = state.session;
        state.requeue(|_| true, Some(Returned::ByRestart(session)));
        if state.is_classic && state.source.capabilities.redelivery == Redelivery::Ambiguous {
            state.main.iter_mut().for_each(|queued| queued.redelivered = true);
        }
        drop(state);
        self.changed.notify_waiters();
    }
}

impl State {
    pub(super) fn queue(&mut self, queue: Queue) -> &mut VecDeque<Queued> {
        match queue {
            Queue::Main => &mut self.main,
            Queue::QuarantineQueue => &mut self.quarantine_queue,
        }
    }

    /// What a host was handed before a delivery of its own, and has not settled.
    pub(super) fn before(&self, tag: u64, own: &Unacked) -> impl Iterator<Item = &Unacked> {
        let is_beside = move |it: &Unacked| (it.host, it.queue, it.session) == (own.host, own.queue, own.session);
        let before = self.unacked.range(..tag).map(|(_, it)| it);
        before.filter(move |it| is_beside(it))
    }

    /// Hands over again what a living host left unsettled, and all behind it, once none of these is in flight.
    pub(super) fn rewind(&mut self, host: usize, queue: Queue) -> Lane {
        let own = || self.unacked.values().filter(|it| (it.host, it.queue) == (host, queue));
        if !own().any(|it| it.is_left) {
            return Lane::Open;
        }
        if !own().all(|it| it.is_left) {
            return Lane::Ending;
        }
        self.n_rewound += 1;
        self.requeue(|it| (it.host, it.queue) == (host, queue), Some(Returned::ByDrain));
        Lane::Rewound
    }

    /// A host has ended in good order: what it left is another's.
    pub(super) fn take_over(&mut self, host: usize) {
        let own = || self.unacked.values().filter(|it| it.host == host);
        let (n_left, n_owed) = (own().count(), own().filter(|it| !it.is_left).count());
        self.demand(n_owed == 0, || {
            format!("host {host} ended with {n_owed} of {n_left} in flight")
        });
        self.requeue(|it| it.host == host, Some(Returned::ByDrain));
    }

    fn requeue(&mut self, is_meant: impl Fn(&Unacked) -> bool, returned: Option<Returned>) {
        let back: Vec<u64> = self
            .unacked
            .iter()
            .filter(|(_, it)| is_meant(it))
            .map(|(tag, _)| *tag)
            .collect();
        for tag in back.into_iter().rev() {
            let unacked = self.unacked.remove(&tag).unwrap();
            self.put_back(unacked, returned);
        }
    }

    pub(super) fn put_back(&mut self, unacked: Unacked, returned: Option<Returned>) {
        let Unacked { queue, mut queued, .. } = unacked;
        queued.redelivered = match self.source.capabilities.redelivery {
            Redelivery::Untold => false,
            Redelivery::Ambiguous => true,
            Redelivery::Certain => queued.redelivered || returned.is_none(),
        };
        queued.returned = returned;
        let at_head = self.is_classic || self.source.is_in_order || self.random.chance(50);
        let queue = self.queue(queue);
        match at_head {
            true => queue.push_front(queued),
            false => queue.push_back(queued),
        }
    }

    /// Takes copies from now on, or refuses them.
    pub(super) fn take_copies(&mut self, takes_copies: bool) {
        if takes_copies == self.takes_copies {
            return;
        }
        if !takes_copies && self.takes_copies_by_now() {
            self.refused_since = Some(Instant::now());
        }
        (self.takes_copies, self.since) = (takes_copies, Instant::now());
    }

    /// Whether a host can know that copies are taken: it has tried twice since they were refused.
    pub(super) fn takes_copies_by_now(&self) -> bool {
        self.takes_copies && (self.refused_since.is_none() || self.since.elapsed() >= TWO_TRIES)
    }

    /// Whether copies were refused, as far as a host can know, for as long as anything may be held.
    pub(super) fn refuses_copies_for_long(&self) -> bool {
        let is_long = |since: Instant| since.elapsed() >= HOLD_LIMIT;
        !self.takes_copies_by_now() && self.refused_since.is_some_and(is_long)
    }

    /// Whether nothing is left to do.
    pub(super) fn is_at_rest(&self) -> bool {
        self.main.is_empty() && self.quarantine_queue.is_empty() && self.unacked.is_empty()
    }

    /// Demands something of the schedule; all violations are reported together.
    pub(super) fn demand(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.broken.push(what());
        }
    }

    /// A host begins to work on a delivery: alone where it is quarantined, and otherwise beside no quarantined one.
    pub(super) fn begin(&mut self, host: usize, tag: u64, id: usize, attempt: u32, is_in_quarantine: bool) {
        let beside: Vec<(usize, bool)> = self.working.values().copied().filter(|(of, _)| *of == host).collect();
        self.demand(!is_in_quarantine || beside.is_empty(), || {
            format!("message {id} is quarantined and runs beside others")
        });
        self.demand(beside.iter().all(|(_, exclusive)| !exclusive), || {
            format!("message {id} runs beside a quarantined message")
        });
        self.working.insert(tag, (host, is_in_quarantine));
        self.n_in_quarantine += u64::from(is_in_quarantine);
        let highest = self.highest_attempt.entry(id).or_default();
        *highest = attempt.max(*highest);
        let (highest, attempts) = (*highest, self.attempts);
        self.demand(highest <= attempts, || {
            format!("message {id} runs for the {highest}th of {attempts} attempts")
        });
    }

    /// The invariants when everything is at rest.
    pub(super) fn judge(&mut self, n_restarts: u32, n_kills: u32) {
        let kinds = self.kinds.clone();
        for (id, kind) in kinds.into_iter().enumerate() {
            let (results, dead) = (
                self.results.get(&id).cloned().unwrap_or_default(),
                self.dead.get(&id).cloned(),
            );
            let (results, dead) = (results.len(), dead.unwrap_or_default());
            let only = |class| !dead.is_empty() && dead.iter().all(|found| *found == class) && results == 0;
            let attempts = self.attempts;
            let fine = match kind {
                Kind::Good(n) => results == n && dead.is_empty() && self.done.contains(&id),
                Kind::Skip => results == 0 && dead.is_empty() && self.done.contains(&id),
                Kind::Reject => only(ReasonClass::Refused),
                Kind::Panics => only(ReasonClass::HostFault),
                Kind::Retry(more) if more < attempts => {
                    let spent = dead.iter().all(|found| *found == ReasonClass::AttemptsSpent);
                    // A crash in company, and kills that may all have hit it, count beside the attempts it asked for.
                    let may_be_spent = n_kills > 0 && more + 1 + 1 + n_kills > attempts;
                    match may_be_spent && !dead.is_empty() {
                        true => spent && results <= 1,
                        false => results == 1 && dead.is_empty(),
                    }
                }
                // Crashes in its company may have cost it attempts.
                Kind::Retry(_) | Kind::Poison => only(ReasonClass::AttemptsSpent),
            };
            let is_excused = self.miscounted.contains(&id) && dead.contains(&ReasonClass::AttemptsSpent);
            self.demand(fine || is_excused, || {
                format!("message {id}, {kind:?}: {results} results, dead letters {dead:?}")
            });
            let crash_count = self.n_crashes_by.get(&id).copied().unwrap_or(0);
            // Each extra copy is a poison of its own. For a minute after a restart each of three hosts puts the
            // redelivery of one down to the broker, and a host that went back to what it left puts one down to itself.
            let copies = 1 + u32::try_from(self.n_extra.get(&id).copied().unwrap_or(0)).unwrap_or(0);
            let forgiven = match self.source.capabilities.redelivery {
                Redelivery::Ambiguous => 3 * n_restarts + self.n_rewound + self.n_graces,
                // It can die of what was taken from it by a restart, and that is not told.
                Redelivery::Untold | Redelivery::Certain => n_restarts,
            };
            let allowed = copies * (attempts.max(2) + forgiven);
            self.demand(crash_count <= allowed, || {
                format!("{crash_count} hosts crashed by message {id}, of which there were {copies} copies")
            });
        }
    }
}
