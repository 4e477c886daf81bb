//! `[pipeline.NAME]`: its source, its plugins and its model, its destinations. Knows no kind of source or destination, and
//! nothing of other pipelines.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millrace_schema::{Form, Section};
use millrace_types::plugins::Plugins;

use super::endpoint::{ConnectionName, DestinationConfig, SourceConfig};
use super::keys::NAME;
use super::limits::Within;
use super::links::UseKind;
use super::section::{Beside, By};
use super::trial::{SMOKE_TEST, SmokeTestConfig, TRIAL, TrialConfig};
use super::values::{Bytes, Text};
use super::{Name, references};
use crate::section;

section! {
    /// `[pipeline.NAME]`
    #[derive(Debug, Clone)]
    pub struct PipelineConfig = PIPELINE (
        "pipeline",
        "[pipeline.NAME]",
        "A pipeline: where messages come from, what is made of them, and where results go."
    );

    /// Its name.
    pub name: Name = |table, checker| checker.name(table, "pipeline");

    /// Where messages come from; see below.
    pub source ("source"): Arc<dyn SourceConfig> = By {
        form: Form::Table(&SOURCE),
        read: |table, checker| checker.source(table),
    }, "{ queue = \"image_queue\" }", required();

    /// The plugin that turns a message into a tensor; or a list of transformers that ends with it, see below.
    ("preprocess") = By {
        form: references::CHAIN,
        read: |table, checker| checker.chain(table, "preprocess", UseKind::Preprocess),
    }, "\"decode-image\"", required(), at_home();

    /// The model that classifies it.
    pub model ("model"): Name = By {
        form: Form::Text(NAME),
        read: |table, checker| checker.model(table),
    }, "\"shapes\"", required();

    /// The plugin that decides where the result goes; or a list that begins with it and goes on with transformers, see below.
    ("route") = By {
        form: references::CHAIN,
        read: |table, checker| checker.chain(table, "route", UseKind::Route),
    }, "\"by-label\"", required(), at_home();

    /// The names of its plugins; each exists.
    pub plugins: Plugins<Name> = |table, checker| references::plugins(table, checker);

    /// How often a message is tried when a plugin says `retry`, or when hosts crash with it in flight. One crash beside
    /// other messages costs no attempt; once a second one proves it while the message runs alone, both count.
    pub attempts ("attempts"): u32 = Within::<u32> {
        min: 1,
        // A thousand are a loop.
        max: 1_000,
        // One and two more.
        default: 3,
    }, "3", at_home();

    /// The queue of dead letters, declared durable where it is missing. For a queue as the source alone.
    ("dead_letter") = Beside::<Text>::new(Form::Text(r"^[^\x00-\x1f\x7f]{1,255}$")), "\"image_queue.dead\"",
        or("the source queue's name and `.dead`"), at_home();

    /// The largest message that reaches a plugin; a larger one becomes a dead letter.
    pub max_message_bytes ("max_message"): usize = MAX_MESSAGE, "\"8MiB\"", at_home();

    /// The bodies of one message's results together; more is a fault of the plugin. Where results are small, say so:
    /// `prefetch` times this is counted as memory.
    pub max_results_bytes ("max_results"): usize = Within {
        min: Bytes(1 << 10),
        // The contract lets a router return 8 MiB.
        max: Bytes(8 << 20),
        default: Bytes(8 << 20),
    }, "\"256KiB\"", at_home();

    /// Where results go, by the name that the router uses; see below.
    pub destinations ("destination"): BTreeMap<Name, Arc<dyn DestinationConfig>> = By {
        form: Form::Named(&DESTINATION, NAME),
        read: |table, checker| Some(checker.destinations(table)),
    }, "", or("none: results go nowhere");

    /// How a new version is watched at first; see below.
    pub trial ("trial"): TrialConfig = By {
        form: Form::Table(&TRIAL),
        read: |table, checker| checker.trial(table),
    }, "", or("as below"), at_home();

    /// A message that a new version must process before it serves; see below.
    pub smoke_tests ("smoke_test"): Vec<SmokeTestConfig> = By {
        form: Form::Tables(&SMOKE_TEST),
        read: |table, checker| Some(checker.smoke_tests(table)),
    }, "", formerly("probe"), or("none"), at_home();
}

// Far above a camera's JPEG; 256 of them still fit into a small machine. No broker takes a message above the greatest.
pub(crate) const MAX_MESSAGE: Within<Bytes> = Within {
    min: Bytes(1),
    max: Bytes(512 << 20),
    default: Bytes(8 << 20),
};

/// `source = { .. }`; its keys are those of the registered kinds.
pub(super) static SOURCE: Section = Section {
    id: "source",
    title: "the `source` of [pipeline.NAME]",
    help: "Where messages come from.",
    ..Section::EMPTY
};

/// `[pipeline.NAME.destination.NAME]`; its keys are those of the registered kinds.
pub(super) static DESTINATION: Section = Section {
    id: "destination",
    title: "[pipeline.NAME.destination.NAME]",
    help: "Where results go.",
    ..Section::EMPTY
};

impl PipelineConfig {
    /// The connections that its messages and its results go by.
    pub fn connections(&self) -> BTreeSet<ConnectionName> {
        let destinations = self.destinations.values();
        let destinations = destinations.filter_map(|destination| destination.connection());
        self.source
            .connection()
            .into_iter()
            .chain(destinations)
            .cloned()
            .collect()
    }
}

// By hand, since a derived one would move the source.
impl PartialEq for PipelineConfig {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            name,
            source,
            plugins,
            model,
            attempts,
            max_message_bytes,
            max_results_bytes,
            destinations,
            trial,
            smoke_tests,
        } = self;
        source.as_ref() == other.source.as_ref()
            && (name, plugins, model, attempts) == (&other.name, &other.plugins, &other.model, &other.attempts)
            && (max_message_bytes, max_results_bytes) == (&other.max_message_bytes, &other.max_results_bytes)
            && (destinations, trial, smoke_tests) == (&other.destinations, &other.trial, &other.smoke_tests)
    }
}
