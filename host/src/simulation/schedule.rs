//! Schedules of faults: what happens to the world and its hosts, from a seed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::fakes::{Host, Source};
use super::script::{Ailment, Script};
use super::world::{Kind, SourceKind, World};
use crate::breaker::Breaker;
use crate::config::{Name, TrialConfig};
use crate::generation::{Current, Generation, ServingStages};
use crate::isolation::IsolationLock;
use crate::pipeline::Pipeline;
use crate::quarantine_log::QuarantineLog;
use crate::quota::LineQuota;
use crate::recall::Recall;
use crate::transport::{Hold, Redelivery, SourceError, Until};
use crate::trial::{Trial, TrialEnded};
use crate::work::Work as _;

/// How long everything may take to come to rest after the last fault, in virtual time.
const REST_LIMIT: Duration = Duration::from_secs(3600);

/// How long a host may take to end when nothing is left, in virtual time.
const ENDING_LIMIT: Duration = Duration::from_secs(60);

/// The reserve of a drain that is cut off, for returning messages.
const RESERVE: Duration = Duration::from_secs(3);

/// Small and good enough for schedules (SplitMix64); the same on every machine.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}

/// A host that runs, or is dead.
struct Running {
    host: Arc<Host>,
    drain: CancellationToken,
    cut: CancellationToken,
    task: JoinHandle<Result<(), SourceError>>,
    current: Current<Script>,
    proven: Arc<Script>,
    trials: mpsc::UnboundedSender<TrialEnded>,
}

/// The events of a schedule, so that one in which nothing happened does not count as passed.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Seen {
    pub(super) n_kills: u32,
    pub(super) n_restarts: u32,
    pub(super) n_drains: u32,
    pub(super) n_swaps: u32,
    pub(super) n_undone: u64,
    pub(super) n_ended: u32,
    pub(super) n_in_quarantine: u64,
    pub(super) n_miscounted: usize,
    pub(super) n_deliveries: u64,
    pub(super) n_left: u64,
    pub(super) n_rewound: u32,
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, seen: Self) {
        self.n_kills += seen.n_kills;
        self.n_restarts += seen.n_restarts;
        self.n_drains += seen.n_drains;
        self.n_swaps += seen.n_swaps;
        self.n_undone += seen.n_undone;
        self.n_ended += seen.n_ended;
        self.n_in_quarantine += seen.n_in_quarantine;
        self.n_miscounted += seen.n_miscounted;
        self.n_deliveries += seen.n_deliveries;
        self.n_left += seen.n_left;
        self.n_rewound += seen.n_rewound;
    }
}

struct Schedule {
    world: Arc<World>,
    random: Random,
    hosts: Vec<Running>,
    n_started: usize,
    /// Whether hosts end by themselves when nothing is left (`--once`).
    until: Until,
    seen: Seen,
    /// Kills by the operator that no innocent message is condemned for.
    kills_left: u32,
}

impl Schedule {
    fn new(seed: u64, source: SourceKind) -> Self {
        let mut random = Random(seed);
        let attempts = random.pick(&[1, 2, 3, 5]);
        let n_messages = 1 + random.below(40);
        let kinds = (0..n_messages).map(|_| match random.below(40) {
            0..24 => Kind::Good(1),
            24..28 => Kind::Good(3),
            28 => Kind::Good(0),
            29 | 30 => Kind::Skip,
            31 | 32 => Kind::Reject,
            33 => Kind::Panics,
            34..37 => Kind::Retry(u32::try_from(random.below(6)).unwrap()),
            _ => Kind::Poison,
        });
        let mut kinds: Vec<Kind> = kinds.collect();
        if source.capabilities.redelivery == Redelivery::Untold {
            // Hosts would crash over it without end.
            kinds
                .iter_mut()
                .filter(|kind| **kind == Kind::Poison)
                .for_each(|kind| *kind = Kind::Good(1));
        }
        let is_classic = random.chance(50);
        let until = random.pick(&[Until::Stopped, Until::Stopped, Until::Empty]);
        Self {
            world: World::new(random.clone(), source, kinds, (attempts, is_classic)),
            random,
            hosts: Vec::new(),
            n_started: 0,
            until,
            seen: Seen::default(),
            // A crash in company, which poison may cause, and then a kill for each attempt but one.
            kills_left: attempts.saturating_sub(2),
        }
    }

    fn start(&mut self) {
        let number = self.n_started;
        self.n_started += 1;
        let (drain, cut) = (CancellationToken::new(), CancellationToken::new());
        let prefetch = self.random.pick(&[1, 4, 64]);
        let host = Arc::new(Host {
            number,
            world: Arc::clone(&self.world),
            hold: Hold::new("simulated", cut.clone(), RESERVE),
            prefetch,
        });
        self.world.state().alive.insert(number);
        let name = Name::new("simulated").unwrap();
        let proven = Arc::new(Script {
            host: Arc::clone(&host),
            generation: 1,
            ailment: None,
            recall: Recall::default(),
        });
        let pipelines = BTreeMap::from([(name.clone(), ServingStages::proven(Arc::clone(&proven)))]);
        let current: Current<Script> = Arc::new(ArcSwap::from_pointee(Generation { id: 1, pipelines }));
        let (trials, ended) = mpsc::unbounded_channel();
        tokio::spawn(supervise(Arc::clone(&current), Arc::clone(&proven), ended));
        let pipeline = Arc::new(Pipeline {
            name,
            host_id: format!("host-{number}").into(),
            current: Arc::clone(&current),
            hold: host.hold.clone(),
            isolation: IsolationLock::default(),
            breaker: Breaker::new("simulated", drain.clone()),
            counters: Arc::default(),
            quarantine_log: QuarantineLog::default(),
            lines: LineQuota::new(u32::MAX),
        });
        let source = Box::new(Source::new(Arc::clone(&host), self.until));
        let task = tokio::spawn(pipeline.run(source, drain.clone()));
        self.hosts.push(Running {
            host,
            drain,
            cut,
            task,
            current,
            proven,
            trials,
        });
    }

    /// Starts a new host in the place of each dead one.
    fn replace_the_dead(&mut self) {
        let n_before = self.hosts.len();
        let alive = self.world.state().alive.clone();
        self.hosts.retain(|running| alive.contains(&running.host.number));
        for _ in self.hosts.len()..n_before {
            self.start();
        }
    }

    /// Swaps to another version, which may be bad, beside the proven one.
    fn swap(&mut self) {
        self.seen.n_swaps += 1;
        let ailment = self.random.pick(&[
            None,
            Some(Ailment::Refuses),
            Some(Ailment::Skips),
            Some(Ailment::Retries),
            Some(Ailment::Panics),
        ]);
        let running = &self.hosts[0];
        let id = running.current.load().id + 1;
        let limits = TrialConfig {
            // More than there are messages: a bad version is not to pass unseen.
            messages: if ailment.is_some() { 1000 } else { 5 },
            failures: 0,
            slower: 5.0,
        };
        let name = Name::new("simulated").unwrap();
        let stages = Script {
            host: Arc::clone(&running.host),
            generation: id,
            ailment,
            recall: Recall::default(),
        };
        let trial = Trial::new(
            name.clone(),
            id,
            limits,
            Arc::clone(&running.proven),
            running.trials.clone(),
        );
        let serving = ServingStages {
            stages: Arc::new(stages),
            trial: Some(Arc::new(trial)),
        };
        let pipelines = BTreeMap::from([(name, serving)]);
        let before = running.current.swap(Arc::new(Generation { id, pipelines }));
        // A version on trial may be bad; one that passed keeps serving, unless it was rolled back.
        let is_by_hand = self.random.chance(50);
        for serving in before.pipelines.values() {
            if let Some(trial) = &serving.trial
                && (is_by_hand || trial.is_unproven())
            {
                serving.stages.recall().take_back();
            }
        }
    }

    async fn fault(&mut self) {
        match self.random.below(6) {
            0 if self.kills_left > 0 => {
                self.kills_left -= 1;
                self.seen.n_kills += 1;
                self.world.kill(self.hosts[0].host.number);
            }
            1 => {
                self.seen.n_restarts += 1;
                self.world.restart();
            }
            2 => self.world.state().takes_results ^= true,
            3 => {
                let mut state = self.world.state();
                let takes_copies = !state.takes_copies;
                state.take_copies(takes_copies);
            }
            4 => self.swap(),
            _ => {
                let running = self.hosts.remove(0);
                self.drain(running).await;
                self.start();
            }
        }
    }

    /// Drains a host as `run` does: in good order, or cut off at a deadline.
    async fn drain(&mut self, running: Running) {
        self.seen.n_drains += 1;
        let Running {
            host,
            drain,
            cut,
            mut task,
            ..
        } = running;
        drain.cancel();
        let deadline = Duration::from_millis(self.random.below(2000));
        let in_time = timeout(deadline, &mut task).await;
        cut.cancel();
        let ended = match in_time {
            Ok(ended) => Ok(ended),
            Err(_) => timeout(Duration::from_secs(10), &mut task).await,
        };
        let is_alive = self.world.state().alive.contains(&host.number);
        if is_alive {
            let mut state = self.world.state();
            state.demand(matches!(ended, Ok(Ok(Ok(())))), || {
                format!("host {} does not end: {ended:?}", host.number)
            });
            state.take_over(host.number);
            // It stops in good order, which is no crash.
            state.alive.remove(&host.number);
        }
        self.world.changed.notify_waiters();
    }

    async fn run(mut self) -> Result<Seen, String> {
        for _ in 0..1 + self.random.below(3) {
            self.start();
        }
        for _ in 0..self.random.below(8) {
            let pause = match self.random.chance(5) {
                true => Duration::from_secs(self.random.below(2000)),
                false => Duration::from_millis(self.random.below(400)),
            };
            sleep(pause).await;
            self.replace_the_dead();
            self.fault().await;
        }
        self.world.state().takes_results = true;
        self.world.state().take_copies(true);
        let began = Instant::now();
        while !self.world.state().is_at_rest() {
            if began.elapsed() > REST_LIMIT {
                return Err(format!("does not come to rest: {:#?}", self.world.state()));
            }
            self.replace_the_dead();
            sleep(Duration::from_millis(100)).await;
        }
        for mut running in std::mem::take(&mut self.hosts) {
            let is_alive = self.world.state().alive.contains(&running.host.number);
            if self.until == Until::Empty && is_alive {
                let ended = timeout(ENDING_LIMIT, &mut running.task).await;
                let has_ended = matches!(ended, Ok(Ok(Ok(()))));
                let number = running.host.number;
                let mut state = self.world.state();
                // It may have crashed by a message that another has settled since.
                let is_alive = state.alive.contains(&number);
                state.demand(has_ended || !is_alive, || {
                    format!("host {number} does not end though nothing is left: {ended:?}")
                });
                state.alive.remove(&number);
                self.seen.n_ended += 1;
                continue;
            }
            self.drain(running).await;
        }
        let mut state = self.world.state();
        state.judge(self.seen.n_restarts, self.seen.n_kills);
        self.seen.n_in_quarantine = state.n_in_quarantine;
        self.seen.n_miscounted = state.miscounted.len();
        self.seen.n_deliveries = state.n_deliveries;
        self.seen.n_undone = state.n_undone;
        (self.seen.n_left, self.seen.n_rewound) = (state.n_left, state.n_rewound);
        match state.broken.is_empty() {
            true => Ok(self.seen),
            false => Err(format!("{:#?}\n{:?}", state.broken, state.kinds)),
        }
    }
}

/// Puts the proven version back where a trial finds another worse, as the supervisor does; good ones must pass.
async fn supervise(current: Current<Script>, proven: Arc<Script>, mut trials: mpsc::UnboundedReceiver<TrialEnded>) {
    while let Some(TrialEnded {
        pipeline,
        generation,
        worse,
    }) = trials.recv().await
    {
        let before = current.load_full();
        let serving = before.pipelines.values().next().filter(|_| before.id == generation);
        let Some(serving) = serving else { continue };
        let mut state = proven.host.world.state();
        let is_bad = serving.stages.ailment.is_some();
        state.demand(is_bad == worse.is_some(), || {
            format!("a trial ended wrongly: {worse:?}")
        });
        if worse.is_some() {
            state.n_undone += 1;
            let pipelines = BTreeMap::from([(pipeline, ServingStages::proven(Arc::clone(&proven)))]);
            let id = generation + 1;
            let before = current.swap(Arc::new(Generation { id, pipelines }));
            for serving in before.pipelines.values() {
                serving.stages.recall().take_back();
            }
        }
    }
}

/// Runs the schedule of a seed.
pub(super) fn run(seed: u64, source: SourceKind) -> Result<Seen, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime
        .unwrap()
        .block_on(async { Schedule::new(seed, source).run().await })
}
