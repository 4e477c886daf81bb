//! Makes parts current: bound to destinations, on trial where something proven is there to go back to. Nothing here waits.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use tracing::info;

use super::{ChangeError, Supervisor};
use crate::breaker::FailingComponent;
use crate::config::{Config, Name, PipelineConfig};
use crate::generation::{Generation, ServingStages, Stages};
use crate::recall::Recall;
use crate::reload::Parts;
use crate::sandbox::Plugin;
use crate::transport::{Connections, Destination, OpenError, registry};
use crate::trial::Trial;
use crate::work::Work as _;

/// Why stages leave service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplacedBecause {
    /// Something newer is there.
    Replaced,
    /// A trial, or a person, found them bad.
    Bad,
}

impl Supervisor {
    /// Binds parts to destinations.
    pub(super) fn bind(
        &self,
        config: &Config,
        parts: &BTreeMap<Name, Parts>,
        id: u64,
    ) -> Result<BTreeMap<Name, Arc<Stages>>, ChangeError> {
        let current = self.current.load();
        let mut bound = BTreeMap::new();
        for (name, pipeline) in &config.pipelines {
            let Some(parts) = parts.get(name) else { continue };
            let destinations = destinations(pipeline, &self.connections);
            let destinations = destinations.map_err(|source| ChangeError::Open {
                pipeline: name.clone(),
                source,
            })?;
            let lane = match current.pipelines.get(name) {
                Some(serving) => serving.stages.lane.clone(),
                None => self.deps.sandbox.lane(config.pipelines.len()),
            };
            let stages = Stages {
                generation: id,
                plugins: parts.plugins.map(|plugin| Arc::clone(&plugin.what)),
                model: Arc::clone(&parts.model.what),
                lane,
                destinations,
                attempts: pipeline.attempts,
                max_message_bytes: pipeline.max_message_bytes,
                max_results_bytes: pipeline.max_results_bytes,
                described: OnceLock::new(),
                recall: Recall::default(),
            };
            bound.insert(name.clone(), Arc::new(stages));
        }
        Ok(bound)
    }

    /// Makes stages current, new ones on trial beside the proven ones. Messages are taken back from those that leave because
    /// they are bad, or may be.
    pub(super) fn publish(&mut self, id: u64, stages: BTreeMap<Name, Arc<Stages>>, leaving: ReplacedBecause) {
        let before = self.current.load_full();
        let mut pipelines = BTreeMap::new();
        for (name, stages) in stages {
            let trial = self.trial(&name, id, &stages, before.pipelines.get(&name));
            pipelines.insert(name, ServingStages { stages, trial });
        }
        // Those that leave finish their messages in flight.
        for (name, serving) in &before.pipelines {
            if !pipelines.contains_key(name) && self.pipelines.runs(name) {
                pipelines.insert(name.clone(), serving.clone());
            }
        }
        let now = Arc::new(Generation { id, pipelines });
        self.current.store(Arc::clone(&now));
        for (name, after) in &now.pipelines {
            let breaker = self
                .deps
                .instruments
                .get(name)
                .and_then(|it| it.waits)
                .map(|waits| waits.breaker);
            if let Some(before) = before.pipelines.get(name) {
                let failing_component = breaker
                    .as_ref()
                    .and_then(|breaker| breaker.opened())
                    .map(|opened| opened.failing_component);
                let_go(before, after, leaving, failing_component.as_ref());
            }
            // Not when a message next looks: messages that wait for the old build go on at once, and the breaker names it no more.
            if let Some(breaker) = breaker {
                breaker.swapped(|failing_component| after.has(failing_component.stage, &failing_component.digest));
            }
        }
    }

    fn trial(
        &mut self,
        name: &Name,
        id: u64,
        stages: &Arc<Stages>,
        before: Option<&ServingStages>,
    ) -> Option<Arc<Trial<Stages>>> {
        let parts = self.parts.get(name)?.clone();
        let limits = self.config.as_ref()?.pipelines.get(name)?.trial;
        let is_as_before = before.is_some_and(|before| {
            Arc::ptr_eq(&before.stages.model, &stages.model) && before.stages.plugins.same(&stages.plugins, Arc::ptr_eq)
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
            plugins: proven.plugins.map(|plugin| Arc::clone(&plugin.what)),
            model: Arc::clone(&proven.model.what),
            ..stages.in_lane(stages.lane.clone())
        };
        if let Some(failing_component) = self
            .failing_component(name)
            .filter(|it| previous.has(it.stage, &it.digest))
            && !stages.has(failing_component.stage, &failing_component.digest)
        {
            info!(pipeline = %name, %failing_component, "no trial: the version that it replaces fails for every message, so there is nothing to compare with");
            self.prove(name, id, parts);
            return None;
        }
        self.on_trial.insert(name.clone(), id);
        self.remember_trial(&parts, proven);
        let ended = self.trials.clone();
        Some(Arc::new(Trial::new(
            name.clone(),
            id,
            limits,
            Arc::new(previous),
            ended,
        )))
    }

    /// The component that keeps a pipeline's breaker open.
    fn failing_component(&self, name: &Name) -> Option<FailingComponent> {
        let waits = self.deps.instruments.get(name)?.waits?;
        waits.breaker.opened().map(|opened| opened.failing_component)
    }

    /// Remembers what served until now, where that is on trial and has done well at its first messages. What is proven is
    /// remembered anyway; and what has seen no message has not served.
    pub(super) fn note_served(&mut self, after: &BTreeMap<Name, Parts>) {
        let current = self.current.load();
        for (name, old) in &self.parts {
            if after.get(name).is_none_or(|new| new.same(old)) {
                continue;
            }
            let trial = current
                .pipelines
                .get(name)
                .and_then(|serving| serving.trial.as_ref()?.status());
            match trial.filter(|_| self.on_trial.contains_key(name)) {
                Some(trial) if trial.seen > 0 && trial.worse == 0 => {
                    drop(self.served.insert(name.clone(), old.clone()))
                }
                Some(_) => {}
                None => drop(self.served.remove(name)),
            }
        }
    }

    /// Later versions are measured by these parts; the plugins that they replaced can be gone back to by hand.
    pub(super) fn prove(&mut self, name: &Name, generation: u64, parts: Parts) {
        self.served.remove(name);
        let before = self.proven.insert(name.clone(), (generation, parts.clone()));
        let Some((_, before)) = before else { return };
        for old in before.plugins.iter() {
            let new = parts.plugin(old.config.name.as_str());
            if new.is_some_and(|new| !Arc::ptr_eq(&old.what, &new.what)) {
                self.older.insert(old.config.name.clone(), old.clone());
            }
        }
    }
}

/// Decides what becomes of the messages in the hands of stages that others replaced. A healthy, proven version finishes
/// what it began.
fn let_go(
    before: &ServingStages,
    after: &ServingStages,
    leaving: ReplacedBecause,
    failing_component: Option<&FailingComponent>,
) {
    let goes_on = |trial: &Arc<Trial<Stages>>| after.trial.as_ref().is_some_and(|after| Arc::ptr_eq(trial, after));
    let is_unproven = before
        .trial
        .as_ref()
        .is_some_and(|trial| trial.is_unproven() && !goes_on(trial));
    let is_failing_component = failing_component.is_some_and(|failing_component| {
        let has = |serving: &ServingStages| serving.has(failing_component.stage, &failing_component.digest);
        has(before) && !has(after)
    });
    let is_same = Arc::ptr_eq(&before.stages.model, &after.stages.model)
        && before.stages.plugins.same(&after.stages.plugins, Arc::ptr_eq);
    let is_bad = leaving == ReplacedBecause::Bad && !is_same;
    let stays = |old: &Arc<Plugin>| after.stages.plugins.iter().any(|new| Arc::ptr_eq(old, new));
    let mark_failing = before
        .stages
        .plugins
        .iter()
        .any(|old| old.mark_failing() && !stays(old));
    if Arc::ptr_eq(&before.stages, &after.stages) {
        return;
    }
    if is_bad || is_unproven || is_failing_component || mark_failing {
        before.stages.recall().take_back();
    } else {
        before.stages.recall().replaced();
    }
}

/// Binds the destinations of a pipeline whose connections are there.
///
/// # Errors
/// When a name does not fit.
pub fn destinations(
    pipeline: &PipelineConfig,
    connections: &Connections,
) -> Result<BTreeMap<Name, Arc<dyn Destination>>, OpenError> {
    let mut bound = BTreeMap::new();
    for (name, destination) in &pipeline.destinations {
        let destination = registry::destination(destination.as_ref())?;
        if let Some(destination) = destination.bind(pipeline.source.as_ref(), connections)? {
            bound.insert(name.clone(), destination);
        }
    }
    Ok(bound)
}
