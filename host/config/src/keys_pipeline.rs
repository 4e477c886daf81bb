//! The keys of a pipeline, declared: its source, its destinations, its trial, its probes. Reads nothing.

use millrace_schema::{Declared, Form, Section, When};

use super::keys::{DURATION, NAME, PATH, SIZE};
use super::limits::{
    ATTEMPTS, CHAIN_MAX, DURABLE, MAX_MESSAGE, MAX_RESULTS, OUTCOME, PREFETCH_FOLDER, PREFETCH_QUEUE, QUEUE_TYPE,
    SETTLE, SLOWER, TRIAL_FAILURES, TRIAL_MESSAGES,
};

/// Names of queues, exchanges and routing keys: AMQP's short strings. Bytes are counted when the file is read.
const SHORT: &str = r"^[^\x00-\x1f\x7f]{0,255}$";
const QUEUE: &str = r"^[^\x00-\x1f\x7f]{1,255}$";
/// Patterns, of which none is empty.
const PATTERNS: Form = Form::Either(&[Form::Text("."), Form::List(&Form::Text("."), 1, None)]);
/// A plugin, or several that a message passes one after the other.
const CHAIN: Form = Form::Either(&[Form::Text(NAME), Form::List(&Form::Text(NAME), 1, Some(CHAIN_MAX))]);
/// A queue that is taken as it is.
const PASSIVE: &[When] = &[When::Matches("type", "^passive$")];

pub(super) static PIPELINE: Section = Section {
    id: "pipeline",
    title: "[pipeline.NAME]",
    help: "A pipeline: where messages come from, what is made of them, and where results go.",
    keys: &[
        Declared::new(
            "source",
            Form::Table(&SOURCE),
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
            "How often a message is tried when a plugin says `retry`, or when hosts die of it. One death with others in hand \
            costs nothing; when a second one, alone, proves it, both count.",
        )
        .at_home(),
        Declared::new(
            "dead_letter",
            Form::Text(QUEUE),
            "\"image_queue.dead\"",
            "The queue of dead letters, declared durable where it is missing. For a queue as the source alone: the dead \
            letters of a folder are in its folder `dead`.",
        )
        .or("the source queue's name and `.dead`")
        .unless(&[When::Has("source", "folder")])
        .at_home(),
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
            Form::Named(&DESTINATION, NAME),
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
            "probe",
            Form::Tables(&PROBE),
            "",
            "What a new version must process before it serves; see below.",
        )
        .or("none")
        .at_home(),
    ],
    ..Section::EMPTY
};

static SOURCE: Section = Section {
    id: "source",
    title: "the `source` of [pipeline.NAME]",
    help: "Where messages come from: a queue or a folder.",
    one_of: &["queue", "folder"],
    keys: &[
        Declared::new(
            "queue",
            Form::Text(QUEUE),
            "\"image_queue\"",
            "The queue's name; at most 255 bytes.",
        )
        .at_home(),
        Declared::new(
            "folder",
            Form::Text(PATH),
            "\"inbox\"",
            "The folder, which must be there; files directly in it are messages. Two pipelines cannot take from one.",
        ),
        Declared::new("prefetch", Form::Integer(&PREFETCH_QUEUE), "256", "Messages in flight.")
            .with(&["queue"])
            .at_home(),
        Declared::new("prefetch", Form::Integer(&PREFETCH_FOLDER), "64", "Messages in flight.").with(&["folder"]),
        Declared::new("type", Form::Words(&QUEUE_TYPE), "\"quorum\"", TYPE).with(&["queue"]),
        Declared::new("durable", Form::Flag(DURABLE), "true", DURABLE_HELP)
            .with(&["queue"])
            .unless(PASSIVE),
        Declared::new(
            "pattern",
            PATTERNS,
            "\"*.png\"",
            "Which files are messages, by name: a pattern or a list.",
        )
        .or("`\"*\"`")
        .with(&["folder"])
        .at_home(),
        Declared::new(
            "settle",
            Form::Quantity(&DURATION, &SETTLE),
            "\"2s\"",
            "How long a file must not have changed before it is taken. One that is known to be open for writing is waited for \
            besides.",
        )
        .with(&["folder"])
        .at_home(),
    ],
    ..Section::EMPTY
};

const TYPE: &str = "How the queue is declared where it is missing: `\"quorum\"` (durable and replicated), `\"classic\"`, or \
    `\"passive\"` (not at all: it belongs to others and must be there).";
const DURABLE_HELP: &str = "Whether a classic queue survives a restart of the broker. A quorum queue always does.";

static DESTINATION: Section = Section {
    id: "destination",
    title: "[pipeline.NAME.destination.NAME]",
    help: "Where results go: an exchange, the input's reply-to, or a folder.",
    one_of: &["exchange", "reply", "folder"],
    keys: &[
        Declared::new(
            "exchange",
            Form::Text(SHORT),
            "\"\"",
            "The exchange, which must be there; `\"\"` is the default exchange.",
        )
        .at_home(),
        Declared::new(
            "routing_key",
            Form::Text(SHORT),
            "\"result_queue\"",
            "The routing key where the plugin gives none. On the default exchange it is a queue's name. May be empty where \
            the exchange does not look at it.",
        )
        .required_with("exchange")
        .with(&["exchange"])
        .at_home(),
        Declared::new(
            "keys",
            PATTERNS,
            "[\"label.*\"]",
            "Routing keys that the plugin may choose: a pattern or a list. Never on the default exchange, where a key is a \
            queue.",
        )
        .or("none")
        .with(&["exchange"])
        .unless(&[When::Matches("exchange", "^$")])
        .at_home(),
        Declared::new(
            "type",
            Form::Words(&QUEUE_TYPE),
            "\"quorum\"",
            "How the queue is declared where it is missing, as for a source. On the default exchange alone.",
        )
        .with(&["exchange"])
        .unless(&[NAMED_EXCHANGE]),
        Declared::new(
            "durable",
            Form::Flag(DURABLE),
            "true",
            "As for a source. On the default exchange alone.",
        )
        .with(&["exchange"])
        .unless(&[NAMED_EXCHANGE, When::Matches("type", "^passive$")]),
        Declared::new(
            "reply",
            PATTERNS,
            "[\"amq.rabbitmq.reply-to.*\"]",
            "Allowed reply queues: a pattern or a list.",
        )
        .at_home(),
        Declared::new("folder", Form::Text(PATH), "\"out\"", "Where results are written."),
    ],
    ..Section::EMPTY
};

/// Not the default exchange. With something from the environment it may be either.
const NAMED_EXCHANGE: When = When::Matches("exchange", r"^[^$]+$");

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

static PROBE: Section = Section {
    id: "probe",
    title: "[[pipeline.NAME.probe]]",
    help: "A message that a new version must process before it serves, and what must come of it.",
    keys: &[
        Declared::new(
            "file",
            Form::Text(PATH),
            "\"probes/arrow.png\"",
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
            "What must come of it: `\"results\"`, `\"skip\"` or `\"reject\"`.",
        )
        .at_home(),
    ],
    ..Section::EMPTY
};
