//! From a file to what can serve: read, compile, check, warm up. Start-up is a change of the empty set; a step that fails
//! changes nothing.

mod destinations;
mod parts;
mod replay;
mod smoke_test;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_models::{Device, DeviceChoice, DeviceError, Model, ModelError, RunError, reproduce_samples, supported};
use tokio_util::sync::CancellationToken;
use tracing::info;

pub use parts::{HeldBack, ModelPart, Part, Parts, PluginPart, changes};
pub use replay::{Replayed, replay};
pub use smoke_test::{SmokeTestError, smoke_test};

use crate::config::{Config, ConfigErrors, Diagnostic, ModelConfig, Name, ValidParts, Warning};
use crate::error_chain::ErrorChain;
use crate::failpoints::{self, Failpoint};
use crate::inference::{ModelMeter, ServeOptions, Served};
use crate::machine;
use crate::memory::{MemoryBound, Models};
use crate::sandbox::{About, LoadError, LoadProblem, Plugin, Role, Sandbox, SettingDiagnostic};
use crate::streams;
use crate::transport::registry;

/// How often the progress of a model's samples is logged.
const SAMPLES_REPORTED_EVERY: Duration = Duration::from_secs(2);

/// Everything that a file names, read and checked, on no device yet.
#[derive(Debug)]
pub struct LoadedFiles {
    plugins: BTreeMap<Name, Arc<Plugin>>,
    models: Models,
}

/// A file without a mistake, and what it names.
#[derive(Debug)]
pub struct LoadedConfig {
    /// The file.
    pub config: Config,
    /// The files that it names.
    pub loaded: LoadedFiles,
    /// The warnings about it.
    pub warnings: Vec<Warning>,
}

/// Why a model cannot be taken into service.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A device cannot be opened.
    #[error("model `{model}`")]
    Device { model: Name, source: DeviceError },
    /// A device fails, or computes wrong numbers.
    #[error("model `{model}`")]
    Run { model: Name, source: RunError },
}

/// Everything that a change of what a file says, or of what it names, may come from.
pub fn watched(config: &Config) -> Vec<PathBuf> {
    let smoke_tests = config.pipelines.values().flat_map(|pipeline| &pipeline.smoke_tests);
    let mut paths = named(&config.path, &config.errors().valid_parts());
    paths.extend(smoke_tests.map(|test| test.file.clone()));
    paths
}

/// The file itself, and what is right in it as far as it goes.
pub fn named(file: &Path, valid_parts: &ValidParts) -> Vec<PathBuf> {
    let plugins = valid_parts.plugins.values().map(|plugin| plugin.path.clone());
    let models = valid_parts.models.values().map(|model| model.path.clone());
    std::iter::once(file.to_owned()).chain(plugins).chain(models).collect()
}

/// Takes what was read of a file, and reads what it names. Blocking: compiles.
///
/// # Errors
/// Every mistake of the file and of what it names, at once.
pub fn load_config(
    read: Result<(Config, Vec<Warning>), ConfigErrors>,
    sandbox: &Sandbox,
) -> Result<LoadedConfig, ConfigErrors> {
    let (config, mut warnings, mut errors) = match read {
        Ok((config, warnings)) => {
            let errors = config.errors();
            (Some(config), warnings, errors)
        }
        Err(errors) => (None, Vec::new(), errors),
    };
    failpoints::hit(Failpoint::Load);
    let loaded = load(sandbox, &mut errors, &mut warnings);
    if let Some(config) = &config {
        destinations::check(config, &loaded, &mut errors, &mut warnings);
    }
    if let Some(config) = config.as_ref().filter(|_| errors.is_empty()) {
        list_devices(config);
        let bound = MemoryBound::of(config, &loaded.models);
        match config.host.memory_bytes {
            Some(allowed) => {
                if let Some(mut diagnostic) = bound.judge(allowed, "`memory` allows") {
                    diagnostic.span = config.locate("host.memory");
                    errors.push(diagnostic);
                }
            }
            None => {
                let warning = machine::memory().and_then(|has| bound.judge(has.bytes, has.by));
                warnings.extend(warning.map(Warning));
            }
        }
    }
    match config {
        Some(config) if errors.is_empty() => Ok(LoadedConfig {
            config,
            loaded,
            warnings,
        }),
        _ => Err(errors),
    }
}

/// Lists this machine's devices, where a model may run on a GPU, before anybody asks for them: the loaders of GPUs print to
/// stderr what they miss, and here that is caught. The list is made once.
fn list_devices(config: &Config) {
    let mut choices = config.models.values().flat_map(|model| &model.devices);
    if choices.any(|choice| *choice != DeviceChoice::Cpu) {
        let _captured = streams::capture();
        drop(millrace_models::devices());
    }
}

/// Loads the plugins and models that are right as far as the file goes, and adds what is wrong with them to `errors`,
/// each at its place in the file, and notes about them to `warnings`.
fn load(sandbox: &Sandbox, errors: &mut ConfigErrors, warnings: &mut Vec<Warning>) -> LoadedFiles {
    let valid_parts = errors.valid_parts();
    let mut loaded = LoadedFiles {
        plugins: BTreeMap::new(),
        models: BTreeMap::new(),
    };
    for (names, role) in [
        (&valid_parts.preprocessors, Role::Preprocess),
        (&valid_parts.transformers, Role::Transform),
        (&valid_parts.routers, Role::Route),
    ] {
        for (name, plugin) in names.iter().filter_map(|name| valid_parts.plugins.get_key_value(name)) {
            match sandbox.load(plugin, role) {
                Ok(plugin) => drop(loaded.plugins.insert(name.clone(), plugin)),
                Err(error) => {
                    for diagnostic in plugin_diagnostics(errors, name, &error) {
                        errors.push(diagnostic);
                    }
                }
            }
        }
    }
    for (name, connection) in &valid_parts.connections {
        let checked = registry::connection(connection.as_ref()).map(|connection| connection.check_files());
        if let Ok(Err((key, text, hint))) = checked {
            let place = errors.locate(&format!("{}.{key}", name.place()));
            errors.push(Diagnostic::at(place, text).hint(hint));
        }
    }
    for (name, model) in &valid_parts.models {
        if let Some(error) = model.devices.iter().find_map(|device| supported(device).err()) {
            let place = ["device", "devices"].map(|key| errors.locate(&format!("model.{name}.{key}")));
            let place = place.into_iter().flatten().next();
            errors.push(Diagnostic::at(place, format!("model `{name}`: {error}")));
        }
        match load_model(name, &model.path) {
            Ok(model) => {
                let span = errors.locate(&format!("model.{name}.path"));
                warnings.extend(
                    model
                        .notes()
                        .iter()
                        .map(|note| Warning(Diagnostic::at(span.clone(), format!("model `{name}`: {note}")))),
                );
                loaded.models.insert(name.clone(), model);
            }
            Err(diagnostics) => {
                let span = errors.locate(&format!("model.{name}.path"));
                for mut diagnostic in diagnostics {
                    if !diagnostic.is_machines {
                        diagnostic.span.clone_from(&span);
                    }
                    errors.push(diagnostic);
                }
            }
        }
    }
    loaded
}

/// A model that gives what was recorded of it. What differs is found here, before any device is opened: a device is wrong
/// only where the CPU is right.
fn load_model(name: &Name, path: &Path) -> Result<Model, Vec<Diagnostic>> {
    let diagnostic = |error: &dyn Error| Diagnostic::at(None, format!("model `{name}`: {}", ErrorChain(error)));
    let each = |error: ModelError| error.each().iter().map(|error| diagnostic(error)).collect::<Vec<_>>();
    let model = Model::load(path).map_err(|error| match machine::scarcity_behind(&error) {
        Some(advice) => vec![Diagnostic::of_machine(
            format!("model `{name}`: {}", ErrorChain(&error)),
            advice,
        )],
        None => each(error),
    })?;
    let mut told = Instant::now();
    let reproduced = reproduce_samples(&model, &mut |n_run, of| {
        if told.elapsed() >= SAMPLES_REPORTED_EVERY {
            told = Instant::now();
            info!(model = %name, n_run, of, "running the recorded samples on the CPU");
        }
    });
    match reproduced {
        Ok(_) => Ok(model),
        Err(error) => {
            let found = diagnostic(&error);
            Err(vec![match error.hint() {
                Some(hint) => found.hint(hint),
                None => found,
            }])
        }
    }
}

fn plugin_diagnostics(errors: &ConfigErrors, name: &Name, error: &LoadError) -> Vec<Diagnostic> {
    if let Some(advice) = error.problem.advice() {
        return vec![Diagnostic::of_machine(ErrorChain(error).to_string(), advice)];
    }
    let key = match &error.problem {
        LoadProblem::SettingDiagnostics { diagnostics, .. } => {
            let at = |diagnostic: &SettingDiagnostic| {
                let table = format!("plugin.{name}.settings");
                let place = match &diagnostic.about {
                    About::Name(key) => errors.locate_name(&format!("{table}.{key}")),
                    About::Value(key) => errors.locate(&format!("{table}.{key}")),
                    About::Table => errors.locate(&table),
                };
                let found = Diagnostic::at(place, format!("plugin `{name}`: {}", diagnostic.text));
                match &diagnostic.hint {
                    Some(hint) => found.hint(hint),
                    None => found,
                }
            };
            return diagnostics.iter().map(at).collect();
        }
        LoadProblem::Settings(_) => "settings",
        LoadProblem::Digest { .. } => "sha256",
        LoadProblem::Memory { .. } => "memory",
        _ => "path",
    };
    let span = errors.locate(&format!("plugin.{name}.{key}"));
    let hint = error.problem.hint().map(str::to_owned);
    vec![Diagnostic {
        hint,
        ..Diagnostic::at(span, ErrorChain(error).to_string())
    }]
}

impl LoadedFiles {
    /// A model that was read.
    pub fn model(&self, name: &Name) -> Option<&Model> {
        self.models.get(name)
    }

    /// All models.
    pub fn models(&self) -> &Models {
        &self.models
    }

    /// The plugins that were read.
    pub fn plugins(&self) -> impl Iterator<Item = (&Name, &Arc<Plugin>)> {
        self.plugins.iter()
    }

    /// Replaces a plugin that was read.
    pub fn replace_plugin(&mut self, name: Name, plugin: Arc<Plugin>) {
        self.plugins.insert(name, plugin);
    }

    /// Puts the models that do not serve yet on their devices, and gives every pipeline its parts: those of `serving` that
    /// did not change, and for what is held back those that serve in its place. New ones are of generation `id`.
    ///
    /// # Errors
    /// When a device is not there, fails, or computes wrong numbers.
    pub async fn serve(
        mut self,
        config: &Config,
        serving: &BTreeMap<Name, Parts>,
        held_back: &HeldBack,
        id: u64,
        device_lost: &CancellationToken,
    ) -> Result<BTreeMap<Name, Parts>, ServeError> {
        let mut models = BTreeMap::new();
        let mut parts = BTreeMap::new();
        for (name, pipeline) in &config.pipelines {
            if !models.contains_key(&pipeline.model)
                && let Some(settings) = config.models.get(&pipeline.model)
                && let Some(model) = self.models.remove(&pipeline.model)
            {
                let kept = parts::kept_model(serving, held_back, settings, model.digest());
                let part = match kept {
                    Some(part) => part,
                    None => Part {
                        what: start(model, settings, device_lost, parts::meter(serving, settings)).await?,
                        config: settings.clone(),
                        since: id,
                    },
                };
                models.insert(pipeline.model.clone(), part);
            }
            let plugin = |name: &Name| {
                let (settings, plugin) = (config.plugins.get(name)?, self.plugins.get(name)?);
                let kept = parts::kept_plugin(serving, held_back, settings, plugin);
                Some(kept.unwrap_or_else(|| Part {
                    what: Arc::clone(plugin),
                    config: settings.clone(),
                    since: id,
                }))
            };
            // Each is there: the file was checked, and everything that it names loaded.
            let (plugins, model) = (pipeline.plugins.try_map(plugin), models.get(&pipeline.model).cloned());
            if let (Some(plugins), Some(model)) = (plugins, model) {
                parts.insert(name.clone(), Parts { plugins, model });
            }
        }
        Ok(parts)
    }
}

async fn start(
    model: Model,
    settings: &ModelConfig,
    device_lost: &CancellationToken,
    meter: Arc<ModelMeter>,
) -> Result<Arc<Served>, ServeError> {
    let name = &settings.name;
    let placement = settings.placement();
    // Loaders and drivers of GPUs print by themselves what they miss.
    let _captured = streams::capture();
    let opened = tokio::task::spawn_blocking(move || Device::open_all(&placement)).await;
    let devices = opened.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()));
    let devices = devices.map_err(|source| ServeError::Device {
        model: name.clone(),
        source,
    })?;
    let serving = ServeOptions {
        name: name.as_str().into(),
        max_batch: settings.max_batch,
        max_wait: settings.max_wait,
        device_lost: device_lost.clone(),
        meter,
    };
    Served::start(model, devices, serving)
        .await
        .map_err(|source| ServeError::Run {
            model: name.clone(),
            source,
        })
}
