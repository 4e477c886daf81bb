//! The limits of the machine for this process: its memory, or the least that its control groups allow; and what to do
//! where it refuses something. Knows no formula and no file.

use std::fs::File;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

pub use millrace_types::scarcity::{scarcity, scarcity_behind};

/// More of a file of the system than is ever read: a machine with thousands of mounts has some hundred kilobytes.
const READ_MAX_BYTES: u64 = 4 << 20;

/// From here on, version 1 means no limit.
const NO_LIMIT: u64 = 1 << 62;

/// The available memory, and its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AvailableMemory {
    /// Bytes of memory.
    pub bytes: u64,
    /// In words, before the number: `this machine has`.
    pub by: &'static str,
}

/// A hierarchy of control groups that limits memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// A hierarchy, as it is mounted here.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    version: Version,
    /// The group that is mounted: inside of a container often the container's own.
    root: PathBuf,
    at: PathBuf,
}

/// The available memory; `None` where the system does not say.
pub fn memory() -> Option<AvailableMemory> {
    memory_below(Path::new("/"))
}

fn memory_below(root: &Path) -> Option<AvailableMemory> {
    let read = |path: &str| text(&root.join(path)).unwrap_or_default();
    let (groups, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
    let limits = mounts
        .lines()
        .filter_map(mount)
        .flat_map(|mount| limits(root, &mount, &groups));
    let group = limits.min().map(|bytes| AvailableMemory {
        bytes,
        by: "its control group allows",
    });
    let machine = mem_total(&read("proc/meminfo")).map(|bytes| AvailableMemory {
        bytes,
        by: "this machine has",
    });
    machine.into_iter().chain(group).min_by_key(|allowance| allowance.bytes)
}

/// The limits of the group that this process is in, and of all above it: each of them holds.
fn limits(root: &Path, mount: &Mount, groups: &str) -> Vec<u64> {
    let Some(group) = groups.lines().find_map(|line| group(line, mount.version)) else {
        return Vec::new();
    };
    let file = match mount.version {
        Version::One => "memory.limit_in_bytes",
        Version::Two => "memory.max",
    };
    // A group that is not below what is mounted cannot be seen from here, and what is mounted is the nearest to it.
    let below = group.strip_prefix(&mount.root).unwrap_or(Path::new(""));
    let is_plain = below.components().all(|part| matches!(part, Component::Normal(_)));
    let below = if is_plain { below } else { Path::new("") };
    let limit = |above: &Path| {
        let path = root
            .join(mount.at.strip_prefix("/").unwrap_or(&mount.at))
            .join(above)
            .join(file);
        let limit: u64 = text(&path)?.trim().parse().ok()?; // `max` where there is none
        (limit < NO_LIMIT).then_some(limit)
    };
    below.ancestors().filter_map(limit).collect()
}

/// The group of one version from a line such as `0::/a/b` or `4:memory:/a/b`.
fn group(line: &str, version: Version) -> Option<&Path> {
    let mut parts = line.splitn(3, ':');
    let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let is_meant = match version {
        Version::One => controllers.split(',').any(|controller| controller == "memory"),
        Version::Two => number == "0" && controllers.is_empty(),
    };
    is_meant.then(|| Path::new(path))
}

/// A hierarchy that limits memory, from a line of `mountinfo`: `36 35 0:31 ROOT AT OPTIONS [..] - TYPE SOURCE OPTIONS`.
fn mount(line: &str) -> Option<Mount> {
    let (place, kind) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let (root, at) = (place.next()?, place.next()?);
    let mut kind = kind.split(' ');
    let (name, options) = (kind.next()?, kind.nth(1).unwrap_or_default());
    let version = match name {
        "cgroup2" => Version::Two,
        "cgroup" if options.split(',').any(|option| option == "memory") => Version::One,
        _ => return None,
    };
    let unescaped = |text: &str| PathBuf::from(text.replace("\\040", " "));
    Some(Mount {
        version,
        root: unescaped(root),
        at: unescaped(at),
    })
}

fn mem_total(meminfo: &str) -> Option<u64> {
    let kibibytes = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = kibibytes.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn text(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path)
        .ok()?
        .take(READ_MAX_BYTES)
        .read_to_string(&mut text)
        .ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const MACHINE: &str = "this machine has";
    const GROUP: &str = "its control group allows";
    const V1: &str = "33 32 0:29 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n\
                      34 32 0:30 / /sys/fs/cgroup/cpu rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n";
    const V2: &str = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[track_caller]
    fn check(groups: &str, mounts: &str, files: &[(&str, &str)], expected: (u64, &str)) {
        let root = tempfile::tempdir().unwrap();
        let meminfo = format!("MemFree: 1 kB\nMemTotal:       {} kB\n", 8 * GIB / 1024);
        let system = [
            ("proc/self/cgroup", groups),
            ("proc/self/mountinfo", mounts),
            ("proc/meminfo", meminfo.as_str()),
        ];
        for (path, text) in system.iter().chain(files) {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let found = memory_below(root.path()).unwrap();
        assert_eq!((found.bytes, found.by), expected, "{groups} {mounts}");
    }

    #[test]
    fn the_least_limit_on_the_way_to_the_root_counts() {
        let max = "sys/fs/cgroup/memory.max";
        check("0::/\n", V2, &[(max, "max\n")], (8 * GIB, MACHINE));
        check("0::/\n", V2, &[(max, "1073741824\n")], (GIB, GROUP));
        check("0::/\n", V2, &[(max, "99999999999999\n")], (8 * GIB, MACHINE));
        let files = [
            ("sys/fs/cgroup/a.slice/memory.max", "2147483648\n"),
            ("sys/fs/cgroup/a.slice/mill.service/memory.max", "max\n"),
            ("sys/fs/cgroup/b.slice/memory.max", "1024\n"),
        ];
        check("0::/a.slice/mill.service\n", V2, &files, (2 * GIB, GROUP));
        // A container that sees its own group alone, by a path that leads outside.
        check(
            "0::/a/../../b.slice\n",
            V2,
            &[(max, "1073741824\n"), files[2]],
            (GIB, GROUP),
        );
    }

    #[test]
    fn version_one_is_read_too() {
        let limit = "sys/fs/cgroup/memory/memory.limit_in_bytes";
        let unlimited = "9223372036854771712\n";
        let groups = "5:cpu,cpuacct:/x\n4:memory:/docker/1234\n0::/docker/1234\n";
        check(groups, V1, &[(limit, unlimited)], (8 * GIB, MACHINE));
        let inner = "sys/fs/cgroup/memory/docker/1234/memory.limit_in_bytes";
        check(
            groups,
            V1,
            &[(limit, unlimited), (inner, "536870912\n")],
            (GIB / 2, GROUP),
        );
        // In the container what is mounted is the container's group, under its name outside.
        let mounted = "33 32 0:29 /docker/1234 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        check(groups, mounted, &[(limit, "536870912\n")], (GIB / 2, GROUP));
        // Both: the controllers of version 1, and the names of version 2.
        check(
            groups,
            &format!("{V2}{V1}"),
            &[(inner, "536870912\n")],
            (GIB / 2, GROUP),
        );
    }

    #[test]
    fn what_cannot_be_read_limits_nothing() {
        check("", "", &[], (8 * GIB, MACHINE));
        check("nonsense\n::\n4:memory\n", "- cgroup2\nx\n", &[], (8 * GIB, MACHINE));
        assert!(memory().is_some_and(|has| has.bytes > 1 << 20));
        assert_eq!(mem_total("MemFree: 1 kB\n"), None);
    }
}
