//! Changes what runs: the one task that owns the file, the parts that serve and the pipelines. The start is its first
//! change. Knows no message, and nothing of how parts are loaded.

mod ask;
mod back;
mod error;
mod held;
mod pipelines;
mod publish;
mod status;
mod undone;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use ask::ChangeRequest;
use ask::ReloadScope;
pub use error::ChangeError;
pub use held::undone_before;
use pipelines::Pipelines;
use publish::ReplacedBecause;
pub use publish::destinations;
pub use status::StatusView;
use status::{Roster, roster};
use undone::UndoneVersions;

use crate::config::{Config, Name, PipelineConfig, Rendering};
use crate::control::{ChangeOutcome, ChangeRecord, History};
use crate::error_chain::ErrorChain;
use crate::generation::{Current, Generation};
use crate::instruments::Instruments;
use crate::reload::{self, HeldBack, LoadedConfig, Parts, PluginPart, changes};
use crate::sandbox::Sandbox;
use crate::transport::{Connections, REGISTRY, Source, Until, registry};
use crate::trial::TrialEnded;
use crate::watchdog;

/// The origin of changes that the watch noticed.
pub const WATCH: &str = "file";

/// The dependencies of the supervisor, given once.
#[derive(Debug)]
pub struct SupervisorDeps {
    /// Loads and runs plugins.
    pub sandbox: Arc<Sandbox>,
    /// Names the process.
    pub host_id: Arc<str>,
    /// Shows what runs.
    pub instruments: Arc<Instruments>,
    /// Remembers what was changed.
    pub history: Arc<History>,
    /// Cancelled when a device is lost.
    pub device_lost: CancellationToken,
    /// Cancelled when the host is to stop.
    pub drain: CancellationToken,
    /// Cancelled when the messages still in flight are to be given back.
    pub cut: CancellationToken,
    /// Whether folder sources end when they are empty.
    pub until: Until,
}

/// Owns what serves.
#[derive(Debug)]
pub struct Supervisor {
    deps: SupervisorDeps,
    // Those that a pipeline needed so far.
    connections: Connections,
    // Nothing before the first change.
    config: Option<Config>,
    parts: BTreeMap<Name, Parts>,
    // The version that a trial goes back to, and the generation that it served in.
    proven: BTreeMap<Name, (u64, Parts)>,
    // Trials that have not ended, by the generation that they began in.
    on_trial: BTreeMap<Name, u64>,
    // The version before the one on trial, where it was on trial itself and not worse: an undo goes back to it, and its
    // own trial begins anew.
    served: BTreeMap<Name, Parts>,
    // The target of a rollback.
    older: BTreeMap<Name, PluginPart>,
    held_back: HeldBack,
    // The list of undone versions, for the next process.
    undone_versions: UndoneVersions,
    // Pipelines that wait since they have nothing but what is held back, and why; they are paused, too.
    stood_down: BTreeMap<Name, String>,
    paused: BTreeSet<Name>,
    // The version that serves differs from the one on the disk, which was on trial when a host ended.
    resumes_trials: bool,
    watched: Vec<PathBuf>,
    // When reading them began, the last time.
    read_since: SystemTime,
    current: Current,
    roster: Arc<ArcSwap<Roster>>,
    pipelines: Pipelines,
    trials: mpsc::UnboundedSender<TrialEnded>,
}

impl Supervisor {
    /// A supervisor of nothing yet, and where it hears of trials that ended.
    pub fn new(deps: SupervisorDeps) -> (Self, mpsc::UnboundedReceiver<TrialEnded>) {
        let (trials, ended) = mpsc::unbounded_channel();
        let current: Current = Arc::new(ArcSwap::from_pointee(Generation {
            id: 0,
            pipelines: BTreeMap::new(),
        }));
        let pipelines = Pipelines::new(&deps, Arc::clone(&current));
        let supervisor = Self {
            deps,
            connections: Connections::new(),
            config: None,
            parts: BTreeMap::new(),
            proven: BTreeMap::new(),
            on_trial: BTreeMap::new(),
            served: BTreeMap::new(),
            older: BTreeMap::new(),
            held_back: HeldBack::default(),
            undone_versions: UndoneVersions::default(),
            stood_down: BTreeMap::new(),
            paused: BTreeSet::new(),
            resumes_trials: false,
            watched: Vec::new(),
            read_since: SystemTime::UNIX_EPOCH,
            current,
            roster: Arc::default(),
            pipelines,
            trials,
        };
        (supervisor, ended)
    }

    /// The pipelines' tasks.
    pub fn pipelines(&mut self) -> &mut Pipelines {
        &mut self.pipelines
    }

    /// The view of the host.
    pub fn status_view(&self, file: PathBuf) -> Arc<StatusView> {
        Arc::new(StatusView {
            began: Instant::now(),
            file,
            host_id: Arc::clone(&self.deps.host_id),
            instruments: Arc::clone(&self.deps.instruments),
            history: Arc::clone(&self.deps.history),
            current: Arc::clone(&self.current),
            roster: Arc::clone(&self.roster),
            sandbox: Arc::downgrade(&self.deps.sandbox),
        })
    }

    /// Files that wait in the sources that are folders.
    pub fn backlog(&self) -> impl Fn() -> usize + use<> {
        self.pipelines.backlog()
    }

    /// Everything that a change may come from, and when reading it began.
    pub fn watched(&self) -> (Vec<PathBuf>, SystemTime) {
        (self.watched.clone(), self.read_since)
    }

    /// Takes what was gathered into service: the first change.
    ///
    /// # Errors
    /// The step that failed.
    pub async fn start(&mut self, mut loaded_config: LoadedConfig, since: SystemTime) -> Result<(), ChangeError> {
        let began = Instant::now();
        self.read_since = since;
        let reports = self.hold_back(&mut loaded_config).await;
        let mut changes = self.apply(loaded_config, ReloadScope::Untried).await?;
        changes.extend(reports);
        self.record("start", began, changes, Ok(()));
        Ok(())
    }

    /// Reads the file and what it names again, and swaps what changed. Refused, everything goes on as it was.
    async fn reload(&mut self, by: &str, taking: ReloadScope) -> ChangeRecord {
        let began = Instant::now();
        let (changes, made) = match self.try_reload(taking).await {
            Ok(changes) => (changes, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        self.record(by, began, changes, made)
    }

    /// A pipeline's task ended.
    pub fn ended(&mut self, name: &Name) {
        if self.pipelines.runs(name) {
            return; // with another source
        }
        let is_in_file = self
            .config
            .as_ref()
            .is_some_and(|config| config.pipelines.contains_key(name));
        if !is_in_file {
            // None of its messages is in flight any more: the parts that served it can go.
            let mut generation = self.current.load().as_ref().clone();
            generation.pipelines.remove(name);
            self.current.store(Arc::new(generation));
            info!(pipeline = %name, "removed");
        } else if self.paused.contains(name) {
            self.pipelines.paused(name);
        }
    }

    /// Whether the file is to be read once more, for trials that another host began; says so once.
    pub fn resumes_trials(&mut self) -> bool {
        std::mem::take(&mut self.resumes_trials)
    }

    /// Whether nothing runs and no pipeline will be resumed.
    pub fn is_over(&self) -> bool {
        self.pipelines.is_empty() && self.paused.is_empty()
    }

    /// Ends what is shared by all pipelines; call it when they have ended.
    pub fn close(self) -> (Connections, Arc<Sandbox>) {
        // Health and status may be asked for until the process ends; what they look at must not keep the ways out open.
        let nothing = Generation {
            id: self.current.load().id,
            pipelines: BTreeMap::new(),
        };
        self.current.store(Arc::new(nothing));
        (self.connections, self.deps.sandbox)
    }

    async fn try_reload(&mut self, taking: ReloadScope) -> Result<Vec<String>, ChangeError> {
        let Some(config) = &self.config else {
            return Err(ChangeError::Stopping);
        };
        let (path, sandbox) = (config.path.clone(), Arc::clone(&self.deps.sandbox));
        self.read_since = SystemTime::now();
        let loading_config =
            tokio::task::spawn_blocking(move || reload::load_config(Config::load(&path, &REGISTRY), &sandbox));
        let loaded_config = loading_config.await.map_err(|_| ChangeError::Stopping)?;
        let loaded_config = match loaded_config {
            Ok(loaded_config) => loaded_config,
            Err(errors) => {
                // A missing or wrong part may be mended there.
                let named = reload::named(&config.path, &errors.valid_parts());
                for path in named {
                    if !self.watched.contains(&path) {
                        self.watched.push(path);
                    }
                }
                return Err(ChangeError::InvalidConfig(errors.render(Rendering::Plain)));
            }
        };
        if !loaded_config.warnings.is_empty() {
            let warnings = loaded_config
                .config
                .render_warnings(&loaded_config.warnings, Rendering::Plain);
            warn!("{warnings}");
        }
        let (before, after) = (&config.connections, &loaded_config.config.connections);
        let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let connections = names.into_iter().filter(|name| before.get(name) != after.get(name));
        let host = (loaded_config.config.host != config.host).then(|| "[host]".to_owned());
        let fixed: Vec<String> = connections.map(ToString::to_string).chain(host).collect();
        if !fixed.is_empty() {
            return Err(ChangeError::Fixed(format!(
                "{} cannot change while the host runs",
                fixed.join(" and ")
            )));
        }
        self.apply(loaded_config, taking).await
    }

    /// Takes a file and what it names into service: what did not change serves on, sources that did not change are not
    /// touched. Everything that can fail is done before anything is changed.
    async fn apply(&mut self, loaded_config: LoadedConfig, taking: ReloadScope) -> Result<Vec<String>, ChangeError> {
        let LoadedConfig { config, loaded, .. } = loaded_config;
        let id = self.current.load().id + 1;
        self.connect(&config).await?;
        let models: Vec<&str> = config.models.keys().map(Name::as_str).collect();
        let doing = format!("warming up model {}", models.join(", "));
        self.deps.instruments.doing(doing);
        let device_lost = &self.deps.device_lost;
        let nothing = HeldBack::default();
        let held_back = match taking {
            ReloadScope::Untried => &self.held_back,
            ReloadScope::Everything => &nothing,
        };
        let parts = loaded.serve(&config, &self.parts, held_back, id, device_lost).await?;
        let mut changes = changes((self.config.as_ref(), &self.parts), (&config, &parts));
        match self.config.is_none() {
            true => self.stand_down(&parts)?,
            false => {
                let free = self.may_serve(&parts, taking);
                changes.extend(free.iter().map(|name| format!("pipeline {name}: serves again")));
            }
        }
        if changes.is_empty() {
            self.forget(taking);
            return Ok(changes);
        }
        let stages = self.bind(&config, &parts, id)?;
        self.deps.instruments.doing("running the smoke tests");
        for (name, stages) in &stages {
            let Some(pipeline) = config.pipelines.get(name) else {
                continue;
            };
            if self.is_unproved(name, pipeline, &parts) {
                // In a lane of its own: what serves may keep the workers busy with what is to be replaced.
                let stages = stages.in_lane(self.deps.sandbox.lane(config.pipelines.len().saturating_add(1)));
                let tested = reload::smoke_test(pipeline, &stages, &self.deps.host_id).await;
                tested.map_err(|source| ChangeError::SmokeTest {
                    pipeline: name.clone(),
                    source,
                })?;
            }
        }
        let free = self.may_serve(&parts, taking);
        let sources = self.open_sources(&config, &free).await?;

        self.deps.instruments.show(&config.pipelines);
        self.deps.instruments.bound(watchdog::bound(&config));
        self.watched = reload::watched(&config);
        let before = self.config.replace(config);
        self.note_served(&parts);
        self.parts = parts;
        self.forget(taking);
        self.publish(id, stages, ReplacedBecause::Replaced);
        for name in &free {
            self.paused.remove(name);
            self.stood_down.remove(name);
        }
        self.show_stood_down();
        for (name, source) in sources {
            self.pipelines.drain(&name);
            self.pipelines.start(&name, source);
        }
        let gone = before.into_iter().flat_map(|before| before.pipelines.into_keys());
        let gone: Vec<Name> = gone.filter(|name| !self.parts.contains_key(name)).collect();
        for name in gone {
            self.pipelines.drain(&name);
            self.paused.remove(&name);
            self.stood_down.remove(&name);
            self.proven.remove(&name);
            self.served.remove(&name);
            self.on_trial.remove(&name);
            self.ended(&name);
        }
        self.show();
        Ok(changes)
    }

    /// Lets undone versions be tried again, where a reload asked for it and they are loaded.
    fn forget(&mut self, taking: ReloadScope) {
        if taking == ReloadScope::Everything {
            self.held_back.clear();
            self.undone_versions.forget(|_| true);
        }
    }

    /// Makes the connections that pipelines need and that are not there yet.
    async fn connect(&mut self, config: &Config) -> Result<(), ChangeError> {
        let needed = config.pipelines.values().flat_map(PipelineConfig::connections);
        for name in needed.collect::<BTreeSet<_>>() {
            let Some(settings) = config.connections.get(&name) else {
                continue; // checked: there is one for each that a pipeline names
            };
            if self.connections.contains_key(&name) {
                continue;
            }
            let refused = |source| ChangeError::Connection {
                address: settings.shown(),
                source,
            };
            let connection = registry::connection(settings.as_ref())
                .map_err(refused)?
                .start(&name, &self.deps.host_id);
            // Before it answers: that it does not must be seen.
            self.deps.instruments.doing("connecting to the broker");
            self.deps.instruments.connected(name.clone(), connection.watch());
            if let Err(source) = connection.check().await {
                if source.is_final() {
                    return Err(refused(source));
                }
                warn!(connection = %name, url = settings.shown(), error = %source, "no connection to the broker yet: waiting for it");
            }
            self.connections.insert(name, connection);
        }
        Ok(())
    }

    /// Whether what is to serve a pipeline must still pass its smoke tests.
    fn is_unproved(&self, name: &Name, pipeline: &PipelineConfig, parts: &BTreeMap<Name, Parts>) -> bool {
        let before = self.config.as_ref().and_then(|config| config.pipelines.get(name));
        let same_parts = match (self.parts.get(name), parts.get(name)) {
            (Some(before), Some(after)) => before.same(after),
            _ => false,
        };
        !same_parts || before.is_none_or(|before| before != pipeline)
    }

    /// Opens the sources of pipelines that are new or whose source or destinations changed. One that changed takes over
    /// from the one before, which finishes its messages in flight.
    async fn open_sources(&self, config: &Config, free: &[Name]) -> Result<Vec<(Name, Box<dyn Source>)>, ChangeError> {
        let mut sources = Vec::new();
        for (name, pipeline) in &config.pipelines {
            let before = self.config.as_ref().and_then(|config| config.pipelines.get(name));
            let is_same = before.is_some_and(|before| {
                before.source.as_ref() == pipeline.source.as_ref()
                    && before.destinations == pipeline.destinations
                    && before.max_message_bytes == pipeline.max_message_bytes
            });
            let is_free = free.contains(name);
            if (is_same || self.paused.contains(name)) && !is_free {
                continue;
            }
            self.deps
                .instruments
                .doing(format!("opening the source of pipeline `{name}`"));
            let source = self.pipelines.open(pipeline, &self.connections).await?;
            sources.extend(source.map(|source| (name.clone(), source)));
        }
        Ok(sources)
    }

    fn show(&self) {
        self.roster.store(Arc::new(roster(
            &self.parts,
            &self.proven,
            &self.served,
            &self.older,
            &self.stood_down,
        )));
    }

    /// Writes a change into the log and the history.
    fn record(&self, by: &str, began: Instant, changes: Vec<String>, made: Result<(), ChangeError>) -> ChangeRecord {
        let mut change = self.change(by, began, changes);
        let (generation, took_ms) = (change.generation, change.took_ms);
        match made {
            Ok(()) if change.changes.is_empty() => {
                change.outcome = ChangeOutcome::Unchanged;
                match self.deps.history.last() {
                    Some(before) if before.outcome == ChangeOutcome::Refused => {
                        info!(
                            by,
                            generation, "nothing changed: the mistake is gone, and the files are those that serve"
                        );
                    }
                    _ => info!(by, generation, "nothing changed"),
                }
                if by == WATCH {
                    return change; // without a request: a file that was saved again, or reloaded by hand before
                }
            }
            Ok(()) => info!(by, generation, took_ms, changes = change.changes.join(", "), "changed"),
            Err(error) => {
                change.outcome = ChangeOutcome::Refused;
                change.step = Some(error.step().to_owned());
                let reason = ErrorChain(&error).to_string();
                warn!(
                    by,
                    generation,
                    step = error.step(),
                    "change refused, nothing changed: {reason}"
                );
                change.reason = Some(reason);
            }
        }
        self.deps.history.add(change)
    }

    fn change(&self, by: &str, began: Instant, changes: Vec<String>) -> ChangeRecord {
        ChangeRecord {
            number: 0, // by the history
            at: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            by: by.to_owned(),
            changes,
            outcome: ChangeOutcome::Done,
            generation: self.current.load().id,
            step: None,
            reason: None,
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}
