//! A generation: the set of plugins, models and destinations that is current. One immutable value behind one pointer.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config::Name;
use crate::connect::Destination;
use crate::inference::Served;
use crate::sandbox::{Lane, Plugin};

/// The current generation; a message loads it once, when its processing begins, and keeps what it loaded.
pub type Current<S = Stages> = Arc<ArcSwap<Generation<S>>>;

/// Everything that messages are processed with.
#[derive(Debug)]
pub struct Generation<S = Stages> {
    /// 1 for the set that the host started with.
    pub id: u64,
    /// What each pipeline runs.
    pub pipelines: BTreeMap<Name, Arc<S>>,
}

/// What one pipeline runs.
#[derive(Debug)]
pub struct Stages {
    /// The generation that these stages belong to.
    pub generation: u64,
    /// Makes the tensor.
    pub preprocess: Arc<Plugin>,
    /// Makes the prediction.
    pub model: Arc<Served>,
    /// Makes the results.
    pub route: Arc<Plugin>,
    /// The pipeline's share of the sandbox workers.
    pub lane: Lane,
    /// Where results may go, by the name that routers use.
    pub destinations: BTreeMap<Name, Destination>,
    /// How often a message is tried when a plugin says `retry`.
    pub attempts: u32,
}
