//! A source's folder, opened: its own folders, the lock that says that this host lives, and the watcher. Knows no file.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{RecursiveMode, Watcher as _};
use tracing::warn;

use super::claim_dir::ClaimDir;
use super::files::{self, ensure_directory};
use super::shared::Shared;
use super::{FolderError, PRIVATE};

/// A folder that files are taken from.
#[derive(Debug)]
pub(super) struct OpenedFolder {
    pub(super) claim_dir: Arc<ClaimDir>,
    pub(super) _watcher: Option<notify::RecommendedWatcher>,
}

impl OpenedFolder {
    /// Makes the folder's own folders where they are missing, and a home in it. Blocks.
    ///
    /// # Errors
    /// The folder is not there, cannot be written to, or its file system cannot lock files.
    pub(super) fn open(shared: &Arc<Shared>) -> Result<Self, FolderError> {
        let private = shared.folder.join(PRIVATE);
        let device = shared.named.open()?.device()?;
        for own in [&private, &shared.done, &shared.dead] {
            ensure_directory(own).map_err(FolderError::at("create", own))?;
            if is_on_another_device(own, device)? {
                return Err(FolderError::OtherFileSystem { path: own.clone() });
            }
        }
        files::sweep(&shared.dead).map_err(FolderError::at("list", &shared.dead))?;
        let claim_dir = ClaimDir::create(&private).map_err(FolderError::at("create and lock a claim in", &private))?;
        Ok(Self {
            claim_dir: Arc::new(claim_dir),
            // Before it is listed: nothing that comes in between is missed.
            _watcher: watch(shared),
        })
    }

    /// Whether the folder that has the name now is this one: our home is in it, with the lock that we hold. Blocks.
    ///
    /// # Errors
    /// There is none, or no file can be taken from it.
    pub(super) fn is_same(&self, shared: &Shared) -> Result<bool, FolderError> {
        let folder = shared.named.open()?;
        folder.may_take()?;
        self.claim_dir.is_in(&folder)
    }
}

fn is_on_another_device(path: &Path, device: u64) -> Result<bool, FolderError> {
    Ok(path.metadata().map_err(FolderError::at("open", path))?.dev() != device)
}

/// Watches the folder; without a watcher it is listed now and then.
fn watch(shared: &Arc<Shared>) -> Option<notify::RecommendedWatcher> {
    let told = Arc::downgrade(shared);
    let tell = move |event: notify::Result<notify::Event>| {
        if let Some(shared) = told.upgrade()
            && let Ok(event) = event
        {
            shared.writers.note(&event);
            if brings_files(event.kind) {
                shared.touch();
            }
        }
    };
    let watcher = notify::recommended_watcher(tell).and_then(|mut watcher| {
        watcher.watch(&shared.folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    watcher
        .inspect_err(
            |error| warn!(folder = %shared.folder.display(), %error, "cannot watch the folder: polling it instead"),
        )
        .ok()
}

/// Whether an event can mean a new or completed file; our own claims are renames away and mean none.
fn brings_files(kind: EventKind) -> bool {
    match kind {
        EventKind::Modify(ModifyKind::Name(mode)) => mode != RenameMode::From,
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        EventKind::Remove(_) => false,
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Other => true,
    }
}
