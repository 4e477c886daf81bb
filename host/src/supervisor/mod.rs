//! Changes what runs: the one task that owns the file, the parts that serve and the pipelines. The start is its first
//! change. Knows no message, and nothing of how parts are loaded.

mod error;
mod pipelines;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use error::ChangeError;
use pipelines::Pipelines;
pub use status::StatusView;
use status::{Roster, roster};

use crate::chain::Chain;
use crate::config::{Config, Name, PipelineConfig, Rendering};
use crate::connect::amqp::{Broker, TooLong};
use crate::connect::{Destination, Source};
use crate::control::{Change, ChangeOutcome, Command, History, Unanswered};
use crate::generation::{Current, Generation, Serving, Stages};
use crate::instruments::{Instruments, uses_broker};
use crate::reload::{self, Gathered, HeldBack, Parts, PluginPart, changes};
use crate::sandbox::Sandbox;
use crate::trial::{Trial, TrialEnded};

/// What the supervisor is given once.
#[derive(Debug)]
pub struct Premises {
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
    /// Cancelled when what is in hand then is to be given back.
    pub cut: CancellationToken,
    /// Whether folder sources end when they are empty.
    pub until: crate::connect::folder::Until,
}

/// Owns what serves.
#[derive(Debug)]
pub struct Supervisor {
    premises: Premises,
    broker: Option<Broker>,
    // Nothing before the first change.
    config: Option<Config>,
    parts: BTreeMap<Name, Parts>,
    // What trials go back to, and the generation that it served in.
    proven: BTreeMap<Name, (u64, Parts)>,
    // Trials that have not ended, by the generation that they began in.
    on_trial: BTreeMap<Name, u64>,
    // What a rollback by hand goes back to.
    older: BTreeMap<Name, PluginPart>,
    held_back: HeldBack,
    paused: BTreeSet<Name>,
    watched: Vec<PathBuf>,
    current: Current,
    roster: Arc<ArcSwap<Roster>>,
    pipelines: Pipelines,
    trials: mpsc::UnboundedSender<TrialEnded>,
}

impl Supervisor {
    /// A supervisor of nothing yet, and where it hears of trials that ended.
    pub fn new(premises: Premises) -> (Self, mpsc::UnboundedReceiver<TrialEnded>) {
        let (trials, ended) = mpsc::unbounded_channel();
        let current: Current = Arc::new(ArcSwap::from_pointee(Generation {
            id: 0,
            pipelines: BTreeMap::new(),
        }));
        let pipelines = Pipelines::new(&premises, Arc::clone(&current));
        let supervisor = Self {
            premises,
            broker: None,
            config: None,
            parts: BTreeMap::new(),
            proven: BTreeMap::new(),
            on_trial: BTreeMap::new(),
            older: BTreeMap::new(),
            held_back: HeldBack::default(),
            paused: BTreeSet::new(),
            watched: Vec::new(),
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

    /// What `status` shows.
    pub fn status_view(&self, file: PathBuf) -> StatusView {
        StatusView {
            began: Instant::now(),
            file,
            host_id: Arc::clone(&self.premises.host_id),
            instruments: Arc::clone(&self.premises.instruments),
            history: Arc::clone(&self.premises.history),
            current: Arc::clone(&self.current),
            roster: Arc::clone(&self.roster),
        }
    }

    /// Files that wait in the sources that are folders.
    pub fn backlog(&self) -> impl Fn() -> usize + use<> {
        self.pipelines.backlog()
    }

    /// Everything that a change may come from.
    pub fn watched(&self) -> Vec<PathBuf> {
        self.watched.clone()
    }

    /// Takes what was gathered into service: the first change.
    ///
    /// # Errors
    /// The step that failed.
    pub async fn start(&mut self, gathered: Gathered) -> Result<(), ChangeError> {
        let began = Instant::now();
        let changes = self.apply(gathered).await?;
        self.record("start", began, changes, Ok(()));
        Ok(())
    }

    /// Reads the file and what it names again, and swaps what changed. Refused, everything goes on as it was.
    pub async fn reload(&mut self, by: &str) -> Change {
        let began = Instant::now();
        let made = self.try_reload().await;
        let (changes, made) = match made {
            Ok(changes) => (changes, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        self.record(by, began, changes, made)
    }

    /// Does what somebody asks for.
    ///
    /// # Errors
    /// When there is no such plugin or pipeline.
    pub async fn ask(&mut self, command: Command, by: &str) -> Result<Change, Unanswered> {
        let began = Instant::now();
        match command {
            Command::Reload => {
                self.held_back.clear();
                Ok(self.reload(by).await)
            }
            Command::Rollback { plugin } => {
                let changes = self.roll_back(&plugin)?;
                Ok(self.record(by, began, changes, Ok(())))
            }
            Command::Pause { pipeline } => {
                let name = self.pipeline(&pipeline)?;
                let is_new = self.paused.insert(name.clone());
                self.pipelines.drain(&name);
                let changes = is_new.then(|| format!("pipeline {name}: paused"));
                Ok(self.record(by, began, changes.into_iter().collect(), Ok(())))
            }
            Command::Resume { pipeline } => {
                let name = self.pipeline(&pipeline)?;
                let mut changes = Vec::new();
                if self.paused.contains(&name) {
                    if let Err(error) = self.resume(&name).await {
                        return Ok(self.record(by, began, Vec::new(), Err(error)));
                    }
                    self.paused.remove(&name);
                    changes.push(format!("pipeline {name}: resumed"));
                }
                Ok(self.record(by, began, changes, Ok(())))
            }
        }
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
            // Nothing of it is in hand any more: what served it can go.
            let mut generation = self.current.load().as_ref().clone();
            generation.pipelines.remove(name);
            self.current.store(Arc::new(generation));
            info!(pipeline = %name, "removed");
        } else if self.paused.contains(name) {
            self.pipelines.paused(name);
        }
    }

    /// Whether nothing runs and nobody is going to resume it.
    pub fn is_over(&self) -> bool {
        self.pipelines.is_empty() && self.paused.is_empty()
    }

    /// What comes of a trial: what passed is what later ones are measured by, and what is worse goes.
    pub fn trial_ended(&mut self, ended: TrialEnded) {
        let TrialEnded {
            pipeline,
            generation,
            worse,
        } = ended;
        if self.on_trial.get(&pipeline) != Some(&generation) {
            return; // replaced meanwhile
        }
        let Some(why) = worse else {
            info!(%pipeline, generation, "the trial is passed");
            self.on_trial.remove(&pipeline);
            if let Some(parts) = self.parts.get(&pipeline).cloned() {
                self.prove(&pipeline, generation, parts);
            }
            self.show();
            return;
        };
        let began = Instant::now();
        let undone: Vec<Name> = std::mem::take(&mut self.on_trial).into_keys().collect();
        let before = self.parts.clone();
        for name in &undone {
            if let (Some((_, proven)), Some(parts)) = (self.proven.get(name), self.parts.get_mut(name)) {
                self.held_back.add(parts, proven);
                *parts = proven.clone();
            }
        }
        let changes = self.republish(&before);
        let change = self.change("trial", began, changes);
        warn!(
            %pipeline, generation, reason = why, now = change.generation,
            "a new version is worse than the one before: undone"
        );
        self.premises.history.add(Change {
            outcome: ChangeOutcome::Undone,
            step: Some("trial".to_owned()),
            reason: Some(format!("pipeline {pipeline}, generation {generation}: {why}")),
            ..change
        });
        self.show();
    }

    /// Ends what is shared by all pipelines; call it when they have ended.
    pub fn close(self) -> (Option<Broker>, Arc<Sandbox>) {
        (self.broker, self.premises.sandbox)
    }

    async fn try_reload(&mut self) -> Result<Vec<String>, ChangeError> {
        let Some(config) = &self.config else {
            return Err(ChangeError::Stopping);
        };
        let (path, sandbox) = (config.path.clone(), Arc::clone(&self.premises.sandbox));
        let gathering = tokio::task::spawn_blocking(move || reload::gather(Config::load(&path), &sandbox));
        let gathered = gathering.await.map_err(|_| ChangeError::Stopping)?;
        let gathered = match gathered {
            Ok(gathered) => gathered,
            Err(errors) => {
                // What is missing or wrong may be mended there.
                let named = reload::named(&config.path, &errors.sound());
                for path in named {
                    if !self.watched.contains(&path) {
                        self.watched.push(path);
                    }
                }
                return Err(ChangeError::Mistakes(errors.render(Rendering::Plain)));
            }
        };
        if !gathered.warnings.is_empty() {
            let warnings = gathered.config.render_warnings(&gathered.warnings, Rendering::Plain);
            warn!("{warnings}");
        }
        let fixed = [
            ("[broker]", gathered.config.broker != config.broker),
            ("[host]", gathered.config.host != config.host),
        ];
        let fixed: Vec<&str> = fixed
            .iter()
            .filter(|(_, differs)| *differs)
            .map(|(name, _)| *name)
            .collect();
        if !fixed.is_empty() {
            return Err(ChangeError::Fixed(format!(
                "{} cannot change while the host runs",
                fixed.join(" and ")
            )));
        }
        self.apply(gathered).await
    }

    /// Takes a file and what it names into service: what did not change serves on, sources that did not change are not
    /// touched. Everything that can fail is done before anything is changed.
    async fn apply(&mut self, gathered: Gathered) -> Result<Vec<String>, ChangeError> {
        let Gathered { config, loaded, .. } = gathered;
        let id = self.current.load().id + 1;
        self.connect(&config).await?;
        let device_lost = &self.premises.device_lost;
        let parts = loaded
            .serve(&config, &self.parts, &self.held_back, id, device_lost)
            .await?;
        let changes = changes((self.config.as_ref(), &self.parts), (&config, &parts));
        if changes.is_empty() {
            return Ok(changes);
        }
        let stages = self.bind(&config, &parts, id)?;
        for (name, stages) in &stages {
            let Some(pipeline) = config.pipelines.get(name) else {
                continue;
            };
            if self.is_unproved(name, pipeline, &parts) {
                let probed = reload::probe(pipeline, stages, &self.premises.host_id).await;
                probed.map_err(|source| ChangeError::Probe {
                    pipeline: name.clone(),
                    source,
                })?;
            }
        }
        let sources = self.open_sources(&config).await?;

        self.premises.instruments.show(&config.pipelines);
        self.watched = reload::watched(&config);
        let before = self.config.replace(config);
        self.parts = parts;
        self.publish(id, stages);
        for (name, source) in sources {
            self.pipelines.drain(&name);
            self.pipelines.start(&name, source);
        }
        let gone = before.into_iter().flat_map(|before| before.pipelines.into_keys());
        let gone: Vec<Name> = gone.filter(|name| !self.parts.contains_key(name)).collect();
        for name in gone {
            self.pipelines.drain(&name);
            self.paused.remove(&name);
            self.proven.remove(&name);
            self.on_trial.remove(&name);
            self.ended(&name);
        }
        self.show();
        Ok(changes)
    }

    /// Connects when a pipeline first needs the broker.
    async fn connect(&mut self, config: &Config) -> Result<(), ChangeError> {
        let Some(settings) = &config.broker else {
            return Ok(());
        };
        if self.broker.is_some() || !config.pipelines.values().any(uses_broker) {
            return Ok(());
        }
        let broker = Broker::start(settings, &self.premises.host_id);
        self.premises.instruments.connected(broker.watch());
        if let Err(source) = broker.probe().await {
            let url = settings.shown_url();
            if source.is_permanent() {
                return Err(ChangeError::Broker { url, source });
            }
            warn!(error = %source, url, "the broker is away: waiting for it");
        }
        self.broker = Some(broker);
        Ok(())
    }

    /// Whether what is to serve a pipeline must still pass its probes.
    fn is_unproved(&self, name: &Name, pipeline: &PipelineConfig, parts: &BTreeMap<Name, Parts>) -> bool {
        let before = self.config.as_ref().and_then(|config| config.pipelines.get(name));
        let same_parts = match (self.parts.get(name), parts.get(name)) {
            (Some(before), Some(after)) => before.same(after),
            _ => false,
        };
        !same_parts || before.is_none_or(|before| before != pipeline)
    }

    /// Opens the sources of pipelines that are new or whose source or destinations changed. One that changed takes over
    /// from the one before, which finishes what it has in hand.
    async fn open_sources(&self, config: &Config) -> Result<Vec<(Name, Source)>, ChangeError> {
        let mut sources = Vec::new();
        for (name, pipeline) in &config.pipelines {
            let before = self.config.as_ref().and_then(|config| config.pipelines.get(name));
            let is_same = before.is_some_and(|before| {
                before.source == pipeline.source
                    && before.destinations == pipeline.destinations
                    && before.max_message_bytes == pipeline.max_message_bytes
            });
            if is_same || self.paused.contains(name) {
                continue;
            }
            let source = self.pipelines.open(pipeline, self.broker.as_ref()).await?;
            sources.extend(source.map(|source| (name.clone(), source)));
        }
        Ok(sources)
    }

    /// Binds parts to destinations.
    fn bind(
        &self,
        config: &Config,
        parts: &BTreeMap<Name, Parts>,
        id: u64,
    ) -> Result<BTreeMap<Name, Arc<Stages>>, ChangeError> {
        let current = self.current.load();
        let mut bound = BTreeMap::new();
        for (name, pipeline) in &config.pipelines {
            let Some(parts) = parts.get(name) else { continue };
            let destinations = destinations(pipeline, self.broker.as_ref());
            let destinations = destinations.map_err(|source| ChangeError::TooLong {
                pipeline: name.clone(),
                source,
            })?;
            let lane = match current.pipelines.get(name) {
                Some(serving) => serving.stages.lane.clone(),
                None => self.premises.sandbox.lane(config.pipelines.len()),
            };
            let stages = Stages {
                generation: id,
                preprocess: Arc::clone(&parts.preprocess.what),
                model: Arc::clone(&parts.model.what),
                route: Arc::clone(&parts.route.what),
                lane,
                destinations,
                attempts: pipeline.attempts,
            };
            bound.insert(name.clone(), Arc::new(stages));
        }
        Ok(bound)
    }

    /// Makes stages current, new ones on trial beside the proven ones.
    fn publish(&mut self, id: u64, stages: BTreeMap<Name, Arc<Stages>>) {
        let before = self.current.load_full();
        let mut pipelines = BTreeMap::new();
        for (name, stages) in stages {
            let trial = self.trial(&name, id, &stages, before.pipelines.get(&name));
            pipelines.insert(name, Serving { stages, trial });
        }
        // Those that leave serve what they have in hand.
        for (name, serving) in &before.pipelines {
            if !pipelines.contains_key(name) && self.pipelines.runs(name) {
                pipelines.insert(name.clone(), serving.clone());
            }
        }
        self.current.store(Arc::new(Generation { id, pipelines }));
    }

    fn trial(
        &mut self,
        name: &Name,
        id: u64,
        stages: &Arc<Stages>,
        before: Option<&Serving>,
    ) -> Option<Arc<Trial<Stages>>> {
        let parts = self.parts.get(name)?.clone();
        let limits = self.config.as_ref()?.pipelines.get(name)?.trial;
        let is_as_before = before.is_some_and(|before| {
            Arc::ptr_eq(&before.stages.preprocess, &stages.preprocess)
                && Arc::ptr_eq(&before.stages.model, &stages.model)
                && Arc::ptr_eq(&before.stages.route, &stages.route)
        });
        if is_as_before && self.on_trial.contains_key(name) {
            return before.and_then(|before| before.trial.clone()); // it goes on
        }
        self.on_trial.remove(name);
        let Some((since, proven)) = self.proven.get(name).filter(|_| limits.messages > 0) else {
            self.prove(name, id, parts);
            return None;
        };
        if proven.same(&parts) {
            return None;
        }
        let previous = Stages {
            generation: *since,
            preprocess: Arc::clone(&proven.preprocess.what),
            model: Arc::clone(&proven.model.what),
            route: Arc::clone(&proven.route.what),
            lane: stages.lane.clone(),
            destinations: stages.destinations.clone(),
            attempts: stages.attempts,
        };
        self.on_trial.insert(name.clone(), id);
        let ended = self.trials.clone();
        Some(Arc::new(Trial::new(
            name.clone(),
            id,
            limits,
            Arc::new(previous),
            ended,
        )))
    }

    /// Later versions are measured by these parts; the plugins that they replaced can be gone back to by hand.
    fn prove(&mut self, name: &Name, generation: u64, parts: Parts) {
        let before = self.proven.insert(name.clone(), (generation, parts.clone()));
        let Some((_, before)) = before else { return };
        for (old, new) in before.plugins().into_iter().zip(parts.plugins()) {
            if old.config.name == new.config.name && !Arc::ptr_eq(&old.what, &new.what) {
                self.older.insert(old.config.name.clone(), old.clone());
            }
        }
    }

    /// Puts the version of a plugin that served before in its place, wherever it is used.
    fn roll_back(&mut self, plugin: &str) -> Result<Vec<String>, Unanswered> {
        let users = |parts: &Parts| parts.plugins().iter().any(|part| part.config.name.as_str() == plugin);
        if !self.parts.values().any(users) {
            return Err(Unanswered::Unknown(format!(
                "no plugin `{}` serves",
                plugin.escape_debug()
            )));
        }
        // While it is on trial, what it is measured by; else what served before that.
        let proven = self.parts.iter().find_map(|(name, parts)| {
            let (_, proven) = self.proven.get(name)?;
            let pairs = proven.plugins().into_iter().zip(parts.plugins());
            let mut differing = pairs.filter(|(old, new)| !Arc::ptr_eq(&old.what, &new.what));
            let found =
                differing.find(|(old, new)| old.config.name == new.config.name && new.config.name.as_str() == plugin);
            found.map(|(old, _)| old.clone())
        });
        let Some(previous) = proven.or_else(|| self.older.get(plugin).cloned()) else {
            return Err(Unanswered::Unknown(format!(
                "no version of plugin `{plugin}` served before this one"
            )));
        };
        let before = self.parts.clone();
        let id = self.current.load().id + 1;
        for (name, parts) in &mut self.parts {
            let back = parts.with_plugin(&previous);
            if !back.same(parts) {
                self.held_back.add(parts, &back);
                for old in parts.plugins() {
                    if old.config.name.as_str() == plugin {
                        self.older.insert(old.config.name.clone(), old.clone());
                    }
                }
                *parts = back.clone();
                self.proven.insert(name.clone(), (id, back));
                self.on_trial.remove(name);
            }
        }
        self.held_back.release(&previous);
        let changes = self.republish(&before);
        self.show();
        Ok(changes)
    }

    /// Makes other parts current for the file that is.
    fn republish(&mut self, before: &BTreeMap<Name, Parts>) -> Vec<String> {
        let Some(config) = self.config.clone() else {
            return Vec::new();
        };
        let id = self.current.load().id + 1;
        match self.bind(&config, &self.parts, id) {
            Ok(stages) => self.publish(id, stages),
            // They were bound before: the same names fit.
            Err(error) => warn!(error = %Chain(&error), "what served before cannot be bound"),
        }
        changes((Some(&config), before), (&config, &self.parts))
    }

    async fn resume(&mut self, name: &Name) -> Result<(), ChangeError> {
        let pipeline = self.config.as_ref().and_then(|config| config.pipelines.get(name));
        let Some(pipeline) = pipeline else { return Ok(()) };
        if let Some(source) = self.pipelines.open(pipeline, self.broker.as_ref()).await? {
            self.pipelines.start(name, source);
        }
        Ok(())
    }

    fn pipeline(&self, name: &str) -> Result<Name, Unanswered> {
        let names = self.config.iter().flat_map(|config| config.pipelines.keys());
        let unknown = || Unanswered::Unknown(format!("there is no pipeline `{}`", name.escape_debug()));
        names.cloned().find(|known| known.as_str() == name).ok_or_else(unknown)
    }

    fn show(&self) {
        self.roster
            .store(Arc::new(roster(&self.parts, &self.proven, &self.older)));
    }

    /// Writes a change into the log and the history.
    fn record(&self, by: &str, began: Instant, changes: Vec<String>, made: Result<(), ChangeError>) -> Change {
        let mut change = self.change(by, began, changes);
        let (generation, took_ms) = (change.generation, change.took_ms);
        match made {
            Ok(()) if change.changes.is_empty() => {
                change.outcome = ChangeOutcome::Unchanged;
                info!(by, generation, "nothing changed");
            }
            Ok(()) => info!(by, generation, took_ms, changes = change.changes.join(", "), "changed"),
            Err(error) => {
                change.outcome = ChangeOutcome::Refused;
                change.step = Some(error.step().to_owned());
                let reason = Chain(&error).to_string();
                warn!(
                    by,
                    generation,
                    step = error.step(),
                    "refused, and everything is as it was: {reason}"
                );
                change.reason = Some(reason);
            }
        }
        self.premises.history.add(change)
    }

    fn change(&self, by: &str, began: Instant, changes: Vec<String>) -> Change {
        Change {
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

fn destinations(pipeline: &PipelineConfig, broker: Option<&Broker>) -> Result<BTreeMap<Name, Destination>, TooLong> {
    let mut bound = BTreeMap::new();
    for (name, destination) in &pipeline.destinations {
        if let Some(destination) = Destination::bind(destination, &pipeline.source, broker)? {
            bound.insert(name.clone(), destination);
        }
    }
    Ok(bound)
}
