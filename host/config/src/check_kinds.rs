//! Which kind a source or a destination is of, by the keys that it has; the kind reads the rest. Knows no kind.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Name;
use super::check::Checker;
use super::diagnostics::{Diagnostic, quoted};
use super::endpoint::{DestinationConfig, SourceConfig};
use super::kind::SourceKind;
use super::registry::Registry;
use super::table::Table;
use super::values::Text;

/// Why a table is of no kind.
enum NoKind {
    /// It has none of their keys.
    None,
    /// It has those of more than one.
    Several,
}

impl Checker<'_, '_> {
    /// The source of a pipeline.
    pub(super) fn source(&mut self, pipeline: &Table<'_>) -> Option<Arc<dyn SourceConfig>> {
        let key = pipeline.table("source", self.report);
        let examples = source_examples(self.report.registry);
        let example = format!("`source = {}`", examples.trim_matches('`'));
        self.required(&key, "source", pipeline.span(), &example);
        let table = key.into_given()?;
        self.finish(&table);
        match only(self.report.registry.sources().filter(|kind| table.has(kind.key))) {
            Ok(kind) => {
                table.refuse_others(kind.keys, kind.place, self.report);
                if let Some(why) = kind.no_dead_letter_queue {
                    let message = "the source of this pipeline has no queue of dead letters";
                    let key = pipeline.peek::<Text>("dead_letter", self.report);
                    self.refuse(&key, message, &format!("leave out `dead_letter`: {why}"));
                }
                (kind.read)(&table, self)
            }
            Err(no_kind) => {
                let keys: Vec<&str> = self.report.registry.sources().map(|kind| kind.key).collect();
                let message = format!("the source {}", no_kind.told(&keys));
                let diagnostic = Diagnostic::at(table.span().clone(), message);
                self.report.diagnostic(diagnostic.hint(format!("write {examples}")));
                None
            }
        }
    }

    /// The source of a pipeline, for the check of a destination, where it is of one kind.
    pub fn source_of<'t>(&self, pipeline: &Table<'t>) -> Option<(&'static SourceKind, Table<'t>)> {
        let table = pipeline.peek_table("source", self.report)?;
        let kinds = self.report.registry.sources();
        let kind = only(kinds.filter(|kind| table.has(kind.key))).ok()?;
        Some((kind, table))
    }

    /// Where the results of a pipeline go.
    pub(super) fn destinations(&mut self, pipeline: &Table<'_>) -> BTreeMap<Name, Arc<dyn DestinationConfig>> {
        let tables = pipeline.named_tables("destination", self.report);
        if tables.is_empty() {
            let name = pipeline.name();
            let warning = format!("the pipeline {} has no destination: results go nowhere", quoted(name));
            let hint = format!("add `[pipeline.{name}.destination.NAME]`");
            let warning = Diagnostic::at(pipeline.span().clone(), warning).hint(hint);
            self.report.warning(warning);
        }
        let mut destinations = BTreeMap::new();
        for mut table in tables {
            let name = self.name(&table, "destination");
            let config = self.destination(&mut table);
            destinations.extend(name.zip(config));
        }
        destinations
    }

    fn destination(&mut self, table: &mut Table<'_>) -> Option<Arc<dyn DestinationConfig>> {
        let kinds = self.report.registry.destinations();
        let mut is_misplaced = false;
        for (key, message, hint) in kinds.clone().flat_map(|kind| kind.misplaced) {
            if let Some(span) = table.reserve(key) {
                is_misplaced = true;
                self.report.diagnostic(Diagnostic::at(span, *message).hint(*hint));
            }
        }
        self.finish(table);
        match only(kinds.clone().filter(|kind| table.has(kind.key))) {
            Ok(kind) => {
                table.refuse_others(kind.keys, "here", self.report);
                return (kind.read)(table, self);
            }
            Err(NoKind::None) if is_misplaced => {}
            Err(no_kind) => {
                let keys: Vec<&str> = kinds.clone().map(|kind| kind.key).collect();
                let examples: Vec<&str> = kinds.map(|kind| kind.example).collect();
                let problem = match no_kind {
                    NoKind::None => "none",
                    NoKind::Several => "more than one",
                };
                let message = format!(
                    "the destination {} has {problem} of {}",
                    quoted(table.name()),
                    listed(&keys, "and")
                );
                let hint = match examples.as_slice() {
                    [all @ .., last] => format!("write one of {} and {last}", all.join(", ")),
                    [] => String::new(),
                };
                self.report
                    .diagnostic(Diagnostic::at(table.span().clone(), message).hint(hint));
            }
        }
        None
    }
}

/// The only one.
fn only<K>(mut kinds: impl Iterator<Item = K>) -> Result<K, NoKind> {
    match (kinds.next(), kinds.next()) {
        (Some(kind), None) => Ok(kind),
        (None, _) => Err(NoKind::None),
        (Some(_), Some(_)) => Err(NoKind::Several),
    }
}

impl NoKind {
    /// `has neither A nor B`
    fn told(&self, keys: &[&str]) -> String {
        match (self, keys) {
            (Self::None, [_, _]) => format!("has neither {}", listed(keys, "nor")),
            (Self::None, _) => format!("has none of {}", listed(keys, "and")),
            (Self::Several, [_, _]) => format!("has both {}", listed(keys, "and")),
            (Self::Several, _) => format!("has more than one of {}", listed(keys, "and")),
        }
    }
}

/// Examples of sources.
fn source_examples(registry: &Registry) -> String {
    let examples: Vec<String> = registry.sources().map(|kind| format!("`{}`", kind.example)).collect();
    examples.join(" or ")
}

/// Keys as a list in words: `a`, `b` and `c`.
fn listed(keys: &[&str], and: &str) -> String {
    let quoted: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
    match quoted.as_slice() {
        [all @ .., last] if !all.is_empty() => format!("{} {and} {last}", all.join(", ")),
        _ => quoted.concat(),
    }
}
