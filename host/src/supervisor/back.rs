//! The ways back: a trial that found new stages worse, and a rollback by hand. Nothing here waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tracing::{info, warn};

use super::Supervisor;
use crate::chain::Chain;
use crate::config::Name;
use crate::control::{Change, ChangeOutcome, Unanswered};
use crate::reload::{Parts, changes};
use crate::trial::TrialEnded;

impl Supervisor {
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

    /// Puts the version of a plugin that served before in its place, wherever it is used.
    pub(super) fn roll_back(&mut self, plugin: &str) -> Result<Vec<String>, Unanswered> {
        let users = |parts: &Parts| parts.plugin(plugin).is_some();
        if !self.parts.values().any(users) {
            return Err(Unanswered::Unknown(format!(
                "no plugin `{}` serves",
                plugin.escape_debug()
            )));
        }
        // While it is on trial, what it is measured by; else what served before that.
        let proven = self.parts.iter().find_map(|(name, parts)| {
            let (_, proven) = self.proven.get(name)?;
            let (old, new) = (proven.plugin(plugin)?, parts.plugin(plugin)?);
            (!Arc::ptr_eq(&old.what, &new.what)).then(|| old.clone())
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
                if let Some(old) = parts.plugin(plugin) {
                    self.older.insert(old.config.name.clone(), old.clone());
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
}
