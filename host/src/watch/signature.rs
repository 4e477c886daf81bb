//! The signature of a path: two signatures that differ mean that something changed. Reads no file.

use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Entries of a folder that are looked at; a model has a handful.
const ENTRIES_MAX: usize = 1_024;

/// How much older than the clock a file system's time may be: the kernel takes that of its last tick.
const CLOCK_TICK: Duration = Duration::from_millis(10);

/// The folder within a model's that belongs to it.
const SAMPLES: &str = "samples";

/// A file or a folder, or that there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Signature {
    /// It cannot be looked at, mostly because it is not there.
    Missing(io::ErrorKind),
    File(Stamp),
    /// A folder, with what is in it by name.
    Folder(Stamp, Vec<(OsString, Signature)>),
}

/// The metadata of a file, with the time of the last change of the metadata: `cp -p` sets the other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Signature {
    /// Looks at a path; links are followed.
    pub(super) fn of(path: &Path) -> Self {
        Self::look(path, true)
    }

    /// Whether something in it may have changed after a moment.
    pub(super) fn is_changed_since(&self, since: SystemTime) -> bool {
        match self {
            Self::Missing(_) => false,
            Self::File(stamp) => stamp.is_changed_since(since),
            Self::Folder(stamp, entries) => {
                stamp.is_changed_since(since) || entries.iter().any(|(_, entry)| entry.is_changed_since(since))
            }
        }
    }

    fn look(path: &Path, with_entries: bool) -> Self {
        let found = match std::fs::metadata(path) {
            Ok(found) => found,
            Err(error) => return Self::Missing(error.kind()),
        };
        if !found.is_dir() || !with_entries {
            return Self::File(Stamp::of(&found));
        }
        match entries(path) {
            Ok(entries) => Self::Folder(Stamp::of(&found), entries),
            Err(error) => Self::Missing(error.kind()),
        }
    }
}

impl Stamp {
    fn is_changed_since(&self, since: SystemTime) -> bool {
        let since = since
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .saturating_sub(CLOCK_TICK);
        let (seconds, nanos) = self.changed;
        let changed = Duration::new(
            u64::try_from(seconds).unwrap_or_default(),
            u32::try_from(nanos).unwrap_or_default(),
        );
        changed >= since
    }

    fn of(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// The entries of a folder, and of its samples.
fn entries(folder: &Path) -> io::Result<Vec<(OsString, Signature)>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder)?.take(ENTRIES_MAX) {
        let name = entry?.file_name();
        let path = folder.join(&name);
        let is_samples = name == SAMPLES && !folder.ends_with(SAMPLES);
        entries.push((name, Signature::look(&path, is_samples)));
    }
    // Folders are listed in any order.
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(entries)
}
