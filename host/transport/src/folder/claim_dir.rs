//! The folder of one host, `.millrace/<host id>/`, and the claims in it. Knows no message and no disposition.
//!
//! A lock on the file `lock` says that its host lives; the system frees it with the process. Claimed files lie in
//! `taken.<attempt>/` while they are worked on and in `waiting.<attempt>/` until they are tried again; quarantined
//! files lie in `apart.<crashes>.<attempt>/`, and the one of them that runs in `alone.<crashes>.<attempt>/`. So one rename changes what is known of a file, and a kill between two renames loses
//! nothing. A host that gets the lock of a host that is gone owns the claims in its folder, where they lie.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{debug, warn};

use super::files::{ensure_directory, rename_new, sync_directory};
use super::named_folder::PresentFolder;
use super::{FolderError, PRIVATE};
use crate::Quarantine;

/// The file that a living host holds locked.
const LOCK: &str = "lock";

/// A host's folder, ours for as long as this value lives.
#[derive(Debug)]
pub(super) struct ClaimDir {
    path: PathBuf,
    // Invariant: a name is claimed once in a home, so that no rename between its directories meets another file.
    names: Mutex<HashSet<OsString>>,
    /// Freed with this value.
    lock: File,
}

/// The phase of a claimed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClaimPhase {
    /// It is being worked on.
    Running,
    /// It waits to be tried again.
    Waiting,
    /// It is quarantined, because hosts crashed with it in flight.
    Quarantined {
        /// How many.
        crash_count: u32,
    },
    /// It is quarantined, and runs alone now.
    RunningQuarantined {
        /// How many hosts crashed with it in flight before.
        crash_count: u32,
    },
}

/// A file that is ours. Dropping it frees the name in its home; the file's path then says its phase.
#[derive(Debug)]
pub(super) struct Claim {
    claim_dir: Arc<ClaimDir>,
    phase: ClaimPhase,
    name: OsString,
    /// 1 at the first attempt.
    pub(super) attempt: u32,
    /// Whether it was in flight before and was not settled.
    pub(super) redelivered: bool,
    /// Whether it may have crashed a host.
    pub(super) quarantine: Quarantine,
}

impl ClaimDir {
    /// Makes a new home and locks it.
    pub(super) fn create(private: &Path) -> io::Result<Self> {
        let path = private.join(uuid::Uuid::new_v4().to_string());
        std::fs::create_dir(&path)?;
        match Self::create_lock(&path) {
            Ok(lock) => Ok(Self {
                path,
                names: Mutex::default(),
                lock,
            }),
            Err(error) => {
                // It is tried again: each try would leave one.
                if let Err(error) = std::fs::remove_dir_all(&path) {
                    debug!(folder = %path.display(), %error, "an unlocked folder stays behind: it can be deleted");
                }
                Err(error)
            }
        }
    }

    fn create_lock(path: &Path) -> io::Result<File> {
        // Locked under another name first: a host that finds `lock` finds it locked.
        let unlocked = path.join(".lock");
        let lock = File::create(&unlocked)?;
        lock.try_lock()?;
        std::fs::rename(unlocked, path.join(LOCK))?;
        Ok(lock)
    }

    /// Whether a source's folder is the one that this home is in.
    pub(super) fn is_in(&self, folder: &PresentFolder) -> Result<bool, FolderError> {
        let path = self.relative().join(LOCK);
        let own = self.lock.metadata().map_err(FolderError::at("look at", &path))?;
        Ok(folder.file(&path)? == Some((own.dev(), own.ino())))
    }

    /// Its path in the source's folder.
    fn relative(&self) -> PathBuf {
        Path::new(PRIVATE).join(self.path.file_name().unwrap_or_default())
    }

    /// Takes over the homes of hosts that are gone, with the claims in them.
    pub(super) fn adopt_all(private: &Path) -> io::Result<Vec<Claim>> {
        let mut claims = Vec::new();
        for entry in std::fs::read_dir(private)? {
            let path = entry?.path();
            match Self::adopt(path.clone()) {
                Ok(Some(claim_dir)) => claims.extend(Arc::new(claim_dir).claims()?),
                Ok(None) => {}
                Err(error) => {
                    warn!(folder = %path.display(), %error, "cannot read the claims of another host: they wait for its return, or for another start")
                }
            }
        }
        Ok(claims)
    }

    fn adopt(path: PathBuf) -> io::Result<Option<Self>> {
        let lock = match File::open(path.join(LOCK)) {
            Ok(lock) => lock,
            // Not a home, or one that is just being made or removed.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self {
                path,
                names: Mutex::default(),
                lock,
            })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Reads the claims that lie in a home.
    fn claims(self: Arc<Self>) -> io::Result<Vec<Claim>> {
        let mut claims = Vec::new();
        for slot in read_dir_if_there(&self.path)? {
            let slot = slot?;
            let Some((phase, attempt)) = parse_slot(&slot.file_name()) else {
                continue;
            };
            for file in read_dir_if_there(&slot.path())? {
                let name = file?.file_name();
                if let Some(mut claim) = Self::claim(&self, name) {
                    (claim.phase, claim.attempt) = (phase, attempt);
                    claim.quarantine = phase.left_behind();
                    claim.redelivered = claim.quarantine != Quarantine::None;
                    claims.push(claim);
                }
            }
        }
        Ok(claims)
    }

    /// Reserves a name; `None` while a file of this name is claimed already.
    pub(super) fn claim(claim_dir: &Arc<Self>, name: OsString) -> Option<Claim> {
        let is_free = claim_dir
            .names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.clone());
        is_free.then(|| Claim {
            claim_dir: Arc::clone(claim_dir),
            phase: ClaimPhase::Running,
            name,
            attempt: 1,
            redelivered: false,
            quarantine: Quarantine::None,
        })
    }

    fn slot(&self, phase: ClaimPhase, attempt: u32) -> PathBuf {
        self.path.join(phase.slot(attempt))
    }

    /// Removes the home where nothing is left in it.
    fn remove_if_empty(&self) -> io::Result<()> {
        for entry in read_dir_if_there(&self.path)? {
            let entry = entry?;
            if entry.file_name() != LOCK {
                std::fs::remove_dir(entry.path())?;
            }
        }
        // The lock goes last: a kill between these steps leaves an empty folder, never claims without a lock.
        std::fs::remove_file(self.path.join(LOCK))?;
        std::fs::remove_dir(&self.path)
    }
}

impl ClaimPhase {
    /// The name of the directory of files in this phase.
    fn slot(self, attempt: u32) -> String {
        match self {
            Self::Running => format!("taken.{attempt}"),
            Self::Waiting => format!("waiting.{attempt}"),
            Self::Quarantined { crash_count } => format!("apart.{crash_count}.{attempt}"),
            Self::RunningQuarantined { crash_count } => format!("alone.{crash_count}.{attempt}"),
        }
    }

    /// The quarantine of a file in this phase when its host is gone. A file that only waited cannot be the cause.
    fn left_behind(self) -> Quarantine {
        match self {
            Self::Running => Quarantine::of_ordinary(true),
            Self::Waiting => Quarantine::of_ordinary(false),
            Self::Quarantined { crash_count } => Quarantine::of_quarantined(false, crash_count),
            Self::RunningQuarantined { crash_count } => Quarantine::of_quarantined(true, crash_count),
        }
    }
}

impl Drop for ClaimDir {
    fn drop(&mut self) {
        match self.remove_if_empty() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => debug!(folder = %self.path.display(), %error, "claims stay for the next host"),
        }
    }
}

impl Claim {
    /// The file's name, as its writer gave it.
    pub(super) fn name(&self) -> &OsStr {
        &self.name
    }

    /// The directory that the file lies in.
    pub(super) fn directory(&self) -> PathBuf {
        self.claim_dir.slot(self.phase, self.attempt)
    }

    /// Where the file lies.
    pub(super) fn path(&self) -> PathBuf {
        self.directory().join(&self.name)
    }

    /// Whether the file is not in a source's folder, under its home: another process removed it, or the folder is another
    /// one than that which it was taken from.
    pub(super) fn is_missing_from(&self, folder: &PresentFolder) -> Result<bool, FolderError> {
        let slot = self.claim_dir.relative().join(self.phase.slot(self.attempt));
        Ok(folder.file(&slot.join(&self.name))?.is_none())
    }

    /// Its phase.
    pub(super) fn phase(&self) -> ClaimPhase {
        self.phase
    }

    /// Whether it was quarantined, and no crash is known since.
    pub(super) fn is_in_quarantine(&self) -> bool {
        matches!(self.quarantine, Quarantine::Inside { .. })
    }

    /// Makes the file's path safe from a power cut.
    pub(super) fn sync(&self) -> io::Result<()> {
        sync_directory(&self.directory())?;
        sync_directory(&self.claim_dir.path)
    }

    /// Takes the file into the home: the rename that makes it ours.
    pub(super) fn take_from(&self, folder: &Path) -> io::Result<()> {
        ensure_directory(&self.directory())?;
        rename_new(&folder.join(&self.name), &self.path())
    }

    /// Moves the file within its home; nothing changes on an error.
    pub(super) fn advance(&mut self, phase: ClaimPhase, attempt: u32) -> io::Result<()> {
        if (phase, attempt) == (self.phase, self.attempt) {
            return Ok(());
        }
        let slot = self.claim_dir.slot(phase, attempt);
        ensure_directory(&slot)?;
        rename_new(&self.path(), &slot.join(&self.name))?;
        (self.phase, self.attempt) = (phase, attempt);
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claim_dir
            .names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.name);
    }
}

fn parse_slot(name: &OsStr) -> Option<(ClaimPhase, u32)> {
    let mut parts = name.to_str()?.split('.');
    let phase = parts.next()?;
    let mut number = || parts.next()?.parse::<u32>().ok();
    let phase = match phase {
        "taken" => ClaimPhase::Running,
        "waiting" => ClaimPhase::Waiting,
        "apart" => ClaimPhase::Quarantined { crash_count: number()? },
        "alone" => ClaimPhase::RunningQuarantined { crash_count: number()? },
        _ => return None,
    };
    Some((phase, number()?))
}

/// The entries of a directory; none where it is gone.
fn read_dir_if_there(path: &Path) -> io::Result<impl Iterator<Item = io::Result<std::fs::DirEntry>>> {
    match std::fs::read_dir(path) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(error),
    }
}
