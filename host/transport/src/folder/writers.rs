//! The writers of files in a folder: by the events of the system's watcher, and by the files that visible processes have
//! open for writing, under any name. Knows no message; a file without an event or an open handle has no writer.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RenameMode};
use tracing::debug;

/// Files that are remembered; at the limit all are forgotten, which costs no more than these events.
const KNOWN_MAX: usize = 65_536;

/// New files have the processes looked at no more often than this.
const LOOKS_APART: Duration = Duration::from_millis(100);

/// And for no more than one part in so many of the time.
const LOOKING_SHARE: u32 = 10;

/// A look at the processes of a machine with very many open files is given up; the findings by then count.
const LOOK_LIMIT: Duration = Duration::from_millis(250);

/// The same where a dead letter depends on it.
const LAST_LOOK_LIMIT: Duration = Duration::from_secs(1);

/// The writers of one folder.
#[derive(Debug)]
pub(super) struct Writers {
    folder: PathBuf,
    /// A writer without an event for so long is looked for among the processes.
    silence: Duration,
    // std Mutexes: never held over an await.
    heard: Mutex<Heard>,
    // Held while the processes are looked at, so that callers that come meanwhile share the next look.
    seen: Mutex<Seen>,
}

/// The watcher's events.
#[derive(Debug, Default)]
struct Heard {
    files: HashMap<OsString, Known>,
    /// The file that leaves its name, and by which rename: the new name follows at once, where it is in the folder.
    renamed: Option<(usize, Known)>,
}

/// The watcher's last event of a file.
#[derive(Debug, Clone, Copy)]
enum Known {
    /// It is there, and was not opened yet: it may be a link to one that is complete.
    Created,
    /// It was opened when it was made, or written into, and is not closed.
    Writes(Instant),
}

/// Files of the folder's file system that are open for writing.
#[derive(Debug, Default)]
struct Seen {
    /// When the processes were looked at. A file that was opened after that was not seen.
    began: Option<Instant>,
    /// When new files may have them looked at again.
    again: Option<Instant>,
    // By device and number, which no rename changes and every link to a file shares.
    inodes: HashSet<Inode>,
}

/// Device and number.
type Inode = (u64, u64);

impl Writers {
    pub(super) fn new(folder: &Path, silence: Duration) -> Self {
        Self {
            folder: folder.to_owned(),
            silence,
            heard: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    /// Takes an event of the watcher.
    pub(super) fn note(&self, event: &notify::Event) {
        let mut heard = self.heard();
        if event.need_rescan() || heard.files.len() >= KNOWN_MAX {
            *heard = Heard::default(); // some of it was lost
        }
        let names = event.paths.iter().filter(|path| path.parent() == Some(&self.folder));
        for name in names.filter_map(|path| path.file_name()) {
            heard.note(name, event);
        }
    }

    /// Forgets all events: they are of the files of a folder that was replaced.
    pub(super) fn forget(&self) {
        *self.heard() = Heard::default();
    }

    /// Has the processes looked at for files that were listed `listed`, unless they were since then.
    ///
    /// # Errors
    /// When they may be looked at again, where that was done a moment ago.
    pub(super) fn look_since(&self, listed: Instant) -> Result<(), Instant> {
        let mut seen = self.seen();
        if seen.began.is_some_and(|began| began >= listed) {
            return Ok(());
        }
        let began = Instant::now();
        if let Some(again) = seen.again.filter(|again| *again > began) {
            return Err(again);
        }
        seen.look(&self.folder, LOOK_LIMIT);
        let ended = Instant::now();
        seen.again = Some(ended + LOOKS_APART.max((ended - began) * LOOKING_SHARE));
        Ok(())
    }

    /// Whether a file that waits in the folder has a writer, by the events and by the last look.
    pub(super) fn writes(&self, name: &OsStr, metadata: &Metadata) -> bool {
        let known = self.heard().files.get(name).copied();
        if let Some(Known::Writes(last)) = known
            && last.elapsed() < self.silence
        {
            return true;
        }
        let is_open = self.seen().inodes.contains(&inode(metadata));
        if let Some(Known::Writes(_)) = known
            && !is_open
        {
            self.heard().files.remove(name);
        }
        is_open
    }

    /// Whether a process that can be seen has a file open for writing now, under whatever name: looks, and does not
    /// remember.
    pub(super) fn holds(&self, path: &Path) -> bool {
        let asked = Instant::now();
        let Ok(metadata) = path.symlink_metadata() else {
            return false;
        };
        let mut seen = self.seen();
        // Another caller may have looked since.
        if seen.began.is_none_or(|began| began < asked) {
            seen.look(&self.folder, LAST_LOOK_LIMIT);
        }
        seen.inodes.contains(&inode(&metadata))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    fn note(&mut self, name: &OsStr, event: &notify::Event) {
        let files = &mut self.files;
        let writes = Known::Writes(Instant::now());
        match event.kind {
            EventKind::Create(CreateKind::File) => {
                files.insert(name.to_owned(), Known::Created);
            }
            EventKind::Access(AccessKind::Open(_)) if matches!(files.get(name), Some(Known::Created)) => {
                files.insert(name.to_owned(), writes);
            }
            EventKind::Modify(ModifyKind::Data(_)) => {
                files.insert(name.to_owned(), writes);
            }
            // A process that has it open goes on under the new name.
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
                let known = files.remove(name);
                self.renamed = event.tracker().zip(known);
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
                files.remove(name);
                let renamed = self.renamed.take();
                if let Some((_, known)) = renamed.filter(|(rename, _)| event.tracker() == Some(*rename)) {
                    files.insert(name.to_owned(), known);
                }
            }
            // Sums up the two before it.
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => {}
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Remove(_)
            | EventKind::Modify(ModifyKind::Name(_)) => {
                files.remove(name);
            }
            _ => {}
        }
    }
}

impl Seen {
    fn look(&mut self, folder: &Path, limit: Duration) {
        let began = Instant::now();
        (self.began, self.inodes) = (Some(began), HashSet::new());
        let Ok(device) = folder.metadata().map(|metadata| metadata.dev()) else {
            return;
        };
        let (inodes, is_whole) = open_for_writing(device, began + limit);
        if !is_whole {
            debug!(folder = %folder.display(), "gave up the look at the processes: some open files may be missed");
        }
        self.inodes = inodes;
    }
}

/// The files on a device that processes have open for writing: those of our user, or all where we are root. Nothing where
/// the system has no `/proc`. And whether all of them were looked at.
fn open_for_writing(device: u64, until: Instant) -> (HashSet<Inode>, bool) {
    /// The right to write, of the link that stands for an open file.
    const WRITES: u32 = 0o200;
    let mut open = HashSet::new();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes.filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit)) {
        // A process that cannot be read is another user's, or gone.
        for file in std::fs::read_dir(process.path().join("fd"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = file.path();
            if path.symlink_metadata().is_ok_and(|link| link.mode() & WRITES != 0) {
                open.extend(target(&path).filter(|(on, _)| *on == device));
            }
        }
        if Instant::now() > until {
            return (open, false);
        }
    }
    (open, true)
}

/// The file that a link in `/proc` stands for, by what the system knows already: a server that is gone must not be asked.
#[cfg(target_os = "linux")]
fn target(link: &Path) -> Option<Inode> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};

    let file = statx(CWD, link, AtFlags::STATX_DONT_SYNC, StatxFlags::INO).ok()?;
    Some((makedev(file.stx_dev_major, file.stx_dev_minor), file.stx_ino))
}

#[cfg(not(target_os = "linux"))]
fn target(_: &Path) -> Option<Inode> {
    None
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

    fn writes(writers: &Writers, name: &str) -> bool {
        let path = writers.folder.join(name);
        if !path.exists() {
            std::fs::write(&path, "").unwrap();
        }
        writers.writes(OsStr::new(name), &path.symlink_metadata().unwrap())
    }

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
            assert_eq!(writes(&writers, "cat.png"), expected, "{kinds:?}");
        }
    }

    #[test]
    fn a_writer_goes_on_under_the_name_that_its_file_gets() {
        let folder = tempfile::tempdir().unwrap();
        let name = |mode, name: &str, rename| {
            let event = notify::Event::new(EventKind::Modify(ModifyKind::Name(mode)));
            event.add_path(folder.path().join(name)).set_tracker(rename)
        };
        let [from, to] = [RenameMode::From, RenameMode::To];
        for (told, expected) in [
            (vec![name(from, ".cat.png", 1), name(to, "cat.png", 1)], true),
            // One that went elsewhere, and one that came from elsewhere.
            (vec![name(from, ".cat.png", 1), name(to, "cat.png", 2)], false),
            (
                vec![
                    name(from, ".cat.png", 1),
                    name(from, "dog.png", 2),
                    name(to, "cat.png", 1),
                ],
                false,
            ),
        ] {
            let writers = Writers::new(folder.path(), Duration::from_secs(60));
            writers.note(&notify::Event::new(DATA).add_path(folder.path().join(".cat.png")));
            told.iter().for_each(|event| writers.note(event));
            assert_eq!(writes(&writers, "cat.png"), expected, "{told:?}");
            assert!(!writes(&writers, ".cat.png"));
            writers.note(&notify::Event::new(CLOSE).add_path(folder.path().join("cat.png")));
            assert!(!writes(&writers, "cat.png"));
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
        writers.look_since(Instant::now()).unwrap();
        assert_eq!(
            ["open.png", "closed.png"].map(|name| writes(&writers, name)),
            [true, false]
        );
        assert!(writers.holds(&open) && !writers.holds(&closed));
        drop(file);
        // What was seen a moment ago is no answer.
        assert!(!writers.holds(&open));
        let read = std::fs::File::open(&open).unwrap();
        assert!(!writers.holds(&open));
        drop(read);
    }

    #[test]
    fn a_writer_is_seen_under_whatever_name_it_opened_the_file() {
        let [folder, elsewhere] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let [other, link] = [elsewhere.path().join("other"), folder.path().join("link.png")];
        let file = std::fs::File::create(&other).unwrap();
        std::fs::hard_link(&other, &link).unwrap();
        let writers = Writers::new(folder.path(), Duration::from_secs(60));
        assert!(writers.holds(&link));
        writers.look_since(Instant::now()).unwrap();
        assert!(writes(&writers, "link.png"));
        let moved = folder.path().join("moved.png");
        std::fs::rename(&other, &moved).unwrap();
        assert!(writers.holds(&moved));
        std::fs::remove_file(&moved).unwrap();
        assert!(writers.holds(&link));
        drop(file);
        assert!(!writers.holds(&link));
    }

    #[test]
    fn new_files_have_the_processes_looked_at_now_and_then() {
        let folder = tempfile::tempdir().unwrap();
        let writers = Writers::new(folder.path(), Duration::from_secs(60));
        let listed = Instant::now();
        writers.look_since(listed).unwrap();
        let again = Instant::now() + Duration::from_secs(3600);
        assert!(writers.seen().again.replace(again).is_some());
        let other = Instant::now();
        assert_eq!(writers.look_since(other), Err(again));
        // One look for a listing is enough, and a last look serves all that wait.
        assert_eq!(writers.look_since(listed), Ok(()));
        let listed = Instant::now();
        assert!(!writers.holds(folder.path()));
        assert_eq!(writers.look_since(listed), Ok(()));
    }
}
