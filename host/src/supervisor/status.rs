//! The answer of `status`, put together from the views of a host's parts. Changes nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::admin::{HostPhase, PipelineState, PipelineView, View, readiness};
use crate::config::Name;
use crate::control::{History, ModelStatus, PipelineStatus, PluginStatus, Status, TrialStatus};
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

/// The parts that serve.
#[derive(Debug, Default)]
pub(super) struct Roster {
    plugins: Vec<PluginStatus>,
    models: Vec<ModelStatus>,
    // Pipelines that wait, and why.
    stood_down: BTreeMap<Name, String>,
}

impl StatusView {
    /// Everything that metrics and health show.
    pub fn view(&self) -> View {
        let (current, roster) = (self.current.load(), self.roster.load());
        let mut view = self.instruments.view();
        for pipeline in &mut view.pipelines {
            let trial = current
                .pipelines
                .get(&pipeline.name)
                .and_then(|serving| serving.trial.as_ref()?.status());
            let waits = roster.stood_down.get(&pipeline.name).cloned();
            pipeline.stuck = waits.or_else(|| lags(&trial?, STUCK_AFTER_S));
        }
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
            ..view
        }
    }

    /// The host at this moment.
    pub fn status(&self) -> Status {
        let (view, current, roster) = (self.instruments.view(), self.current.load(), self.roster.load());
        let pipelines = view.pipelines.iter().map(|pipeline| {
            let serving = current.pipelines.get(&pipeline.name);
            let trial = serving.and_then(|serving| serving.trial.as_ref()?.status());
            let (state, why) = state(pipeline, &view);
            let why = why.or_else(|| match pipeline.state {
                PipelineState::Paused => roster.stood_down.get(&pipeline.name).cloned(),
                _ => trial.as_ref().and_then(|trial| lags(trial, LAGS_AFTER_S)),
            });
            PipelineStatus {
                name: pipeline.name.to_string(),
                state: state.to_owned(),
                why,
                received: pipeline.counts.n_received,
                in_flight: pipeline.counts.n_in_flight,
                acked: pipeline.counts.n_acked(),
                skipped: pipeline.counts.n_skipped,
                rejected: pipeline.counts.rejected.values().sum(),
                trial,
            }
        });
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host_id: self.host_id.to_string(),
            config: self.file.clone(),
            phase: view.phase.as_str().to_owned(),
            uptime_s: self.began.elapsed().as_secs(),
            generation: current.id,
            plugins: roster.plugins.clone(),
            models: roster.models.clone(),
            pipelines: pipelines.collect(),
            last_change: self.history.last(),
            readiness: readiness(&view),
        }
    }
}

/// Seconds that a version on trial may have a message in flight before the status reports it.
const LAGS_AFTER_S: u64 = 2;

/// The same before the pipeline counts as not ready: its other messages are served beside it, so that this is no matter
/// of one deadline.
const STUCK_AFTER_S: u64 = 30;

/// The report of a trial about messages that have been in flight for so long.
fn lags(trial: &TrialStatus, after_s: u64) -> Option<String> {
    let TrialStatus {
        seen,
        of,
        in_flight,
        oldest_s,
        ..
    } = trial;
    (*in_flight > 0 && *oldest_s >= after_s).then(|| {
        format!(
            "the version on trial has processed {seen} of {of} messages; {in_flight} are in flight, the oldest for {oldest_s} s"
        )
    })
}

/// The state of a pipeline, and why where it needs attention: the first reason that keeps it from receiving.
fn state(pipeline: &PipelineView, host: &View) -> (&'static str, Option<String>) {
    match pipeline.state {
        PipelineState::Starting => return ("starting", host.doing.as_ref().map(ToString::to_string)),
        PipelineState::Paused => return ("paused", None),
        PipelineState::Draining => return ("draining", None),
        PipelineState::Running if host.phase == HostPhase::Draining => return ("draining", None),
        PipelineState::Running => {}
    }
    if let Some(opened) = &pipeline.breaker {
        let why = format!(
            "{} fails for every message ({})",
            opened.failing_component, opened.class
        );
        return ("breaker-open", Some(why));
    }
    if let Some(holding) = &pipeline.holding {
        let why = format!("{} messages wait: {}", holding.n_held, holding.what);
        return ("holding", Some(why));
    }
    let receives_by = pipeline.receives_by.as_ref();
    let receives_by = receives_by.and_then(|name| host.connections.get(name));
    if let Some(connection) = receives_by.filter(|connection| !connection.is_receiving) {
        let why = connection.waits.as_ref();
        let why = why.map_or_else(|| "no connection to the broker".to_owned(), ToString::to_string);
        return ("disconnected", Some(why));
    }
    if !pipeline.is_open {
        let why = pipeline
            .source
            .as_ref()
            .map(|waiting| format!("its source is not open: {waiting}"));
        return ("disconnected", why.or(Some("its source is not open".to_owned())));
    }
    if let Some(stalled) = &pipeline.stalled {
        return ("stalled", Some(stalled.to_string()));
    }
    ("running", pipeline.attention.clone())
}

/// The parts that serve, from every pipeline.
pub(super) fn roster(
    parts: &BTreeMap<Name, Parts>,
    proven: &BTreeMap<Name, (u64, Parts)>,
    served: &BTreeMap<Name, Parts>,
    older: &BTreeMap<Name, PluginPart>,
    stood_down: &BTreeMap<Name, String>,
) -> Roster {
    let (mut plugins, mut models) = (BTreeMap::new(), BTreeMap::new());
    for (name, parts) in parts {
        // The target of an undo.
        let back = [served.get(name), proven.get(name).map(|(_, proven)| proven)];
        for plugin in parts.plugins.iter() {
            let mut others = back.into_iter().flatten();
            let on_trial_beside = others.find_map(|parts| {
                let other = parts.plugin(plugin.config.name.as_str())?;
                (!Arc::ptr_eq(&other.what, &plugin.what)).then_some(other)
            });
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
        stood_down: stood_down.clone(),
    }
}
