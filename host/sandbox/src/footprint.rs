//! The memory bound of the workers, from the constants that hold them to it. Knows no pipeline.

use millrace_config::{Isolation, PluginConfig};
use millrace_types::message::TensorType;

use super::engine::{BESIDE_MEMORY_BYTES, KEEP_RESIDENT_BYTES, RESIDENTS_PER_WORKER, WARM_SLOTS_PER_WORKER};
use super::output::{ROUTE_HANDOVER_BYTES, TransformOf, preprocess_handover_bytes, result_headers_bytes};

/// The most that the results of one message take until they are confirmed, with bodies of so many bytes: their headers
/// are there once more as they are sent. While they are transformed one after the other, what was made is there beside
/// what it is made of, and each result has headers of its own.
pub fn results_bytes(max_bytes: usize, are_transformed: bool) -> u64 {
    let of = |headers: usize| (max_bytes as u64).saturating_add(2 * headers as u64);
    match are_transformed {
        false => of(result_headers_bytes(max_bytes)),
        true => of(result_headers_bytes(usize::MAX)).saturating_mul(2),
    }
}

/// The most that the instances of these plugins take: of each worker the one that runs, those that it keeps, and what
/// stays resident of unused slots.
pub fn instances_bytes<'a>(workers: usize, plugins: impl IntoIterator<Item = &'a PluginConfig>) -> u64 {
    let (mut kept, mut running) = (Vec::new(), 0);
    for plugin in plugins {
        let bytes = (plugin.memory_bytes as u64).saturating_add(BESIDE_MEMORY_BYTES as u64);
        match plugin.isolation {
            Isolation::Worker => kept.push(bytes),
            Isolation::Message => running = running.max(bytes),
        }
    }
    kept.sort_unstable_by(|a, b| b.cmp(a));
    kept.truncate(RESIDENTS_PER_WORKER);
    let warm = u64::from(WARM_SLOTS_PER_WORKER).saturating_mul(KEEP_RESIDENT_BYTES as u64);
    let worker = kept.into_iter().fold(running.saturating_add(warm), u64::saturating_add);
    worker.saturating_mul(workers as u64)
}

/// The most that calls in progress hold of what plugins hand over, before it is checked.
pub fn handovers_bytes<'a>(
    workers: usize,
    input_type: impl IntoIterator<Item = &'a TensorType>,
    transforms: impl IntoIterator<Item = TransformOf>,
) -> u64 {
    let tensors = input_type.into_iter().map(preprocess_handover_bytes);
    let transforms = transforms.into_iter().map(TransformOf::handover_bytes);
    let largest = tensors.chain(transforms).max().unwrap_or_default();
    (largest.max(ROUTE_HANDOVER_BYTES) as u64).saturating_mul(workers as u64)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use millrace_config::Name;

    fn plugin(isolation: Isolation, mebibytes: usize) -> PluginConfig {
        PluginConfig {
            name: Name::new("crop").unwrap(),
            path: PathBuf::new(),
            sha256: None,
            deadline: Duration::from_secs(1),
            memory_bytes: mebibytes << 20,
            isolation,
            settings: String::new(),
        }
    }

    #[test]
    fn results_are_counted_with_their_headers() {
        let (kibi, mebi) = (1_u64 << 10, 1_u64 << 20);
        assert_eq!(results_bytes(8 << 20, false), 9 * mebi);
        assert_eq!(results_bytes(256 << 10, false), 768 * kibi);
        // One result may have its headers however little its body may be.
        assert_eq!(results_bytes(1 << 10, false), 129 * kibi);
        assert_eq!(results_bytes(8 << 20, true), 18 * mebi);
    }

    #[test]
    fn a_worker_holds_the_instance_that_runs_and_those_that_it_keeps() {
        #[track_caller]
        fn check(workers: usize, plugins: &[PluginConfig], mebibytes: u64) {
            assert_eq!(instances_bytes(workers, plugins) >> 20, mebibytes);
        }
        let (fresh, kept) = (|n| plugin(Isolation::Message, n), |n| plugin(Isolation::Worker, n));
        check(1, &[], 8);
        check(2, &[fresh(256), fresh(64)], 2 * (256 + 20 + 8));
        check(2, &[fresh(256), kept(64), kept(32)], 2 * (256 + 64 + 32 + 3 * 20 + 8));
        // No worker keeps more than six.
        check(
            1,
            &(1..=10).map(kept).collect::<Vec<_>>(),
            10 + 9 + 8 + 7 + 6 + 5 + 6 * 20 + 8,
        );
    }
}
