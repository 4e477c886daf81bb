//! Versions that were undone before this process began: another version serves in their place, or their pipelines wait
//! until an operator asks for it or puts other bytes there. Decides at the start, and lets go later.

use std::collections::BTreeMap;

use tracing::{info, warn};

use super::undone::{Undone, UndoneVersions, Version};
use super::{ChangeError, ReloadScope, Supervisor};
use crate::admin::PipelineState;
use crate::config::{Diagnostic, Name, PluginConfig, Warning};
use crate::error_chain::ErrorChain;
use crate::reload::{LoadedConfig, Parts};
use crate::transport::Until;

/// The parts of a file that a host undid before and would not load at a start. Blocking.
pub fn undone_before(loaded_config: &LoadedConfig) -> Vec<Warning> {
    let (config, loaded) = (&loaded_config.config, &loaded_config.loaded);
    let memory = UndoneVersions::of(&config.path);
    let all = memory.all();
    let models = config.models.iter().filter_map(|(name, model)| {
        let version = Version::of_model(model, loaded.model(name)?.digest());
        Some((format!("model.{name}.path"), version))
    });
    let plugins = loaded.plugins().filter_map(|(name, plugin)| {
        let version = Version::of_plugin(config.plugins.get(name)?, &plugin.identity().digest);
        Some((format!("plugin.{name}.path"), version))
    });
    let found = models.chain(plugins).filter_map(|(key, version)| {
        let undone = all
            .iter()
            .find(|undone| undone.version == version && !undone.is_on_trial)?;
        let (kind, name, at, why) = (version.kind.as_str(), &version.name, &undone.at, &undone.why);
        let instead = undone.instead.as_deref().and_then(|digest| memory.copy(digest));
        let serves = match instead {
            Some(_) => "the version before serves in its place",
            None => "its pipelines wait",
        };
        let text = format!("{kind} `{name}`: this version was undone at {at}: {why}; at a start {serves}");
        let hint =
            "change its bytes or settings, or run `millrace reload` while the host serves to load it all the same";
        Some(Warning(Diagnostic::at(config.locate(&key), text).hint(hint)))
    });
    found.collect()
}

impl Supervisor {
    /// Holds back versions that were undone, and puts their predecessors in their place, where they exist; returns what
    /// to report.
    pub(super) async fn hold_back(&mut self, loaded_config: &mut LoadedConfig) -> Vec<String> {
        self.undone_versions = UndoneVersions::of(&loaded_config.config.path);
        let memory = self.undone_versions.clone();
        let all = tokio::task::spawn_blocking(move || memory.all())
            .await
            .unwrap_or_default();
        let mut reports = Vec::new();
        let find = |version: &Version| all.iter().find(|undone| undone.version == *version);
        let resumes = self.deps.until == Until::Stopped;
        for (name, config) in &loaded_config.config.models {
            let Some(digest) = loaded_config.loaded.model(name).map(|model| model.digest().to_owned()) else {
                continue;
            };
            if let Some(undone) = find(&Version::of_model(config, &digest)).filter(|undone| !undone.is_on_trial) {
                self.held_back.add_model(config.clone(), digest);
                reports.push(describe(undone, None));
            }
        }
        let plugins: Vec<_> = loaded_config
            .loaded
            .plugins()
            .map(|(name, it)| (name.clone(), it.clone()))
            .collect();
        for (name, plugin) in plugins {
            let Some(config) = loaded_config.config.plugins.get(&name).cloned() else {
                continue;
            };
            let digest = plugin.identity().digest.clone();
            let version = Version::of_plugin(&config, &digest);
            let Some(undone) = find(&version) else { continue };
            if undone.is_on_trial && !resumes {
                continue; // nothing would end its trial
            }
            let instead = self.instead(undone, &config, plugin.role()).await;
            if undone.is_on_trial {
                let (Some(instead), digest) = (instead, digest.get(..12).unwrap_or(&digest)) else {
                    continue;
                };
                let before = instead.identity().version().to_owned();
                info!(plugin = %name, version = digest, before, "this version was on trial when a host ended: its trial starts again");
                reports.push(format!(
                    "plugin {name}: {digest} was on trial; its trial starts again beside {before}"
                ));
                loaded_config.loaded.replace_plugin(name, instead);
                self.resumes_trials = true;
                continue;
            }
            self.held_back.add_plugin(config, digest);
            reports.push(describe(
                undone,
                instead.as_ref().map(|instead| instead.identity().version()),
            ));
            if let Some(instead) = instead {
                loaded_config.loaded.replace_plugin(name, instead);
            }
        }
        reports
    }

    /// Loads the copy of what served in the place of a version that was undone.
    async fn instead(
        &self,
        undone: &Undone,
        config: &PluginConfig,
        role: crate::sandbox::Role,
    ) -> Option<std::sync::Arc<crate::sandbox::Plugin>> {
        let digest = undone.instead.clone()?;
        let config = PluginConfig {
            path: self.undone_versions.copy(&digest)?,
            sha256: Some(digest),
            ..config.clone()
        };
        let sandbox = std::sync::Arc::clone(&self.deps.sandbox);
        let loading = tokio::task::spawn_blocking(move || sandbox.load(&config, role));
        match loading.await.ok()? {
            Ok(plugin) => Some(plugin),
            Err(error) => {
                warn!(error = %ErrorChain(&error), "cannot load the copy of the version before");
                None
            }
        }
    }

    /// Pipelines that would serve what is held back wait; gives why.
    ///
    /// # Errors
    /// When no client could ever reach it.
    pub(super) fn stand_down(&mut self, parts: &BTreeMap<Name, Parts>) -> Result<(), ChangeError> {
        for (name, parts) in parts {
            let Some(what) = self.held_back.first_in(parts) else {
                continue;
            };
            let why = format!("{what} was undone before, and no other version can serve");
            if self.deps.until == Until::Empty {
                return Err(ChangeError::Undone(why));
            }
            let why =
                format!("{why}: run `millrace reload` to load it all the same, or replace it with another version");
            warn!(pipeline = %name, "{why}");
            self.paused.insert(name.clone());
            self.stood_down.insert(name.clone(), why);
        }
        Ok(())
    }

    /// Shows the pipelines that wait; the parts that they would serve are not the baseline for later versions.
    pub(super) fn show_stood_down(&mut self) {
        for name in self.stood_down.keys() {
            self.deps.instruments.set(name, PipelineState::Paused);
            self.proven.remove(name);
        }
    }

    /// The waiting pipelines that may serve these parts.
    pub(super) fn may_serve(&self, parts: &BTreeMap<Name, Parts>, taking: ReloadScope) -> Vec<Name> {
        let is_free = |name: &&Name| match (taking, parts.get(*name)) {
            (ReloadScope::Everything, _) | (_, None) => true,
            (ReloadScope::Untried, Some(parts)) => self.held_back.first_in(parts).is_none(),
        };
        self.stood_down.keys().filter(is_free).cloned().collect()
    }
}

fn describe(undone: &Undone, instead: Option<&str>) -> String {
    let Undone { version, at, why, .. } = undone;
    let (name, digest) = (&*version.name, version.digest.get(..12).unwrap_or(&version.digest));
    let kind = version.kind.as_str();
    warn!(
        kind,
        name,
        version = digest,
        at,
        reason = why,
        instead,
        "this version was undone before, so the host does not load it: change its bytes or settings, or, to load it all the same, run `millrace reload`"
    );
    match instead {
        Some(instead) => format!("{kind} {name}: {digest} was undone at {at}, and {instead} serves in its place"),
        None => format!("{kind} {name}: {digest} was undone at {at}, and nothing serves in its place"),
    }
}
