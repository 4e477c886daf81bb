//! The parts that serve a pipeline, and how two sets of them differ. Knows no generation.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Config, ModelConfig, Name, PluginConfig};
use crate::inference::{ModelMeter, Served};
use crate::plugins::Plugins;
use crate::sandbox::Plugin;

/// A plugin or a model that serves, with the settings that it was loaded with.
#[derive(Debug)]
pub struct Part<T, C> {
    /// The parts that serve.
    pub what: Arc<T>,
    /// As the file had it then.
    pub config: C,
    /// The generation that it first served in.
    pub since: u64,
}

/// A plugin that serves.
pub type PluginPart = Part<Plugin, PluginConfig>;

/// A model that serves.
pub type ModelPart = Part<Served, ModelConfig>;

/// The parts that serve one pipeline.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Make the tensor and the results.
    pub plugins: Plugins<PluginPart>,
    /// Makes the prediction.
    pub model: ModelPart,
}

/// Versions that were undone. A change of the file does not take them up again by itself; only a version that differs in
/// its bytes or its settings is tried.
#[derive(Debug, Default)]
pub struct HeldBack {
    plugins: Vec<(PluginConfig, String)>,
    models: Vec<(ModelConfig, String)>,
}

/// Versions that are held back; the oldest makes room. Each was on trial in this process.
const HELD_BACK_MAX: usize = 64;

impl<T, C: Clone> Clone for Part<T, C> {
    fn clone(&self) -> Self {
        Self {
            what: Arc::clone(&self.what),
            config: self.config.clone(),
            since: self.since,
        }
    }
}

impl PluginPart {
    fn is(&self, config: &PluginConfig, digest: &str) -> bool {
        self.config == *config && self.what.identity().digest == digest
    }
}

impl ModelPart {
    fn is(&self, config: &ModelConfig, digest: &str) -> bool {
        self.config == *config && self.what.digest() == digest
    }
}

impl Parts {
    /// Whether nothing differs but where it is written down.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.model.what, &other.model.what)
            && self
                .plugins
                .same(&other.plugins, |one, other| Arc::ptr_eq(&one.what, &other.what))
    }

    /// The version of a plugin that is part of these.
    pub fn plugin(&self, name: &str) -> Option<&PluginPart> {
        self.plugins.iter().find(|plugin| plugin.config.name.as_str() == name)
    }

    /// The same with another version of the model.
    pub fn with_model(&self, part: &ModelPart) -> Self {
        Self {
            plugins: self.plugins.clone(),
            model: part.clone(),
        }
    }

    /// The same with another version of a plugin, wherever it is used.
    pub fn with_plugin(&self, part: &PluginPart) -> Self {
        let mut parts = self.clone();
        for plugin in parts.plugins.iter_mut() {
            if plugin.config.name == part.config.name && plugin.what.role() == part.what.role() {
                *plugin = part.clone();
            }
        }
        parts
    }
}

impl HeldBack {
    /// Holds back what is in `undone` and not in `kept`.
    pub fn add(&mut self, undone: &Parts, kept: &Parts) {
        for undone in undone.plugins.iter() {
            if !kept.plugins.iter().any(|kept| Arc::ptr_eq(&undone.what, &kept.what)) {
                let digest = undone.what.identity().digest.clone();
                push(&mut self.plugins, (undone.config.clone(), digest));
            }
        }
        if !Arc::ptr_eq(&undone.model.what, &kept.model.what) {
            let digest = undone.model.what.digest().to_owned();
            push(&mut self.models, (undone.model.config.clone(), digest));
        }
    }

    /// Holds back a version of a plugin that was undone before this process began.
    pub fn add_plugin(&mut self, config: PluginConfig, digest: String) {
        push(&mut self.plugins, (config, digest));
    }

    /// The same of a model.
    pub fn add_model(&mut self, config: ModelConfig, digest: String) {
        push(&mut self.models, (config, digest));
    }

    /// The first part that is held back and serves all the same, in words: there is nothing to serve in its place.
    pub fn first_in(&self, parts: &Parts) -> Option<String> {
        let mut plugins = parts.plugins.iter();
        let plugin = plugins.find(|part| self.has_plugin(&part.config, &part.what.identity().digest));
        let model = &parts.model;
        match plugin {
            Some(part) => Some(format!(
                "plugin `{}` ({})",
                part.config.name,
                part.what.identity().version()
            )),
            None if self.has_model(&model.config, model.what.digest()) => {
                let digest = model.what.digest();
                Some(format!(
                    "model `{}` ({})",
                    model.config.name,
                    digest.get(..12).unwrap_or(digest)
                ))
            }
            None => None,
        }
    }

    /// Lets a version serve again at a user's request.
    pub fn release(&mut self, part: &PluginPart) {
        self.plugins.retain(|(config, digest)| !part.is(config, digest));
    }

    /// Lets everything be tried again.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn has_plugin(&self, config: &PluginConfig, digest: &str) -> bool {
        self.plugins.iter().any(|(held, of)| held == config && of == digest)
    }

    fn has_model(&self, config: &ModelConfig, digest: &str) -> bool {
        self.models.iter().any(|(held, of)| held == config && of == digest)
    }
}

fn push<T: PartialEq>(held: &mut Vec<T>, version: T) {
    if held.contains(&version) {
        return;
    }
    if held.len() == HELD_BACK_MAX {
        held.remove(0);
    }
    held.push(version);
}

/// The plugin that goes on serving: the same version, or what serves in the place of one that is held back.
pub(super) fn kept_plugin(
    serving: &BTreeMap<Name, Parts>,
    held_back: &HeldBack,
    config: &PluginConfig,
    loaded: &Plugin,
) -> Option<PluginPart> {
    let digest = &loaded.identity().digest;
    let is_held_back = held_back.has_plugin(config, digest);
    let mut all = serving.values().flat_map(|parts| parts.plugins.iter());
    all.find(|part| {
        let is_same = part.is(config, digest);
        let is_substitute = is_held_back && part.config.name == config.name;
        part.what.role() == loaded.role() && (is_same || is_substitute)
    })
    .cloned()
}

/// The counts of a model's batches: they go on from one version to the next.
pub(super) fn meter(serving: &BTreeMap<Name, Parts>, config: &ModelConfig) -> Arc<ModelMeter> {
    let mut all = serving.values().map(|parts| &parts.model);
    let before = all.find(|part| part.config.name == config.name);
    before.map(|part| Arc::clone(part.what.meter())).unwrap_or_default()
}

/// The same of models.
pub(super) fn kept_model(
    serving: &BTreeMap<Name, Parts>,
    held_back: &HeldBack,
    config: &ModelConfig,
    digest: &str,
) -> Option<ModelPart> {
    let is_held_back = held_back.has_model(config, digest);
    let mut all = serving.values().map(|parts| &parts.model);
    all.find(|part| part.is(config, digest) || (is_held_back && part.config.name == config.name))
        .cloned()
}

/// The differences, in a line each: `plugin crop: 1a2b3c4d5e6f -> 7a8b9c0d1e2f`.
pub fn changes(
    (old_config, old): (Option<&Config>, &BTreeMap<Name, Parts>),
    (new_config, new): (&Config, &BTreeMap<Name, Parts>),
) -> Vec<String> {
    let (before, after) = (versions(old), versions(new));
    let mut changes = Vec::new();
    for (what, (version, _)) in &after {
        let was = before.get(what);
        match was {
            None => changes.push(format!("{what}: {version}")),
            Some((was, _)) if was != version => changes.push(format!("{what}: {was} -> {version}")),
            Some((_, was)) if after.get(what).is_some_and(|(_, is)| is != was) => {
                changes.push(format!("{what}: {version}, loaded anew"));
            }
            Some(_) => {}
        }
    }
    for what in before.keys().filter(|what| !after.contains_key(*what)) {
        changes.push(format!("{what}: removed"));
    }
    for (name, pipeline) in &new_config.pipelines {
        match old_config.and_then(|config| config.pipelines.get(name)) {
            None => changes.push(format!("pipeline {name}: added")),
            Some(was) if was != pipeline => changes.push(format!("pipeline {name}: changed")),
            Some(_) => {}
        }
    }
    let gone = old_config.into_iter().flat_map(|config| config.pipelines.keys());
    for name in gone.filter(|name| !new_config.pipelines.contains_key(*name)) {
        changes.push(format!("pipeline {name}: removed"));
    }
    changes
}

/// The versions that serve, and which of those with this version each is.
fn versions(parts: &BTreeMap<Name, Parts>) -> BTreeMap<String, (String, u64)> {
    let mut versions = BTreeMap::new();
    for parts in parts.values() {
        for plugin in parts.plugins.iter() {
            let version = plugin.what.identity().version().to_owned();
            versions.insert(format!("plugin {}", plugin.config.name), (version, plugin.since));
        }
        let digest = parts.model.what.digest();
        let version = digest.get(..12).unwrap_or(digest).to_owned();
        versions.insert(
            format!("model {}", parts.model.config.name),
            (version, parts.model.since),
        );
    }
    versions
}
