//! The checks of one pipeline: its source, its references, its destinations. Knows nothing of other pipelines.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;

use super::check::Checker;
use super::diagnostics::{Diagnostic, did_you_mean, quoted};
use super::limits::{ATTEMPTS, CHAIN_MAX, MAX_MESSAGE, MAX_RESULTS};
use super::links::{Use, UseKind};
use super::raw::{Chosen, RawConfig, RawPipeline, RawSource, Reference, References};
use super::registry::Registry;
use super::table::Key;
use super::{Name, PipelineConfig, SourceConfig};
use millrace_types::plugins::Plugins;

impl Checker<'_, '_> {
    /// Checks `[pipeline.NAME]`.
    pub(super) fn pipeline(&mut self, raw: &RawPipeline<'_>, file: &RawConfig<'_>) -> Option<PipelineConfig> {
        let plugins: Vec<&str> = file.plugins.iter().map(|plugin| plugin.name).collect();
        let models: Vec<&str> = file.models.iter().map(|model| model.name).collect();
        let name = self.name(raw.name, &raw.span, "pipeline");
        self.required(
            &raw.source,
            "source",
            &raw.span,
            &format!("`source = {}`", source_examples(self.report.registry).trim_matches('`')),
        );
        let source = raw.source.given().and_then(|source| self.source(source.get_ref(), raw));
        self.required(&raw.preprocess, "preprocess", &raw.span, "the name of a plugin");
        let preprocess = self.chain(&raw.preprocess, UseKind::Preprocess, &plugins);
        self.required(&raw.model, "model", &raw.span, "the name of a model");
        let model = raw.model.given();
        let model = model.and_then(|model| self.reference(model, UseKind::Model, &models));
        self.required(&raw.route, "route", &raw.span, "the name of a plugin");
        let route = self.chain(&raw.route, UseKind::Route, &plugins);
        let attempts = self.within(&raw.attempts, &ATTEMPTS);
        let max_message_bytes = self.size_bytes(&raw.max_message, &MAX_MESSAGE);
        let max_results_bytes = self.size_bytes(&raw.max_results, &MAX_RESULTS);
        let mut destinations = BTreeMap::new();
        for destination in &raw.destinations {
            let name = self.name(destination.name, &destination.span, "destination");
            let config = self.destination(destination, raw);
            if let (Some(name), Some(config)) = (name, config) {
                destinations.insert(name, config);
            }
        }
        if raw.destinations.is_empty() {
            let warning = format!(
                "the pipeline {} has no destination: results go nowhere",
                quoted(raw.name)
            );
            let hint = format!("add `[pipeline.{}.destination.NAME]`", raw.name);
            self.report
                .warning(Diagnostic::at(raw.span.clone(), warning).hint(hint));
        }
        let trial = raw.trial.given().map(|trial| self.trial(trial.get_ref()));
        let trial = trial.unwrap_or_default();
        let probes = self.probes(raw, max_message_bytes);
        Some(PipelineConfig {
            name: name?,
            source: source?,
            plugins: plugins_of(preprocess?, route?)?,
            model: model?,
            attempts: u32::try_from(attempts).unwrap_or(1),
            max_message_bytes,
            max_results_bytes,
            destinations,
            trial,
            probes,
        })
    }

    /// A chain of plugins that a message passes one after the other: transformers, and beside the model the preprocessor or
    /// the router.
    fn chain(&mut self, key: &Key<References>, kind: UseKind, known: &[&str]) -> Option<Vec<Name>> {
        let given = key.given()?;
        let References(references) = given.get_ref();
        let n = references.len();
        if n == 0 || n > CHAIN_MAX {
            let message = format!("a chain of {n} plugins: it must have at least one, and at most {CHAIN_MAX}");
            self.report.diagnostic(Diagnostic::at(given.span(), message));
            return None;
        }
        let own = if kind == UseKind::Preprocess { n - 1 } else { 0 };
        let names = references.iter().enumerate().map(|(place, reference)| {
            let kind = if place == own { kind } else { UseKind::Transform };
            self.reference(reference, kind, known)
        });
        // All are checked, so that every mistake is reported.
        let names: Vec<Option<Name>> = names.collect();
        names.into_iter().collect()
    }

    fn reference(&mut self, given: &Spanned<Reference>, kind: UseKind, known: &[&str]) -> Option<Name> {
        let text = &given.get_ref().0;
        if known.contains(&text.value.as_str()) {
            self.links.uses.push(Use {
                name: text.value.clone(),
                kind,
                span: given.span(),
            });
            return Name::new(&text.value);
        }
        let kind = kind.noun();
        if known.is_empty() && self.report.meant.contains(&(0, kind)) {
            return None;
        }
        let message = format!("there is no {kind} {}", text.quoted());
        self.report
            .diagnostic(match did_you_mean(&text.value, known.iter().copied()) {
                Some(meant) => Diagnostic::at(given.span(), format!("{message}, did you mean `{meant}`?")),
                None if Name::new(&text.value).is_some() && text.is_plain() => {
                    Diagnostic::at(given.span(), message).hint(format!("add `[{kind}.{}]`", text.value))
                }
                None => Diagnostic::at(given.span(), message).hint(format!("add `[{kind}.NAME]`")),
            });
        None
    }

    fn source(&mut self, raw: &RawSource, pipeline: &RawPipeline<'_>) -> Option<Arc<dyn SourceConfig>> {
        let keys = self.report.registry.sources().map(|kind| kind.key);
        let problem = match &raw.kind {
            Chosen::One(kind, read) => {
                if let Some(why) = kind.no_dead_letter_queue {
                    let message = "the source of this pipeline has no queue of dead letters";
                    self.refuse(
                        &pipeline.dead_letter,
                        message,
                        &format!("leave out `dead_letter`: {why}"),
                    );
                }
                return read.check(self, &pipeline.tables(&raw.span));
            }
            Chosen::None => none_of(keys.collect()),
            Chosen::Several => several_of(keys.collect()),
        };
        let diagnostic = Diagnostic::at(raw.span.clone(), format!("the source {problem}"));
        self.report
            .diagnostic(diagnostic.hint(format!("write {}", source_examples(self.report.registry))));
        None
    }
}

/// Examples of sources.
fn source_examples(registry: &Registry) -> String {
    let examples: Vec<String> = registry.sources().map(|kind| format!("`{}`", kind.example)).collect();
    examples.join(" or ")
}

/// Keys as a list in words: `a`, `b` and `c`.
pub(super) fn listed(keys: &[&str], and: &str) -> String {
    let quoted: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
    match quoted.as_slice() {
        [all @ .., last] if !all.is_empty() => format!("{} {and} {last}", all.join(", ")),
        _ => quoted.concat(),
    }
}

/// The problem where none of these keys is given.
fn none_of(keys: Vec<&str>) -> String {
    match keys.as_slice() {
        [_, _] => format!("has neither {}", listed(&keys, "nor")),
        _ => format!("has none of {}", listed(&keys, "and")),
    }
}

/// The problem where several of these keys are given.
fn several_of(keys: Vec<&str>) -> String {
    match keys.as_slice() {
        [_, _] => format!("has both {}", listed(&keys, "and")),
        _ => format!("has more than one of {}", listed(&keys, "and")),
    }
}

/// The last of the first chain, and the first of the last, are those next to the model.
fn plugins_of(mut before: Vec<Name>, route: Vec<Name>) -> Option<Plugins<Name>> {
    let preprocess = before.pop()?;
    let mut after = route.into_iter();
    Some(Plugins {
        before,
        preprocess,
        route: after.next()?,
        after: after.collect(),
    })
}
