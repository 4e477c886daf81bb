//! What was undone before this process began: another version serves in its place, or its pipelines wait until somebody asks
//! for it or puts other bytes there. Decides at the start, and lets go later.

use std::collections::BTreeMap;

use tracing::{info, warn};

use super::undone::{Memory, Undone, Version};
use super::{ChangeError, Supervisor, Taking};
use crate::admin::PipelineState;
use crate::chain::Chain;
use crate::config::{Mistake, Name, PluginConfig, Warning};
use crate::reload::{Gathered, Parts};
use crate::transport::Until;

/// What of a file was undone by a host before, and would not be taken up at a start. Blocking.
pub fn undone_before(gathered: &Gathered) -> Vec<Warning> {
    let (config, loaded) = (&gathered.config, &gathered.loaded);
    let memory = Memory::of(&config.path);
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
        let text = format!("{kind} `{name}`: this very version was undone at {at}: {why}; at a start {serves}");
        let hint =
            "put other bytes or settings there, or run `millrace reload` once it serves to take it up all the same";
        Some(Warning(Mistake::at(config.locate(&key), text).hint(hint)))
    });
    found.collect()
}

impl Supervisor {
    /// Holds back what was undone, and puts what served then in its place, where it is there; gives what is to be told.
    pub(super) async fn hold_back(&mut self, gathered: &mut Gathered) -> Vec<String> {
        self.memory = Memory::of(&gathered.config.path);
        let memory = self.memory.clone();
        let all = tokio::task::spawn_blocking(move || memory.all())
            .await
            .unwrap_or_default();
        let mut told = Vec::new();
        let find = |version: &Version| all.iter().find(|undone| undone.version == *version);
        let resumes = self.premises.until == Until::Stopped;
        for (name, config) in &gathered.config.models {
            let Some(digest) = gathered.loaded.model(name).map(|model| model.digest().to_owned()) else {
                continue;
            };
            if let Some(undone) = find(&Version::of_model(config, &digest)).filter(|undone| !undone.is_on_trial) {
                self.held_back.add_model(config.clone(), digest);
                told.push(tell(undone, None));
            }
        }
        let plugins: Vec<_> = gathered
            .loaded
            .plugins()
            .map(|(name, it)| (name.clone(), it.clone()))
            .collect();
        for (name, plugin) in plugins {
            let Some(config) = gathered.config.plugins.get(&name).cloned() else {
                continue;
            };
            let digest = plugin.identity().digest.clone();
            let version = Version::of_plugin(&config, &digest);
            let Some(undone) = find(&version) else { continue };
            if undone.is_on_trial && !resumes {
                continue; // nobody would end its trial
            }
            let instead = self.instead(undone, &config, plugin.role()).await;
            if undone.is_on_trial {
                let (Some(instead), digest) = (instead, digest.get(..12).unwrap_or(&digest)) else {
                    continue;
                };
                let before = instead.identity().version().to_owned();
                info!(plugin = %name, version = digest, before, "this version was on trial when a host ended: its trial begins anew");
                told.push(format!(
                    "plugin {name}: {digest} was on trial, which begins anew beside {before}"
                ));
                gathered.loaded.replace_plugin(name, instead);
                self.resumes_trials = true;
                continue;
            }
            self.held_back.add_plugin(config, digest);
            told.push(tell(
                undone,
                instead.as_ref().map(|instead| instead.identity().version()),
            ));
            if let Some(instead) = instead {
                gathered.loaded.replace_plugin(name, instead);
            }
        }
        told
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
            path: self.memory.copy(&digest)?,
            sha256: Some(digest),
            ..config.clone()
        };
        let sandbox = std::sync::Arc::clone(&self.premises.sandbox);
        let loading = tokio::task::spawn_blocking(move || sandbox.load(&config, role));
        match loading.await.ok()? {
            Ok(plugin) => Some(plugin),
            Err(error) => {
                warn!(error = %Chain(&error), "the copy of the version before cannot serve");
                None
            }
        }
    }

    /// Pipelines that would serve what is held back wait; gives why.
    ///
    /// # Errors
    /// When nobody could ever ask for it.
    pub(super) fn stand_down(&mut self, parts: &BTreeMap<Name, Parts>) -> Result<(), ChangeError> {
        for (name, parts) in parts {
            let Some(what) = self.held_back.among(parts) else {
                continue;
            };
            let why = format!("{what} was undone before, and nothing else is there to serve");
            if self.premises.until == Until::Empty {
                return Err(ChangeError::Undone(why));
            }
            let why = format!("{why}: it waits for `millrace reload`, which takes it up, or for another version");
            warn!(pipeline = %name, "{why}");
            self.paused.insert(name.clone());
            self.stood_down.insert(name.clone(), why);
        }
        Ok(())
    }

    /// Shows the pipelines that wait; what they would serve is no measure for later versions.
    pub(super) fn show_stood_down(&mut self) {
        for name in self.stood_down.keys() {
            self.premises.instruments.set(name, PipelineState::Paused);
            self.proven.remove(name);
        }
    }

    /// Those of the pipelines that wait which may serve these parts.
    pub(super) fn may_serve(&self, parts: &BTreeMap<Name, Parts>, taking: Taking) -> Vec<Name> {
        let is_free = |name: &&Name| match (taking, parts.get(*name)) {
            (Taking::Everything, _) | (_, None) => true,
            (Taking::Untried, Some(parts)) => self.held_back.among(parts).is_none(),
        };
        self.stood_down.keys().filter(is_free).cloned().collect()
    }
}

fn tell(undone: &Undone, instead: Option<&str>) -> String {
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
        "this version was undone before, and is not taken up: `millrace reload` takes it, and so does a start with other bytes or settings"
    );
    match instead {
        Some(instead) => format!("{kind} {name}: {digest} was undone at {at}, and {instead} serves in its place"),
        None => format!("{kind} {name}: {digest} was undone at {at}, and nothing serves in its place"),
    }
}
