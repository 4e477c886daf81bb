//! The only crate that knows wasmtime: engine, bindings, limits, workers. Knows nothing of brokers, models or order.

#![expect(missing_docs, reason = "a part of the host: only this repository uses it")]

mod load;
mod load_error;

mod code_cache;
mod compile;
mod compiler_process;
mod describe;
mod versions;

mod introspect;
#[cfg(feature = "native-preprocess")]
mod native;
mod plugin;

mod bindings;
mod declared;
mod unasked;
mod wasi_stubs;

mod instance;
mod state;

mod limits;
mod log;
mod output;

mod fault;
mod text;

mod engine;
mod footprint;
mod instance_cache;
mod measure;
mod meter;
mod timed;
mod workers;

#[cfg(test)]
mod fuzz;

pub use self::code_cache::CodeCache;
pub use self::compile::{Compiler, compile_in_this_process};
pub use self::compiler_process::{CompileLimits, CompilerProcess};
pub use self::declared::{About, NamedDestination, Setting, SettingDiagnostic, SettingKind};
pub use self::describe::{Description, Grant, Producer, Section, describe, describe_in_this_process};
pub use self::footprint::{handovers_bytes, instances_bytes, results_bytes};
pub use self::introspect::StartCost;
pub use self::load_error::{LoadError, LoadProblem};
pub use self::measure::{CallInput, Cost, Gauge, Measured};
pub use self::meter::PluginCounts;
pub use self::output::TransformOf;
pub use self::plugin::Plugin;
pub use limits::wall_time;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use millrace_config::PluginConfig;
use millrace_types::disposition::ReasonClass;
use wasmtime::Engine;

use self::load::Loader;
use self::workers::{LaneQueue, Order, Workers};

/// The use of a plugin: the world that it must target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// World `preprocessor`.
    Preprocess,
    /// World `transformer`.
    Transform,
    /// World `router`.
    Route,
}

/// The engine and the worker threads that plugin calls run on; one in a process.
///
/// Dropping it without [`Sandbox::stop`] lets the threads end by themselves.
#[derive(Debug)]
pub struct Sandbox {
    engine: Engine,
    workers: Arc<Workers>,
    threads: Vec<JoinHandle<()>>,
    // Held while a plugin is compiled, which may cost as much as one may at a time, and tried, for which the pool has one
    // slot.
    loader: Mutex<Loader>,
    // Versions in use, and a few that are not any more.
    plugins: Mutex<Vec<Weak<Plugin>>>,
}

/// A share of the workers: one for each pipeline, so that a hostile one cannot hold them all.
#[derive(Debug, Clone)]
pub struct Lane {
    queue: Arc<LaneQueue>,
    order: Order,
}

/// The refusal of a plugin, in place of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginRefusal {
    /// It can never be processed.
    Reject(String),
    /// It may succeed later.
    Retry(String),
    /// It needs no result.
    Skip(String),
}

/// The outcome of a call.
#[derive(Debug)]
pub struct Called<T> {
    /// The plugin's answer.
    pub answer: Result<T, CallError>,
    /// How long it ran, without waiting for a worker.
    pub ran: Duration,
    /// CPU time that it used.
    pub cpu: Duration,
}

/// Why a call yields no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The plugin refused, in its own words (bounded and escaped).
    #[error("refused")]
    Refused(PluginRefusal),
    /// The plugin broke a bound or trapped; its instance is gone, and a fresh one may do better.
    #[error("{text}")]
    Fault {
        /// Trap, deadline, memory, or output too large.
        class: ReasonClass,
        /// Which bound, asked and allowed; for a trap the message and the innermost wasm frames.
        text: String,
    },
    /// The plugin returned an invalid value: a wrong tensor, results that no envelope holds.
    #[error("{text}")]
    BadOutput {
        /// `BadTensor`, `OutputTooLarge` or `Denied`.
        class: ReasonClass,
        /// Expected and found.
        text: String,
        /// The name or value that it is about, as the plugin returned it: the plugin may have it from the message.
        chosen: Option<String>,
    },
    /// The host itself panicked in the call: our bug, whatever the plugin did.
    #[error("the host failed in this call: {text}")]
    Host {
        /// The text of the panic.
        text: String,
    },
    /// The workers have stopped, or the caller gave up.
    #[error("the sandbox has stopped")]
    Stopped,
}

impl CallError {
    /// The name in metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Refused(PluginRefusal::Reject(_)) => "reject",
            Self::Refused(PluginRefusal::Retry(_)) => "retry",
            Self::Refused(PluginRefusal::Skip(_)) => "skip",
            Self::Fault { class, .. } | Self::BadOutput { class, .. } => class.as_str(),
            Self::Host { .. } => ReasonClass::HostFault.as_str(),
            Self::Stopped => "stopped",
        }
    }
}

/// Why the sandbox cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Not without workers.
    #[error("a sandbox needs at least one worker")]
    NoWorkers,
    /// The platform does not have what the engine needs.
    #[error("cannot start the WebAssembly engine: {0}")]
    Engine(String),
    /// The system refuses a thread.
    #[error("cannot start a worker thread")]
    Thread(#[source] std::io::Error),
}

impl Sandbox {
    /// Starts the engine, its epoch ticker and `workers` threads.
    ///
    /// # Errors
    /// When the system refuses a thread, or the address space for the instances of so many workers.
    pub fn start(workers: usize, compiler: Compiler) -> Result<Self, SandboxError> {
        if workers == 0 {
            return Err(SandboxError::NoWorkers);
        }
        Self::with(engine::start(workers), workers, compiler)
    }

    /// As [`Sandbox::start`] with one worker, for plugins of one memory each, in the address space that valgrind leaves to
    /// a program.
    ///
    /// # Errors
    /// As [`Sandbox::start`].
    pub fn start_small(compiler: Compiler) -> Result<Self, SandboxError> {
        Self::with(engine::start_small(), 1, compiler)
    }

    fn with(engine: wasmtime::Result<Engine>, workers: usize, compiler: Compiler) -> Result<Self, SandboxError> {
        let engine = engine.map_err(|error| SandboxError::Engine(format!("{error:#}")))?;
        let (workers, threads) = Workers::start(workers).map_err(SandboxError::Thread)?;
        let loader = Mutex::new(Loader::new(engine.clone(), compiler));
        Ok(Self {
            engine,
            workers,
            threads,
            loader,
            plugins: Mutex::default(),
        })
    }

    /// Reads, digests, compiles, links and checks a plugin, and lets it accept its settings in a
    /// trial instance under the limits of a call. Blocking: tens of milliseconds to seconds.
    ///
    /// # Errors
    /// Says what was found and what was expected; the plugin's own words are bounded and escaped.
    pub fn load(&self, config: &PluginConfig, role: Role) -> Result<Arc<Plugin>, LoadError> {
        let mut loader = self.loader.lock().unwrap_or_else(PoisonError::into_inner);
        // Compilers and encoders have panicked on hostile files before.
        let loaded = catch_unwind(AssertUnwindSafe(|| loader.load(config, role)));
        let loaded = loaded.unwrap_or_else(|panic| Err(LoadProblem::Host(fault::panic_text(panic.as_ref()))));
        let (name, path) = (config.name.to_string(), config.path.clone());
        let loaded = loaded.map_err(|problem| LoadError { name, path, problem })?;
        let mut plugins = self.plugins();
        plugins.retain(|plugin| plugin.strong_count() > 0);
        let mut others = plugins.iter().filter_map(Weak::upgrade);
        let same = others.find(|plugin| plugin.identity().name == loaded.identity.name);
        let meter = same.map(|plugin| Arc::clone(plugin.meter())).unwrap_or_default();
        let plugin = Arc::new(Plugin::new(loaded, config, meter, &self.workers));
        plugins.push(Arc::downgrade(&plugin));
        Ok(plugin)
    }

    /// The costs of the calls of each loaded plugin, its versions together.
    pub fn counts(&self) -> Vec<PluginCounts> {
        let mut by_name = BTreeMap::<String, PluginCounts>::new();
        let plugins: Vec<_> = self.plugins().iter().filter_map(Weak::upgrade).collect();
        for counts in plugins.iter().map(|plugin| plugin.counts()) {
            let peak = counts.memory_peak_bytes;
            let same = by_name.entry(counts.name.clone()).or_insert(counts);
            same.memory_peak_bytes = same.memory_peak_bytes.max(peak);
        }
        by_name.into_values().collect()
    }

    fn plugins(&self) -> MutexGuard<'_, Vec<Weak<Plugin>>> {
        self.plugins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Versions that were compiled; those that were found compiled are not counted.
    pub fn n_compiled(&self) -> u64 {
        let loader = self.loader.lock().unwrap_or_else(PoisonError::into_inner);
        loader.n_compiled()
    }

    /// A pipeline's share of the workers, when `n_pipelines` share them.
    pub fn lane(&self, n_pipelines: usize) -> Lane {
        Lane {
            queue: Arc::new(self.workers.lane(n_pipelines)),
            order: Order::InTurn,
        }
    }

    /// Plugin instances that exist now: those in a call, and those that workers keep.
    pub fn instances(&self) -> u64 {
        self.engine
            .pooling_allocator_metrics()
            .map_or(0, |metrics| metrics.component_instances())
    }

    /// Lets calls in progress end (at the latest at their deadline) and joins the threads. Blocking.
    ///
    /// Calls that wait, and all later ones, end with [`CallError::Stopped`].
    pub fn stop(mut self) {
        self.workers.stop();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("sandbox worker panicked");
            }
        }
    }
}

impl Lane {
    /// The same lane for calls that come before all others in it and need no slot: a message that has lost time already
    /// must not wait behind those that have not begun. A message makes one call at a time, which bounds them.
    pub fn first(&self) -> Self {
        Self {
            queue: Arc::clone(&self.queue),
            order: Order::First,
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.workers.stop();
    }
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Preprocess, Self::Transform, Self::Route];

    /// The interface that its world exports.
    pub fn interface(self) -> &'static str {
        match self {
            Self::Preprocess => "millrace:pipeline/preprocess@0.1.0",
            Self::Transform => "millrace:pipeline/transform@0.1.0",
            Self::Route => "millrace:pipeline/route@0.1.0",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Preprocess => "preprocessor",
            Self::Transform => "transformer",
            Self::Route => "router",
        })
    }
}
