//! The cost of a call: fuel, which is the same on every machine, memory, and where the time goes. In engines of their
//! own, with the limits of those that serve; nothing here serves.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millrace_config::PluginConfig;
use millrace_types::disposition::PluginIdentity;
use millrace_types::message::{Message, Prediction, TensorType};
use millrace_types::quota::LineQuota;
use wasmtime::component::{Component, ComponentNamedList, Instance, InstancePre, Lift, Linker, Lower, Resource};
use wasmtime::{Engine, Store, StoreContextMut};

use super::bindings::plugin::millrace::pipeline::types;
use super::bindings::route::exports::millrace::pipeline::route;
use super::bindings::transform::exports::millrace::pipeline::transform;
use super::bindings::{self, MessageHandle, PredictionHandle};
use super::compile::{Compiler, detail};
use super::fault::fault;
use super::instance::HANDLES_MAX;
use super::limits::Start;
use super::load::{PLUGIN_INTERFACE, read};
use super::load_error::LoadProblem;
use super::state::State;
use super::timed::{Stopwatch, TimedAnswer, TimedBody};
use super::{
    CodeCache, CompilerProcess, LoadError, Plugin, SandboxError, TransformOf, engine, limits, output, wasi_stubs,
};

/// Counting fuel and holding watches costs time; no message waits behind a plugin that is measured.
const DEADLINE_FACTOR: u32 = 10;

/// The fuel of a call: a deadline ends every call before.
const FUEL: u64 = u64::MAX;

/// An engine that measures.
pub struct Gauge {
    engine: Engine,
    compiler: Compiler,
    counts_fuel: bool,
    // One plugin is measured with many cases.
    last: Mutex<Option<(String, Component)>>,
}

/// A plugin that is measured.
pub struct Measured {
    pre: InstancePre<State>,
    identity: Arc<PluginIdentity>,
    log: Arc<LineQuota>,
    settings: String,
    deadline: Duration,
    memory_bytes: usize,
    copying: Stopwatch,
    counts_fuel: bool,
}

/// The input of a plugin's call.
#[derive(Debug, Clone)]
pub enum CallInput {
    Preprocess(Arc<TensorType>),
    Transform(TransformOf),
    Route(Arc<Prediction>),
}

/// The cost of one call in a fresh instance.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// Fuel of instantiating and configuring, where the engine counts it.
    pub fuel_before: u64,
    pub fuel_call: u64,
    /// The most memory that the instance had.
    pub memory_bytes: u64,
    /// Making the instance.
    pub instantiate: Duration,
    /// Giving it its settings.
    pub configure: Duration,
    /// Copying the message's body into it.
    pub copy_in: Duration,
    /// Its own time.
    pub run: Duration,
    /// Copying its answer out of it.
    pub copy_out: Duration,
    /// Whether it answered; a refusal is an answer.
    pub answered: bool,
}

impl Cost {
    /// Fuel of all of it.
    pub fn fuel(&self) -> u64 {
        self.fuel_before.saturating_add(self.fuel_call)
    }
}

impl Gauge {
    /// An engine that counts fuel.
    ///
    /// # Errors
    /// When the platform does not have what the engine needs.
    pub fn of_fuel() -> Result<Self, SandboxError> {
        Self::start(true)
    }

    /// An engine as those that serve, for times.
    ///
    /// # Errors
    /// As [`Gauge::of_fuel`].
    pub fn of_time() -> Result<Self, SandboxError> {
        Self::start(false)
    }

    fn start(counts_fuel: bool) -> Result<Self, SandboxError> {
        let failed = |error: wasmtime::Error| SandboxError::Engine(format!("{error:#}"));
        let engine = match counts_fuel {
            true => engine::start_metering(1),
            false => engine::start(1),
        };
        let process = CompilerProcess {
            counts_fuel,
            ..CompilerProcess::default()
        };
        let compiler = Compiler::Kept(process, CodeCache::of_user());
        Ok(Self {
            engine: engine.map_err(failed)?,
            compiler,
            counts_fuel,
            last: Mutex::default(),
        })
    }

    /// Takes a plugin that was loaded with `config`, so that it fits its world and accepts its settings.
    ///
    /// # Errors
    /// When its file is another by now, or cannot be compiled for this engine.
    pub fn measure(&self, plugin: &Plugin, config: &PluginConfig) -> Result<Measured, LoadError> {
        self.measured(plugin, config).map_err(|problem| LoadError {
            name: config.name.to_string(),
            path: config.path.clone(),
            problem,
        })
    }

    fn measured(&self, plugin: &Plugin, config: &PluginConfig) -> Result<Measured, LoadProblem> {
        let component = self.compiled(&config.path, &plugin.identity().digest)?;
        let copying = Stopwatch::default();
        let pre = link(&self.engine, &component, &copying).map_err(|error| LoadProblem::Link(detail(&error)))?;
        Ok(Measured {
            pre,
            identity: Arc::clone(plugin.identity()),
            // It said everything when it was tried.
            log: Arc::new(LineQuota::new(0)),
            settings: config.settings.clone(),
            deadline: config.deadline.saturating_mul(DEADLINE_FACTOR),
            memory_bytes: config.memory_bytes,
            copying,
            counts_fuel: self.counts_fuel,
        })
    }

    fn compiled(&self, path: &Path, digest: &str) -> Result<Component, LoadProblem> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, component)) = last.as_ref()
            && of == digest
        {
            return Ok(component.clone());
        }
        let component = self.compiler.compile(&self.engine, same(path, digest)?)?.component;
        *last = Some((digest.to_owned(), component.clone()));
        Ok(component)
    }
}

impl std::fmt::Debug for Gauge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gauge")
            .field("counts_fuel", &self.counts_fuel)
            .finish_non_exhaustive()
    }
}

/// Reads a file that was read before.
fn same(path: &Path, digest: &str) -> Result<Vec<u8>, LoadProblem> {
    use sha2::{Digest, Sha256};
    let bytes = read(path)?;
    match format!("{:x}", Sha256::digest(&bytes)) == digest {
        true => Ok(bytes),
        false => Err(LoadProblem::Changed),
    }
}

fn link(engine: &Engine, component: &Component, copying: &Stopwatch) -> wasmtime::Result<InstancePre<State>> {
    let mut linker = Linker::<State>::new(engine);
    bindings::add_to_linker(&mut linker)?;
    wasi_stubs::add_to_linker(&mut linker)?;
    linker.allow_shadowing(true);
    let copying = copying.clone();
    linker.instance(bindings::TYPES)?.func_wrap(
        "[method]message.body",
        move |store: StoreContextMut<'_, State>, (_,): (Resource<MessageHandle>,)| {
            let message = store.data().message.as_ref();
            let message = message.ok_or_else(|| wasmtime::format_err!("there is no message in this call"))?;
            let (body, copying) = (Arc::clone(&message.body), copying.clone());
            Ok((TimedBody { body, copying },))
        },
    )?;
    linker.instantiate_pre(component)
}

impl Measured {
    /// Makes an instance, configures it and calls it once. Blocks for as long as that takes.
    ///
    /// # Errors
    /// When no instance accepts its settings; a call that faults is a cost.
    pub fn call(&self, message: &Arc<Message>, asked: &CallInput) -> Result<Cost, String> {
        let mut store = self.store(asked).map_err(|error| detail(&error))?;
        let mut cost = Cost::default();
        let prepared = self.prepare(&mut store, &mut cost);
        let instance =
            prepared.map_err(|error| fault(&error, store.data(), output::ROUTE_HANDOVER_BYTES).to_string())?;
        cost.fuel_before = self.burnt(&store);
        self.copying.take();
        let state = store.data_mut();
        state.message = Some(Arc::clone(message));
        if let CallInput::Route(prediction) = asked {
            state.prediction = Some(Arc::clone(prediction));
        }
        let began = Instant::now();
        let copied_out = called(&mut store, &instance, asked);
        let took = began.elapsed();
        cost.copy_in = self.copying.take();
        cost.answered = copied_out.is_ok();
        cost.copy_out = copied_out.unwrap_or_default();
        cost.run = took.saturating_sub(cost.copy_in).saturating_sub(cost.copy_out);
        cost.fuel_call = self.burnt(&store).saturating_sub(cost.fuel_before);
        cost.memory_bytes = store.data().limiter.peak() as u64;
        Ok(cost)
    }

    fn store(&self, asked: &CallInput) -> wasmtime::Result<Store<State>> {
        let state = State::new(
            &self.identity,
            &self.log,
            (Start::now(), self.deadline),
            self.memory_bytes,
        );
        let mut store = Store::new(self.pre.engine(), state);
        store.limiter(|state| &mut state.limiter);
        store.epoch_deadline_callback(limits::on_tick);
        store.set_epoch_deadline(1);
        store.set_max_component_handles(HANDLES_MAX);
        store.set_hostcall_fuel(match asked {
            CallInput::Preprocess(input_type) => output::preprocess_handover_bytes(input_type),
            CallInput::Transform(of) => of.handover_bytes(),
            CallInput::Route(_) => output::ROUTE_HANDOVER_BYTES,
        });
        if self.counts_fuel {
            store.set_fuel(FUEL)?;
        }
        Ok(store)
    }

    fn prepare(&self, store: &mut Store<State>, cost: &mut Cost) -> wasmtime::Result<Instance> {
        let began = Instant::now();
        let instance = self.pre.instantiate(&mut *store)?;
        cost.instantiate = began.elapsed();
        let began = Instant::now();
        let settings = (self.settings.as_str(),);
        let configured: (Result<(), String>,) = call(store, &instance, (PLUGIN_INTERFACE, "configure"), settings)?;
        cost.configure = began.elapsed();
        configured
            .0
            .map_err(|text| wasmtime::format_err!("it refuses its settings: {}", super::text::sanitize(&text)))?;
        Ok(instance)
    }

    fn burnt(&self, store: &Store<State>) -> u64 {
        // Fails where fuel is not counted.
        store.get_fuel().map_or(0, |left| FUEL.saturating_sub(left))
    }
}

/// Makes the call; gives what its answer took to be copied.
fn called(store: &mut Store<State>, instance: &Instance, asked: &CallInput) -> wasmtime::Result<Duration> {
    let message = Resource::<MessageHandle>::new_borrow(0);
    match asked {
        CallInput::Preprocess(input_type) => {
            let name = (super::Role::Preprocess.interface(), "preprocess");
            let parameters = (message, bindings::tensor_type(input_type));
            let (timed,): (TimedAnswer<Result<types::Tensor, types::Refusal>>,) =
                call(store, instance, name, parameters)?;
            drop(timed.answer);
            Ok(timed.copied)
        }
        CallInput::Transform(_) => {
            let name = (super::Role::Transform.interface(), "transform");
            let (timed,): (TimedAnswer<Result<transform::Transformed, types::Refusal>>,) =
                call(store, instance, name, (message,))?;
            drop(timed.answer);
            Ok(timed.copied)
        }
        CallInput::Route(_) => {
            let name = (super::Role::Route.interface(), "route");
            let parameters = (message, Resource::<PredictionHandle>::new_borrow(0));
            let (timed,): (TimedAnswer<Result<Vec<route::Outbound>, types::Refusal>>,) =
                call(store, instance, name, parameters)?;
            drop(timed.answer);
            Ok(timed.copied)
        }
    }
}

/// Calls a function of an interface that the plugin exports.
fn call<P, R>(
    store: &mut Store<State>,
    instance: &Instance,
    (interface, function): (&str, &str),
    parameters: P,
) -> wasmtime::Result<R>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift + 'static,
{
    let missing = || wasmtime::format_err!("there is no `{function}` in `{interface}`");
    let exported = instance
        .get_export_index(&mut *store, None, interface)
        .ok_or_else(missing)?;
    let exported = instance
        .get_export_index(&mut *store, Some(&exported), function)
        .ok_or_else(missing)?;
    instance
        .get_typed_func::<P, R>(&mut *store, &exported)?
        .call(store, parameters)
}

impl std::fmt::Debug for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Measured")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}
