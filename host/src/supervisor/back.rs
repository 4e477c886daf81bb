//! The ways back: a trial that found new stages worse, and a rollback by hand. Nothing here waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tracing::{info, warn};

use super::Supervisor;
use super::publish::ReplacedBecause;
use super::undone::{Copy, Undone, Version};
use crate::config::Name;
use crate::control::{ChangeOutcome, ChangeRecord, Unanswered};
use crate::error_chain::ErrorChain;
use crate::reload::{Parts, PluginPart, changes};
use crate::trial::TrialEnded;

impl Supervisor {
    /// Ends a trial: a version that passed is the baseline for later ones, and a worse one is undone.
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
            info!(%pipeline, generation, "trial passed: the new version stays");
            self.on_trial.remove(&pipeline);
            if let Some(parts) = self.parts.get(&pipeline).cloned() {
                self.undone_versions
                    .forget_trials(parts.plugins.iter().map(plugin_version).collect());
                self.prove(&pipeline, generation, parts);
            }
            self.show();
            return;
        };
        let began = Instant::now();
        let undone: Vec<Name> = std::mem::take(&mut self.on_trial).into_keys().collect();
        let before = self.parts.clone();
        for name in &undone {
            let served = self.served.remove(name);
            if let (Some((_, proven)), Some(parts)) = (self.proven.get(name), self.parts.get_mut(name)) {
                let back = served
                    .filter(|served| !served.same(parts))
                    .unwrap_or_else(|| proven.clone());
                self.held_back.add(parts, &back);
                *parts = back;
            }
        }
        let changes = self.republish(&before);
        self.remember(&before, &why);
        let change = self.change("trial", began, changes);
        warn!(
            found_in = %pipeline, generation, now = change.generation, changes = change.changes.join(", "), reason = why,
            "the new version is worse than the version before: undone: correct its file, which the host does not take up again by itself"
        );
        self.deps.history.add(ChangeRecord {
            outcome: ChangeOutcome::Undone,
            step: Some("trial".to_owned()),
            reason: Some(format!("pipeline {pipeline}, generation {generation}: {why}")),
            ..change
        });
        self.show();
    }

    /// Puts the version of a plugin that served before in its place, wherever it is used; or of a model, while that is there.
    pub(super) fn roll_back(&mut self, name: &str, by: &str) -> Result<Vec<String>, Unanswered> {
        let users = |parts: &Parts| parts.plugin(name).is_some();
        if !self.parts.values().any(users) {
            return self.roll_back_model(name, by);
        }
        // While it is on trial, what its undo would go back to; else what served before that.
        let proven = self.parts.iter().find_map(|(pipeline, parts)| {
            let proven = self.proven.get(pipeline).map(|(_, proven)| proven);
            let new = parts.plugin(name)?;
            let mut before = [self.served.get(pipeline), proven].into_iter().flatten();
            before.find_map(|parts| {
                let old = parts.plugin(name)?;
                (!Arc::ptr_eq(&old.what, &new.what)).then(|| old.clone())
            })
        });
        let Some(previous) = proven.or_else(|| self.older.get(name).cloned()) else {
            return Err(Unanswered::Unknown(format!(
                "no version of plugin `{name}` served before this one"
            )));
        };
        for parts in self.parts.values() {
            if let Some(old) = parts.plugin(name).filter(|old| !Arc::ptr_eq(&old.what, &previous.what)) {
                self.older.insert(old.config.name.clone(), old.clone());
            }
        }
        let changes = self.go_back(|parts| parts.with_plugin(&previous), by);
        self.held_back.release(&previous);
        let version = plugin_version(&previous);
        self.undone_versions.forget(move |held| *held == version);
        Ok(changes)
    }

    /// The version before of a model exists only while the new one is on trial: a device has room for one.
    fn roll_back_model(&mut self, name: &str, by: &str) -> Result<Vec<String>, Unanswered> {
        let unknown = |text: String| Err(Unanswered::Unknown(text));
        let is_it = |parts: &&Parts| parts.model.config.name.as_str() == name;
        if !self.parts.values().any(|parts| is_it(&parts)) {
            return unknown(format!("no plugin or model called `{}` serves", name.escape_debug()));
        }
        let previous = self
            .parts
            .iter()
            .filter(|(_, parts)| is_it(parts))
            .find_map(|(pipeline, parts)| {
                let (_, proven) = self.proven.get(pipeline)?;
                (!Arc::ptr_eq(&proven.model.what, &parts.model.what)).then(|| proven.model.clone())
            });
        let Some(previous) = previous else {
            return unknown(format!(
                "no other version of model `{name}` is on a device: a version that passed its trial replaces the one before; put back the folder of that version and run `millrace reload`"
            ));
        };
        let back = |parts: &Parts| match is_it(&parts) {
            true => parts.with_model(&previous),
            false => parts.clone(),
        };
        Ok(self.go_back(back, by))
    }

    /// Makes other parts current, and what later versions are measured by; what else is on trial stays on trial.
    fn go_back(&mut self, back: impl Fn(&Parts) -> Parts, by: &str) -> Vec<String> {
        let before = self.parts.clone();
        let id = self.current.load().id + 1;
        for (name, parts) in &mut self.parts {
            let after = back(parts);
            if after.same(parts) {
                continue;
            }
            self.held_back.add(parts, &after);
            *parts = after;
            if let Some((since, proven)) = self.proven.get_mut(name) {
                let after = back(proven);
                if !after.same(proven) {
                    (*since, *proven) = (id, after);
                }
            }
            self.on_trial.remove(name);
            self.served.remove(name);
        }
        let changes = self.republish(&before);
        self.remember(&before, &format!("rolled back by {by}"));
        self.show();
        changes
    }

    /// Writes down what was there before and is not now, so that the next start does not take it up from the disk.
    fn remember(&self, before: &BTreeMap<Name, Parts>, why: &str) {
        let (mut undone, mut copies) = (Vec::new(), Vec::new());
        for (name, old) in before {
            let Some(new) = self.parts.get(name) else { continue };
            for part in old.plugins.iter() {
                let instead = new.plugin(part.config.name.as_str());
                let Some(instead) = instead.filter(|instead| !Arc::ptr_eq(&instead.what, &part.what)) else {
                    continue;
                };
                undone.push(Undone::now(plugin_version(part), why, Some(&plugin_version(instead))));
                copies.push(Copy {
                    digest: instead.what.identity().digest.clone(),
                    bytes: Arc::clone(instead.what.bytes()),
                });
            }
            if !Arc::ptr_eq(&old.model.what, &new.model.what) {
                let version = Version::of_model(&old.model.config, old.model.what.digest());
                undone.push(Undone::now(version, why, None));
            }
        }
        self.undone_versions.add(undone, copies);
    }

    /// Writes down what is on trial and what it is tried beside: a host that ends meanwhile has proved nothing of it.
    pub(super) fn remember_trial(&self, new: &Parts, proven: &Parts) {
        let (mut on_trial, mut copies) = (Vec::new(), Vec::new());
        for part in new.plugins.iter() {
            let Some(old) = proven.plugin(part.config.name.as_str()) else {
                continue;
            };
            let entry = Undone::on_trial(plugin_version(part), &plugin_version(old));
            // With other settings there is nothing that a copy of the bytes would bring back.
            if Arc::ptr_eq(&old.what, &part.what) || entry.instead.is_none() {
                continue;
            }
            on_trial.push(entry);
            copies.push(Copy {
                digest: old.what.identity().digest.clone(),
                bytes: Arc::clone(old.what.bytes()),
            });
        }
        if !on_trial.is_empty() {
            self.undone_versions.tries(on_trial, copies);
        }
    }

    /// Makes other parts current for the file that is.
    fn republish(&mut self, before: &BTreeMap<Name, Parts>) -> Vec<String> {
        let Some(config) = self.config.clone() else {
            return Vec::new();
        };
        let id = self.current.load().id + 1;
        match self.bind(&config, &self.parts, id) {
            Ok(stages) => self.publish(id, stages, ReplacedBecause::Bad),
            // They were bound before: the same names fit.
            Err(error) => warn!(error = %ErrorChain(&error), "cannot restore the version before"),
        }
        changes((Some(&config), before), (&config, &self.parts))
    }
}

fn plugin_version(part: &PluginPart) -> Version {
    Version::of_plugin(&part.config, &part.what.identity().digest)
}
