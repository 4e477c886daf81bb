//! One instance of a plugin in a store of its own, and the calls into it.

use std::sync::Arc;

use millrace_types::disposition::ReasonClass;
use millrace_types::message::{Message, Outbound, Prediction, Tensor, TensorType, Transformed};
use wasmtime::Store;
use wasmtime::component::InstancePre;

use super::bindings::plugin::{EveryPlugin, EveryPluginIndices};
use super::bindings::{self, MessageHandle, PredictionHandle, preprocess, route, transform};
use super::compile::detail;
use super::declared::{self, Setting, SettingDiagnostic};
use super::fault::fault;
use super::limits::Start;
use super::load::LoadedPlugin;
use super::output::TransformOf;
use super::state::{Invocation, State};
use super::text::sanitize;
use super::{CallError, Role, limits, output};

/// Component-model handles that a guest may hold at once: a message, a prediction and the standard streams are few.
pub(super) const HANDLES_MAX: usize = 64;

/// The most that a guest may hand over at once while it is configured: log lines, and the text of an error.
const CONFIGURE_HANDOVER_BYTES: usize = 1 << 20;

/// The error of wasmtime for an export of another type; it has no type of error for it.
const MISFIT: &str = "failed to convert function to given type";

/// The one message and the one prediction of a call have one handle each.
const THE_ONE: u32 = 0;

/// A plugin, linked and type-checked as far as it can be without an instance.
pub(super) struct Linked {
    pre: InstancePre<State>,
    plugin: EveryPluginIndices,
    indices: Indices,
}

/// Where the exports of a role are.
enum Indices {
    Preprocess(preprocess::RoleIndices),
    Transform(transform::RoleIndices),
    Route(route::RoleIndices),
}

/// The limits of one instance.
#[derive(Debug, Clone)]
pub(super) struct InstanceLimits {
    /// CPU time of a call.
    pub(super) deadline: std::time::Duration,
    /// Memories and tables together.
    pub(super) memory_bytes: usize,
}

/// An instance that accepted its settings. After any fault it must be dropped.
pub(super) struct Instance {
    store: Store<State>,
    exports: Exports,
    allowance: InstanceLimits,
}

enum Exports {
    Preprocess(preprocess::Role),
    Transform(transform::Role),
    Route(route::Role),
}

/// Why there is no instance.
pub(super) enum NoInstance {
    /// One of its functions is of another type than the contract's; wasmtime looks only now.
    Misfit(String),
    /// It was instantiated, and does not accept its settings.
    Refused(String),
    /// Its declaration of settings cannot be used.
    Declaration(String),
    /// The given settings do not fit its declaration.
    Settings {
        diagnostics: Vec<SettingDiagnostic>,
        /// The settings that it takes.
        takes: Vec<Setting>,
    },
    /// It broke a bound or trapped.
    Fault(CallError),
}

impl Linked {
    /// Finds what a role exports.
    ///
    /// # Errors
    /// When something is missing; the type of what is there is looked at by an instance.
    pub(super) fn new(pre: InstancePre<State>, role: Role) -> wasmtime::Result<Self> {
        Ok(Self {
            plugin: EveryPluginIndices::new(&pre)?,
            indices: match role {
                Role::Preprocess => Indices::Preprocess(preprocess::RoleIndices::new(&pre)?),
                Role::Transform => Indices::Transform(transform::RoleIndices::new(&pre)?),
                Role::Route => Indices::Route(route::RoleIndices::new(&pre)?),
            },
            pre,
        })
    }

    /// The role that it was linked as.
    pub(super) fn role(&self) -> Role {
        match self.indices {
            Indices::Preprocess(_) => Role::Preprocess,
            Indices::Transform(_) => Role::Transform,
            Indices::Route(_) => Role::Route,
        }
    }

    fn instantiate(&self, store: &mut Store<State>) -> wasmtime::Result<(EveryPlugin, Exports)> {
        let instance = self.pre.instantiate(&mut *store)?;
        let plugin = self.plugin.load(&mut *store, &instance)?;
        let exports = match &self.indices {
            Indices::Preprocess(indices) => indices.load(store, &instance).map(Exports::Preprocess),
            Indices::Transform(indices) => indices.load(store, &instance).map(Exports::Transform),
            Indices::Route(indices) => indices.load(store, &instance).map(Exports::Route),
        };
        Ok((plugin, exports?))
    }
}

impl Instance {
    /// Makes an instance and lets it accept its settings, within the bounds of one call that begins now, ends when its
    /// caller is gone, and may go on with the call of its role.
    ///
    /// # Errors
    /// When the plugin refuses its settings, traps, or crosses a bound.
    pub(super) fn new(plugin: &LoadedPlugin, settings: &str, invocation: Invocation<'_>) -> Result<Self, NoInstance> {
        let mut store = store(plugin, invocation.message_id, invocation.began);
        store.data_mut().caller = invocation.caller.clone();
        match plugin.linked.instantiate(&mut store) {
            Ok((every, exports)) => configured(plugin, store, &every, exports, settings),
            Err(error) => Err(no_instance(&error, &mut store)),
        }
    }

    /// Makes the first instance of a version: as [`Instance::new`], after it said which settings it takes and these were
    /// found to be of the kind.
    ///
    /// # Errors
    /// As [`Instance::new`]; and when the settings are not those that it takes.
    pub(super) fn first(plugin: &LoadedPlugin, settings: &str) -> Result<(Self, Vec<Setting>), NoInstance> {
        let (store, every, exports, takes) = asked(plugin)?;
        let diagnostics = declared::diagnostics(&takes, settings);
        if !diagnostics.is_empty() {
            return Err(NoInstance::Settings { diagnostics, takes });
        }
        let instance = configured(plugin, store, &every, exports, settings)?;
        Ok((instance, takes))
    }

    /// Makes an instance and asks it which settings it takes.
    ///
    /// # Errors
    /// When it does not say, traps, or crosses a bound.
    pub(super) fn settings(plugin: &LoadedPlugin) -> Result<Vec<Setting>, NoInstance> {
        asked(plugin).map(|(.., takes)| takes)
    }

    /// Lets an instance begin another call: its clock and its log start again.
    pub(super) fn begin(&mut self, invocation: Invocation<'_>) {
        self.store.set_epoch_deadline(1);
        let state = self.store.data_mut();
        state.caller = invocation.caller.clone();
        state.clock = limits::CallClock::new(invocation.began, self.allowance.deadline);
        state.log.begin(invocation.message_id);
    }

    /// Calls the preprocessor.
    pub(super) fn preprocess(&mut self, message: &Arc<Message>, input_type: &TensorType) -> Result<Tensor, CallError> {
        let Exports::Preprocess(world) = &self.exports else {
            return Err(wrong_role(Role::Preprocess));
        };
        let handover = output::preprocess_handover_bytes(input_type);
        self.store.set_hostcall_fuel(handover);
        self.store.data_mut().message = Some(Arc::clone(message));
        let handle = wasmtime::component::Resource::<MessageHandle>::new_borrow(THE_ONE);
        let exports = world.millrace_pipeline_preprocess();
        let answer = exports.call_preprocess(&mut self.store, handle, &bindings::tensor_type(input_type));
        self.end();
        match answer {
            Ok(Ok(tensor)) => output::tensor(tensor, input_type),
            Ok(Err(refusal)) => Err(output::refusal(refusal)),
            Err(error) => Err(fault(&error, self.store.data(), handover)),
        }
    }

    /// Calls the transformer.
    pub(super) fn transform(&mut self, message: &Arc<Message>, of: TransformOf) -> Result<Transformed, CallError> {
        let Exports::Transform(world) = &self.exports else {
            return Err(wrong_role(Role::Transform));
        };
        let handover = of.handover_bytes();
        self.store.set_hostcall_fuel(handover);
        self.store.data_mut().message = Some(Arc::clone(message));
        let handle = wasmtime::component::Resource::<MessageHandle>::new_borrow(THE_ONE);
        let answer = world
            .millrace_pipeline_transform()
            .call_transform(&mut self.store, handle);
        self.end();
        match answer {
            Ok(Ok(transformed)) => output::transformed(transformed, of),
            Ok(Err(refusal)) => Err(output::refusal(refusal)),
            Err(error) => Err(fault(&error, self.store.data(), handover)),
        }
    }

    /// Calls the router.
    pub(super) fn route(
        &mut self,
        message: &Arc<Message>,
        prediction: &Arc<Prediction>,
        max_bytes: usize,
    ) -> Result<Vec<Outbound>, CallError> {
        let Exports::Route(world) = &self.exports else {
            return Err(wrong_role(Role::Route));
        };
        self.store.set_hostcall_fuel(output::ROUTE_HANDOVER_BYTES);
        let state = self.store.data_mut();
        state.message = Some(Arc::clone(message));
        state.prediction = Some(Arc::clone(prediction));
        let message = wasmtime::component::Resource::<MessageHandle>::new_borrow(THE_ONE);
        let prediction = wasmtime::component::Resource::<PredictionHandle>::new_borrow(THE_ONE);
        let answer = world
            .millrace_pipeline_route()
            .call_route(&mut self.store, message, prediction);
        self.end();
        match answer {
            Ok(Ok(outbounds)) => output::outbounds(outbounds, max_bytes),
            Ok(Err(refusal)) => Err(output::refusal(refusal)),
            Err(error) => Err(fault(&error, self.store.data(), output::ROUTE_HANDOVER_BYTES)),
        }
    }

    /// The most memory that it had, in bytes.
    pub(super) fn memory_peak(&self) -> usize {
        self.store.data().limiter.peak()
    }

    /// Ends a call: logs what it said, and takes back what it was lent.
    fn end(&mut self) {
        let state = self.store.data_mut();
        state.message = None;
        state.prediction = None;
        state.log.end();
    }
}

impl From<NoInstance> for CallError {
    fn from(error: NoInstance) -> Self {
        match error {
            NoInstance::Fault(fault) => fault,
            NoInstance::Misfit(text) => Self::Fault {
                class: ReasonClass::Trap,
                text: format!("no longer fits the contract that it fitted when it was loaded: {text}"),
            },
            NoInstance::Declaration(text) => Self::Fault {
                class: ReasonClass::Trap,
                text: format!("declares its settings differently than when it was loaded: {text}"),
            },
            // Asked for at load alone.
            NoInstance::Settings { .. } => Self::Fault {
                class: ReasonClass::Trap,
                text: "no longer accepts the settings that it accepted when it was loaded".to_owned(),
            },
            NoInstance::Refused(text) => Self::Fault {
                class: ReasonClass::Trap,
                text: format!("refused the settings that it accepted when it was loaded: {text}"),
            },
        }
    }
}

/// A store for one instance, with the bounds of one call that begins now.
fn store(plugin: &LoadedPlugin, message_id: &str, began: Start) -> Store<State> {
    let LoadedPlugin {
        identity,
        linked,
        allowance,
        log,
        ..
    } = plugin;
    let mut store = Store::new(
        linked.pre.engine(),
        State::new(identity, log, (began, allowance.deadline), allowance.memory_bytes),
    );
    store.limiter(|state| &mut state.limiter);
    store.epoch_deadline_callback(limits::on_tick);
    store.set_epoch_deadline(1);
    store.set_max_component_handles(HANDLES_MAX);
    store.set_hostcall_fuel(CONFIGURE_HANDOVER_BYTES);
    store.data_mut().log.begin(message_id);
    store
}

/// An instance that said which settings it takes.
fn asked(plugin: &LoadedPlugin) -> Result<(Store<State>, EveryPlugin, Exports, Vec<Setting>), NoInstance> {
    let mut store = store(plugin, "", Start::now());
    let asked = plugin.linked.instantiate(&mut store).and_then(|(every, exports)| {
        let settings = every.millrace_pipeline_plugin().call_settings(&mut store)?;
        Ok((every, exports, settings))
    });
    match asked {
        Ok((every, exports, says)) => {
            let takes = declared::settings(says).map_err(NoInstance::Declaration)?;
            Ok((store, every, exports, takes))
        }
        Err(error) => Err(no_instance(&error, &mut store)),
    }
}

fn configured(
    plugin: &LoadedPlugin,
    mut store: Store<State>,
    every: &EveryPlugin,
    exports: Exports,
    settings: &str,
) -> Result<Instance, NoInstance> {
    match every.millrace_pipeline_plugin().call_configure(&mut store, settings) {
        Ok(Ok(())) => Ok(Instance {
            store,
            exports,
            allowance: plugin.allowance.clone(),
        }),
        Ok(Err(text)) => Err(NoInstance::Refused(sanitize(&text))),
        Err(error) => Err(no_instance(&error, &mut store)),
    }
}

fn no_instance(error: &wasmtime::Error, store: &mut Store<State>) -> NoInstance {
    if is_misfit(error) {
        return NoInstance::Misfit(detail(error));
    }
    store.data_mut().log.end();
    NoInstance::Fault(fault(error, store.data(), CONFIGURE_HANDOVER_BYTES))
}

fn is_misfit(error: &wasmtime::Error) -> bool {
    error.chain().any(|cause| cause.to_string() == MISFIT)
}

fn wrong_role(called: Role) -> CallError {
    CallError::Fault {
        class: ReasonClass::Trap,
        text: format!("was called as a {called}, which it was not loaded as"),
    }
}
