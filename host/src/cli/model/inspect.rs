//! `millrace model inspect`: what a model takes, yields, holds and computes. Nothing runs.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use comfy_table::{Table, presets};
use millrace_models::{DeviceChoice, Element, Model, Placement, memory_bytes};
use serde_json::{Value, json};

use super::steps::Steps;
use super::subject;
use crate::cli::MISTAKEN;
use crate::cli::output::{self, harmless, plain};
use crate::streams;

/// How much of a name, and of a sentence, is shown; and how many labels.
const NAME_CHARS: usize = 100;
const TEXT_CHARS: usize = 1000;
const N_LABELS: usize = 6;

const EXAMPLES: &str = "\
Examples:
  millrace model inspect models/shapes-lenet
  millrace model inspect resnet18.onnx --graph
  millrace model inspect resnet18.onnx --json | jq .multiply_adds

The graph is the network as it runs: constants are folded, batch norms are in the convolutions before them, and so are
activations and sums. `%1 = ..` is a value, its shape behind the colon; N is the batch.";

/// `millrace model inspect`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// A model folder, or an .onnx file
    #[arg(value_name = "FOLDER|FILE")]
    model: PathBuf,
    /// Prints the network, a line for each operator
    #[arg(long)]
    graph: bool,
    /// Prints one JSON object
    #[arg(long, conflicts_with = "graph")]
    json: bool,
}

pub(super) fn inspect(options: &Options) -> anyhow::Result<ExitCode> {
    let steps = Steps::begin("reading");
    let read = Model::load(&options.model);
    drop(steps);
    let model = match read {
        Ok(model) => model,
        Err(error) => {
            let diagnostics = subject::diagnostics(error);
            if options.json {
                output::print(harmless(&json!({ "problems": diagnostics }).to_string()))?;
            }
            for diagnostic in diagnostics {
                streams::error(diagnostic);
            }
            return Ok(ExitCode::from(MISTAKEN));
        }
    };
    output::print(match (options.graph, options.json) {
        (true, _) => subject::lines(model.graph_text().trim_end()),
        (false, true) => harmless(&format!("{:#}", object(&model))),
        (false, false) => text(&model),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn text(model: &Model) -> String {
    let figures = model.figures();
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let mut row = |name: &str, value: String| {
        table.add_row([name.to_owned(), value]);
    };
    row("name", plain(model.name(), NAME_CHARS));
    let about = [
        ("description", model.description()),
        ("licence", model.licence()),
        ("provenance", model.provenance()),
    ];
    for (name, value) in about {
        if let Some(value) = value {
            row(name, plain(value, TEXT_CHARS));
        }
    }
    row("digest", model.digest().to_owned());
    row("input", input(model));
    for (name, kind) in model.output_names().iter().zip(model.outputs()) {
        row("output", format!("{} {:?}", plain(name, NAME_CHARS), kind.shape));
    }
    row("labels", labels(model));
    if let Some(scores) = model.scores() {
        row("scores", scores.to_owned());
    }
    let shown = crate::memory::shown;
    row(
        "parameters",
        format!("{} ({})", grouped(figures.parameters), shown(figures.weight_bytes)),
    );
    row("multiply-adds", format!("{} an item", grouped(figures.multiply_adds)));
    row("between operators", format!("{} an item", shown(figures.peak_bytes)));
    let memory = memory_bytes(model, &Placement::on(DeviceChoice::Cpu), None);
    row(
        "memory",
        format!("at most {} on the CPU, as [model] counts it", shown(memory)),
    );
    let operators: Vec<String> = figures
        .operators
        .iter()
        .map(|(name, n)| format!("{name} {n}"))
        .collect();
    row("operators", operators.join(", "));
    for note in model.notes() {
        row("note", plain(note, TEXT_CHARS));
    }
    table.trim_fmt()
}

fn input(model: &Model) -> String {
    let input = model.input();
    let normalised = model.byte_normalisation();
    let list = |of: fn(&millrace_models::ByteNormalisation) -> f32| {
        let numbers: Vec<String> = normalised.iter().map(|channel| rounded(of(channel))).collect();
        numbers.join(", ")
    };
    match (input.element, normalised.as_slice()) {
        (Element::Float, _) => format!("{input}, as they are"),
        (Element::Byte, []) => format!("{input}, as they are"),
        (Element::Byte, _) => format!(
            "{input}, normalised: mean {}; std {}",
            list(|of| of.mean),
            list(|of| of.std)
        ),
    }
}

fn labels(model: &Model) -> String {
    let labels = model.labels();
    if labels.is_empty() {
        return "none: it yields no scores, plugins see its outputs".to_owned();
    }
    let first: Vec<String> = labels
        .iter()
        .take(N_LABELS)
        .map(|label| plain(label, NAME_CHARS))
        .collect();
    let more = if labels.len() > N_LABELS { ", .." } else { "" };
    format!("{}: {}{more}", labels.len(), first.join(", "))
}

/// Four decimals at most, and none that say nothing.
fn rounded(number: f32) -> String {
    let text = format!("{number:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn object(model: &Model) -> Value {
    let figures = model.figures();
    let outputs = model.output_names().iter().zip(model.outputs());
    let outputs: Vec<Value> = outputs
        .map(|(name, kind)| json!({ "name": name, "shape": kind.shape }))
        .collect();
    let normalised = model.byte_normalisation();
    let (mean, std): (Vec<f32>, Vec<f32>) = normalised.iter().map(|channel| (channel.mean, channel.std)).unzip();
    let operators: serde_json::Map<String, Value> = figures
        .operators
        .into_iter()
        .map(|(name, n)| (name, Value::from(n)))
        .collect();
    json!({
        "name": model.name(),
        "description": model.description(),
        "licence": model.licence(),
        "provenance": model.provenance(),
        "digest": model.digest(),
        "input": {
            "shape": model.input().shape,
            "element": match model.input().element {
                Element::Byte => "byte",
                Element::Float => "float",
            },
            "mean": mean,
            "std": std,
        },
        "outputs": outputs,
        "labels": model.labels(),
        "scores": model.scores(),
        "parameters": figures.parameters,
        "weight_bytes": figures.weight_bytes,
        "multiply_adds": figures.multiply_adds,
        "peak_bytes": figures.peak_bytes,
        "memory_bytes": memory_bytes(model, &Placement::on(DeviceChoice::Cpu), None),
        "operators": operators,
        "notes": model.notes(),
        "problems": [],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        let check = |number: u64, expected: &str| assert_eq!(grouped(number), expected);
        check(0, "0");
        check(999, "999");
        check(1000, "1,000");
        check(11_689_512, "11,689,512");
        assert_eq!(
            (rounded(0.485), rounded(1.0), rounded(-0.5)),
            ("0.485".to_owned(), "1".to_owned(), "-0.5".to_owned())
        );
    }
}
