//! Questions that the author of a plugin has and a host does not: its settings, whatever it is given, and what a
//! start costs. Serves nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use millrace_config::PluginConfig;

use super::fault::panic_text;
use super::limits::Start;
use super::state::{Caller, Invocation};
use super::{CallError, LoadError, LoadProblem, Plugin, Role, Sandbox, Setting};

/// Starts that are measured: enough for a median that the first, cold ones do not move.
const STARTS: usize = 50;

/// Time after which no other start is measured.
const PATIENCE: Duration = Duration::from_secs(2);

/// The cost of an instance before its first call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartCost {
    /// To instantiate and configure it: the median of several.
    pub took: Duration,
    /// Its memory then.
    pub memory_bytes: usize,
}

impl Sandbox {
    /// Asks a plugin which settings it takes, whatever it is given. Blocking, and as bounded as [`Sandbox::load`].
    ///
    /// # Errors
    /// As [`Sandbox::load`].
    pub fn settings_of(&self, config: &PluginConfig, role: Role) -> Result<Vec<Setting>, LoadError> {
        let mut loader = self.loader.lock().unwrap_or_else(PoisonError::into_inner);
        let settings = catch_unwind(AssertUnwindSafe(|| loader.settings(config, role)));
        let settings = settings.unwrap_or_else(|panic| Err(LoadProblem::Host(panic_text(panic.as_ref()))));
        settings.map_err(|problem| LoadError {
            name: config.name.to_string(),
            path: config.path.clone(),
            problem,
        })
    }
}

impl Sandbox {
    /// How long it took to compile what has this digest, when it was compiled; it may have been another run that did.
    pub fn compile_time(&self, digest: &str) -> Option<Duration> {
        let mut loader = self.loader.lock().unwrap_or_else(PoisonError::into_inner);
        loader.compile_time(digest)
    }
}

impl Plugin {
    /// Measures what an instance costs before its first call. Blocking.
    ///
    /// # Errors
    /// When an instance does not start as it did at load.
    pub fn start_cost(&self) -> Result<StartCost, CallError> {
        let (mut all, mut memory_bytes) = (Vec::new(), 0);
        let began = Instant::now();
        while all.len() < STARTS && (all.is_empty() || began.elapsed() < PATIENCE) {
            let start = Instant::now();
            let instance = self.instance(Invocation {
                message_id: "",
                caller: &Caller::default(),
                began: Start::now(),
            })?;
            all.push(start.elapsed());
            memory_bytes = memory_bytes.max(instance.memory_peak());
        }
        all.sort_unstable();
        Ok(StartCost {
            took: all.get(all.len() / 2).copied().unwrap_or_default(),
            memory_bytes,
        })
    }
}
