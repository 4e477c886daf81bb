//! The keys of a pipeline, declared: its source, its destinations, its trial, its smoke tests. Reads nothing.

use millrace_schema::{Declared, Form, Section, When};

use super::keys::{NAME, PATH, SIZE, leak};
use super::limits::{ATTEMPTS, CHAIN_MAX, MAX_MESSAGE, MAX_RESULTS, OUTCOME, SLOWER, TRIAL_FAILURES, TRIAL_MESSAGES};
use super::registry::Registry;

/// A plugin, or several that a message passes one after the other.
const CHAIN: Form = Form::Either(&[Form::Text(NAME), Form::List(&Form::Text(NAME), 1, Some(CHAIN_MAX))]);
/// A name that a source understands.
const TEXT: &str = r"^[^\x00-\x1f\x7f]{1,255}$";

/// `[pipeline.NAME]`, with the keys of the transports.
pub(super) fn pipeline(registry: &'static Registry) -> &'static Section {
    let source = leak(Section {
        id: "source",
        title: "the `source` of [pipeline.NAME]",
        help: "Where messages come from.",
        one_of: registry.sources().map(|kind| kind.key).collect::<Vec<_>>().leak(),
        keys: registry
            .sources()
            .flat_map(|kind| kind.keys)
            .copied()
            .collect::<Vec<_>>()
            .leak(),
        ..Section::EMPTY
    });
    let destination = leak(Section {
        id: "destination",
        title: "[pipeline.NAME.destination.NAME]",
        help: "Where results go.",
        one_of: registry.destinations().map(|kind| kind.key).collect::<Vec<_>>().leak(),
        keys: registry
            .destinations()
            .flat_map(|kind| kind.keys)
            .copied()
            .collect::<Vec<_>>()
            .leak(),
        ..Section::EMPTY
    });
    leak(Section {
        id: "pipeline",
        title: "[pipeline.NAME]",
        help: "A pipeline: where messages come from, what is made of them, and where results go.",
        keys: keys(registry, source, destination).leak(),
        ..Section::EMPTY
    })
}

/// `dead_letter`, and where it has no meaning.
fn dead_letter(registry: &'static Registry) -> Declared {
    let without = || {
        let kinds = registry.sources();
        kinds.filter_map(|kind| Some((kind.key, kind.no_dead_letter_queue?)))
    };
    let whys: Vec<&str> = without().map(|(_, why)| why).collect();
    let help = format!(
        "The queue of dead letters, declared durable where it is missing. For a queue as the source alone: {}.",
        whys.join("; ")
    );
    let unless: Vec<When> = without().map(|(key, _)| When::Has("source", key)).collect();
    Declared::new("dead_letter", Form::Text(TEXT), "\"image_queue.dead\"", help.leak())
        .or("the source queue's name and `.dead`")
        .unless(unless.leak())
        .at_home()
}

fn keys(registry: &'static Registry, source: &'static Section, destination: &'static Section) -> Vec<Declared> {
    vec![
        Declared::new(
            "source",
            Form::Table(source),
            "{ queue = \"image_queue\" }",
            "Where messages come from; see below.",
        )
        .required(),
        Declared::new(
            "preprocess",
            CHAIN,
            "\"decode-image\"",
            "The plugin that turns a message into a tensor; or a list of transformers that ends with it, see below.",
        )
        .required()
        .at_home(),
        Declared::new("model", Form::Text(NAME), "\"shapes\"", "The model that classifies it.").required(),
        Declared::new(
            "route",
            CHAIN,
            "\"by-label\"",
            "The plugin that decides where the result goes; or a list that begins with it and goes on with transformers, see below.",
        )
        .required()
        .at_home(),
        Declared::new(
            "attempts",
            Form::Integer(&ATTEMPTS),
            "3",
            "How often a message is tried when a plugin says `retry`, or when hosts crash with it in flight. One crash beside \
            other messages costs no attempt; once a second one proves it while the message runs alone, both count.",
        )
        .at_home(),
        dead_letter(registry),
        Declared::new(
            "max_message",
            Form::Quantity(&SIZE, &MAX_MESSAGE),
            "\"8MiB\"",
            "The largest message that reaches a plugin; a larger one becomes a dead letter.",
        )
        .at_home(),
        Declared::new(
            "max_results",
            Form::Quantity(&SIZE, &MAX_RESULTS),
            "\"256KiB\"",
            "The bodies of one message's results together; more is a fault of the plugin. Where results are small, say so: \
            `prefetch` times this is counted as memory.",
        )
        .at_home(),
        Declared::new(
            "destination",
            Form::Named(destination, NAME),
            "",
            "Where results go, by the name that the router uses; see below.",
        )
        .or("none: results go nowhere"),
        Declared::new(
            "trial",
            Form::Table(&TRIAL),
            "",
            "How a new version is watched at first; see below.",
        )
        .or("as below")
        .at_home(),
        Declared::new(
            "smoke_test",
            Form::Tables(&SMOKE_TEST),
            "",
            "A message that a new version must process before it serves; see below.",
        )
        .formerly("probe")
        .or("none")
        .at_home(),
    ]
}

static TRIAL: Section = Section {
    id: "trial",
    title: "[pipeline.NAME.trial]",
    help: "How a new version is watched at first, beside the one that it replaced.",
    keys: &[
        Declared::new(
            "messages",
            Form::Integer(&TRIAL_MESSAGES),
            "100",
            "Messages that a trial sees; with `0` there is none.",
        )
        .at_home(),
        Declared::new(
            "failures",
            Form::Integer(&TRIAL_FAILURES),
            "2",
            "Messages that may fail although the previous ones can process them; one more, and the change is undone.",
        )
        .at_home(),
        Declared::new(
            "slower",
            Form::Number(&SLOWER),
            "5.0",
            "How many times as much as before a message may cost: CPU time of the plugins, time of the device of the model.",
        )
        .at_home(),
    ],
    ..Section::EMPTY
};

static SMOKE_TEST: Section = Section {
    id: "smoke_test",
    title: "[[pipeline.NAME.smoke_test]]",
    help: "A message that a new version must process before it serves, and the expected outcome.",
    keys: &[
        Declared::new(
            "file",
            Form::Text(PATH),
            "\"smoke-tests/arrow.png\"",
            "The file with the message's body, at most `max_message`.",
        )
        .required()
        .at_home(),
        Declared::new(
            "label",
            Form::Text("."),
            "\"arrow\"",
            "The best label that it must have; with `\"results\"` alone.",
        )
        .or("any")
        .unless(&[When::Matches("outcome", "^(skip|reject)$")])
        .at_home(),
        Declared::new(
            "outcome",
            Form::Words(&OUTCOME),
            "\"results\"",
            "The expected outcome: `\"results\"`, `\"skip\"` or `\"reject\"`.",
        )
        .at_home(),
    ],
    ..Section::EMPTY
};
