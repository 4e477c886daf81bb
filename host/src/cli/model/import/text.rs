//! The `model.toml` that an import writes: the facts of the file, and in comments the facts that a person must fill in.
//! Reads nothing.

use std::collections::BTreeSet;

use millrace_models::{Element, Model, SurveyedNetwork, SurveyedTensor, SurveyedWeights};

use crate::cli::model::known::Normalisation;
use crate::cli::output::plain;

/// The mark before everything that a person must look at.
pub(super) const MARK: &str = "# FILL IN: ";

/// How much of a name is written into a comment.
const NAME_CHARS: usize = 200;
/// Tensors that are listed: nobody writes the layers of a larger network by hand.
const TENSORS_MAX: usize = 4000;

/// Facts about a model beside its file.
#[derive(Debug, Default)]
pub(super) struct Given<'a> {
    /// The name of the folder.
    pub(super) name: &'a str,
    /// The name of the imported file.
    pub(super) file: &'a str,
    /// The SHA-256 of it.
    pub(super) sha256: &'a str,
    /// How pictures were normalised.
    pub(super) normalisation: Option<Normalisation>,
    /// The classes.
    pub(super) labels: &'a [String],
    /// The shape of an item.
    pub(super) shape: Option<&'a [u32]>,
}

/// Enough to load a network: the rest is read from the result.
pub(super) fn provisional(given: &Given<'_>) -> String {
    let mut text = String::from("[input]\n");
    if let Some(shape) = given.shape {
        text += &format!("shape = {shape:?}\n");
    }
    text += &normalised(given.normalisation.as_ref());
    text += &format!("\n[weights]\nfile = {}\n", quoted(given.file));
    text
}

/// For a network that was loaded.
pub(super) fn of_network(given: &Given<'_>, survey: &SurveyedNetwork, model: &Model) -> String {
    let mut text = head(given, &format!("{} (ONNX, opset {})", survey.producer, survey.opset));
    let input = model.input();
    text += &format!(
        "[input]                     # `{}` in the file\nshape = {:?}\n",
        plain(&survey.input, NAME_CHARS),
        input.shape
    );
    match (&given.normalisation, input.element) {
        (None, Element::Float) if input.shape.len() == 3 => {
            text += &format!(
                "element = \"float\"\n{MARK}how pictures were normalised before training, as in Normalize(mean, std). With it the model\n\
                 # takes bytes; without it the preprocessing plugin must normalise. `--normalisation imagenet` and others write it.\n\
                 # element = \"byte\"\n# mean = [0.485, 0.456, 0.406]\n# std = [0.229, 0.224, 0.225]\n"
            );
        }
        (None, element) => text += &format!("element = \"{}\"\n", word(element)),
        (Some(_), _) => text += &normalised(given.normalisation.as_ref()),
    }
    text += "\n[output]\n";
    let labels = if given.labels.is_empty() {
        model.labels()
    } else {
        given.labels
    };
    text += &match labels.is_empty() {
        true => format!(
            "{MARK}the classes, in the order of the outputs; without them the model yields no scores. `--labels FILE` writes them.\n\
             # labels = [\"cat\", \"dog\"]\n"
        ),
        false => format!("labels = {}\n", list(labels)),
    };
    for (name, kind) in model.output_names().iter().zip(model.outputs()) {
        text += &format!("# `{}` yields {:?}\n", plain(name, NAME_CHARS), kind.shape);
    }
    if model.outputs().len() > 1 {
        text += "# name = \"..\"               # the output that the labels belong to, where it is not the first\n";
    }
    text += &weights(given);
    for (key, value) in &survey.metadata {
        text += &format!(
            "# the file says: {} = {}\n",
            plain(key, NAME_CHARS),
            plain(value, NAME_CHARS)
        );
    }
    text
}

/// For weights whose layers a person must write.
pub(super) fn of_weights(given: &Given<'_>, survey: &SurveyedWeights) -> String {
    let mut text = head(given, "weights alone");
    text += "[input]\n";
    text += &match given.shape {
        Some(shape) => format!("shape = {shape:?}\n"),
        None => format!(
            "{MARK}channels, height and width of the pictures.\n# shape = [{}, 224, 224]\n",
            channels(&survey.tensors)
        ),
    };
    text += &match &given.normalisation {
        Some(_) => normalised(given.normalisation.as_ref()),
        None => format!(
            "element = \"byte\"            # 0 to 255, scaled to 0 to 1\n{MARK}how pictures were normalised before training, as in \
             Normalize(mean, std); none is `mean = [0.0]`.\n# mean = [0.485, 0.456, 0.406]\n# std = [0.229, 0.224, 0.225]\n"
        ),
    };
    text += "\n[output]\n";
    text += &match given.labels.is_empty() {
        true => format!("{MARK}the classes, in the order of the outputs.\n# labels = [\"cat\", \"dog\"]\n"),
        false => format!("labels = {}\n", list(given.labels)),
    };
    text += &weights(given);
    if let Some(beside) = &survey.beside {
        text += &format!("# beside the weights: {}\n", plain(beside, NAME_CHARS * 4));
    }
    text += &format!(
        "\n{MARK}the layers in the order of `forward`, with the ones between them that have no weights (relu, max-pool, flatten).\n\
         # These are those that have weights, by name; strides, paddings and groups are not in the file.\n"
    );
    text += &layers(&survey.tensors);
    text += &format!("\n# The tensors of {}:\n", plain(given.file, NAME_CHARS));
    for tensor in survey.tensors.iter().take(TENSORS_MAX) {
        let why = tensor
            .unreadable
            .as_ref()
            .map(|why| format!("  ({})", plain(why, NAME_CHARS)));
        text += &format!(
            "#   {} {:?}{}\n",
            plain(&tensor.name, NAME_CHARS),
            tensor.shape,
            why.unwrap_or_default()
        );
    }
    if survey.tensors.len() > TENSORS_MAX {
        text += &format!("#   and {} more\n", survey.tensors.len() - TENSORS_MAX);
    }
    text
}

/// The facts that are still to be filled in, as the text says it.
pub(super) fn missing(text: &str) -> Vec<String> {
    let mut missing = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(first) = line.strip_prefix(MARK) else { continue };
        let mut sentences = first.to_owned();
        // The rest of the comment; what follows the full stop is the example to uncomment.
        while !sentences.ends_with('.') {
            let Some(more) = lines.next_if(|line| !line.starts_with(MARK)) else {
                break;
            };
            let Some(more) = more.strip_prefix("# ") else { break };
            sentences = format!("{sentences} {more}");
        }
        missing.push(sentences);
    }
    missing
}

fn head(given: &Given<'_>, origin: &str) -> String {
    format!(
        "# Written by `millrace model import`. What begins with \"{}\" is not in the file.\n\
         name = {}\n# description = \"\"\n# licence = \"\"\nprovenance = {}\n\n",
        MARK.trim_end(),
        quoted(given.name),
        quoted(&format!("imported from {}: {origin}", given.file)),
    )
}

fn weights(given: &Given<'_>) -> String {
    format!(
        "\n[weights]\nfile = {}\nsha256 = \"{}\"\n",
        quoted(given.file),
        given.sha256
    )
}

fn normalised(normalisation: Option<&Normalisation>) -> String {
    match normalisation {
        Some(of) => format!(
            "element = \"byte\"            # normalised as for {}\nmean = {:?}\nstd = {:?}\n",
            of.name, of.mean, of.std
        ),
        None => String::new(),
    }
}

fn word(element: Element) -> &'static str {
    match element {
        Element::Byte => "byte",
        Element::Float => "float",
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Labels, some to a line.
fn list(labels: &[String]) -> String {
    let mut text = String::from("[");
    let mut n_chars = 0;
    for label in labels {
        let label = quoted(label);
        if n_chars + label.len() > 110 {
            text += "\n    ";
            n_chars = 0;
        } else if n_chars > 0 {
            text.push(' ');
        }
        n_chars += label.len() + 2;
        text += &label;
        text.push(',');
    }
    text + "]"
}

/// The input of the first convolution, as far as its weights show it; else colours.
fn channels(tensors: &[SurveyedTensor]) -> usize {
    let inputs = tensors.iter().filter_map(|tensor| match tensor.shape.as_slice() {
        [_, channels @ (1 | 3), _, _] => Some(*channels),
        _ => None,
    });
    // A depthwise convolution has one as well.
    inputs.max().unwrap_or(3)
}

/// Keys that a whole `state_dict` is often saved under.
const NESTS: [&str; 9] = [
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "net",
    "network",
    "params",
    "ema",
];

/// The prefix of every tensor's name, as of a checkpoint that nests its weights; the reader finds it by itself.
fn nest(tensors: &[SurveyedTensor]) -> String {
    let mut nest = String::new();
    let first = tensors.first().map_or("", |tensor| tensor.name.as_str());
    while let Some((part, _)) = first.get(nest.len()..).and_then(|rest| rest.split_once('.')) {
        let longer = format!("{nest}{part}.");
        if !NESTS.contains(&part) || !tensors.iter().all(|tensor| tensor.name.starts_with(&longer)) {
            break;
        }
        nest = longer;
    }
    nest
}

/// The layers that have weights, as comments.
fn layers(tensors: &[SurveyedTensor]) -> String {
    let mut text = String::new();
    let nest = nest(tensors);
    let bare = |tensor: &'_ SurveyedTensor| tensor.name.strip_prefix(nest.as_str()).map(str::to_owned);
    let names: BTreeSet<String> = tensors.iter().filter_map(bare).collect();
    let has = |name: &str| names.contains(name);
    for tensor in tensors.iter().take(TENSORS_MAX) {
        let bare = bare(tensor).unwrap_or_default();
        let Some(name) = bare.strip_suffix(".weight") else {
            continue;
        };
        let bias = match has(&format!("{name}.bias")) {
            true => "",
            false => "# bias = false\n",
        };
        let body = match tensor.shape.as_slice() {
            [_] if has(&format!("{name}.running_mean")) => {
                format!("# type = \"batch-norm\"\n# name = {}\n", quoted(name))
            }
            [_] => format!("# type = \"layer-norm\"\n# name = {}\n", quoted(name)),
            [out, _] => format!("# type = \"linear\"\n# name = {}\n# out = {out}\n{bias}", quoted(name)),
            [out, under, height, width] => {
                let kernel = match height == width {
                    true => height.to_string(),
                    false => format!("[{height}, {width}]"),
                };
                let groups = if *under == 1 && *out > 1 {
                    "# groups = ..             # one channel under each kernel\n"
                } else {
                    ""
                };
                format!(
                    "# type = \"conv2d\"\n# name = {}\n# out = {out}\n# kernel = {kernel}\n{groups}{bias}",
                    quoted(name)
                )
            }
            _ => continue,
        };
        // A name may have a line break in it: no line may be anything but a comment.
        let body: String = body
            .lines()
            .map(|line| line.trim_start_matches("# "))
            .map(|line| format!("# {line}\n"))
            .collect();
        text += &format!("#\n# [[layer]]\n{body}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::model::known;

    fn tensor(name: &str, shape: &[usize]) -> SurveyedTensor {
        SurveyedTensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            unreadable: None,
        }
    }

    #[test]
    fn weights_become_a_file_that_a_person_completes() {
        let survey = SurveyedWeights {
            tensors: vec![
                tensor("bn1.bias", &[16]),
                tensor("bn1.running_mean", &[16]),
                tensor("bn1.weight", &[16]),
                tensor("conv1.weight", &[16, 3, 3, 5]),
                tensor("fc.bias", &[2]),
                tensor("fc.weight", &[2, 16]),
            ],
            beside: None,
        };
        let labels = ["cat".to_owned(), "a \"dog\"".to_owned()];
        let given = Given {
            name: "cats",
            file: "cats.pth",
            sha256: "00",
            normalisation: Some(known::normalisation("imagenet").unwrap()),
            labels: &labels,
            shape: Some(&[3, 64, 64]),
        };
        let text = of_weights(&given, &survey);
        for expected in [
            "name = \"cats\"\n",
            "shape = [3, 64, 64]\n",
            "mean = [0.485, 0.456, 0.406]\n",
            "labels = [\"cat\", 'a \"dog\"',]\n",
            "# type = \"conv2d\"\n# name = \"conv1\"\n# out = 16\n# kernel = [3, 5]\n# bias = false\n",
            "# type = \"batch-norm\"\n# name = \"bn1\"\n",
            "# type = \"linear\"\n# name = \"fc\"\n# out = 2\n\n",
            "#   fc.weight [2, 16]\n",
        ] {
            assert!(text.contains(expected), "no {expected:?} in:\n{text}");
        }
        let values: toml::Table = text.parse().unwrap();
        assert_eq!(values["output"]["labels"][1].as_str(), Some("a \"dog\""));
        assert_eq!(missing(&text).len(), 1, "the layers");

        let nothing = of_weights(
            &Given {
                name: "cats",
                file: "cats.pth",
                sha256: "00",
                ..Given::default()
            },
            &survey,
        );
        assert!(nothing.contains("# shape = [3, 224, 224]"), "{nothing}");
        assert_eq!(
            missing(&nothing).len(),
            4,
            "shape, normalisation, labels, layers: {nothing}"
        );
        assert_eq!(
            missing("# FILL IN: how it is, and\n# why. So it is.\n# a = 1\nb = 2\n# FILL IN: cut"),
            ["how it is, and why. So it is.", "cut"]
        );
        nothing.parse::<toml::Table>().unwrap();
    }

    #[test]
    fn nested_weights_have_the_names_of_their_layers() {
        let check = |names: &[&str], expected: &str| {
            let tensors: Vec<_> = names.iter().map(|name| tensor(name, &[2, 2])).collect();
            assert_eq!(nest(&tensors), expected);
        };
        check(
            &["state_dict.model.fc.weight", "state_dict.model.fc.bias"],
            "state_dict.model.",
        );
        check(&["model.fc.weight", "ema.fc.weight"], "");
        check(&["features.0.weight"], "");
        check(&["model"], "");
        check(&[], "");
        assert!(
            layers(&[tensor("state_dict.fc.weight", &[2, 4])]).contains("# name = \"fc\"\n# out = 2\n# bias = false")
        );
    }

    #[test]
    fn names_cannot_leave_their_comments() {
        let survey = SurveyedWeights {
            tensors: vec![
                tensor("a\n[weights]\nx.weight", &[2, 2]),
                tensor("\u{1b}[31m.weight", &[3, 3, 3, 3]),
            ],
            beside: Some("b\n[c]".to_owned()),
        };
        let given = Given {
            name: "a\nb = 1",
            file: "x.pth",
            ..Given::default()
        };
        let text = of_weights(&given, &survey);
        let values: toml::Table = text.parse().unwrap();
        assert_eq!(values["name"].as_str(), Some("a\nb = 1"));
        let mut keys: Vec<_> = values.keys().collect();
        keys.sort();
        assert_eq!(keys, ["input", "name", "output", "provenance", "weights"]);
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
