//! From a checked file to a generation: read, compile, check, warm up. Start-up is a load from the empty set.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_models::{Device, DeviceError, Model, RunError};
use tokio_util::sync::CancellationToken;

use crate::chain::Chain;
use crate::config::{Config, ConfigErrors, Mistake, Name, PipelineConfig};
use crate::connect::Destination;
use crate::connect::amqp::{self, Broker, TooLong};
use crate::generation::{Generation, Stages};
use crate::inference::{Served, Serving};
use crate::sandbox::{LoadError, LoadProblem, Plugin, Role, Sandbox};

/// Everything that a file names, read and checked, on no device yet.
#[derive(Debug)]
pub struct Loaded {
    plugins: BTreeMap<Name, Arc<Plugin>>,
    models: BTreeMap<Name, Model>,
}

/// Why a loaded set cannot be taken into service.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A device cannot be opened.
    #[error("model `{model}`")]
    Device {
        /// The model.
        model: Name,
        /// Why not.
        source: DeviceError,
    },
    /// A device fails, or computes wrong numbers.
    #[error("model `{model}`")]
    Run {
        /// The model.
        model: Name,
        /// Why not.
        source: RunError,
    },
    /// A name does not fit.
    #[error("pipeline `{pipeline}`")]
    TooLong {
        /// The pipeline.
        pipeline: Name,
        /// Which name.
        source: TooLong,
    },
}

/// Loads the plugins and models that are right as far as the file goes, and adds what is wrong with them to `errors`,
/// each at its place in the file. Blocking: compiles.
pub fn load(sandbox: &Sandbox, errors: &mut ConfigErrors) -> Loaded {
    let sound = errors.sound();
    let mut loaded = Loaded {
        plugins: BTreeMap::new(),
        models: BTreeMap::new(),
    };
    for (names, role) in [(&sound.preprocessors, Role::Preprocess), (&sound.routers, Role::Route)] {
        for (name, plugin) in names.iter().filter_map(|name| sound.plugins.get_key_value(name)) {
            match sandbox.load(plugin, role) {
                Ok(plugin) => drop(loaded.plugins.insert(name.clone(), plugin)),
                Err(error) => errors.push(plugin_mistake(errors, name, &error)),
            }
        }
    }
    if let Some(Err(error)) = sound.ca.as_deref().map(amqp::authorities) {
        let hint = "it must be PEM, and the certificate of the authority that signed the broker's";
        errors.push(Mistake::at(errors.locate("broker.ca"), error.to_string()).hint(hint));
    }
    for (name, model) in &sound.models {
        match Model::load(&model.path) {
            Ok(model) => drop(loaded.models.insert(name.clone(), model)),
            Err(error) => {
                let span = errors.locate(&format!("model.{name}.path"));
                errors.push(Mistake::at(span, format!("model `{name}`: {}", Chain(&error))));
            }
        }
    }
    loaded
}

fn plugin_mistake(errors: &ConfigErrors, name: &Name, error: &LoadError) -> Mistake {
    let key = match &error.problem {
        LoadProblem::Settings(_) => "settings",
        LoadProblem::Digest { .. } => "sha256",
        LoadProblem::Memory { .. } => "memory",
        _ => "path",
    };
    Mistake::at(errors.locate(&format!("plugin.{name}.{key}")), Chain(error).to_string())
}

impl Loaded {
    /// A model that was read.
    pub fn model(&self, name: &Name) -> Option<&Model> {
        self.models.get(name)
    }

    /// Puts the models on their devices and binds everything into the first generation.
    ///
    /// # Errors
    /// When a device is not there, fails, or computes wrong numbers.
    pub async fn serve(
        self,
        config: &Config,
        sandbox: &Sandbox,
        broker: Option<&Broker>,
        device_lost: &CancellationToken,
    ) -> Result<Generation, ServeError> {
        let mut served = BTreeMap::new();
        let is_used = |name: &Name| config.pipelines.values().any(|pipeline| pipeline.model == *name);
        for (name, model) in self.models.into_iter().filter(|(name, _)| is_used(name)) {
            if let Some(settings) = config.models.get(&name) {
                let choice = settings.device.clone();
                let opened = tokio::task::spawn_blocking(move || Device::open(&choice)).await;
                let device = opened.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()));
                let device = device.map_err(|source| ServeError::Device {
                    model: name.clone(),
                    source,
                })?;
                let serving = Serving {
                    name: name.as_str().into(),
                    max_batch: settings.max_batch,
                    max_wait: settings.max_wait,
                    device_lost: device_lost.clone(),
                    meter: Arc::default(),
                };
                let model = Served::start(model, device, serving).await;
                served.insert(
                    name.clone(),
                    model.map_err(|source| ServeError::Run { model: name, source })?,
                );
            }
        }
        let id = 1;
        let n_pipelines = config.pipelines.len();
        let stages = config.pipelines.iter().filter_map(|(name, pipeline)| {
            let parts = (
                self.plugins.get(&pipeline.preprocess)?,
                served.get(&pipeline.model)?,
                self.plugins.get(&pipeline.route)?,
            );
            let (preprocess, model, route) = parts;
            let bound = destinations(pipeline, broker).map(|destinations| {
                let stages = Stages {
                    generation: id,
                    preprocess: Arc::clone(preprocess),
                    model: Arc::clone(model),
                    route: Arc::clone(route),
                    lane: sandbox.lane(n_pipelines),
                    destinations,
                    attempts: pipeline.attempts,
                };
                (name.clone(), Arc::new(stages))
            });
            Some(bound.map_err(|source| ServeError::TooLong {
                pipeline: name.clone(),
                source,
            }))
        });
        Ok(Generation {
            id,
            pipelines: stages.collect::<Result<_, _>>()?,
        })
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
