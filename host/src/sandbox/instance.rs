//! One instance of a plugin in a store of its own, and the calls into it.

use std::sync::Arc;

use wasmtime::Store;

use super::bindings::preprocessor::{Preprocessor, PreprocessorPre};
use super::bindings::router::{Router, RouterPre};
use super::bindings::{self, MessageHandle, PredictionHandle};
use super::compile::detail;
use super::fault::fault;
use super::load::Loaded;
use super::state::State;
use super::text::tame;
use super::{CallError, Role, limits, output};
use crate::disposition::ReasonClass;
use crate::message::{Message, Outbound, Prediction, Tensor, TensorType};

/// Component-model handles that a guest may hold at once: a message, a prediction and the standard streams are few.
const HANDLES_MAX: usize = 64;

/// What a guest may hand over at once while it is configured: log lines, and the text of an error.
const CONFIGURE_HANDOVER_BYTES: usize = 1 << 20;

/// What wasmtime says of an export of another type; it has no type of error for it.
const MISFIT: &str = "failed to convert function to given type";

/// The one message and the one prediction of a call have one handle each.
const THE_ONE: u32 = 0;

/// A plugin, linked and type-checked as far as it can be without an instance.
pub(super) enum Linked {
    /// World `preprocessor`.
    Preprocess(PreprocessorPre<State>),
    /// World `router`.
    Route(RouterPre<State>),
}

/// What one instance may have.
#[derive(Debug, Clone)]
pub(super) struct Allowance {
    /// CPU time of a call.
    pub(super) deadline: std::time::Duration,
    /// Memories and tables together.
    pub(super) memory_bytes: usize,
}

/// An instance that accepted its settings. After any fault it must be dropped.
pub(super) struct Instance {
    store: Store<State>,
    exports: Exports,
    allowance: Allowance,
}

enum Exports {
    Preprocess(Preprocessor),
    Route(Router),
}

/// Why there is no instance.
pub(super) enum NoInstance {
    /// One of its functions is of another type than the contract's; wasmtime looks only now.
    Misfit(String),
    /// It was instantiated, and does not accept its settings.
    Refused(String),
    /// It broke a bound or trapped.
    Fault(CallError),
}

impl Linked {
    fn engine(&self) -> &wasmtime::Engine {
        match self {
            Self::Preprocess(pre) => pre.engine(),
            Self::Route(pre) => pre.engine(),
        }
    }

    fn instantiate(&self, store: &mut Store<State>) -> wasmtime::Result<Exports> {
        match self {
            Self::Preprocess(pre) => pre.instantiate(store).map(Exports::Preprocess),
            Self::Route(pre) => pre.instantiate(store).map(Exports::Route),
        }
    }

    /// What it was linked as.
    pub(super) fn role(&self) -> Role {
        match self {
            Self::Preprocess(_) => Role::Preprocess,
            Self::Route(_) => Role::Route,
        }
    }
}

impl Instance {
    /// Makes an instance and lets it accept its settings, within the bounds of one call that begins now and may go on
    /// with [`Instance::preprocess`] or [`Instance::route`].
    ///
    /// # Errors
    /// When the plugin refuses its settings, traps, or crosses a bound.
    pub(super) fn new(plugin: &Loaded, settings: &str, message_id: &str) -> Result<Self, NoInstance> {
        let Loaded {
            identity,
            linked,
            allowance,
            log,
            ..
        } = plugin;
        let mut store = Store::new(
            linked.engine(),
            State::new(identity, log, allowance.deadline, allowance.memory_bytes),
        );
        store.limiter(|state| &mut state.limiter);
        store.epoch_deadline_callback(limits::on_tick);
        store.set_epoch_deadline(1);
        store.set_max_component_handles(HANDLES_MAX);
        store.set_hostcall_fuel(CONFIGURE_HANDOVER_BYTES);
        store.data_mut().log.begin(message_id);
        let configured = linked.instantiate(&mut store).and_then(|exports| {
            let answer = match &exports {
                Exports::Preprocess(world) => world.millrace_pipeline_plugin().call_configure(&mut store, settings)?,
                Exports::Route(world) => world.millrace_pipeline_plugin().call_configure(&mut store, settings)?,
            };
            Ok((exports, answer))
        });
        match configured {
            Ok((exports, Ok(()))) => Ok(Self {
                store,
                exports,
                allowance: allowance.clone(),
            }),
            Ok((_, Err(text))) => Err(NoInstance::Refused(tame(&text))),
            Err(error) if is_misfit(&error) => Err(NoInstance::Misfit(detail(&error))),
            Err(error) => {
                store.data_mut().log.end();
                Err(NoInstance::Fault(fault(&error, store.data(), CONFIGURE_HANDOVER_BYTES)))
            }
        }
    }

    /// Lets an instance that has served before begin another call: its clock and its log start anew.
    pub(super) fn begin(&mut self, message_id: &str) {
        self.store.set_epoch_deadline(1);
        let state = self.store.data_mut();
        state.clock = limits::CallClock::start(self.allowance.deadline);
        state.log.begin(message_id);
    }

    /// Calls the preprocessor.
    pub(super) fn preprocess(&mut self, message: &Arc<Message>, wants: &TensorType) -> Result<Tensor, CallError> {
        let Exports::Preprocess(world) = &self.exports else {
            return Err(wrong_role(Role::Preprocess));
        };
        let handover = output::preprocess_handover_bytes(wants);
        self.store.set_hostcall_fuel(handover);
        self.store.data_mut().message = Some(Arc::clone(message));
        let handle = wasmtime::component::Resource::<MessageHandle>::new_borrow(THE_ONE);
        let exports = world.millrace_pipeline_preprocess();
        let answer = exports.call_preprocess(&mut self.store, handle, &bindings::tensor_type(wants));
        self.end();
        match answer {
            Ok(Ok(tensor)) => output::tensor(tensor, wants),
            Ok(Err(refusal)) => Err(output::refusal(refusal)),
            Err(error) => Err(fault(&error, self.store.data(), handover)),
        }
    }

    /// Calls the router.
    pub(super) fn route(
        &mut self,
        message: &Arc<Message>,
        prediction: &Arc<Prediction>,
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
            Ok(Ok(outbounds)) => output::outbounds(outbounds),
            Ok(Err(refusal)) => Err(output::refusal(refusal)),
            Err(error) => Err(fault(&error, self.store.data(), output::ROUTE_HANDOVER_BYTES)),
        }
    }

    /// The most memory that it had, in bytes.
    pub(super) fn memory_peak(&self) -> usize {
        self.store.data().limiter.peak()
    }

    /// Ends a call: what it said is told, and what it was lent is given back.
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
                text: format!("does not fit the contract that it fitted when it was loaded: {text}"),
            },
            NoInstance::Refused(text) => Self::Fault {
                class: ReasonClass::Trap,
                text: format!("refused the settings that it accepted when it was loaded: {text}"),
            },
        }
    }
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
