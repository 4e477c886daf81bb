//! `millrace plugin run`: one message, and what a plugin makes of it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;

use super::{shown, subject::Subject, subject::read_settings};
use crate::cases::{Defaults, Found, Made, Picture, Runner};
use crate::cli::output::{plain, print};
use crate::config::case::{BODY_MAX_BYTES, Budget, Case, Origin, Outcome, SaidPrediction};
use crate::config::default_limits;
use crate::envelope;
use crate::message::{Element, Message, TensorType};

/// How much of a refusal is shown.
const TEXT_CHARS: usize = 4000;

const EXAMPLES: &str = "\
Examples:
  millrace plugin run decode-image.wasm --message cat.jpg --model models/shapes-lenet
  millrace plugin run . --message cat.jpg --shape 3x224x224 --element float --png seen.png
  millrace plugin run by-label.wasm --message cat.jpg --scores cat=0.9,dog=0.1
  millrace plugin run by-label.wasm --message cat.jpg --model models/shapes-lenet --preprocess decode-image.wasm
  millrace plugin run crop.wasm --message cat.jpg --settings '{ \"side\": 32 }' --header camera=7";

/// `millrace plugin run`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// The plugin's .wasm file, or the folder of its crate
    #[arg(value_name = "FILE")]
    plugin: PathBuf,
    /// The file that is the message's body
    #[arg(long, value_name = "FILE")]
    message: PathBuf,
    /// A model folder: it gives the input type for a preprocessor, and runs on the tensor (on the CPU)
    #[arg(long, value_name = "FOLDER")]
    model: Option<PathBuf>,
    /// The shape that a preprocessor must make, where there is no model: `3x32x32`
    #[arg(long, conflicts_with = "model", value_parser = parse_shape)]
    shape: Option<Shape>,
    /// The elements that it must make, where there is no model
    #[arg(long, value_enum, default_value_t = ElementName::Byte, requires = "shape")]
    element: ElementName,
    /// The plugin's settings: a JSON object, or a .json or .toml file
    #[arg(long)]
    settings: Option<String>,
    /// The prediction for a router: scores by label
    #[arg(long, value_name = "LABEL=SCORE,..", value_delimiter = ',', value_parser = parse_score)]
    scores: Vec<(String, f32)>,
    /// For a router: the preprocessor whose tensor the model runs on, in place of `--scores`
    #[arg(long, value_name = "FILE", requires = "model", conflicts_with = "scores")]
    preprocess: Option<PathBuf>,
    /// The settings of that preprocessor
    #[arg(long, requires = "preprocess")]
    preprocess_settings: Option<String>,
    /// A header of the message; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_header)]
    header: Vec<(String, String)>,
    /// The message's content type [default: by the ending of its file]
    #[arg(long)]
    content_type: Option<String>,
    /// The message's id [default: the digest of its body]
    #[arg(long)]
    id: Option<String>,
    /// Writes a picture of what the model would see
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
}

#[derive(Debug, Clone)]
struct Shape(Vec<u32>);

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ElementName {
    Byte,
    Float,
}

pub(super) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let plugin = match options.plugin.is_dir() {
        true => Subject::of(&options.plugin)?.wasm,
        false => options.plugin.clone(),
    };
    let case = case(&options)?;
    let runner = Runner::start()?;
    let found = runner.run(&plugin, &case, &Defaults::default()).await?;
    let mut text = head(&plugin, &found);
    match &found.made {
        Made::Nothing => {}
        Made::Tensor { tensor, labels } => {
            text += &shown::tensor(tensor);
            if !labels.is_empty() {
                text += &shown::labels(labels);
            }
            if let Some(path) = &options.png {
                let Some(picture) = Picture::of(tensor) else {
                    bail!(
                        "{} is not a picture: it has neither one channel nor three",
                        tensor.tensor_type()
                    );
                };
                picture.write(path)?;
                text += &format!("picture  {}\n", path.display());
            }
        }
        Made::Results(results) => text += &shown::results(results),
        Made::Message(made) => {
            text += "makes    a message\n";
            text += &shown::body(&made.body, made.content_type.as_deref(), &made.headers);
        }
    }
    print(text.trim_end())?;
    Ok(match found.outcome {
        Outcome::Ok | Outcome::Reject | Outcome::Retry | Outcome::Skip => ExitCode::SUCCESS,
        Outcome::Settings | Outcome::Fault(_) => ExitCode::FAILURE,
    })
}

fn head(plugin: &Path, found: &Found) -> String {
    let name = plain(&plugin.file_name().unwrap_or_default().to_string_lossy(), TEXT_CHARS);
    let took = found.took.as_secs_f64() * 1e3;
    match found.outcome {
        Outcome::Ok => format!("{name} ({}): ok in {took:.3} ms\n", found.role),
        Outcome::Settings => format!("{name}: refuses its settings\n{}\n", plain(&found.text, TEXT_CHARS)),
        outcome => {
            let text = plain(&found.text, TEXT_CHARS);
            format!(
                "{name} ({}): {} in {took:.3} ms\n{text}\n",
                found.role,
                outcome.as_str()
            )
        }
    }
}

fn case(options: &Options) -> anyhow::Result<Case> {
    let (deadline, memory_bytes) = default_limits();
    let element = match options.element {
        ElementName::Byte => Element::Byte,
        ElementName::Float => Element::Float,
    };
    let settings = |text: &Option<String>| text.as_deref().map(read_settings).transpose();
    let origin = match &options.preprocess {
        Some(preprocess) => Some(Origin::Made {
            preprocess: preprocess.clone(),
            settings: settings(&options.preprocess_settings)?.unwrap_or_else(|| "{}".to_owned()),
        }),
        None if options.scores.is_empty() => None,
        None => Some(Origin::Said {
            scores: options.scores.clone(),
            outputs: Vec::new(),
        }),
    };
    Ok(Case {
        name: "run".to_owned(),
        path: PathBuf::new(),
        message: Arc::new(message(options)?),
        settings: settings(&options.settings)?,
        deadline,
        memory_bytes,
        model: options.model.clone(),
        wants: options.shape.clone().map(|Shape(shape)| TensorType { shape, element }),
        prediction: origin.map(|origin| SaidPrediction {
            model: "model".to_owned(),
            origin,
        }),
        expected: None,
        budget: Budget::default(),
        record: None,
    })
}

fn message(options: &Options) -> anyhow::Result<Message> {
    let path = &options.message;
    let cannot = || format!("cannot read the message `{}`", path.display());
    let length = std::fs::metadata(path).with_context(cannot)?.len();
    if length > BODY_MAX_BYTES {
        bail!(
            "the message `{}` has {length} bytes, more than {BODY_MAX_BYTES}",
            path.display()
        );
    }
    let body = std::fs::read(path).with_context(cannot)?;
    let content_type = options.content_type.clone();
    let content_type = content_type.or_else(|| mime_guess::from_path(path).first_raw().map(str::to_owned));
    Ok(Message {
        id: options.id.clone().unwrap_or_else(|| envelope::digest(&body)),
        source: "plugin run".to_owned(),
        key: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        attempt: 1,
        content_type: content_type.filter(|text| !text.is_empty()),
        headers: options.header.clone(),
        body: Arc::new(body),
        ..Message::default()
    })
}

fn parse_shape(text: &str) -> Result<Shape, String> {
    let axes: Result<Vec<u32>, _> = text.split('x').map(|axis| axis.trim().parse()).collect();
    match axes {
        Ok(axes) if axes.len() <= 8 => Ok(Shape(axes)),
        _ => Err("a shape is up to eight numbers, such as 3x32x32".to_owned()),
    }
}

fn parse_score(text: &str) -> Result<(String, f32), String> {
    let parsed = text
        .rsplit_once('=')
        .and_then(|(label, score)| Some((label, score.trim().parse::<f32>().ok()?)));
    match parsed {
        Some((label, score)) if score.is_finite() => Ok((label.trim().to_owned(), score)),
        _ => Err("a score is a label and a number, such as cat=0.9".to_owned()),
    }
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    let pair = text
        .split_once('=')
        .ok_or("a header is a name and a value, such as camera=7")?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}
