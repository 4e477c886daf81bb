//! A plugin in service: the caller waits, a worker makes the call.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use millrace_config::{Isolation, PluginConfig};
use millrace_types::disposition::PluginIdentity;
use millrace_types::failpoints::{self, Failpoint};
use millrace_types::message::{Message, Outbound, Prediction, Tensor, TensorType, Transformed};
use tokio::sync::oneshot;

use super::instance::Instance;
use super::instance_cache::InstanceCache;
use super::limits::Start;
use super::load::LoadedPlugin;
use super::meter::{PluginCounts, PluginMeter};
#[cfg(feature = "native-preprocess")]
use super::native::NativePreprocess;
use super::output::RESULT_BODIES_MAX_BYTES;
use super::state::{Caller, Invocation};
use super::workers::{Job, Stopped, Workers};
use super::{CallError, Called, Lane, NamedDestination, Role, Setting, TransformOf, declared, fault};

/// This many faults with no answer in between mean a version that fails for everything: one bad message makes two.
const AILS_AFTER: u32 = 3;

/// A plugin that was compiled, linked, checked against its role and configured once.
pub struct Plugin {
    loaded: LoadedPlugin,
    isolation: Isolation,
    settings: String,
    // After a fault in one instance all of them are renewed: the message that is then tried again gets a fresh one, and
    // a state that was led astray ends everywhere.
    faults: AtomicU64,
    // Since it last answered anything.
    faults_in_row: AtomicU32,
    meter: Arc<PluginMeter>,
    memory_peak: AtomicUsize,
    workers: Arc<Workers>,
    #[cfg(feature = "native-preprocess")]
    native: Option<Arc<NativePreprocess>>,
}

impl Plugin {
    /// Puts a plugin in service.
    pub(super) fn new(
        loaded: LoadedPlugin,
        config: &PluginConfig,
        meter: Arc<PluginMeter>,
        workers: &Arc<Workers>,
    ) -> Self {
        Self {
            #[cfg(feature = "native-preprocess")]
            native: NativePreprocess::of(config, loaded.linked.role()).map(Arc::new),
            loaded,
            isolation: config.isolation,
            settings: config.settings.clone(),
            faults: AtomicU64::new(0),
            faults_in_row: AtomicU32::new(0),
            meter,
            memory_peak: AtomicUsize::new(0),
            workers: Arc::clone(workers),
        }
    }

    /// Name and digest.
    pub fn identity(&self) -> &Arc<PluginIdentity> {
        &self.loaded.identity
    }

    /// The file that it was loaded from.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.loaded.compiled.bytes
    }

    /// The role that it was loaded for.
    pub fn role(&self) -> Role {
        self.loaded.linked.role()
    }

    /// CPU time of a call, and bytes of the memories and tables of an instance.
    pub fn limits(&self) -> (Duration, usize) {
        (self.loaded.allowance.deadline, self.loaded.allowance.memory_bytes)
    }

    /// The settings that it takes.
    pub fn settings(&self) -> &[Setting] {
        &self.loaded.settings
    }

    /// The destinations that its settings name, as far as it says so.
    pub fn destinations(&self) -> Vec<NamedDestination> {
        declared::destinations(&self.loaded.settings, &self.settings)
    }

    /// Whether its last calls broke every one a bound or trapped: more than one bad message can do.
    pub fn mark_failing(&self) -> bool {
        self.faults_in_row.load(Ordering::Relaxed) >= AILS_AFTER
    }

    /// Calls the preprocessor; the tensor is of the type `wants`.
    ///
    /// It fails when the plugin refuses the message, breaks a bound, traps or returns another tensor; or the workers have
    /// stopped.
    ///
    /// # Cancellation
    /// The call is not begun, or ends at the next tick.
    pub async fn preprocess(
        self: &Arc<Self>,
        lane: &Lane,
        message: &Arc<Message>,
        input_type: &Arc<TensorType>,
    ) -> Called<Tensor> {
        let (call_message, input_type) = (Arc::clone(message), Arc::clone(input_type));
        #[cfg(feature = "native-preprocess")]
        if let Some(native) = self.native.clone() {
            let work = move |_: &Arc<Self>, _: &mut InstanceCache, _: Invocation<'_>| {
                native.preprocess(&call_message, &input_type)
            };
            return self.on_worker(lane, message, work).await;
        }
        self.call(lane, message, move |instance| {
            instance.preprocess(&call_message, &input_type)
        })
        .await
    }

    /// Calls the transformer.
    ///
    /// It fails as [`Plugin::preprocess`] does; and when what it makes is larger than the next may take.
    ///
    /// # Cancellation
    /// The call is not begun, or ends at the next tick.
    pub async fn transform(
        self: &Arc<Self>,
        lane: &Lane,
        message: &Arc<Message>,
        of: TransformOf,
    ) -> Called<Transformed> {
        let call_message = Arc::clone(message);
        self.call(lane, message, move |instance| instance.transform(&call_message, of))
            .await
    }

    /// Calls the router.
    ///
    /// It fails when the plugin refuses the message, breaks a bound, traps or returns what no envelope holds; or the
    /// workers have stopped.
    ///
    /// # Cancellation
    /// The call is not begun, or ends at the next tick.
    pub async fn route(
        self: &Arc<Self>,
        lane: &Lane,
        message: &Arc<Message>,
        prediction: &Arc<Prediction>,
    ) -> Called<Vec<Outbound>> {
        self.route_within(lane, message, prediction, RESULT_BODIES_MAX_BYTES)
            .await
    }

    /// The same, for results with bodies of so many bytes together.
    pub async fn route_within(
        self: &Arc<Self>,
        lane: &Lane,
        message: &Arc<Message>,
        prediction: &Arc<Prediction>,
        max_bytes: usize,
    ) -> Called<Vec<Outbound>> {
        let (call_message, prediction) = (Arc::clone(message), Arc::clone(prediction));
        self.call(lane, message, move |instance| {
            instance.route(&call_message, &prediction, max_bytes)
        })
        .await
    }

    /// Lets a worker of the lane make the call in an instance, and waits for its answer.
    fn call<T: Send + 'static>(
        self: &Arc<Self>,
        lane: &Lane,
        message: &Arc<Message>,
        call: impl FnOnce(&mut Instance) -> Result<T, CallError> + Send + 'static,
    ) -> impl Future<Output = Called<T>> {
        self.on_worker(lane, message, move |plugin, instance_cache, invocation| {
            plugin.run(instance_cache, invocation, call)
        })
    }

    /// Lets a worker of the lane do the work of a call, and waits for its answer.
    async fn on_worker<T: Send + 'static>(
        self: &Arc<Self>,
        lane: &Lane,
        message: &Arc<Message>,
        work: impl FnOnce(&Arc<Self>, &mut InstanceCache, Invocation<'_>) -> Result<T, CallError> + Send + 'static,
    ) -> Called<T> {
        let (reply, answer) = oneshot::channel();
        let (plugin, message) = (Arc::clone(self), Arc::clone(message));
        // Until the answer is here, or its caller is dropped.
        let (caller, _waiting) = Caller::new();
        let job = move |instance_cache: &mut InstanceCache, began: Start| {
            if caller.is_gone() {
                return Duration::ZERO;
            }
            // Without this, a panic of ours would end the worker, and with the last worker the host's work.
            let answer = catch_unwind(AssertUnwindSafe(|| {
                failpoints::hit(Failpoint::Call);
                let invocation = Invocation {
                    message_id: &message.id,
                    caller: &caller,
                    began,
                };
                work(&plugin, instance_cache, invocation)
            }));
            let answer = answer.unwrap_or_else(|panic| Err(plugin.host_panicked(&message.id, panic.as_ref())));
            // Before the answer: the caller may rely on being the only holder of the plugin.
            drop((plugin, message));
            let (ran, cpu) = (began.at().elapsed(), began.cpu_used());
            if reply.send(Called { answer, ran, cpu }).is_err() {
                tracing::debug!("a plugin call ended after its caller had given up");
            }
            cpu
        };
        let stopped = Called {
            answer: Err(CallError::Stopped),
            ran: Duration::ZERO,
            cpu: Duration::ZERO,
        };
        match lane.queue.submit(Job::new(&self.meter, job), lane.order) {
            Ok(()) => answer.await.unwrap_or(stopped),
            Err(Stopped) => stopped,
        }
    }

    /// Makes a call on this thread, in the instance that the plugin's isolation asks for.
    fn run<T>(
        self: &Arc<Self>,
        instance_cache: &mut InstanceCache,
        invocation: Invocation<'_>,
        call: impl FnOnce(&mut Instance) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let answer = self.run_in_an_instance(instance_cache, invocation, call);
        match answer {
            Err(CallError::Stopped) => {}
            Err(CallError::Fault { .. }) => drop(self.faults_in_row.fetch_add(1, Ordering::Relaxed)),
            _ => self.faults_in_row.store(0, Ordering::Relaxed),
        }
        answer
    }

    fn run_in_an_instance<T>(
        self: &Arc<Self>,
        instance_cache: &mut InstanceCache,
        invocation: Invocation<'_>,
        call: impl FnOnce(&mut Instance) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        if self.isolation == Isolation::Message {
            let mut instance = self.instance(invocation)?;
            let answer = call(&mut instance);
            self.saw(&instance);
            return answer;
        }
        let faults = self.faults.load(Ordering::Relaxed);
        let mut instance = match instance_cache.take(self, faults) {
            Some(mut instance) => {
                instance.begin(invocation);
                instance
            }
            None => {
                instance_cache.make_room();
                self.instance(invocation)?
            }
        };
        let answer = call(&mut instance);
        self.saw(&instance);
        match answer {
            Err(CallError::Fault { .. }) => drop(self.faults.fetch_add(1, Ordering::Relaxed)),
            // Ended in the middle of a call: it can serve no other.
            Err(CallError::Stopped) => {}
            _ => instance_cache.keep(self, faults, instance),
        }
        answer
    }

    fn saw(&self, instance: &Instance) {
        self.memory_peak.fetch_max(instance.memory_peak(), Ordering::Relaxed);
    }

    /// The costs of its calls, those of other versions included, and the peak memory of an instance of this one.
    pub(super) fn counts(&self) -> PluginCounts {
        let costs = self.meter.costs();
        PluginCounts {
            name: self.identity().name.clone(),
            cpu: costs.cpu,
            waited: costs.waited,
            memory_peak_bytes: self.memory_peak.load(Ordering::Relaxed) as u64,
        }
    }

    /// Where its calls are counted, for another version of it.
    pub(super) fn meter(&self) -> &Arc<PluginMeter> {
        &self.meter
    }

    pub(super) fn instance(&self, invocation: Invocation<'_>) -> Result<Instance, CallError> {
        Ok(Instance::new(&self.loaded, &self.settings, invocation)?)
    }

    fn host_panicked(&self, message_id: &str, panic: &(dyn std::any::Any + Send)) -> CallError {
        let panic = fault::panic_text(panic);
        let (name, version) = (&self.identity().name, self.identity().version());
        tracing::error!(plugin = %name, version, message_id, panic, "the host panicked in a plugin call");
        // The instance went with the panic; the others are none that a plugin led astray.
        CallError::Host { text: panic }
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        if self.isolation == Isolation::Worker {
            self.workers.retire();
        }
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("identity", self.identity())
            .finish_non_exhaustive()
    }
}
