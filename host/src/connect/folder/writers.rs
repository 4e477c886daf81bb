//! Who still writes: what the system's watcher tells of the files in a folder, and which of them are open in processes that
//! can be seen. Knows no message; a file of which nothing is known is nobody's.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind};

/// Files that are remembered; at the limit all are forgotten, which costs no more than the watcher's word.
const KNOWN_MAX: usize = 65_536;

/// How long what was seen of the processes holds, at least.
const SEEN_HOLDS: Duration = Duration::from_secs(1);

/// Looking at the processes may take one part in so many of the time.
const LOOKING_SHARE: u32 = 20;

/// A look at the processes of a machine with very many open files is given up; what was found by then counts.
const LOOK_LIMIT: Duration = Duration::from_millis(250);

/// The writers of one folder.
#[derive(Debug)]
pub(super) struct Writers {
    folder: PathBuf,
    // As the system names it: no link on the way.
    canonical: PathBuf,
    /// A writer of which nothing was heard for so long is asked for among the processes.
    silence: Duration,
    // std Mutexes: never held over an await.
    known: Mutex<HashMap<OsString, Known>>,
    seen: Mutex<Seen>,
}

/// What the watcher told last of a file.
#[derive(Debug, Clone, Copy)]
enum Known {
    /// It is there, and nobody opened it yet: it may be a link to one that is complete.
    Created,
    /// Somebody opened it when it was made, or wrote into it, and has not closed it.
    Writes(Instant),
}

/// Files in the folder that are open for writing.
#[derive(Debug, Default)]
struct Seen {
    until: Option<Instant>,
    // By what a rename does not change.
    inodes: HashMap<Inode, PathBuf>,
}

/// Device and number.
type Inode = (u64, u64);

impl Writers {
    pub(super) fn new(folder: &Path, silence: Duration) -> Self {
        Self {
            canonical: folder.canonicalize().unwrap_or_else(|_| folder.to_owned()),
            folder: folder.to_owned(),
            silence,
            known: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    /// Remembers those that were there before the watcher.
    pub(super) fn look(&self) {
        let names: Vec<OsString> = self
            .open()
            .inodes
            .values()
            .filter(|path| path.parent() == Some(&self.canonical))
            .filter_map(|path| path.file_name().map(OsStr::to_owned))
            .collect();
        let mut known = self.known();
        known.extend(names.into_iter().map(|name| (name, Known::Writes(Instant::now()))));
    }

    /// Takes what the watcher tells.
    pub(super) fn note(&self, event: &notify::Event) {
        let mut known = self.known();
        if event.need_rescan() || known.len() >= KNOWN_MAX {
            known.clear(); // some of it was lost
        }
        let names = event.paths.iter().filter(|path| path.parent() == Some(&self.folder));
        for name in names.filter_map(|path| path.file_name()) {
            match event.kind {
                EventKind::Create(CreateKind::File) => {
                    known.insert(name.to_owned(), Known::Created);
                }
                EventKind::Access(AccessKind::Open(_)) if matches!(known.get(name), Some(Known::Created)) => {
                    known.insert(name.to_owned(), Known::Writes(Instant::now()));
                }
                EventKind::Modify(ModifyKind::Data(_)) => {
                    known.insert(name.to_owned(), Known::Writes(Instant::now()));
                }
                EventKind::Access(AccessKind::Close(AccessMode::Write))
                | EventKind::Remove(_)
                | EventKind::Modify(ModifyKind::Name(_)) => {
                    known.remove(name);
                }
                _ => {}
            }
        }
    }

    /// Whether somebody writes a file that waits in the folder, as far as the system tells.
    pub(super) fn writes(&self, name: &OsStr) -> bool {
        let Some(Known::Writes(last)) = self.known().get(name).copied() else {
            return false;
        };
        if last.elapsed() < self.silence {
            return true;
        }
        let is_open = self.holds(&self.folder.join(name));
        match is_open {
            true => self.known().insert(name.to_owned(), Known::Writes(Instant::now())),
            false => self.known().remove(name),
        };
        is_open
    }

    /// Whether a process that can be seen has a file open for writing, which lies somewhere in the folder.
    pub(super) fn holds(&self, path: &Path) -> bool {
        let inode = path.symlink_metadata().map(|metadata| inode(&metadata));
        inode.is_ok_and(|inode| self.open().inodes.contains_key(&inode))
    }

    /// As if the watcher had told nothing.
    #[cfg(test)]
    pub(super) fn forget(&self) {
        self.known().clear();
    }

    fn open(&self) -> MutexGuard<'_, Seen> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let began = Instant::now();
        if seen.until.is_none_or(|until| until <= began) {
            seen.inodes = open_for_writing(&self.canonical, began + LOOK_LIMIT);
            seen.until = Some(Instant::now() + SEEN_HOLDS.max(began.elapsed() * LOOKING_SHARE));
        }
        seen
    }

    fn known(&self) -> MutexGuard<'_, HashMap<OsString, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files under a folder that processes have open for writing: those of our user, or all where we are root. Nothing where
/// the system has no `/proc`.
fn open_for_writing(folder: &Path, until: Instant) -> HashMap<Inode, PathBuf> {
    /// The right to write, of the link that stands for an open file.
    const WRITES: u32 = 0o200;
    let mut open = HashMap::new();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes.filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit)) {
        // What cannot be looked at is another user's, or gone.
        for file in std::fs::read_dir(process.path().join("fd"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = file.path();
            let writes = path.symlink_metadata().is_ok_and(|link| link.mode() & WRITES != 0);
            if writes
                && let Ok(target) = path.read_link()
                && target.starts_with(folder)
                && let Ok(metadata) = path.metadata()
            {
                open.insert(inode(&metadata), target);
            }
        }
        if Instant::now() > until {
            break;
        }
    }
    open
}

fn inode(metadata: &Metadata) -> Inode {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use notify::event::{DataChange, RemoveKind, RenameMode};

    use super::*;

    const OPEN: EventKind = EventKind::Access(AccessKind::Open(AccessMode::Any));
    const CREATE: EventKind = EventKind::Create(CreateKind::File);
    const DATA: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const CLOSE: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));

    #[test]
    fn who_opened_a_new_file_or_wrote_into_one_writes_until_it_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cat.png");
        for (kinds, expected) in [
            (vec![], false),
            // A link to a file that is complete.
            (vec![CREATE], false),
            (vec![CREATE, OPEN], true),
            (vec![CREATE, OPEN, DATA], true),
            (vec![DATA], true),
            // Who opens one that is there reads it, as far as the watcher knows.
            (vec![OPEN], false),
            (vec![CREATE, OPEN, DATA, CLOSE], false),
            (vec![CREATE, OPEN, CLOSE, OPEN], false),
            (vec![DATA, EventKind::Modify(ModifyKind::Name(RenameMode::From))], false),
            (vec![DATA, EventKind::Remove(RemoveKind::File)], false),
        ] {
            let writers = Writers::new(folder.path(), Duration::from_secs(60));
            for kind in &kinds {
                writers.note(&notify::Event::new(*kind).add_path(path.clone()));
            }
            assert_eq!(writers.writes(OsStr::new("cat.png")), expected, "{kinds:?}");
        }
    }

    #[test]
    fn a_silent_writer_is_looked_for_among_the_processes() {
        let folder = tempfile::tempdir().unwrap();
        let [open, closed] = ["open.png", "closed.png"].map(|name| folder.path().join(name));
        let file = std::fs::File::create(&open).unwrap();
        std::fs::write(&closed, "").unwrap();
        let writers = Writers::new(folder.path(), Duration::ZERO);
        for path in [&open, &closed] {
            writers.note(&notify::Event::new(DATA).add_path(path.clone()));
        }
        let names = ["open.png", "closed.png"].map(OsStr::new);
        assert_eq!(names.map(|name| writers.writes(name)), [true, false]);
        assert!(writers.holds(&open) && !writers.holds(&closed));
        let other = Writers::new(folder.path(), Duration::from_secs(60));
        other.look();
        assert_eq!(names.map(|name| other.writes(name)), [true, false]);
        drop(file);
        let read = std::fs::File::open(&open).unwrap();
        assert!(!Writers::new(folder.path(), Duration::ZERO).holds(&open));
        drop(read);
    }
}
