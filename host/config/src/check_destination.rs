//! The checks of one destination: an exchange, a reply, a folder. Knows nothing of other pipelines.

use toml::Spanned;

use super::check::Checker;
use super::check_values::Expect;
use super::diagnostics::{Diagnostic, quoted};
use super::links::{EndpointRole, LinkedEndpoint};
use super::raw::{RawDeclare, RawDestination, RawPipeline};
use super::{DestinationConfig, QueueType};

/// Why `type` and `durable` are refused for a destination that is no queue.
const DECLARE_HINT: &str = "only a queue on the default exchange (`exchange = \"\"`) is declared";

impl Checker<'_, '_> {
    /// Checks `[pipeline.NAME.destination.NAME]`.
    pub(super) fn destination(
        &mut self,
        raw: &RawDestination<'_>,
        pipeline: &RawPipeline<'_>,
    ) -> Option<DestinationConfig> {
        const ONE_OF: &str = "write one of `exchange = \"..\"`, `reply = [\"..\"]` and `folder = \"..\"`";
        if let Some(span) = &raw.queue {
            let hint = "a queue is reached by its name on the default exchange: `exchange = \"\"` and `routing_key`";
            self.report
                .diagnostic(Diagnostic::at(span.clone(), "a destination has no key `queue`").hint(hint));
        }
        let kinds = [
            !raw.exchange.is_absent(),
            !raw.reply.is_absent(),
            !raw.folder.is_absent(),
        ];
        let problem = match kinds {
            [true, false, false] => return self.exchange(raw, pipeline),
            [false, true, false] => return self.reply(raw, pipeline),
            [false, false, true] => return self.destination_folder(raw, pipeline),
            [false, false, false] if raw.queue.is_some() => return None,
            [false, false, false] => "has none of `exchange`, `reply` and `folder`",
            _ => "has more than one of `exchange`, `reply` and `folder`",
        };
        let message = format!("the destination {} {problem}", quoted(raw.name));
        self.report
            .diagnostic(Diagnostic::at(raw.span.clone(), message).hint(ONE_OF));
        None
    }

    fn exchange(&mut self, raw: &RawDestination<'_>, pipeline: &RawPipeline<'_>) -> Option<DestinationConfig> {
        self.required(
            &raw.routing_key,
            "routing_key",
            &raw.span,
            "`routing_key = \"..\"`: a queue on the default exchange, else what the exchange routes by (may be empty)",
        );
        let keys = raw.keys.given().map(|keys| self.patterns(keys));
        let exchange = raw.exchange.given()?;
        self.links.needs_broker.push(exchange.span());
        let routing_key = raw.routing_key.given();
        let declare = if exchange.get_ref().value.is_empty() {
            self.refuse(
                &raw.keys,
                "a plugin cannot choose the key on the default exchange: it would reach every queue",
                "leave out `keys`, or name an exchange",
            );
            let declare = self.declare(&raw.declare);
            let queue = routing_key?;
            let endpoint = LinkedEndpoint::Queue(queue.get_ref().value.clone());
            self.link(
                pipeline,
                EndpointRole::Destination,
                endpoint,
                queue.span(),
                Some(declare),
            );
            self.queue_name(queue, declare)?;
            declare
        } else {
            self.refuse_declare(&raw.declare);
            self.short_string(exchange, "exchange")?;
            self.short_string(routing_key?, "routing key")?;
            QueueType::Passive
        };
        Some(DestinationConfig::Exchange {
            exchange: exchange.get_ref().value.clone(),
            routing_key: routing_key?.get_ref().value.clone(),
            keys,
            declare,
        })
    }

    fn reply(&mut self, raw: &RawDestination<'_>, pipeline: &RawPipeline<'_>) -> Option<DestinationConfig> {
        self.refuse_exchange_keys(raw);
        let patterns = raw.reply.given()?;
        let allow = self.patterns(patterns);
        self.links.needs_broker.push(patterns.span());
        let source = pipeline.source.given().map(Spanned::get_ref);
        if source.is_some_and(|source| source.queue.is_absent() && !source.folder.is_absent()) {
            let diagnostic = Diagnostic::at(patterns.span(), "files have no address to reply to");
            self.report
                .diagnostic(diagnostic.hint("`reply` needs a queue as the pipeline's source"));
        }
        let queue = source.and_then(|source| source.queue.given());
        if let Some(queue) = queue.filter(|queue| allow.is_match(&queue.get_ref().value)) {
            let message = "whoever sends a message can have its reply sent into the pipeline's own queue";
            let warning = Diagnostic::at(patterns.span(), message).hint("allow only the queues that clients listen to");
            self.report
                .warning(warning.context(queue.span(), "which the patterns match"));
        }
        Some(DestinationConfig::Reply { allow })
    }

    fn destination_folder(
        &mut self,
        raw: &RawDestination<'_>,
        pipeline: &RawPipeline<'_>,
    ) -> Option<DestinationConfig> {
        self.refuse_exchange_keys(raw);
        let given = raw.folder.given()?;
        let folder = self.path(given, Expect::FolderToBe)?;
        self.link(
            pipeline,
            EndpointRole::Destination,
            LinkedEndpoint::folder(&folder),
            given.span(),
            None,
        );
        Some(DestinationConfig::Folder { folder })
    }

    fn refuse_exchange_keys(&mut self, raw: &RawDestination<'_>) {
        const EXCHANGE_ONLY: &str = "it goes with `exchange`";
        self.refuse(&raw.routing_key, "`routing_key` has no meaning here", EXCHANGE_ONLY);
        self.refuse(&raw.keys, "`keys` has no meaning here", EXCHANGE_ONLY);
        self.refuse_declare(&raw.declare);
    }

    fn refuse_declare(&mut self, raw: &RawDeclare) {
        self.refuse(&raw.kind, "`type` has no meaning here", DECLARE_HINT);
        self.refuse(&raw.durable, "`durable` has no meaning here", DECLARE_HINT);
    }
}
