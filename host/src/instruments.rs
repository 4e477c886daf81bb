//! The instruments of a running host: the parts of each pipeline that outlive its messages, and the view that they make
//! together. Knows no page, and moves no message.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::admin::{HostPhase, PipelineState, PipelineView, View};
use crate::breaker::{Breaker, Opened};
use crate::config::{Name, PipelineConfig};
use crate::counters::PipelineCounters;
use crate::drain_forecast::DrainForecast;
use crate::metric::Metric;
use crate::streams;
use crate::transport::{
    Attention, ConnectionName, ConnectionStatus, ConnectionWatch, Hold, Sample, Samples, SourceHealth, Waiting,
};
use crate::watchdog::{Found, Pulse, Stalled};

/// Sources of one pipeline that may still finish messages: each ends within a drain, and a file is not changed more often.
const FORMER_MAX: usize = 8;

/// The instruments of a host.
#[derive(Debug)]
pub struct Instruments {
    // std Mutexes: never held over an await.
    pipelines: Mutex<BTreeMap<Name, Instrument>>,
    connections: Mutex<BTreeMap<ConnectionName, Arc<dyn ConnectionWatch>>>,
    is_running: AtomicBool,
    drain: CancellationToken,
    // The current step of the start, and since when.
    doing: Mutex<Option<(String, Instant)>>,
    // The longest that a pipeline may stand still; nothing before the first file.
    bound: Mutex<Option<Duration>>,
}

/// The instruments of a pipeline.
#[derive(Debug, Clone)]
pub struct Instrument {
    pub state: PipelineState,
    /// The counts of its messages; they outlive the pipeline, and must not go back when it returns.
    pub counters: Arc<PipelineCounters>,
    /// Its possible waits; `None` until it runs.
    pub waits: Option<Waits>,
    connections: BTreeSet<ConnectionName>,
    receives_by: Option<ConnectionName>,
    is_in_file: bool,
    // How often the breakers opened that it had when it ran before.
    n_opened_before: u64,
    // Of the sources that it had before, the oldest first: one that was replaced finishes its messages, and counts them.
    former: VecDeque<Waits>,
    // What still older ones counted.
    samples_before: Vec<Sample>,
    pulse: Pulse,
}

/// The things that a running pipeline may wait for.
#[derive(Clone)]
pub struct Waits {
    /// For a destination.
    pub hold: Hold,
    /// For a plugin or the model.
    pub breaker: Breaker,
    /// For its source, while that is not open.
    pub source: SourceHealth,
    /// Not now, but at a stop.
    pub drain_forecast: Arc<DrainForecast>,
    /// The files that its source cannot receive.
    pub attention: Attention,
    /// What its source counts.
    pub samples: Samples,
}

impl std::fmt::Debug for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waits")
            .field("hold", &self.hold)
            .finish_non_exhaustive()
    }
}

impl Instruments {
    /// For a host without pipelines.
    pub fn new(drain: &CancellationToken) -> Self {
        Self {
            pipelines: Mutex::default(),
            connections: Mutex::default(),
            is_running: AtomicBool::new(false),
            drain: drain.clone(),
            doing: Mutex::default(),
            bound: Mutex::default(),
        }
    }

    /// Sets the host's work before it runs, for health.
    pub fn doing(&self, what: impl Into<String>) {
        *lock(&self.doing) = Some((what.into(), Instant::now()));
    }

    /// How long a pipeline may stand still before it counts as stalled.
    pub fn bound(&self, bound: Duration) {
        *lock(&self.bound) = Some(bound);
    }

    /// Looks whether every pipeline moves; `shortened` takes the place of the bound.
    pub fn look(&self, now: Instant, shortened: Option<Duration>) -> Vec<(Name, Found, Option<Stalled>)> {
        let Some(bound) = shortened.or(*lock(&self.bound)) else {
            return Vec::new();
        };
        let connections = self.statuses();
        let is_draining = self.drain.is_cancelled();
        let mut all = Vec::new();
        for (name, it) in self.lock().iter_mut() {
            let is_explained =
                is_draining || it.state != PipelineState::Running || it.waits_for_something(&connections);
            let found = it.pulse.look(now, it.counters.motion(), is_explained, bound);
            all.push((name.clone(), found, it.pulse.stalled().cloned()));
        }
        all
    }

    /// Ends the connections that a pipeline needs, which are made again; whether there are any.
    pub fn cut(&self, pipeline: &Name) -> bool {
        let needed = self.get(pipeline).map(|it| it.connections).unwrap_or_default();
        let connections = lock(&self.connections);
        let cut = connections.iter().filter(|(name, _)| needed.contains(*name));
        cut.map(|(_, connection)| connection.cut()).count() > 0
    }

    /// Watches a connection.
    pub fn connected(&self, name: ConnectionName, watch: Arc<dyn ConnectionWatch>) {
        lock(&self.connections).insert(name, watch);
    }

    fn statuses(&self) -> BTreeMap<ConnectionName, ConnectionStatus> {
        let connections = lock(&self.connections);
        let statuses = connections.iter().map(|(name, it)| (name.clone(), it.status()));
        statuses.collect()
    }

    /// Shows the pipelines of a file, and no others.
    pub fn show(&self, file: &BTreeMap<Name, PipelineConfig>) {
        let mut pipelines = self.lock();
        for (name, instrument) in pipelines.iter_mut() {
            instrument.is_in_file = file.contains_key(name);
        }
        for (name, pipeline) in file {
            let instrument = pipelines.entry(name.clone()).or_insert_with(|| Instrument {
                state: PipelineState::Starting,
                counters: Arc::default(),
                waits: None,
                connections: BTreeSet::new(),
                receives_by: None,
                is_in_file: true,
                n_opened_before: 0,
                former: VecDeque::new(),
                samples_before: Vec::new(),
                pulse: Pulse::default(),
            });
            instrument.connections = pipeline.connections();
            instrument.receives_by = pipeline.source.connection().cloned();
        }
    }

    /// The counts of one pipeline.
    pub fn get(&self, name: &Name) -> Option<Instrument> {
        self.lock().get(name).cloned()
    }

    /// A pipeline begins to run.
    pub fn begin(&self, name: &Name, waits: Waits) {
        if let Some(instrument) = self.lock().get_mut(name) {
            instrument.state = PipelineState::Running;
            let before = instrument.waits.replace(waits);
            let Some(before) = before else { return };
            instrument.n_opened_before += before.breaker.n_opened();
            instrument.former.push_back(before);
            if instrument.former.len() > FORMER_MAX
                && let Some(oldest) = instrument.former.pop_front()
            {
                add(&mut instrument.samples_before, counted(&oldest.samples));
            }
        }
    }

    /// A pipeline does something else.
    pub fn set(&self, name: &Name, state: PipelineState) {
        if let Some(instrument) = self.lock().get_mut(name) {
            instrument.state = state;
        }
    }

    /// The models are warm and the pipelines take messages.
    pub fn running(&self) {
        self.is_running.store(true, Ordering::Relaxed);
    }

    /// The counts of the messages, by pipeline.
    pub fn all_counters(&self) -> Vec<Arc<PipelineCounters>> {
        self.lock().values().map(|it| Arc::clone(&it.counters)).collect()
    }

    /// The breaker that is open for the longest, of those that are.
    pub fn opened(&self) -> Option<(Name, Opened)> {
        let pipelines = self.lock();
        let opened = pipelines
            .iter()
            .filter_map(|(name, it)| Some((name.clone(), it.waits.as_ref()?.breaker.opened()?)));
        opened.max_by_key(|(_, opened)| opened.lasts)
    }

    /// Whether every message that was received is in flight or was settled; a mismatch is logged.
    pub fn add_up(&self) -> bool {
        let mut all = true;
        for (name, instrument) in self.lock().iter() {
            let counts = instrument.counters.counts();
            if !counts.add_up() {
                all = false;
                let (n_received, n_settled, n_in_flight) = (counts.n_received, counts.n_settled(), counts.n_in_flight);
                error!(
                    pipeline = %name, n_received, n_settled, n_in_flight,
                    "the counts of messages do not add up: a bug of Millrace, please report it with this log"
                );
            }
        }
        all
    }

    /// The view of the pipelines at this moment, without plugins and models.
    pub fn view(&self) -> View {
        let phase = match (self.drain.is_cancelled(), self.is_running.load(Ordering::Relaxed)) {
            (true, _) => HostPhase::Draining,
            (false, true) => HostPhase::Running,
            (false, false) => HostPhase::Starting,
        };
        let pipelines = self.lock();
        let shown = pipelines.iter().filter(|(_, it)| it.is_in_file);
        let pipelines = shown.map(|(name, it)| {
            let waits = it.waits.as_ref();
            PipelineView {
                name: name.clone(),
                state: it.state,
                connections: it.connections.clone(),
                receives_by: it.receives_by.clone(),
                is_open: waits.is_some_and(|waits| waits.source.is_open()),
                holding: waits.and_then(|waits| waits.hold.holding()),
                breaker: waits.and_then(|waits| waits.breaker.opened()),
                stuck: None,
                attention: waits.and_then(|waits| (waits.attention)().or_else(|| waits.drain_forecast.too_long())),
                n_opened: it.n_opened_before + waits.map_or(0, |waits| waits.breaker.n_opened()),
                counts: it.counters.counts(),
                source: waits.and_then(|waits| waits.source.waiting()),
                samples: it.samples(),
                stalled: it.pulse.stalled().cloned(),
            }
        });
        let doing = lock(&self.doing).as_ref().map(|(what, since)| Waiting {
            what: what.clone(),
            lasts: Some(since.elapsed()),
        });
        View {
            phase,
            doing,
            connections: self.statuses(),
            pipelines: pipelines.collect(),
            generation: None,
            changes: Vec::new(),
            models: BTreeMap::new(),
            plugins: Vec::new(),
            n_log_lines_lost: streams::n_lost(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Instrument>> {
        lock(&self.pipelines)
    }
}

impl Instrument {
    /// What its sources count: a counter goes on where the one before ended.
    fn samples(&self) -> Vec<Sample> {
        let mut samples = self.samples_before.clone();
        for former in &self.former {
            add(&mut samples, counted(&former.samples));
        }
        if let Some(waits) = &self.waits {
            add(&mut samples, (waits.samples)());
        }
        samples
    }

    /// Whether something that has a name keeps it from moving.
    fn waits_for_something(&self, connections: &BTreeMap<ConnectionName, ConnectionStatus>) -> bool {
        let waits = self.waits.as_ref();
        let mut needed = self.connections.iter().filter_map(|name| connections.get(name));
        waits.is_none_or(|waits| waits.hold.n_held() > 0 || waits.breaker.opened().is_some())
            || needed.any(|connection| connection.explains_a_stall)
    }
}

/// What only grows, of what a source counts: the rest says how it is now.
fn counted(samples: &Samples) -> impl Iterator<Item = Sample> + use<> {
    let samples = samples().into_iter();
    samples.filter(|sample| sample.metric.kind == Metric::COUNTER)
}

/// Adds samples to those of the same metric and label.
fn add(samples: &mut Vec<Sample>, more: impl IntoIterator<Item = Sample>) {
    for sample in more {
        let is_it = |known: &&mut Sample| known.metric.name == sample.metric.name && known.label == sample.label;
        match samples.iter_mut().find(is_it) {
            Some(known) => known.value += sample.value,
            None => samples.push(sample),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
