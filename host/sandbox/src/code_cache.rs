//! Compiled code on the disk, for the verbs of authors: what one run compiled the next one finds. Knows no wasmtime, and
//! nothing of what the code is of; a host that serves never asks it.
//!
//! Machine code has the rights of the user who runs it, so it is taken only from a folder of that user's own, which no
//! other user else may read or write. A process that can write there can write into the user's programs as well; against a
//! disk that lies there is a digest.

use std::ffi::{CStr, CString};
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::process::geteuid;
use sha2::{Digest, Sha256};

/// Entries that are kept; the least recently used one makes room.
const KEPT_MAX: usize = 64;

/// The size of all together. A plugin in Rust has a few megabytes of code, one that carries Python about a hundred.
const KEPT_MAX_BYTES: u64 = 1 << 30;

/// Files that are looked at in the folder; no run leaves so many behind.
const LISTED_MAX: usize = 4096;

/// The file of a writer that was killed is removed after this.
const LEFT_AFTER: Duration = Duration::from_secs(3600);

/// The first bytes of an entry.
const MAGIC: &[u8; 16] = b"millrace-code/1\n";

/// Bytes before the code: the magic, the time, the digest.
const HEAD_BYTES: usize = 16 + 8 + 32;

/// How entries end.
const ENDING: &str = ".code";

/// Compiled code in a folder.
#[derive(Debug)]
pub struct CodeCache {
    /// None where nothing says where it is.
    folder: Option<PathBuf>,
    kept_max: usize,
    kept_max_bytes: u64,
    complained: AtomicBool,
}

/// The inputs of compiled code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key(String);

/// Code that was kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) code: Vec<u8>,
    /// How long it took to compile.
    pub(super) took: Duration,
}

impl Key {
    /// The digest of a file's content, and of everything else that the code depends on: this program, and how it
    /// compiles.
    pub(super) fn new(bytes: &[u8], engine: u64, counts_fuel: bool) -> Option<Self> {
        static PROGRAM: OnceLock<Option<String>> = OnceLock::new();
        let program = PROGRAM.get_or_init(program).as_ref()?;
        let of = Sha256::digest(bytes);
        let text = format!("{program}\n{engine:016x}\n{counts_fuel}\n{of:x}");
        Some(Self(format!("{:x}", Sha256::digest(text))))
    }

    fn file(&self) -> Option<CString> {
        CString::new(format!("{}{ENDING}", self.0)).ok()
    }
}

/// Which build of this program runs: another one may compile otherwise.
fn program() -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let running = Path::new("/proc/self/exe");
    let path = match running.exists() {
        true => running.to_owned(),
        false => std::env::current_exe().ok()?,
    };
    let file = std::fs::metadata(path).ok()?;
    Some(format!(
        "{} {} {} {}.{:09}",
        env!("CARGO_PKG_VERSION"),
        file.ino(),
        file.len(),
        file.mtime(),
        file.mtime_nsec()
    ))
}

impl CodeCache {
    /// The cache of the user, one in a process: `millrace/compiled` in the folder for caches.
    pub(super) fn of_user() -> Arc<Self> {
        static USER: OnceLock<Arc<CodeCache>> = OnceLock::new();
        let variable = |name: &str| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let cache = USER.get_or_init(|| {
            let caches = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
            Arc::new(Self::at(caches.map(|caches| caches.join("millrace/compiled"))))
        });
        Arc::clone(cache)
    }

    fn at(folder: Option<PathBuf>) -> Self {
        Self {
            folder,
            kept_max: KEPT_MAX,
            kept_max_bytes: KEPT_MAX_BYTES,
            complained: AtomicBool::new(false),
        }
    }

    /// The code of a key, where it is there and whole.
    pub(super) fn find(&self, key: &Key, code_max_bytes: u64) -> Option<Entry> {
        let path = self.folder.as_ref()?;
        let found = self::folder(path).and_then(|folder| match folder {
            Some(folder) => read(&folder, key, code_max_bytes),
            None => Ok(None),
        });
        found.unwrap_or_else(|error| {
            self.complain(&error);
            None
        })
    }

    /// Keeps code, and throws away what is too much.
    pub(super) fn keep(&self, key: &Key, code: &[u8], took: Duration) {
        let Some(path) = &self.folder else {
            return self.complain(&io::Error::other("neither XDG_CACHE_HOME nor HOME is set"));
        };
        let kept = made(path).and_then(|folder| {
            write(&folder, key, code, took)?;
            self.make_room(&folder)
        });
        if let Err(error) = kept {
            self.complain(&error);
        }
    }

    /// Forgets code that cannot be used.
    pub(super) fn forget(&self, key: &Key) {
        let folder = self.folder.as_deref().map(folder);
        if let (Some(Ok(Some(folder))), Some(file)) = (folder, key.file())
            && let Err(error) = rustix::fs::unlinkat(&folder, file, AtFlags::empty())
        {
            self.complain(&error.into());
        }
    }

    /// Once: that it is slow is worth a line, and no more.
    fn complain(&self, error: &io::Error) {
        if self.complained.swap(true, Ordering::Relaxed) {
            return;
        }
        let folder = self.folder.as_deref().unwrap_or(Path::new(""));
        tracing::warn!(%error, folder = %folder.display(), "cannot cache compiled code: each run compiles again");
    }

    fn make_room(&self, folder: &OwnedFd) -> io::Result<()> {
        let mut entries = Vec::new();
        let now = SystemTime::now();
        for entry in Dir::read_from(folder)?.take(LISTED_MAX) {
            let entry = entry?;
            let name = entry.file_name();
            let stat = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => stat,
                _ => continue, // gone meanwhile, or nothing of ours
            };
            let used = used(&stat);
            let is_entry = name.to_bytes().ends_with(ENDING.as_bytes());
            if is_entry {
                let n_bytes = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
                entries.push((used, n_bytes, name.to_owned()));
            } else if now.duration_since(used).is_ok_and(|age| age > LEFT_AFTER) {
                remove(folder, name)?;
            }
        }
        // The last used first.
        entries.sort_unstable_by(|(a, ..), (b, ..)| b.cmp(a));
        let mut together = 0_u64;
        for (place, (_, n_bytes, name)) in entries.iter().enumerate() {
            together = together.saturating_add(*n_bytes);
            if place >= self.kept_max || together > self.kept_max_bytes {
                remove(folder, name)?;
            }
        }
        Ok(())
    }
}

/// Another run may have been faster.
fn remove(folder: &OwnedFd, name: &CStr) -> io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Err(error) if error != rustix::io::Errno::NOENT => Err(error.into()),
        _ => Ok(()),
    }
}

fn used(stat: &Stat) -> SystemTime {
    let since = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or_default());
    SystemTime::UNIX_EPOCH + since + Duration::from_nanos(stat.st_mtime_nsec)
}

/// Opens the folder, if it exists and belongs to this user alone.
fn folder(path: &Path) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(folder) => folder,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let stat = rustix::fs::fstat(&folder)?;
    let is_ours = stat.st_uid == geteuid().as_raw();
    let is_private = Mode::from_raw_mode(stat.st_mode) & (Mode::RWXG | Mode::RWXO) == Mode::empty();
    match is_ours && is_private {
        true => Ok(Some(folder)),
        false => Err(io::Error::other(
            "its folder must belong to the user that runs this and be closed to others: chmod 700 it",
        )),
    }
}

/// As [`folder`], but it is made where it is missing.
fn made(path: &Path) -> io::Result<OwnedFd> {
    if let Some(folder) = folder(path)? {
        return Ok(folder);
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    folder(path)?.ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn read(folder: &OwnedFd, key: &Key, code_max_bytes: u64) -> io::Result<Option<Entry>> {
    let Some(name) = key.file() else { return Ok(None) };
    // A pipe that lies there must not be waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let stat = rustix::fs::fstat(&file)?;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !is_file || stat.st_uid != geteuid().as_raw() {
        return Err(io::Error::other("an entry is not what was kept"));
    }
    let file = File::from(file);
    let mut bytes = Vec::new();
    let allowed = code_max_bytes.saturating_add(HEAD_BYTES as u64);
    (&file).take(allowed).read_to_end(&mut bytes)?;
    let entry = parsed(key, bytes);
    if entry.is_some() {
        // It is the last used now.
        file.set_modified(SystemTime::now())?;
    }
    Ok(entry)
}

/// The entry, where it is whole and was kept by this key.
fn parsed(key: &Key, mut bytes: Vec<u8>) -> Option<Entry> {
    let (head, code) = bytes.split_at_checked(HEAD_BYTES)?;
    let (magic, rest) = head.split_first_chunk::<16>()?;
    let (took, digest) = rest.split_first_chunk::<8>()?;
    let took = Duration::from_micros(u64::from_le_bytes(*took));
    if magic != MAGIC || digest != self::digest(key, took, code).as_slice() {
        tracing::debug!("an entry of compiled code is damaged: it is compiled again");
        return None;
    }
    bytes.drain(..HEAD_BYTES);
    Some(Entry { code: bytes, took })
}

fn digest(key: &Key, took: Duration, code: &[u8]) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(&key.0);
    digest.update(micros(took).to_le_bytes());
    digest.update(code);
    digest.finalize().into()
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

fn write(folder: &OwnedFd, key: &Key, code: &[u8], took: Duration) -> io::Result<()> {
    let Some(name) = key.file() else { return Ok(()) };
    let fresh = CString::new(format!(".{}", uuid::Uuid::new_v4()))?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, &fresh, flags, Mode::RUSR | Mode::WUSR)?;
    let written = write_all(File::from(file), key, code, took)
        .and_then(|()| Ok(rustix::fs::renameat(folder.as_fd(), &fresh, folder.as_fd(), &name)?));
    if written.is_err() {
        remove(folder, &fresh)?;
    }
    written
}

fn write_all(mut file: File, key: &Key, code: &[u8], took: Duration) -> io::Result<()> {
    file.write_all(MAGIC)?;
    file.write_all(&micros(took).to_le_bytes())?;
    file.write_all(&digest(key, took, code))?;
    file.write_all(code)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const MAX: u64 = 1 << 20;
    const TOOK: Duration = Duration::from_millis(1234);

    fn cache() -> (tempfile::TempDir, CodeCache, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/compiled");
        (folder, CodeCache::at(Some(path.clone())), path)
    }

    fn key(of: &str) -> Key {
        Key::new(of.as_bytes(), 7, false).unwrap()
    }

    fn names(path: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(path).into_iter().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_kept_is_found_by_its_key_alone() {
        let (_folder, cache, path) = cache();
        assert_eq!(cache.find(&key("a"), MAX), None);
        cache.keep(&key("a"), b"code", TOOK);
        let entry = cache.find(&key("a"), MAX).unwrap();
        assert_eq!((entry.code.as_slice(), entry.took), (&b"code"[..], TOOK));
        for other in [
            key("b"),
            Key::new(b"a", 8, false).unwrap(),
            Key::new(b"a", 7, true).unwrap(),
        ] {
            assert_eq!(cache.find(&other, MAX), None);
        }
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(names(&path).len(), 1, "nothing half-written is left");
        cache.forget(&key("a"));
        assert_eq!(cache.find(&key("a"), MAX), None);
    }

    #[test]
    fn what_is_damaged_is_not_taken() {
        let (_folder, cache, path) = cache();
        cache.keep(&key("a"), b"machine code", TOOK);
        let file = path.join(&names(&path)[0]);
        let whole = std::fs::read(&file).unwrap();
        for place in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[place] ^= 1;
            std::fs::write(&file, damaged).unwrap();
            assert_eq!(cache.find(&key("a"), MAX), None, "byte {place}");
            std::fs::write(&file, &whole[..place]).unwrap();
            assert_eq!(cache.find(&key("a"), MAX), None, "cut at {place}");
        }
        std::fs::write(&file, &whole).unwrap();
        assert!(cache.find(&key("a"), MAX).is_some());
        assert_eq!(cache.find(&key("a"), 3), None, "more than any code may have");
        // The code of another key under this name.
        let other = path.join(key("b").file().unwrap().to_str().unwrap());
        std::fs::rename(&file, other).unwrap();
        assert_eq!(cache.find(&key("b"), MAX), None);
    }

    #[test]
    fn a_folder_that_others_may_enter_is_not_used() {
        let (folder, cache, path) = cache();
        cache.keep(&key("a"), b"code", TOOK);
        for mode in [0o701, 0o710, 0o720, 0o702, 0o755, 0o777] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(cache.find(&key("a"), MAX), None, "{mode:o}");
            cache.keep(&key("b"), b"code", TOOK);
            assert_eq!(names(&path).len(), 1, "{mode:o}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        assert!(cache.find(&key("a"), MAX).is_some());
        // Nor through a link, which may lead to another's.
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(CodeCache::at(Some(link)).find(&key("a"), MAX), None);
        let file = path.join(&names(&path)[0]);
        std::fs::rename(&file, folder.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &file).unwrap();
        assert_eq!(cache.find(&key("a"), MAX), None);
    }

    #[test]
    fn where_nothing_can_be_kept_nothing_is_found_and_nothing_fails() {
        for folder in [None, Some(PathBuf::from("/dev/null/compiled"))] {
            let cache = CodeCache::at(folder);
            cache.keep(&key("a"), b"code", TOOK);
            cache.forget(&key("a"));
            assert_eq!(cache.find(&key("a"), MAX), None);
        }
    }

    #[test]
    fn the_least_recently_used_makes_room() {
        let (_folder, mut cache, path) = cache();
        (cache.kept_max, cache.kept_max_bytes) = (3, 3 * (HEAD_BYTES as u64 + 4));
        let age = |of: &str, seconds: u64| {
            let file = File::options()
                .write(true)
                .open(path.join(key(of).file().unwrap().to_str().unwrap()))
                .unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(seconds))
                .unwrap();
        };
        for (of, seconds) in [("a", 30), ("b", 20), ("c", 10)] {
            cache.keep(&key(of), b"code", TOOK);
            age(of, seconds);
        }
        assert!(cache.find(&key("a"), MAX).is_some(), "it is the last used now");
        std::fs::write(path.join(".left"), "half").unwrap();
        File::options()
            .write(true)
            .open(path.join(".left"))
            .unwrap()
            .set_modified(SystemTime::now() - LEFT_AFTER * 2)
            .unwrap();
        cache.keep(&key("d"), b"code", TOOK);
        let found = |of: &str| cache.find(&key(of), MAX).is_some();
        assert_eq!(["a", "b", "c", "d"].map(found), [true, false, true, true]);
        assert_eq!(names(&path).len(), 3);
        cache.keep(&key("e"), b"more than the others", TOOK);
        assert_eq!(["c", "e"].map(|of| cache.find(&key(of), MAX).is_some()), [false, true]);
    }
}
