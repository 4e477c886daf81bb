//! `millrace model import`: a model folder of a file that came out of training. The folder is made aside, loaded, and then moved
//! to its place: it appears whole or not at all.

mod stage;
mod text;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail};
use clap::Args;
use millrace_models::{MANIFEST_FILE, Model, Survey, SurveyedNetwork, SurveyedWeights};
use tokio::signal::unix::{SignalKind, signal};

use super::known::{self, Normalisation};
use super::steps::Steps;
use super::subject;
use crate::cli::MISTAKEN;
use crate::cli::output;
use crate::memory;
use crate::streams;
use stage::{Existing, Stage};
use text::Given;

const EXAMPLES: &str = "\
Examples:
  millrace model import resnet18.onnx --out models/resnet18 --normalisation imagenet --labels imagenet1k
  millrace model import cats.pth --out models/cats --normalisation imagenet --labels labels.txt
  millrace model import net.onnx --out models/net --shape 3,384,384 --force

The folder of an .onnx file serves at once; its files of weights come along. For weights alone (.pth, .pt, .safetensors) a person
must write the layers: the folder's model.toml lists what is in the file, and says what is missing.

Normalisations: imagenet, half (-1 to 1), clip, cifar10, cifar100, mnist, fashion-mnist, none (0 to 1).
Labels: imagenet1k, cifar10, mnist, fashion-mnist, or a file with one label a line, in the order of the outputs.";

/// `millrace model import`
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// The file: .onnx, .pth, .pt or .safetensors
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The model folder to write
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// How pictures were normalised before training, by a well-known training set; the model then takes bytes
    #[arg(long, value_name = "NAME")]
    normalisation: Option<String>,
    /// The classes, by a well-known training set, or a file with one label a line
    #[arg(long, value_name = "NAME|FILE")]
    labels: Option<String>,
    /// Channels, height and width, where the file leaves them open
    #[arg(long, value_name = "C,H,W", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    shape: Vec<u32>,
    /// Replaces an existing model folder
    #[arg(long)]
    force: bool,
}

/// The result, for people.
struct Made {
    lines: Vec<String>,
}

/// Why nothing was.
enum Refused {
    /// The network cannot be served: everything that is wrong with it.
    Mistaken(Vec<String>),
    /// Anything else.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Refused {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

pub(super) async fn import(options: Options) -> anyhow::Result<ExitCode> {
    let stopped = Arc::new(AtomicBool::new(false));
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut work = tokio::task::spawn_blocking({
        let stopped = Arc::clone(&stopped);
        move || make(&options, &stopped)
    });
    // The thread that began the work removes its rest, so the work is waited for.
    let made = loop {
        tokio::select! {
            made = &mut work => break made?,
            _ = interrupt.recv() => stopped.store(true, Ordering::Relaxed),
            _ = terminate.recv() => stopped.store(true, Ordering::Relaxed),
        }
    };
    match made {
        Ok(made) => {
            output::print(made.lines.join("\n"))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(Refused::Failed(error)) => Err(error),
        Err(Refused::Mistaken(diagnostics)) => {
            for diagnostic in diagnostics {
                streams::error(diagnostic);
            }
            Ok(ExitCode::from(MISTAKEN))
        }
    }
}

fn make(options: &Options, stopped: &AtomicBool) -> Result<Made, Refused> {
    let steps = Steps::begin("reading");
    let normalisation = options.normalisation.as_deref().map(normalisation).transpose()?;
    let labels = options
        .labels
        .as_deref()
        .map(known::labels)
        .transpose()?
        .unwrap_or_default();
    let file = file_name(&options.file)?;
    let existing = match options.force {
        true => Existing::Replace,
        false => Existing::Refuse,
    };
    let stage = Stage::begin(&options.out, existing, stopped)?;
    let survey = Survey::of(&options.file).map_err(|error| Refused::Mistaken(subject::diagnostics(error)))?;
    let (sha256, n_bytes) = stage.copy(&options.file, &file, &steps)?;
    let name = options
        .out
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let given = Given {
        name: &name,
        file: &file,
        sha256: &sha256,
        normalisation,
        labels: &labels,
        shape: Some(options.shape.as_slice()).filter(|shape| !shape.is_empty()),
    };
    let text = match &survey {
        Survey::Network(survey) => network(&given, survey, options, &stage, &steps)?,
        Survey::Weights(survey) => weights(&given, survey, &stage)?,
    };
    stage.finish(existing)?;
    Ok(made(options, &survey, &file, n_bytes, &text))
}

fn normalisation(name: &str) -> anyhow::Result<Normalisation> {
    known::normalisation(name)
        .map_err(|known| anyhow::anyhow!("--normalisation: no `{}`; {known}", name.escape_debug()))
}

fn file_name(path: &Path) -> anyhow::Result<String> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("`{}` has no name that a model.toml can hold", path.display()))?;
    Ok(name.to_owned())
}

/// Brings the files of weights along, and loads what came of it: twice, first as the file is and then as it is written down.
fn network(
    given: &Given<'_>,
    survey: &SurveyedNetwork,
    options: &Options,
    stage: &Stage<'_>,
    steps: &Steps,
) -> Result<String, Refused> {
    let beside = options.file.parent().unwrap_or(Path::new(""));
    for file in &survey.external {
        if file == MANIFEST_FILE {
            return Err(anyhow::anyhow!(
                "its weights are in a file `{file}`, a name that the import needs for its own file"
            )
            .into());
        }
        stage.copy(&beside.join(file), file, steps)?;
    }
    steps.now("reading the network", 0);
    stage.write(MANIFEST_FILE, &text::provisional(given))?;
    let load = || {
        Model::load(stage.folder()).map_err(|error| {
            let diagnostics = subject::diagnostics(error).into_iter();
            // The folder is not where it will be, and then is not there any more.
            let folder = format!("{}/", stage.folder().display());
            Refused::Mistaken(diagnostics.map(|diagnostic| diagnostic.replace(&folder, "")).collect())
        })
    };
    let model = load()?;
    fitting_labels(given.labels, &model)?;
    let text = text::of_network(given, survey, &model);
    stage.write(MANIFEST_FILE, &text)?;
    load()?;
    Ok(text)
}

/// Labels that the user gave are compared with the network here, where the error can name the option.
fn fitting_labels(labels: &[String], model: &Model) -> anyhow::Result<()> {
    let (Some(name), Some(output)) = (model.output_names().first(), model.outputs().first()) else {
        return Ok(());
    };
    match output.shape.as_slice() {
        [n_classes] if !labels.is_empty() && labels.len() != *n_classes as usize => bail!(
            "--labels: {} labels, but the output `{}` of the network yields {n_classes} numbers: give one label for each, in \
             their order",
            labels.len(),
            output::plain(name, 200)
        ),
        _ => Ok(()),
    }
}

fn weights(given: &Given<'_>, survey: &SurveyedWeights, stage: &Stage<'_>) -> anyhow::Result<String> {
    if survey.tensors.is_empty() {
        bail!("`{}` holds no tensors", given.file);
    }
    let text = text::of_weights(given, survey);
    stage.write(MANIFEST_FILE, &text)?;
    Ok(text)
}

fn made(options: &Options, survey: &Survey, file: &str, n_bytes: u64, text: &str) -> Made {
    let folder = options.out.display();
    let mut lines = vec![format!(
        "{folder}: {MANIFEST_FILE} and {} ({})",
        output::plain(file, 200),
        memory::shown(n_bytes)
    )];
    let missing = text::missing(text).into_iter();
    lines.extend(missing.map(|what| format!("to fill in: {}", output::plain(&what, 300))));
    lines.push(match survey {
        Survey::Network(_) => format!("try it: millrace model run {} PICTURE", output::shell(&options.out)),
        Survey::Weights(_) => format!("then: millrace model inspect {}", output::shell(&options.out)),
    });
    Made { lines }
}
