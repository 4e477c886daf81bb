//! The faults of a model folder beside the first mistakes of its `model.toml`: all are reported at once. Knows no
//! layer.

use std::collections::HashMap;
use std::path::Path;

use toml::Spanned;

use super::raw::{self, RawManifest, RawOutput};
use super::{Diagnostic, Manifest, Source, check};
use crate::error::ModelError;

/// Labels that are listed one by one; of more, only the number.
const TOLD_MAX: usize = 8;

/// Tables of which nothing else depends.
const APART: [&str; 4] = ["[input]", "[output]", "[samples]", "[accuracy]"];

/// Keys at the top of a file of which everything depends, where they are written there as one value.
const TOP: [&str; 3] = ["input", "weights", "layer"];

impl Manifest {
    /// Parses the text and hands it to `read`, which looks at the files that it names.
    ///
    /// # Errors
    /// Every mistake of the text, every file that is not there, and what `read` has to say of what is right.
    pub(crate) fn parse_and<T>(
        source: &Source,
        folder: &Path,
        read: impl FnOnce(Self) -> Result<T, ModelError>,
    ) -> Result<T, ModelError> {
        let parsed = Self::parse(source);
        let raw = raw::read(&source.text, &mut Vec::new());
        let weights = raw
            .weights
            .as_ref()
            .and_then(|weights| missing(folder, weights.file.as_ref()?));
        let samples = raw
            .samples
            .as_ref()
            .and_then(|samples| missing(folder, samples.file.as_ref()?));
        let mut errors = match (parsed, &samples) {
            (Ok(manifest), None) => return read(manifest),
            (Ok(_), Some(_)) => Vec::new(),
            (Err(error), _) => error.each(),
        };
        let has_weights = weights.is_none();
        let missing = weights.into_iter().chain(samples);
        errors.extend(missing.map(|diagnostic| source.diagnostic(diagnostic)));
        errors.sort_by_key(ModelError::place);
        if let Some(rest) = Self::rest(source).filter(|_| has_weights)
            && let Err(error) = read(rest)
        {
            errors.extend(error.each());
        }
        Err(ModelError::of(errors))
    }

    /// The input's type, the weights and the layers, where these are right, whatever else is wrong.
    fn rest(source: &Source) -> Option<Self> {
        let mut diagnostics = Vec::new();
        let mut raw = raw::read(&source.text, &mut diagnostics);
        if !diagnostics
            .iter()
            .all(|diagnostic| is_apart(&source.text, diagnostic.at))
        {
            return None;
        }
        (raw.output, raw.samples, raw.accuracy) = (RawOutput::default(), None, None);
        if let Some(input) = &mut raw.input {
            (input.scale, input.mean, input.std) = (None, None, None);
        }
        if let Some(weights) = &mut raw.weights {
            weights.sha256 = None;
        }
        diagnostics.clear();
        check(raw, &mut diagnostics).filter(|_| diagnostics.is_empty())
    }
}

/// The faults of values that stand alone.
pub(super) struct OfValues {
    labels: Vec<Diagnostic>,
    std: Option<Diagnostic>,
}

/// Looks at them before everything else.
pub(super) fn of_values(raw: &RawManifest) -> OfValues {
    let labels = raw.output.labels.as_ref().map(of_labels).unwrap_or_default();
    let std = raw.input.as_ref().and_then(|input| input.std.as_ref());
    let std = std.and_then(|given| {
        let wrong = given.get_ref().iter().find(|std| **std == 0.0 || !std.is_finite())?;
        let message = format!("`std` is {wrong}: a byte is divided by it, and makes no finite normalisation");
        Some(Diagnostic::new(given.span().start, message))
    });
    OfValues { labels, std }
}

impl OfValues {
    /// Adds it to what was found meanwhile.
    pub(super) fn add_to(self, diagnostics: &mut Vec<Diagnostic>) {
        // Where the input's type is right, the normalisation was looked at as a whole.
        let is_told = |std: &Diagnostic| diagnostics.iter().any(|told| told.at == std.at);
        let std = self.std.filter(|std| !is_told(std));
        diagnostics.extend(self.labels.into_iter().chain(std));
    }
}

fn of_labels(labels: &Spanned<Vec<String>>) -> Vec<Diagnostic> {
    let at = labels.span().start;
    let (mut first, mut wrong) = (HashMap::new(), Vec::new());
    for (class, label) in labels.get_ref().iter().enumerate() {
        if label.trim().is_empty() {
            wrong.push(format!(
                "the label of class {class} is empty: plugins know a class by its label"
            ));
        } else if let Some(other) = first.insert(label.as_str(), class) {
            first.insert(label.as_str(), other);
            wrong.push(format!(
                "the label `{}` is that of class {other} and of class {class}: plugins know a class by its label, so name \
                 them apart",
                label.escape_debug()
            ));
        }
    }
    let n_more = wrong.len().saturating_sub(TOLD_MAX);
    wrong.truncate(TOLD_MAX);
    if n_more > 0 {
        wrong.push(format!("{n_more} more labels are empty or equal to another"));
    }
    wrong.into_iter().map(|message| Diagnostic::new(at, message)).collect()
}

/// Why a file that is named cannot be looked at; a name that leads out of the folder is another mistake.
fn missing(folder: &Path, given: &Spanned<String>) -> Option<Diagnostic> {
    let name = given.get_ref();
    let is_plain = Path::new(name).file_name().is_some_and(|last| last == name.as_str()) && !name.contains('\0');
    let why = folder.join(name).metadata().err().filter(|_| is_plain)?;
    let message = format!("the file `{}` cannot be read: {why}", name.escape_debug());
    Some(Diagnostic::new(given.span().start, message))
}

/// Whether a mistake is where nothing else depends on it.
fn is_apart(text: &str, at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    let mut headers = before.lines().rev().map(str::trim).filter(|line| line.starts_with('['));
    let line_start = before.rfind('\n').map_or(0, |line| line + 1);
    let line = text
        .get(line_start..)
        .unwrap_or_default()
        .lines()
        .next()
        .unwrap_or_default();
    let key = line.split(['=', '.']).next().unwrap_or_default().trim();
    match headers.next() {
        Some(header) => APART.iter().any(|apart| header.starts_with(apart)),
        None => !TOP.contains(&key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder in which nothing is right but its layers and weights, which do not fit each other.
    const TEXT: &str = r#"
colour = 3

[input]
shape = [2]
element = "byte"
std = [0.0]

[output]
labels = ["no", "yes", "no", ""]

[weights]
file = "weights.safetensors"

[samples]
file = "samples.safetensors"
tolerance = -1.0

[[layer]]
type = "linear"
name = "fc"
out = 2
"#;

    fn source(text: &str) -> Source {
        Source {
            path: "model.toml".into(),
            text: text.to_owned(),
        }
    }

    fn errors(text: &str, has: &[&str]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for file in has {
            std::fs::write(folder.path().join(file), "").unwrap();
        }
        let read = |_| {
            Err::<(), _>(ModelError::Weights {
                path: "weights.safetensors".into(),
                message: "looked at".to_owned(),
            })
        };
        let error = Manifest::parse_and(&source(text), folder.path(), read).unwrap_err();
        error.each().iter().map(ToString::to_string).collect()
    }

    #[track_caller]
    fn check(text: &str, has: &[&str], expected: &[&str]) {
        let errors = errors(text, has);
        assert_eq!(errors.len(), expected.len(), "{errors:#?}");
        for (error, part) in errors.iter().zip(expected) {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let text = [
            "model.toml:2:1: unknown field `colour`",
            "model.toml:7:7: scale",
            "the label `no` is that of class 0 and of class 2",
            "the label of class 3 is empty",
            "model.toml:17:13: `tolerance`",
        ];
        check(
            TEXT,
            &["weights.safetensors", "samples.safetensors"],
            &[&text[..], &["looked at"]].concat(),
        );
        let samples = "model.toml:16:8: the file `samples.safetensors` cannot be read: ";
        let weights = "model.toml:13:8: the file `weights.safetensors` cannot be read: ";
        check(
            TEXT,
            &["weights.safetensors"],
            &[&text[..4], &[samples, text[4], "looked at"]].concat(),
        );
        check(TEXT, &[], &[&text[..4], &[weights, samples, text[4]]].concat());
    }

    #[test]
    fn what_depends_on_a_mistake_is_not_looked_at() {
        let good = TEXT
            .replace("colour = 3\n", "")
            .replace("[0.0]", "[1.0]")
            .replace(", \"no\", \"\"", "")
            .replace("tolerance = -1.0\n", "");
        let files = ["weights.safetensors", "samples.safetensors"];
        check(&good, &files, &["looked at"]);
        check(&good, &files[..1], &["samples.safetensors", "looked at"]);
        for (from, to, expected) in [
            ("shape = [2]", "shape = [2, 2]\nstd = [0.0]", "2 axes"),
            ("out = 2", "out = \"2\"", "out"),
            ("type = \"linear\"", "type = \"liner\"", "liner"),
        ] {
            let errors = errors(&good.replace("std = [1.0]\n", "").replace(from, to), &files);
            assert!(errors.iter().any(|error| error.contains(expected)), "{errors:#?}");
            assert!(!errors.iter().any(|error| error.contains("looked at")), "{errors:#?}");
        }
        // A value that stands alone is reported all the same.
        let both = errors(
            &good.replace("shape = [2]", "shape = [2, 2]").replace("[1.0]", "[0.0]"),
            &files,
        );
        assert!(both.iter().any(|error| error.contains("`std` is 0")), "{both:#?}");
    }

    #[test]
    fn of_many_labels_that_are_wrong_the_first_are_told() {
        let labels = vec!["\"x\""; 100].join(", ");
        let text = TEXT.replace("\"no\", \"yes\", \"no\", \"\"", &labels);
        let errors = errors(&text, &[]);
        let about = errors
            .iter()
            .filter(|error| error.contains("label"))
            .collect::<Vec<_>>();
        assert_eq!(about.len(), TOLD_MAX + 1, "{about:#?}");
        assert!(about.last().unwrap().contains("91 more labels"), "{about:#?}");
    }
}
