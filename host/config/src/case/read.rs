//! From the text of a `cases/*.toml` to a case: every mistake at once.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeTable;

use super::expect::{self, ELEMENTS};
use super::values::{self, Numbers, Scores, Shape};
use super::{Budget, Case, Origin, SaidPrediction, alone, message};
use crate::check::Checker;
use crate::check_values::Expect;
use crate::diagnostics::{Diagnostic, SourceText};
use crate::keys_case::{self, BUDGET_MEMORY, FUEL};
use crate::keys_expect;
use crate::plugin::{DEADLINE, MEMORY};
use crate::registry::Registry;
use crate::report::Report;
use crate::settings::Settings;
use crate::syntax::Syntax;
use crate::table::{Key, Table};
use crate::values::{Bytes, Text};
use crate::{ConfigErrors, ValidParts};
use millrace_types::message::{Tensor, TensorData, TensorType};

/// A case names no transport.
static NO_TRANSPORTS: Registry = Registry::new(&[]);

/// The name that a router sees where the case says none.
const MODEL: &str = "model";

/// Parses and checks a text.
pub(super) fn parse(text: &str, path: &Path) -> Result<Case, ConfigErrors> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let syntax = Syntax::of(text, table.get_ref(), errors);
    if let Some(diagnostic) = syntax.structure {
        return Err(alone(path, text, diagnostic));
    }
    // Nothing is taken from the environment: a case is the same everywhere.
    let as_written = |name: &str| Some(format!("${{{name}}}"));
    let mut report = Report::new(&NO_TRANSPORTS, text, &as_written);
    let base = path.parent().unwrap_or(Path::new("."));
    let mut checker = Checker::new(&mut report, base);
    let case = case(
        Table::new(table.get_ref(), keys_case::CASE.root, String::new(), 0..0),
        path,
        &mut checker,
    );
    report
        .diagnostics
        .retain(|diagnostic| !syntax.explains(text, diagnostic));
    report.diagnostics.extend(syntax.duplicates);
    report.diagnostics.extend(syntax.values);
    match report.diagnostics.is_empty() {
        true => Ok(case),
        false => {
            let source = Arc::new(SourceText::new(path, text));
            Err(ConfigErrors::new(source, ValidParts::default(), report.diagnostics))
        }
    }
}

/// The `[expect]` of a text that has nothing else.
pub(super) fn expected(text: &str, path: &Path) -> Result<super::Expected, ConfigErrors> {
    let (table, _) = DeTable::parse_recoverable(text);
    let as_written = |name: &str| Some(format!("${{{name}}}"));
    let mut report = Report::new(&NO_TRANSPORTS, text, &as_written);
    let mut checker = Checker::new(&mut report, path.parent().unwrap_or(Path::new(".")));
    let expected = expect::read(
        Table::new(table.get_ref(), &keys_expect::EXPECT, "[expect]".to_owned(), 0..0),
        &mut checker,
    );
    match report.diagnostics.is_empty() {
        true => Ok(expected),
        false => {
            let source = Arc::new(SourceText::new(path, text));
            Err(ConfigErrors::new(source, ValidParts::default(), report.diagnostics))
        }
    }
}

fn case(root: Table<'_>, path: &Path, checker: &mut Checker<'_, '_>) -> Case {
    let report = &mut *checker.report;
    let model: Key<Text> = root.key("model", report);
    let wants = root.table("wants", report);
    let message = root.table("message", report);
    let settings: Key<Settings> = root.key("settings", report);
    let limits = root.table("limits", report);
    let prediction = root.table("prediction", report);
    let expected = root.table("expect", report);
    let budget = root.table("budget", report);
    root.finish(&belongs, report);

    checker.required(
        &message,
        "message",
        &(0..0),
        "`[message]` with `file = \"picture.png\"`",
    );
    if !model.is_absent() {
        let hint = "the model declares its input type; leave out one of the two";
        checker.refuse(&wants, "`wants` has no meaning beside `model`", hint);
    }
    let wants = wants.into_given().and_then(|table| self::wants(table, checker));
    let has_model = !model.is_absent();
    let model = model.given().and_then(|model| checker.path(model, Expect::Folder));
    let (deadline, memory_bytes) = self::limits(limits, checker);
    Case {
        name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        path: path.to_owned(),
        message: Arc::new(message::read(message, checker)),
        settings: settings.into_given().map(|settings| settings.0),
        deadline,
        memory_bytes,
        model,
        wants,
        prediction: prediction
            .into_given()
            .and_then(|table| self::prediction(table, has_model, checker)),
        expected: expected.into_given().map(|table| expect::read(table, checker)),
        budget: budget
            .into_given()
            .map(|table| self::budget(table, checker))
            .unwrap_or_default(),
        record: None,
    }
}

/// Where keys belong that stand before the first table.
fn belongs(key: &str) -> Option<&'static str> {
    match key {
        "file" | "text" | "base64" | "headers" | "id" | "content_type" | "key" => Some("`[message]`"),
        "outcome" | "reason" | "tensor" | "label" | "result" => Some("`[expect]`"),
        "scores" | "outputs" => Some("`[prediction]`"),
        "deadline" | "memory" => Some("`[limits]`"),
        "fuel" => Some("`[budget]`"),
        _ => None,
    }
}

fn wants(table: Table<'_>, checker: &mut Checker<'_, '_>) -> Option<TensorType> {
    let shape: Key<Shape> = table.key("shape", checker.report);
    let element: Key<Text> = table.key("element", checker.report);
    let span = table.span().clone();
    table.finish(&|_| None, checker.report);
    checker.required(&shape, "shape", &span, "such as `shape = [3, 32, 32]`");
    checker.required(&element, "element", &span, "`element = \"byte\"` or `\"float\"`");
    // Both are looked at, whichever is mistaken.
    let element = checker.choice(&element, "element", &ELEMENTS);
    Some(TensorType {
        shape: shape.into_given()?.0,
        element: element?,
    })
}

fn limits(table: Key<Table<'_>>, checker: &mut Checker<'_, '_>) -> (Duration, usize) {
    let (mut deadline, mut memory) = (Key::Absent, Key::Absent);
    if let Some(table) = table.into_given() {
        deadline = table.key("deadline", checker.report);
        memory = table.key("memory", checker.report);
        table.finish(&|key| (key == "fuel").then_some("`[budget]`"), checker.report);
    }
    let memory = checker.within(&memory, "memory", &MEMORY).0;
    let deadline = checker.within(&deadline, "deadline", &DEADLINE);
    (deadline, usize::try_from(memory).unwrap_or(usize::MAX))
}

fn budget(table: Table<'_>, checker: &mut Checker<'_, '_>) -> Budget {
    let fuel: Key<i128> = table.key("fuel", checker.report);
    let memory: Key<Bytes> = table.key("memory", checker.report);
    table.finish(&|key| (key == "deadline").then_some("`[limits]`"), checker.report);
    let is_bounded = |is_absent: bool, value: u64| (!is_absent).then_some(value);
    let allowed = checker.within(&fuel, "fuel", &FUEL);
    let bytes = checker.within(&memory, "memory", &BUDGET_MEMORY).0;
    Budget {
        fuel: is_bounded(fuel.is_absent(), u64::try_from(allowed).unwrap_or(u64::MAX)),
        memory_bytes: is_bounded(memory.is_absent(), bytes),
    }
}

fn prediction(table: Table<'_>, has_model: bool, checker: &mut Checker<'_, '_>) -> Option<SaidPrediction> {
    let report = &mut *checker.report;
    let model: Key<Text> = table.key("model", report);
    let scores: Key<Scores> = table.key("scores", report);
    let list = table.key("outputs", report);
    let outputs = values::tables(list, &keys_case::OUTPUTS, report);
    let preprocess: Key<Text> = table.key("preprocess", report);
    let settings: Key<Settings> = table.key("preprocess_settings", report);
    let span = table.span().clone();
    table.finish(&|_| None, report);
    let model = model.into_given().map_or_else(|| MODEL.to_owned(), |model| model.value);
    let Some(file) = preprocess.given() else {
        checker.refuse(
            &settings,
            "`preprocess_settings` has no meaning without `preprocess`",
            "add the preprocessor",
        );
        let outputs = outputs.unwrap_or_default().into_iter();
        let outputs: Vec<_> = outputs.map(|table| output(table, checker)).collect();
        let scores = scores.into_given().map(|scores| scores.0).unwrap_or_default();
        let outputs = outputs.into_iter().collect::<Option<Vec<_>>>()?;
        let origin = Origin::Said { scores, outputs };
        return Some(SaidPrediction { model, origin });
    };
    checker.refuse(
        &scores,
        "`scores` has no meaning beside `preprocess`",
        "the model makes them",
    );
    if !has_model {
        let diagnostic = Diagnostic::at(span, "`preprocess` needs a model that runs on its tensor");
        checker
            .report
            .diagnostic(diagnostic.hint("add `model = \"FOLDER\"` at the top of the file"));
    }
    let preprocess = checker.path(file, Expect::File)?;
    let settings = settings
        .into_given()
        .map_or_else(|| "{}".to_owned(), |settings| settings.0);
    let origin = Origin::Made { preprocess, settings };
    Some(SaidPrediction { model, origin })
}

fn output(table: Table<'_>, checker: &mut Checker<'_, '_>) -> Option<Tensor> {
    let shape: Key<Shape> = table.key("shape", checker.report);
    let numbers: Key<Numbers> = table.key("values", checker.report);
    let span = table.span().clone();
    table.finish(&|_| None, checker.report);
    checker.required(&shape, "shape", &span, "such as `shape = [10]`");
    checker.required(&numbers, "values", &span, "the numbers, row by row");
    let tensor = Tensor::new(shape.into_given()?.0, TensorData::Floats(numbers.into_given()?.0));
    match tensor {
        Ok(tensor) => Some(tensor),
        Err(error) => {
            checker.report.diagnostic(Diagnostic::at(span, error.to_string()));
            None
        }
    }
}
