//! Makes parts current: bound to destinations, on trial where something proven is there to go back to. Nothing here waits.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ChangeError, Supervisor};
use crate::config::{Config, Name, PipelineConfig};
use crate::connect::Destination;
use crate::connect::amqp::{Broker, TooLong};
use crate::generation::{Generation, Serving, Stages};
use crate::reload::Parts;
use crate::trial::Trial;

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
                plugins: parts.plugins.map(|plugin| Arc::clone(&plugin.what)),
                model: Arc::clone(&parts.model.what),
                lane,
                destinations,
                attempts: pipeline.attempts,
                max_message_bytes: pipeline.max_message_bytes,
                max_results_bytes: pipeline.max_results_bytes,
            };
            bound.insert(name.clone(), Arc::new(stages));
        }
        Ok(bound)
    }

    /// Makes stages current, new ones on trial beside the proven ones.
    pub(super) fn publish(&mut self, id: u64, stages: BTreeMap<Name, Arc<Stages>>) {
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
            lane: stages.lane.clone(),
            destinations: stages.destinations.clone(),
            attempts: stages.attempts,
            max_message_bytes: stages.max_message_bytes,
            max_results_bytes: stages.max_results_bytes,
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
    pub(super) fn prove(&mut self, name: &Name, generation: u64, parts: Parts) {
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

fn destinations(pipeline: &PipelineConfig, broker: Option<&Broker>) -> Result<BTreeMap<Name, Destination>, TooLong> {
    let mut bound = BTreeMap::new();
    for (name, destination) in &pipeline.destinations {
        if let Some(destination) = Destination::bind(destination, &pipeline.source, broker)? {
            bound.insert(name.clone(), destination);
        }
    }
    Ok(bound)
}
