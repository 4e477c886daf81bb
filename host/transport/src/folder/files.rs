//! File work of the folder transport: renames that overwrite nothing, synced writes. Knows no message; all of it blocks.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, OFlags, RenameFlags};
use rustix::io::Errno;
use tracing::debug;

/// The longest file name of the file systems in use, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// The prefix of our unfinished files: hidden, and used by no other program.
const TEMPORARY_PREFIX: &str = ".millrace-";

/// An unfinished file of this age has no writer any more: writing one takes milliseconds.
const TEMPORARY_AGE: Duration = Duration::from_secs(3600);

/// Renames a file, and fails with `AlreadyExists` where it would replace another.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some network and FUSE file systems cannot do it in one step: look first. The step between is as short as
        // it can be, and our own hosts meet there only when they settle files of one name in the same microsecond.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => match to.symlink_metadata() {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::rename(from, to),
            Err(error) => Err(error),
        },
        renamed => Ok(renamed?),
    }
}

/// Makes renames into and out of a directory safe from a power cut.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        // The error of file systems that cannot sync a directory; they offer nothing better.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}

/// Opens a file for reading; neither follows a symlink nor waits for the other end of a pipe.
pub(super) fn open_plain(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

/// Removes unfinished files that killed hosts left in a directory. A host that still writes one holds its lock.
pub(super) fn sweep(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if !name.as_encoded_bytes().starts_with(TEMPORARY_PREFIX.as_bytes()) {
            continue;
        }
        // Gone meanwhile, or not readable: then it stays, which does no harm.
        let Ok(file) = open_plain(&entry.path()) else { continue };
        let is_left = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            // A file system without locks: then the age decides.
            Err(TryLockError::Error(_)) => {
                let modified = file.metadata().and_then(|it| it.modified()).ok();
                modified
                    .and_then(|at| at.elapsed().ok())
                    .is_some_and(|age| age > TEMPORARY_AGE)
            }
        };
        if is_left && let Err(error) = std::fs::remove_file(entry.path()) {
            debug!(file = %entry.path().display(), %error, "unfinished file stays behind");
        }
    }
    Ok(())
}

/// Creates a directory where there is none; a symlink does not count as one.
pub(super) fn ensure_directory(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match path.symlink_metadata()?.is_dir() {
            true => Ok(()),
            false => Err(io::ErrorKind::NotADirectory.into()),
        },
        created => created,
    }
}

/// The name with a suffix before its extension, its stem cut so that `room` more bytes still fit behind it.
///
/// A name that fits and gets no suffix stays as it is, whatever its encoding; a cut or suffixed one is lossy.
pub(super) fn fitted_name(name: &OsStr, suffix: &str, room: usize) -> OsString {
    let limit = NAME_BYTES_MAX.saturating_sub(room);
    if suffix.is_empty() && name.len() <= limit {
        return name.to_owned();
    }
    let path = Path::new(name);
    let mut stem = path.file_stem().unwrap_or(name).to_string_lossy().into_owned();
    let mut extension = path
        .extension()
        .map(|it| format!(".{}", it.to_string_lossy()))
        .unwrap_or_default();
    // An "extension" of such a length is none; its text is in the reason beside the file.
    if extension.len() > limit / 2 {
        extension.clear();
    }
    let tail = if suffix.is_empty() {
        extension
    } else {
        format!(".{suffix}{extension}")
    };
    stem.truncate(stem.floor_char_boundary(limit.saturating_sub(tail.len())));
    (stem + &tail).into()
}

/// A file that was written and synced under a hidden name; it is removed unless it is given its place.
#[derive(Debug)]
pub(super) struct Temporary {
    path: PathBuf,
    /// Locked while this value lives, so that no host sweeps it away.
    file: File,
}

impl Temporary {
    /// Writes and syncs a hidden file, one that no source takes for a message.
    pub(super) fn write(directory: &Path, mut content: &[u8]) -> io::Result<Self> {
        Self::copy(directory, &mut content)
    }

    /// As [`Temporary::write`], from a reader.
    pub(super) fn copy(directory: &Path, content: &mut dyn io::Read) -> io::Result<Self> {
        let path = directory.join(format!("{TEMPORARY_PREFIX}{}", uuid::Uuid::new_v4()));
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        // Where it cannot be locked, its age protects it. Swept before it is locked, it is missed when it is renamed.
        if let Err(error) = file.try_lock() {
            debug!(file = %path.display(), %error, "unfinished file is not locked");
        }
        let temporary = Self { path, file };
        io::copy(content, &mut &temporary.file)?;
        temporary.file.sync_all()?;
        Ok(temporary)
    }

    /// Its hidden path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Renames it into place; `AlreadyExists` where there is another.
    pub(super) fn place_new(&self, path: &Path) -> io::Result<()> {
        rename_new(&self.path, path)
    }

    /// Renames it into place, over what is there.
    pub(super) fn replace(&self, path: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            debug!(file = %self.path.display(), %error, "temporary file stays behind");
        }
    }
}
