//! Compiled plugins: all that are in service, and the last few versions that are not. Knows no file.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use wasmtime::component::Component;

/// Versions that are kept though nothing uses them: going back and forth between two compiles nothing, also while a
/// third and a fourth plugin do the same.
const KEPT_MAX: usize = 8;

/// The size of those versions together. Eight plugins like the image decoder take 20 MiB.
const KEPT_MAX_BYTES: usize = 256 << 20;

/// A file's content, compiled.
pub(super) struct Compiled {
    /// SHA-256 of the file.
    pub(super) digest: String,
    /// The file: kept for as long as it may have to be put back, when another lies in its place on the disk.
    pub(super) bytes: Arc<[u8]>,
    /// Machine code and types.
    pub(super) component: Component,
    /// How long it took to compile.
    pub(super) took: Duration,
}

/// Finds what was compiled before.
#[derive(Default)]
pub(super) struct Versions {
    in_service: Vec<Weak<Compiled>>,
    // Invariant: no version twice, the last used at the end.
    kept: VecDeque<Arc<Compiled>>,
}

impl Compiled {
    fn n_bytes(&self) -> usize {
        let image = self.component.image_range();
        let code = image.end.addr().saturating_sub(image.start.addr());
        code.saturating_add(self.bytes.len())
    }
}

impl Versions {
    /// The compiled code of a file with this digest, if it is still there; it is then the last used.
    pub(super) fn find(&mut self, digest: &str) -> Option<Arc<Compiled>> {
        let found = self.in_service.iter().filter_map(Weak::upgrade);
        let found = found.into_iter().find(|compiled| compiled.digest == digest)?;
        self.keep(&found);
        Some(found)
    }

    /// Remembers what was compiled.
    pub(super) fn add(&mut self, compiled: &Arc<Compiled>) {
        self.keep(compiled);
        self.in_service.retain(|compiled| compiled.strong_count() > 0);
        self.in_service.push(Arc::downgrade(compiled));
    }

    fn keep(&mut self, compiled: &Arc<Compiled>) {
        self.kept.retain(|kept| !Arc::ptr_eq(kept, compiled));
        self.kept.push_back(Arc::clone(compiled));
        while self.kept.len() > KEPT_MAX || self.n_bytes() > KEPT_MAX_BYTES {
            self.kept.pop_front();
        }
    }

    fn n_bytes(&self) -> usize {
        self.kept.iter().map(|compiled| compiled.n_bytes()).sum()
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::Engine;

    use super::*;

    fn compiled(engine: &Engine, version: u32) -> Arc<Compiled> {
        let component = Component::from_binary(engine, b"\0asm\x0d\0\x01\0").unwrap();
        Arc::new(Compiled {
            digest: version.to_string(),
            bytes: Arc::default(),
            component,
            took: Duration::ZERO,
        })
    }

    #[test]
    fn the_last_few_versions_and_those_in_service_are_found_and_no_others() {
        let (engine, mut versions) = (Engine::default(), Versions::default());
        let in_service = compiled(&engine, 0);
        versions.add(&in_service);
        for version in 1..=1000 {
            assert!(versions.find("1").is_some() || version == 1, "the last used stay");
            versions.add(&compiled(&engine, version));
        }
        let found = |versions: &mut Versions, version: u32| versions.find(&version.to_string()).is_some();
        assert!(found(&mut versions, 0), "nobody keeps it but who uses it");
        // The entry that was asked for pushed one out.
        assert_eq!(
            (2..=1000).filter(|n| found(&mut versions, *n)).collect::<Vec<_>>(),
            (995..=1000).collect::<Vec<_>>()
        );
        assert!(found(&mut versions, 1));
        drop(in_service);
        for version in 2001..=2008 {
            versions.add(&compiled(&engine, version));
        }
        assert!(!found(&mut versions, 0));
        assert_eq!((versions.kept.len(), versions.in_service.len()), (KEPT_MAX, KEPT_MAX));
    }

    #[test]
    fn what_is_large_is_not_kept_beside_others_for_nothing() {
        let engine = Engine::default();
        let one = compiled(&engine, 1);
        assert!(
            one.n_bytes() > 1000 && one.n_bytes() < KEPT_MAX_BYTES / KEPT_MAX,
            "{}",
            one.n_bytes()
        );
    }
}
