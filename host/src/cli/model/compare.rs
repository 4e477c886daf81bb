//! `millrace model compare`: two models over the same pictures.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use millrace_models::{ItemOutput, Model, Runner, Tensor};
use serde_json::{Value, json};

use super::agreement::{Agreement, Said};
use super::pictures::{Eye, TransformArguments, find};
use super::place::PlaceArguments;
use super::steps::Steps;
use super::subject;
use crate::cli::output::{self, count, harmless, plain};
use crate::streams;

/// Items of a batch.
const BATCH: usize = 16;
/// Classes of the table: a terminal is not wider.
const N_CLASSES: usize = 12;
/// Ways to disagree that are listed.
const N_CONFUSIONS: usize = 10;
const LABEL_CHARS: usize = 40;
const SHORT_CHARS: usize = 12;

const EXAMPLES: &str = "\
Examples:
  millrace model compare models/resnet18 models/resnet18-int photos/
  millrace model compare cats.onnx models/cats photos/ --resize 256 --worst 20
  millrace model compare models/a models/b photos/ --json | jq .same

Both see the same pictures, each as it takes them. Differences are those of the first outputs, as a share of the largest number
of A's; they are compared where both have as many numbers.";

/// `millrace model compare`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// A model folder, or an .onnx file
    #[arg(value_name = "A")]
    one: PathBuf,
    /// The other one
    #[arg(value_name = "B")]
    other: PathBuf,
    /// A folder of pictures
    #[arg(value_name = "FOLDER")]
    pictures: PathBuf,
    #[command(flatten)]
    transform: TransformArguments,
    #[command(flatten)]
    place: PlaceArguments,
    /// How many of the pictures on which they differ most are listed
    #[arg(long, value_name = "N", default_value_t = 5)]
    worst: usize,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

/// A model with what it takes to ask it.
struct Side {
    model: Model,
    eye: Eye,
    runner: Runner,
}

pub(super) fn compare(options: &Options) -> anyhow::Result<ExitCode> {
    let steps = Steps::begin("loading the models");
    let (one, other) = match (subject::load(&options.one), subject::load(&options.other)) {
        (Ok(one), Ok(other)) => (one, other),
        (Err(code), _) | (_, Err(code)) => return Ok(code),
    };
    let pictures = find(&options.pictures)?;
    let (mut one, mut other) = (side(one, options)?, side(other, options)?);
    steps.now("pictures", pictures.len());
    let mut agreement = Agreement::new(options.worst);
    let (mut n_unread, mut n_done) = (0, 0);
    for files in pictures.chunks(BATCH) {
        let mut seen: Vec<(&Path, Tensor, Tensor)> = Vec::new();
        for file in files {
            match one.eye.see(file).and_then(|tensor| Ok((tensor, other.eye.see(file)?))) {
                Ok((a, b)) => seen.push((file, a, b)),
                Err(error) => {
                    n_unread += 1;
                    streams::error(subject::lines(&format!("{error:#}")));
                }
            }
        }
        if !seen.is_empty() {
            let a: Vec<Tensor> = seen.iter().map(|(_, a, _)| a.clone()).collect();
            let b: Vec<Tensor> = seen.iter().map(|(_, _, b)| b.clone()).collect();
            let (a, b) = (one.runner.run(&a)?, other.runner.run(&b)?);
            for ((file, ..), (a, b)) in seen.iter().zip(a.into_iter().zip(b)) {
                agreement.add(&file.display().to_string(), &said(a), &said(b));
            }
        }
        n_done += files.len();
        steps.at(n_done);
    }
    drop(steps);
    output::print(match options.json {
        true => harmless(&object(&agreement, &one.model, &other.model, n_unread).to_string()),
        false => shown(&agreement, &one.model, &other.model),
    })?;
    Ok(match n_unread {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn side(model: Model, options: &Options) -> anyhow::Result<Side> {
    // A model that takes bytes normalises them itself: the plugin does not see the normalisation.
    let transform = options.transform.clone().of_floats(model.input().element);
    let eye = Eye::of(model.input(), &transform)?;
    let runner = Runner::new(&model, &options.place.open()?, BATCH)?;
    Ok(Side { model, eye, runner })
}

/// The best class of a picture: where there are no scores, the index of the largest number.
fn said(item: ItemOutput) -> Said {
    let numbers = item
        .outputs
        .into_iter()
        .next()
        .map_or_else(Vec::new, |(_, numbers)| numbers);
    let of = if item.scores.is_empty() { &numbers } else { &item.scores };
    let best = of
        .iter()
        .enumerate()
        .max_by(|(_, one), (_, other)| one.total_cmp(other));
    let (class, score) = best.map_or((0, 0.0), |(class, score)| (class, *score));
    Said { class, score, numbers }
}

/// The label of a class, or its number.
fn name(model: &Model, class: usize) -> String {
    let label = model.labels().get(class);
    label.map_or_else(|| class.to_string(), |label| plain(label, LABEL_CHARS))
}

fn shown(agreement: &Agreement, one: &Model, other: &Model) -> String {
    let share = agreement.n_same as f64 / agreement.n_pictures.max(1) as f64 * 100.0;
    let mut text = format!(
        "A: {} ({:.12})\nB: {} ({:.12})\n{}: the same class for {} ({share:.1} %)",
        plain(one.name(), LABEL_CHARS),
        one.digest(),
        plain(other.name(), LABEL_CHARS),
        other.digest(),
        count(agreement.n_pictures, "picture"),
        agreement.n_same,
    );
    match (agreement.largest, agreement.median()) {
        (Some(largest), Some(median)) => {
            text += &format!("\nlargest difference {largest:.1e} of the largest number, median {median:.1e}");
        }
        _ => text += "\nthe outputs are of other lengths, so that their numbers cannot be compared",
    }
    let confusions = agreement.confusions(N_CONFUSIONS);
    if !confusions.is_empty() {
        text += &format!("\n\n{}\n", grid(agreement, one, other));
        for (a, b, n) in confusions {
            text += &format!(
                "\n{}: A says {}, B says {}",
                count(n, "picture"),
                name(one, a),
                name(other, b)
            );
        }
    }
    if !agreement.differing().is_empty() {
        text += &format!("\n\nmost different:\n{}", differing(agreement, one, other));
    }
    text
}

/// A's classes in rows, B's in columns, for the most frequent classes.
fn grid(agreement: &Agreement, one: &Model, other: &Model) -> String {
    let (classes, rows) = agreement.table(N_CLASSES);
    let short = |model: &Model, class: usize| plain(&name(model, class), SHORT_CHARS);
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let columns = classes.iter().map(|class| short(other, *class));
    table.set_header(std::iter::once("A \\ B".to_owned()).chain(columns));
    for (class, row) in classes.iter().zip(rows) {
        let cells = row.iter().map(|n| match n {
            0 => ".".to_owned(),
            n => n.to_string(),
        });
        table.add_row(std::iter::once(short(one, *class)).chain(cells));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

fn differing(agreement: &Agreement, one: &Model, other: &Model) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_header(["PICTURE", "A", "", "B", "", "DIFFERENCE"]);
    for differing in agreement.differing() {
        table.add_row([
            plain(&differing.picture, LABEL_CHARS * 10),
            name(one, differing.one.0),
            format!("{:.4}", differing.one.1),
            name(other, differing.other.0),
            format!("{:.4}", differing.other.1),
            differing
                .difference
                .map_or_else(|| "-".to_owned(), |difference| format!("{difference:.1e}")),
        ]);
    }
    table.trim_fmt()
}

fn object(agreement: &Agreement, one: &Model, other: &Model, n_unread: usize) -> Value {
    let side = |model: &Model| json!({ "name": model.name(), "digest": model.digest() });
    let of = |model: &Model, (class, score): (usize, f32)| json!({ "class": class, "label": model.labels().get(class), "score": score });
    let confusions = agreement.confusions(usize::MAX).into_iter();
    let confusions: Vec<Value> = confusions
        .map(|(a, b, n)| json!({ "a": a, "a_label": one.labels().get(a), "b": b, "b_label": other.labels().get(b), "pictures": n }))
        .collect();
    let differing: Vec<Value> = agreement
        .differing()
        .iter()
        .map(|differing| {
            json!({
                "file": differing.picture,
                "difference": differing.difference,
                "a": of(one, differing.one),
                "b": of(other, differing.other),
            })
        })
        .collect();
    json!({
        "a": side(one),
        "b": side(other),
        "pictures": agreement.n_pictures,
        "unreadable": n_unread,
        "same": agreement.n_same,
        "largest_difference": agreement.largest,
        "median_difference": agreement.median(),
        "confusions": confusions,
        "most_different": differing,
    })
}
