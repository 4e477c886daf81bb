//! The output of a plugin for the sample pictures or the labels of a model folder. Knows no file of the plugin.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use millrace_models::{Device, DeviceChoice, Model, Placement};
use tokio_util::sync::CancellationToken;

use super::{CELL_CHARS, table};
use crate::cli::output::plain;
use crate::inference::{ModelMeter, ServeOptions, Served};
use crate::message::{Element, Message, Outbound, Prediction, Tensor, TensorData, TensorType};
use crate::sandbox::{CallError, Lane, Plugin, PluginRefusal, Role, Sandbox, TransformOf};

/// Samples, or labels, that are tried.
const TRIED_MAX: usize = 10;

/// The largest sample that is read.
const SAMPLE_MAX_BYTES: u64 = 16 << 20;

/// The score of the label that a router is shown; the others share the rest.
const SURE: f32 = 0.9;

/// The most of a result's body that is shown.
const BODY_CHARS: usize = 100;

/// A sample picture of a model folder.
struct Sample {
    name: String,
    message: Arc<Message>,
}

/// The plugin's output, as a table.
///
/// # Errors
/// When the model cannot be read or run; what the plugin refuses is in the table.
pub(super) async fn told(sandbox: &Sandbox, plugin: &Arc<Plugin>, folder: &Path) -> anyhow::Result<String> {
    let model = Model::load(folder)?;
    let lane = sandbox.lane(1);
    match plugin.role() {
        Role::Preprocess => preprocessed(plugin, &lane, folder, model).await,
        Role::Transform => transformed(plugin, &lane, folder).await,
        Role::Route => Ok(routed(plugin, &lane, &model).await),
    }
}

async fn preprocessed(plugin: &Arc<Plugin>, lane: &Lane, folder: &Path, model: Model) -> anyhow::Result<String> {
    let wants = Arc::new(model.input().clone());
    let served = serve(model).await?;
    let mut rows = table(["SAMPLE", "TENSOR", "LABEL", "SCORE"]);
    for sample in samples(folder)? {
        let name = plain(&sample.name, CELL_CHARS);
        match plugin.preprocess(lane, &sample.message, &wants).await.answer {
            Ok(tensor) => {
                let about = about(&tensor);
                let prediction = served.infer(served.reserve(), tensor, None).await?;
                let best = prediction.top(1).into_iter().next();
                let (label, score) =
                    best.map_or_else(Default::default, |best| (best.label, format!("{:.4}", best.score)));
                rows.add_row([name, about, plain(&label, CELL_CHARS), score]);
            }
            Err(error) => drop(rows.add_row([name, failed(&error)])),
        }
    }
    let wants = shown(&wants);
    Ok(format!(
        "{} takes {wants}\n{}",
        plain(served.name(), CELL_CHARS),
        rows.trim_fmt()
    ))
}

async fn transformed(plugin: &Arc<Plugin>, lane: &Lane, folder: &Path) -> anyhow::Result<String> {
    let mut rows = table(["SAMPLE", "BODY", "CONTENT TYPE", "HEADERS"]);
    let max_bytes = usize::try_from(SAMPLE_MAX_BYTES)?;
    for sample in samples(folder)? {
        let name = plain(&sample.name, CELL_CHARS);
        match plugin
            .transform(lane, &sample.message, TransformOf::Message { max_bytes })
            .await
            .answer
        {
            Ok(made) => {
                let body = format!("{} bytes", made.body.len());
                let content_type = plain(&made.content_type.unwrap_or_default(), CELL_CHARS);
                rows.add_row([name, body, content_type, made.headers.len().to_string()]);
            }
            Err(error) => drop(rows.add_row([name, failed(&error)])),
        }
    }
    Ok(rows.trim_fmt())
}

/// A router needs a prediction, which a sample alone does not make: it is shown each label in turn.
async fn routed(plugin: &Arc<Plugin>, lane: &Lane, model: &Model) -> String {
    let mut rows = table(["LABEL", "SCORE", "DESTINATION", "KEY", "BODY"]);
    let labels: Arc<[String]> = model.labels().into();
    for (index, label) in labels.iter().enumerate().take(TRIED_MAX) {
        let label = plain(label, CELL_CHARS);
        let message = Arc::new(message(&label, Vec::new(), None));
        let prediction = Arc::new(sure_of(index, model, &labels));
        let score = SURE.to_string();
        match plugin.route(lane, &message, &prediction).await.answer {
            Ok(results) if results.is_empty() => drop(rows.add_row([&label, &score, "no result"])),
            Ok(results) => {
                for result in results {
                    rows.add_row(result_row(&label, &score, &result));
                }
            }
            Err(error) => drop(rows.add_row([label, score, failed(&error)])),
        }
    }
    rows.trim_fmt()
}

fn result_row(label: &str, score: &str, result: &Outbound) -> [String; 5] {
    [
        label.to_owned(),
        score.to_owned(),
        plain(&result.destination, CELL_CHARS),
        plain(result.key.as_deref().unwrap_or_default(), CELL_CHARS),
        plain(&String::from_utf8_lossy(&result.body), BODY_CHARS),
    ]
}

fn sure_of(index: usize, model: &Model, labels: &Arc<[String]>) -> Prediction {
    let n_others = labels.len().saturating_sub(1).max(1);
    let rest = (1.0 - SURE) / n_others as f32;
    let scores = (0..labels.len()).map(|other| if other == index { SURE } else { rest });
    Prediction {
        model: model.name().into(),
        labels: Arc::clone(labels),
        scores: scores.collect(),
        outputs: Vec::new(),
    }
}

/// On the CPU: it is there on every machine, and the numbers are those that other devices must give.
async fn serve(model: Model) -> anyhow::Result<Arc<Served>> {
    let devices = Device::open_all(&Placement::on(DeviceChoice::Cpu))?;
    let serving = ServeOptions {
        name: model.name().into(),
        max_batch: Some(1),
        max_wait: Duration::ZERO,
        device_lost: CancellationToken::new(),
        meter: Arc::<ModelMeter>::default(),
    };
    Ok(Served::start(model, devices, serving).await?)
}

/// Pictures in the folder's `samples`, by name.
fn samples(folder: &Path) -> anyhow::Result<Vec<Sample>> {
    let folder = folder.join("samples");
    let shown = folder.display();
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("it has no sample pictures: cannot read {shown}"))?;
    let paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<PathBuf>>>();
    let mut paths = paths.with_context(|| format!("cannot read {shown}"))?;
    paths.retain(|path| path.is_file());
    paths.sort();
    if paths.is_empty() {
        bail!("there are no sample pictures in {shown}");
    }
    paths.truncate(TRIED_MAX);
    paths.iter().map(|path| sample(path)).collect()
}

fn sample(path: &Path) -> anyhow::Result<Sample> {
    let shown = path.display();
    let n_bytes = std::fs::metadata(path)
        .with_context(|| format!("cannot read {shown}"))?
        .len();
    if n_bytes > SAMPLE_MAX_BYTES {
        bail!("{shown} is larger than 16 MiB");
    }
    let body = std::fs::read(path).with_context(|| format!("cannot read {shown}"))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let content_type = mime_guess::from_path(path).first_raw().map(str::to_owned);
    Ok(Sample {
        message: Arc::new(message(&name, body, content_type)),
        name,
    })
}

fn message(key: &str, body: Vec<u8>, content_type: Option<String>) -> Message {
    Message {
        id: key.to_owned(),
        source: "samples".to_owned(),
        key: key.to_owned(),
        attempt: 1,
        content_type,
        body: Arc::new(body),
        ..Message::default()
    }
}

fn failed(error: &CallError) -> String {
    match error {
        CallError::Refused(PluginRefusal::Reject(text)) => format!("reject: {text}"),
        CallError::Refused(PluginRefusal::Retry(text)) => format!("retry: {text}"),
        CallError::Refused(PluginRefusal::Skip(text)) => format!("skip: {text}"),
        error => format!("{}: {error}", error.as_str()),
    }
}

/// Type and range of a tensor.
fn about(tensor: &Tensor) -> String {
    let floats: Vec<f64> = match tensor.data() {
        TensorData::Bytes(bytes) => bytes.iter().copied().map(f64::from).collect(),
        TensorData::Floats(floats) => floats.iter().copied().map(f64::from).collect(),
    };
    let (min, max) = floats
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), value| {
            (min.min(*value), max.max(*value))
        });
    let mean = floats.iter().sum::<f64>() / floats.len().max(1) as f64;
    let kind = shown(&tensor.tensor_type());
    match floats.is_empty() {
        true => kind,
        false => format!("{kind}, {} to {}, mean {mean:.3}", round(min), round(max)),
    }
}

fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

fn shown(tensor_type: &TensorType) -> String {
    let element = match tensor_type.element {
        Element::Byte => "bytes",
        Element::Float => "floats",
    };
    format!("{:?} {element}", tensor_type.shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_is_told_by_its_type_and_range() {
        let tensor = |shape: &[u32], data| about(&Tensor::new(shape.to_vec(), data).unwrap());
        assert_eq!(
            tensor(&[1, 2], TensorData::Bytes(vec![0, 255])),
            "[1, 2] bytes, 0 to 255, mean 127.500"
        );
        assert_eq!(
            tensor(&[2], TensorData::Floats(vec![-0.5, 0.1236])),
            "[2] floats, -0.5 to 0.1236, mean -0.188"
        );
        assert_eq!(tensor(&[0], TensorData::Bytes(Vec::new())), "[0] bytes");
    }
}
