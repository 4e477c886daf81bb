//! The checks of one destination. Knows no kind of destination, and nothing of other pipelines.

use std::sync::Arc;

use super::DestinationConfig;
use super::check::Checker;
use super::check_pipeline::listed;
use super::diagnostics::{Diagnostic, quoted};
use super::raw::{Chosen, RawDestination, RawPipeline};

impl Checker<'_, '_> {
    /// Checks `[pipeline.NAME.destination.NAME]`.
    pub(super) fn destination(
        &mut self,
        raw: &RawDestination<'_>,
        pipeline: &RawPipeline<'_>,
    ) -> Option<Arc<dyn DestinationConfig>> {
        let problem = match &raw.kind {
            Chosen::One(_, read) => return read.check(self, &pipeline.tables(&raw.span)),
            Chosen::None if raw.is_misplaced => return None,
            Chosen::None => "none",
            Chosen::Several => "more than one",
        };
        let keys: Vec<&str> = self.report.registry.destinations().map(|kind| kind.key).collect();
        let message = format!(
            "the destination {} has {problem} of {}",
            quoted(raw.name),
            listed(&keys, "and")
        );
        let examples: Vec<&str> = self.report.registry.destinations().map(|kind| kind.example).collect();
        let hint = match examples.as_slice() {
            [all @ .., last] => format!("write one of {} and {last}", all.join(", ")),
            [] => String::new(),
        };
        self.report
            .diagnostic(Diagnostic::at(raw.span.clone(), message).hint(hint));
        None
    }
}
