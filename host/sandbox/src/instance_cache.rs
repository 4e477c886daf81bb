//! The instances that a worker keeps: one of each plugin with `isolation = "worker"` that it has run lately.

use std::sync::{Arc, Weak};

use super::Plugin;
use super::engine::RESIDENTS_PER_WORKER;
use super::instance::Instance;

/// One worker's instances, the most recently used last.
#[derive(Default)]
pub(super) struct InstanceCache {
    // Invariant: at most `RESIDENTS_PER_WORKER`, no plugin twice.
    kept: Vec<CachedInstance>,
}

struct CachedInstance {
    plugin: Weak<Plugin>,
    // How many faults the plugin had had when the instance last served.
    faults: u64,
    instance: Instance,
}

impl InstanceCache {
    /// Takes a plugin's instance out, if there is one that saw as many faults: one that saw fewer is dropped. A fault
    /// then drops it with the call.
    pub(super) fn take(&mut self, plugin: &Arc<Plugin>, faults: u64) -> Option<Instance> {
        let position = self
            .kept
            .iter()
            .position(|kept| std::ptr::eq(kept.plugin.as_ptr(), Arc::as_ptr(plugin)))?;
        let cached_instance = self.kept.remove(position);
        (cached_instance.faults == faults).then_some(cached_instance.instance)
    }

    /// Makes room in the pool for one more instance.
    pub(super) fn make_room(&mut self) {
        while self.kept.len() >= RESIDENTS_PER_WORKER {
            self.kept.remove(0);
        }
    }

    /// Keeps an instance that served without a fault.
    pub(super) fn keep(&mut self, plugin: &Arc<Plugin>, faults: u64, instance: Instance) {
        self.make_room();
        self.kept.push(CachedInstance {
            plugin: Arc::downgrade(plugin),
            faults,
            instance,
        });
    }

    /// Drops the instances of plugins that are gone.
    pub(super) fn drop_retired(&mut self) {
        self.kept.retain(|kept| kept.plugin.strong_count() > 0);
    }
}
