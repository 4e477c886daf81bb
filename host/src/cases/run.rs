//! Runs one case: the plugin is loaded, configured and called as in production, and a second time where fuel is counted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use millrace_models::{Device, DeviceChoice, DeviceError, Model, ModelError, Placement, RunError};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::{Found, Made};
use crate::config::case::{Case, Origin, Outcome, SaidPrediction};
use crate::config::{Isolation, Name, PluginConfig};
use crate::disposition::ReasonClass;
use crate::envelope;
use crate::inference::{InferError, ServeOptions, Served};
use crate::message::{Outbound, Prediction, Tensor, TensorType};
use crate::sandbox::{
    CallError, CallInput, Compiler, Cost, Gauge, Lane, LoadError, LoadProblem, Plugin, Role, Sandbox, SandboxError,
    TransformOf,
};

/// Labels that are looked at.
const LABELS_MAX: usize = 5;

/// One case runs at a time.
const WORKERS: usize = 1;

/// The limits of a plugin.
const ROLES: [Role; 3] = [Role::Preprocess, Role::Transform, Role::Route];

/// The limit of a transformer's output where no pipeline gives it: the default of `max_message`.
const MESSAGE_MAX_BYTES: usize = 8 << 20;

/// The name of a plugin whose file has none that can be one.
const UNNAMED: &str = "plugin";

/// Runs cases, and keeps what they have in common: engines, compiled plugins, models.
#[derive(Debug)]
pub struct Runner {
    sandbox: Sandbox,
    lane: Lane,
    fuel: OnceLock<Gauge>,
    models: Mutex<BTreeMap<PathBuf, Arc<Served>>>,
    device_lost: CancellationToken,
}

/// The defaults for cases.
#[derive(Debug, Clone, Default)]
pub struct Defaults {
    /// The plugin's settings as a JSON object.
    pub settings: Option<String>,
    /// A model folder.
    pub model: Option<PathBuf>,
}

/// A plugin that was loaded for a case.
#[derive(Debug)]
pub struct ForCase {
    pub plugin: Arc<Plugin>,
    /// Its settings and limits.
    pub config: PluginConfig,
    pub role: Role,
}

/// Why a case says nothing about a plugin.
#[derive(Debug, thiserror::Error)]
pub enum CannotRun {
    /// The plugin cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Neither the case nor the caller says what a preprocessor is asked for.
    #[error("the input type of the model is unknown: set `model` or `wants` in the case, or pass `--model`")]
    NoInputType,
    /// Neither the case nor the caller says what a router is shown.
    #[error("the prediction for the router is missing: add `[prediction]` to the case")]
    NoPrediction,
    /// A score is for a label that the model has not.
    #[error("the model has no label {0:?}")]
    NoLabel(String),
    /// The preprocessor makes no tensor for the model.
    #[error("the preprocessor returned no tensor: {0}")]
    NoTensor(String),
    /// The file that should be a preprocessor is none.
    #[error("`{}` is a {role}, not a preprocessor", path.display())]
    NoPreprocessor {
        /// The file.
        path: PathBuf,
        role: Role,
    },
    /// The model cannot be read.
    #[error("the model cannot be used")]
    Model(#[from] ModelError),
    /// No device can be opened.
    #[error("the model cannot be used")]
    Device(#[from] DeviceError),
    /// The model fails.
    #[error("the model cannot be used")]
    Run(#[from] RunError),
    /// The model fails for this tensor.
    #[error("the model gives no prediction")]
    Infer(#[from] InferError),
    /// No engine can be made.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The plugin cannot be measured.
    #[error("cannot measure the plugin: {0}")]
    Measure(String),
    /// The sandbox has stopped.
    #[error("the sandbox has stopped")]
    Stopped,
}

impl Runner {
    /// Starts the engine that serves.
    ///
    /// # Errors
    /// When it cannot start.
    pub fn start() -> Result<Self, SandboxError> {
        let sandbox = Sandbox::start(WORKERS, Compiler::of_author())?;
        Ok(Self {
            lane: sandbox.lane(1),
            sandbox,
            fuel: OnceLock::new(),
            models: Mutex::default(),
            device_lost: CancellationToken::new(),
        })
    }

    /// Loads a plugin for a case, as whatever it is.
    ///
    /// # Errors
    /// When it is not a plugin, or rejects its settings.
    pub fn load(&self, file: &Path, case: &Case, defaults: &Defaults) -> Result<ForCase, LoadError> {
        let settings = case.settings.as_ref().or(defaults.settings.as_ref());
        let config = |role| {
            let (deadline, memory_bytes) = case.limits(super::stage(role));
            PluginConfig {
                name: name_of(file),
                path: file.to_owned(),
                sha256: None,
                deadline,
                memory_bytes,
                isolation: Isolation::Message,
                settings: settings.cloned().unwrap_or_else(|| "{}".to_owned()),
            }
        };
        load_any(&self.sandbox, config)
    }

    /// Runs a case on a plugin's file.
    ///
    /// # Errors
    /// When that says nothing about the plugin.
    pub async fn run(&self, file: &Path, case: &Case, defaults: &Defaults) -> Result<Found, CannotRun> {
        let loaded = match self.load(file, case, defaults) {
            Ok(loaded) => loaded,
            Err(error) => return refused_settings(error),
        };
        self.call(&loaded, case, defaults).await
    }

    /// Calls a plugin that was loaded for a case.
    ///
    /// # Errors
    /// As [`Runner::run`].
    pub async fn call(&self, loaded: &ForCase, case: &Case, defaults: &Defaults) -> Result<Found, CannotRun> {
        match self.asked(loaded, case, defaults).await? {
            CallInput::Preprocess(wants) => {
                let called = loaded.plugin.preprocess(&self.lane, &case.message, &wants).await;
                let tensor = match called.answer {
                    Ok(tensor) => tensor,
                    Err(error) => return failed(loaded.role, error, called.ran),
                };
                let labels = match case.model.as_ref().or(defaults.model.as_ref()) {
                    Some(model) => self.predict(model, tensor.clone()).await?.top(LABELS_MAX),
                    None => Vec::new(),
                };
                Ok(Found::ok(loaded.role, Made::Tensor { tensor, labels }, called.ran))
            }
            CallInput::Transform(of) => {
                let called = loaded.plugin.transform(&self.lane, &case.message, of).await;
                match called.answer {
                    Ok(made) => Ok(Found::ok(loaded.role, Made::Message(made), called.ran)),
                    Err(error) => failed(loaded.role, error, called.ran),
                }
            }
            CallInput::Route(prediction) => {
                let called = loaded.plugin.route(&self.lane, &case.message, &prediction).await;
                match called.answer {
                    Ok(results) => Ok(addressed(loaded.role, results, called.ran)),
                    Err(error) => failed(loaded.role, error, called.ran),
                }
            }
        }
    }

    /// The input of a plugin's call.
    ///
    /// # Errors
    /// When nothing says it.
    pub async fn asked(&self, loaded: &ForCase, case: &Case, defaults: &Defaults) -> Result<CallInput, CannotRun> {
        let model = case.model.as_ref().or(defaults.model.as_ref());
        Ok(match loaded.role {
            Role::Preprocess => CallInput::Preprocess(self.wants(model, case.wants.as_ref())?),
            Role::Transform => CallInput::Transform(TransformOf::Message {
                max_bytes: MESSAGE_MAX_BYTES,
            }),
            Role::Route => {
                let said = case.prediction.as_ref().ok_or(CannotRun::NoPrediction)?;
                CallInput::Route(Arc::new(self.prediction(said, model, case).await?))
            }
        })
    }

    /// The cost of a case in fuel and memory.
    ///
    /// # Errors
    /// When it cannot be measured.
    pub async fn cost(&self, loaded: &ForCase, case: &Case, defaults: &Defaults) -> Result<Cost, CannotRun> {
        let asked = self.asked(loaded, case, defaults).await?;
        let gauge = match self.fuel.get() {
            Some(gauge) => gauge,
            None => {
                let gauge = Gauge::of_fuel()?;
                self.fuel.get_or_init(|| gauge)
            }
        };
        let measured = gauge.measure(&loaded.plugin, &loaded.config)?;
        measured.call(&case.message, &asked).map_err(CannotRun::Measure)
    }

    fn wants(&self, model: Option<&PathBuf>, said: Option<&TensorType>) -> Result<Arc<TensorType>, CannotRun> {
        match (said, model) {
            (Some(wants), _) => Ok(Arc::new(wants.clone())),
            (None, Some(model)) => Ok(Arc::new(Model::load(model)?.input().clone())),
            (None, None) => Err(CannotRun::NoInputType),
        }
    }

    async fn prediction(
        &self,
        said: &SaidPrediction,
        model: Option<&PathBuf>,
        case: &Case,
    ) -> Result<Prediction, CannotRun> {
        let name: Arc<str> = said.model.as_str().into();
        match &said.origin {
            Origin::Said { scores, outputs } => {
                let (labels, scores) = match model {
                    Some(model) => classes(Model::load(model)?.labels(), scores)?,
                    None => scores.iter().cloned().unzip(),
                };
                Ok(Prediction {
                    model: name,
                    labels: labels.into(),
                    scores,
                    outputs: outputs.clone(),
                })
            }
            Origin::Made { preprocess, settings } => {
                let model = model.ok_or(CannotRun::NoInputType)?;
                let tensor = self.tensor(preprocess, settings, model, case).await?;
                let prediction = self.predict(model, tensor).await?;
                Ok(Prediction {
                    model: name,
                    ..prediction
                })
            }
        }
    }

    /// The tensor of a preprocessor for a case's message.
    async fn tensor(&self, file: &Path, settings: &str, model: &PathBuf, case: &Case) -> Result<Tensor, CannotRun> {
        let other = Case {
            settings: Some(settings.to_owned()),
            ..case.clone()
        };
        let loaded = self.load(file, &other, &Defaults::default())?;
        if loaded.role != Role::Preprocess {
            let (path, role) = (file.to_owned(), loaded.role);
            return Err(CannotRun::NoPreprocessor { path, role });
        }
        let wants = self.wants(Some(model), None)?;
        let called = loaded.plugin.preprocess(&self.lane, &case.message, &wants).await;
        called
            .answer
            .map_err(|error| match Found::of_error(Role::Preprocess, error, called.ran) {
                Some(found) => CannotRun::NoTensor(format!("{}: {}", found.outcome.as_str(), found.text)),
                None => CannotRun::Stopped,
            })
    }

    /// Runs a model on a tensor, on the CPU.
    async fn predict(&self, folder: &Path, tensor: Tensor) -> Result<Prediction, CannotRun> {
        let mut models = self.models.lock().await;
        let served = match models.get(folder) {
            Some(served) => Arc::clone(served),
            None => {
                let served = self.serve(folder).await?;
                models.insert(folder.to_owned(), Arc::clone(&served));
                served
            }
        };
        drop(models);
        Ok(served.infer(served.reserve(), tensor, None).await?)
    }

    async fn serve(&self, folder: &Path) -> Result<Arc<Served>, CannotRun> {
        let model = Model::load(folder)?;
        let devices = Device::open_all(&Placement::on(DeviceChoice::Cpu))?;
        let serving = ServeOptions {
            name: "model".into(),
            max_batch: Some(1),
            max_wait: Duration::ZERO,
            device_lost: self.device_lost.clone(),
            meter: Arc::default(),
        };
        Ok(Served::start(model, devices, serving).await?)
    }
}

/// Loads a plugin as whatever it is, by what it exports.
fn load_any(sandbox: &Sandbox, config: impl Fn(Role) -> PluginConfig) -> Result<ForCase, LoadError> {
    let mut first = None;
    for role in ROLES {
        let config = config(role);
        match sandbox.load(&config, role) {
            Ok(plugin) => return Ok(ForCase { plugin, config, role }),
            Err(error) if is_other_role(&error.problem) => {
                first.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    // There is a role, so one of them was not it.
    Err(first.unwrap_or_else(|| {
        let PluginConfig { name, path, .. } = config(Role::Preprocess);
        LoadError {
            name: name.to_string(),
            path,
            problem: LoadProblem::NoContract,
        }
    }))
}

fn is_other_role(problem: &LoadProblem) -> bool {
    matches!(problem, LoadProblem::World { .. } | LoadProblem::NoPlugin { .. })
}

/// A plugin's name by that of its file.
#[expect(clippy::expect_used, reason = "a constant is a name or it is not")]
fn name_of(file: &Path) -> Name {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().replace('_', "-");
    Name::new(&stem).unwrap_or_else(|| Name::new(UNNAMED).expect("it is kebab-case"))
}

fn failed(role: Role, error: CallError, ran: Duration) -> Result<Found, CannotRun> {
    Found::of_error(role, error, ran).ok_or(CannotRun::Stopped)
}

/// The results that the host refuses, whatever their destination is.
fn addressed(role: Role, results: Vec<Outbound>, ran: Duration) -> Found {
    let mut names = results.iter().flat_map(|result| &result.headers).map(|(name, _)| name);
    match names.find(|name| envelope::is_reserved(name)) {
        None => Found::ok(role, Made::Results(results), ran),
        Some(name) => Found {
            role,
            outcome: Outcome::Fault(ReasonClass::Denied),
            text: format!("a plugin may not set the header {name:?}"),
            made: Made::Nothing,
            took: ran,
        },
    }
}

/// A plugin that refuses its settings is one that a case may expect.
fn refused_settings(error: LoadError) -> Result<Found, CannotRun> {
    let text = match &error.problem {
        LoadProblem::Settings(text) => text.clone(),
        problem @ LoadProblem::SettingDiagnostics { .. } => problem.to_string(),
        _ => return Err(error.into()),
    };
    Ok(Found {
        // Whatever it is: no call was made.
        role: Role::Preprocess,
        outcome: Outcome::Settings,
        text,
        made: Made::Nothing,
        took: Duration::ZERO,
    })
}

/// The scores of a model's classes; those that are not said are 0.
fn classes(labels: &[String], said: &[(String, f32)]) -> Result<(Vec<String>, Vec<f32>), CannotRun> {
    let mut scores = vec![0.0; labels.len()];
    for (label, score) in said {
        let class = labels.iter().position(|known| known == label);
        match class.and_then(|class| scores.get_mut(class)) {
            Some(place) => *place = *score,
            None => return Err(CannotRun::NoLabel(label.clone())),
        }
    }
    Ok((labels.to_vec(), scores))
}
