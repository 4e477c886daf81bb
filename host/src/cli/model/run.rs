//! `millrace model run`: what a model says of pictures.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use millrace_models::{ItemOutput, Model, Runner};
use serde_json::{Value, json};

use super::pictures::{Eye, TransformArguments, find};
use super::place::PlaceArguments;
use super::steps::Steps;
use super::subject;
use crate::cli::output::{self, Reader, harmless, plain};
use crate::streams;

/// Items of a batch: what is gained by more is little, and nothing is shown before one is through.
const BATCH: usize = 8;
/// How much of a label, and of an output's name, is shown.
const LABEL_CHARS: usize = 100;
/// Numbers of an output that are shown.
const N_FIRST: usize = 5;

const EXAMPLES: &str = "\
Examples:
  millrace model run models/shapes-lenet cat.png
  millrace model run models/resnet18 --resize 256 photos/
  millrace model run vit.onnx --normalisation half --resize 256 --interpolation bicubic --top 3 *.jpg
  millrace model run models/resnet18 --json photos/ | jq -r '[.file, .top[0].label] | @tsv'

Pictures are read as by Image.open(file).convert(\"RGB\") and resized as by torchvision with pictures of Pillow's, value for
value; a pipeline does the same with these settings of decode-image: alpha = \"ignore\", orientation = \"ignore\", and
shorter_side = PIXELS, resize = \"FILTER\" for --resize PIXELS --interpolation FILTER.";

/// `millrace model run`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// A model folder, or an .onnx file
    #[arg(value_name = "FOLDER|FILE")]
    model: PathBuf,
    /// Pictures (PNG, JPEG, WebP, GIF), or folders of them
    #[arg(value_name = "PICTURE", required = true)]
    pictures: Vec<PathBuf>,
    #[command(flatten)]
    transform: TransformArguments,
    #[command(flatten)]
    place: PlaceArguments,
    /// How many of the best classes are shown
    #[arg(long, value_name = "K", default_value_t = 5)]
    top: usize,
    /// Prints one JSON object a line for each picture
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let steps = Steps::begin("loading the model");
    let model = match subject::load(&options.model) {
        Ok(model) => model,
        Err(code) => return Ok(code),
    };
    let eye = Eye::of(model.input(), &options.transform)?;
    let mut pictures = Vec::new();
    let mut n_unread = 0;
    for path in &options.pictures {
        match find(path) {
            Ok(found) => pictures.extend(found),
            Err(error) => {
                n_unread += 1;
                streams::error(subject::lines(&format!("{error:#}")));
            }
        }
    }
    if pictures.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    let device = options.place.open()?;
    let mut runner = Runner::new(&model, &device, BATCH.min(pictures.len()))?;
    steps.now("pictures", pictures.len());
    let steps = steps.beside_output();
    let mut n_done = 0;
    for files in pictures.chunks(BATCH) {
        let (mut seen, mut tensors) = (Vec::new(), Vec::new());
        for file in files {
            match eye.see(file) {
                Ok(tensor) => {
                    seen.push(file.as_path());
                    tensors.push(tensor);
                }
                Err(error) => {
                    n_unread += 1;
                    streams::error(subject::lines(&format!("{error:#}")));
                }
            }
        }
        if !tensors.is_empty() {
            for (file, item) in seen.into_iter().zip(runner.run(&tensors)?) {
                let text = match options.json {
                    true => harmless(&object(file, &model, &item, options.top).to_string()),
                    false => shown(file, &model, &item, options.top),
                };
                if output::print(text)? == Reader::Left {
                    return Ok(ExitCode::SUCCESS);
                }
            }
        }
        n_done += files.len();
        if let Some(steps) = &steps {
            steps.at(n_done);
        }
    }
    Ok(match n_unread {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// The best classes with their scores, best first.
fn top<'a>(model: &'a Model, item: &ItemOutput, n: usize) -> Vec<(&'a str, f32)> {
    let labels = model.labels().iter().map(String::as_str);
    let mut scores: Vec<(&str, f32)> = labels.zip(item.scores.iter().copied()).collect();
    scores.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    scores.truncate(n);
    scores
}

/// A summary of many numbers.
struct Digest {
    min: f32,
    max: f32,
    at: usize,
    mean: f64,
}

impl Digest {
    fn of(numbers: &[f32]) -> Self {
        let mut digest = Self {
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
            at: 0,
            mean: numbers.iter().map(|number| f64::from(*number)).sum::<f64>() / numbers.len().max(1) as f64,
        };
        for (at, number) in numbers.iter().enumerate() {
            digest.min = digest.min.min(*number);
            if *number > digest.max {
                (digest.max, digest.at) = (*number, at);
            }
        }
        digest
    }
}

fn shown(file: &Path, model: &Model, item: &ItemOutput, n_top: usize) -> String {
    let mut text = plain(&file.display().to_string(), LABEL_CHARS * 10);
    for (label, score) in top(model, item, n_top) {
        text += &format!("\n  {score:.4}  {}", plain(label, LABEL_CHARS));
    }
    // The scores say it all of a classifier's first output.
    let n_said = usize::from(!item.scores.is_empty());
    let names = model.output_names().iter().zip(&item.outputs);
    for (name, (kind, numbers)) in names.skip(n_said) {
        let digest = Digest::of(numbers);
        let first: Vec<String> = numbers
            .iter()
            .take(N_FIRST)
            .map(|number| format!("{number:.4}"))
            .collect();
        let more = if numbers.len() > N_FIRST { ", .." } else { "" };
        text += &format!(
            "\n  {} {:?}: {:.4} to {:.4} (at {}), mean {:.4}: {}{more}",
            plain(name, LABEL_CHARS),
            kind.shape,
            digest.min,
            digest.max,
            place(digest.at, &kind.shape),
            digest.mean,
            first.join(", "),
        );
    }
    text
}

/// A place among numbers as indices of the axes.
fn place(mut at: usize, shape: &[u32]) -> String {
    let mut indices: Vec<String> = Vec::new();
    for axis in shape.iter().rev() {
        let axis = (*axis as usize).max(1);
        indices.push((at % axis).to_string());
        at /= axis;
    }
    indices.reverse();
    format!("[{}]", indices.join(", "))
}

fn object(file: &Path, model: &Model, item: &ItemOutput, n_top: usize) -> Value {
    let top = top(model, item, n_top).into_iter();
    let top: Vec<Value> = top
        .map(|(label, score)| json!({ "label": label, "score": score }))
        .collect();
    let names = model.output_names().iter().zip(&item.outputs);
    let outputs: Vec<Value> = names
        .map(|(name, (kind, numbers))| {
            let digest = Digest::of(numbers);
            json!({
                "name": name,
                "shape": kind.shape,
                "min": digest.min,
                "max": digest.max,
                "argmax": digest.at,
                "mean": digest.mean,
                "first": numbers.iter().take(N_FIRST).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({ "file": file.display().to_string(), "top": top, "outputs": outputs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_summed_up() {
        let digest = Digest::of(&[1.0, -2.0, 4.0, 3.0]);
        assert_eq!((digest.min, digest.max, digest.at, digest.mean), (-2.0, 4.0, 2, 1.5));
        assert_eq!(place(digest.at, &[2, 2]), "[1, 0]");
        assert_eq!(place(7, &[2, 2, 2]), "[1, 1, 1]");
        assert_eq!(place(3, &[4]), "[3]");
    }
}
