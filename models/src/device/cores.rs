//! How many cores this process may use, threads of one core counted once.

use std::collections::BTreeSet;

/// Where Linux says which core a processor is of.
const TOPOLOGY: &str = "/sys/devices/system/cpu";

/// Physical cores, at least one: two threads of one core share what multiplies. Never more than the process may use.
pub(crate) fn physical() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    match in_topology() {
        0 => allowed,
        cores => cores.min(allowed),
    }
}

/// Distinct cores of the machine; 0 where it does not say.
fn in_topology() -> usize {
    let Ok(entries) = std::fs::read_dir(TOPOLOGY) else {
        return 0;
    };
    let read = |folder: &std::path::Path, name: &str| {
        let text = std::fs::read_to_string(folder.join("topology").join(name)).ok()?;
        text.trim().parse::<i64>().ok()
    };
    let cores = entries.filter_map(|entry| {
        let folder = entry.ok()?.path();
        Some((read(&folder, "physical_package_id")?, read(&folder, "core_id")?))
    });
    cores.collect::<BTreeSet<_>>().len()
}

#[cfg(test)]
mod tests {
    #[test]
    fn there_is_a_core() {
        let allowed = std::thread::available_parallelism().unwrap().get();
        assert!((1..=allowed).contains(&super::physical()));
    }
}
