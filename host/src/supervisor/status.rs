//! What `status` shows, put together from what the parts of a host show. Changes nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::admin::{Phase, PipelineState, PipelineView, View};
use crate::config::Name;
use crate::control::{History, ModelStatus, PipelineStatus, PluginStatus, Status};
use crate::generation::Current;
use crate::instruments::Instruments;
use crate::reload::{Parts, PluginPart};
use crate::sandbox::Sandbox;

/// Gives the status at any moment.
#[derive(Debug)]
pub struct StatusView {
    pub(super) began: Instant,
    pub(super) file: PathBuf,
    pub(super) host_id: Arc<str>,
    pub(super) instruments: Arc<Instruments>,
    pub(super) history: Arc<History>,
    pub(super) current: Current,
    pub(super) roster: Arc<ArcSwap<Roster>>,
    // The host's, which it stops at its end.
    pub(super) sandbox: Weak<Sandbox>,
}

/// What serves.
#[derive(Debug, Default)]
pub(super) struct Roster {
    plugins: Vec<PluginStatus>,
    models: Vec<ModelStatus>,
}

impl StatusView {
    /// Everything that metrics and health show.
    pub fn view(&self) -> View {
        let current = self.current.load();
        let models = current.pipelines.values().map(|serving| {
            let model = &serving.stages.model;
            (model.name().to_owned(), model.meter().counts())
        });
        View {
            generation: Some(current.id),
            changes: self.history.counts(),
            models: models.collect(),
            plugins: self
                .sandbox
                .upgrade()
                .map(|sandbox| sandbox.counts())
                .unwrap_or_default(),
            ..self.instruments.view()
        }
    }

    /// The host at this moment.
    pub fn status(&self) -> Status {
        let (view, current, roster) = (self.instruments.view(), self.current.load(), self.roster.load());
        let is_connected = view.broker.as_ref().is_none_or(|broker| broker.is_consuming);
        let pipelines = view.pipelines.iter().map(|pipeline| {
            let serving = current.pipelines.get(&pipeline.name);
            let (state, why) = state(pipeline, view.phase, is_connected);
            PipelineStatus {
                name: pipeline.name.to_string(),
                state: state.to_owned(),
                why,
                taken: pipeline.counts.n_taken,
                in_hand: pipeline.counts.n_in_hand,
                acked: pipeline.counts.n_acked(),
                skipped: pipeline.counts.n_skipped,
                rejected: pipeline.counts.rejected.values().sum(),
                trial: serving.and_then(|serving| serving.trial.as_ref()?.status()),
            }
        });
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host_id: self.host_id.to_string(),
            config: self.file.clone(),
            phase: phase(view.phase).to_owned(),
            uptime_s: self.began.elapsed().as_secs(),
            generation: current.id,
            plugins: roster.plugins.clone(),
            models: roster.models.clone(),
            pipelines: pipelines.collect(),
            last_change: self.history.last(),
        }
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting => "starting",
        Phase::Running => "running",
        Phase::Draining => "draining",
    }
}

/// What a pipeline does, and why where somebody should look at it: the first reason that keeps it from taking.
fn state(pipeline: &PipelineView, host: Phase, is_connected: bool) -> (&'static str, Option<String>) {
    match pipeline.state {
        PipelineState::Starting => return ("starting", None),
        PipelineState::Paused => return ("paused", None),
        PipelineState::Draining => return ("draining", None),
        PipelineState::Running if host == Phase::Draining => return ("draining", None),
        PipelineState::Running => {}
    }
    if let Some(opened) = &pipeline.breaker {
        let why = format!("{} fails for every message ({})", opened.culprit, opened.class);
        return ("breaker-open", Some(why));
    }
    if let Some(holding) = &pipeline.holding {
        let why = format!("{} messages wait: {}", holding.n_held, holding.what);
        return ("holding", Some(why));
    }
    if pipeline.uses_broker && !is_connected {
        return ("disconnected", Some("the broker is away".to_owned()));
    }
    if !pipeline.is_open {
        return ("disconnected", Some("its source is not open".to_owned()));
    }
    ("running", pipeline.attention.clone())
}

/// What serves, from the parts of every pipeline.
pub(super) fn roster(
    parts: &BTreeMap<Name, Parts>,
    proven: &BTreeMap<Name, (u64, Parts)>,
    older: &BTreeMap<Name, PluginPart>,
) -> Roster {
    let (mut plugins, mut models) = (BTreeMap::new(), BTreeMap::new());
    for (name, parts) in parts {
        let proven = proven.get(name).map(|(_, proven)| proven);
        for plugin in parts.plugins.iter() {
            let on_trial_beside = proven
                .and_then(|proven| proven.plugin(plugin.config.name.as_str()))
                .filter(|proven| !Arc::ptr_eq(&proven.what, &plugin.what));
            let previous = on_trial_beside.or_else(|| older.get(&plugin.config.name));
            let status = PluginStatus {
                name: plugin.config.name.to_string(),
                role: plugin.what.role().to_string(),
                digest: plugin.what.identity().digest.clone(),
                since_generation: plugin.since,
                previous_digest: previous.map(|previous| previous.what.identity().digest.clone()),
            };
            plugins.insert(plugin.config.name.clone(), status);
        }
        let model = ModelStatus {
            name: parts.model.config.name.to_string(),
            digest: parts.model.what.digest().to_owned(),
            device: parts.model.what.device().to_owned(),
            since_generation: parts.model.since,
        };
        models.insert(parts.model.config.name.clone(), model);
    }
    Roster {
        plugins: plugins.into_values().collect(),
        models: models.into_values().collect(),
    }
}
