//! The folders in which something must happen before a path leads elsewhere, watched by the system. Knows no signature.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use notify::{RecursiveMode, Watcher as _};
use tracing::{debug, warn};

/// Symbolic links that one path may go through, as in Linux.
const LINKS_MAX: usize = 40;

/// Folders that are watched; more paths than that are polled alone.
const FOLDERS_MAX: usize = 1_024;

/// Watches the folders of some paths, as far as the system lets it.
#[derive(Debug)]
pub(super) struct Folders {
    watcher: Option<notify::RecommendedWatcher>,
    /// Those that are watched, each as it was then: a path may come to lead to another folder.
    watched: BTreeMap<PathBuf, Identity>,
    /// Whether unwatched folders were reported.
    is_reported: bool,
}

/// Which folder is at a path. An inode's number is soon given to another, so with the time of its birth where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    born: Option<SystemTime>,
}

impl Folders {
    /// Folders whose events go to the handler.
    pub(super) fn watched(on_event: impl notify::EventHandler) -> Self {
        let watcher = notify::recommended_watcher(on_event);
        let mut folders = Self::polled();
        match watcher {
            Ok(watcher) => folders.watcher = Some(watcher),
            Err(error) => folders.warn(&error),
        }
        folders
    }

    /// Folders of which the system is asked nothing.
    pub(super) fn polled() -> Self {
        Self {
            watcher: None,
            watched: BTreeMap::new(),
            is_reported: false,
        }
    }

    /// Watches the folders that the paths lead through now, and no others.
    pub(super) fn follow(&mut self, paths: impl IntoIterator<Item = impl AsRef<Path>>) {
        let Some(mut watcher) = self.watcher.take() else {
            return;
        };
        let mut wanted = BTreeSet::new();
        for path in paths {
            through(path.as_ref(), &mut wanted);
        }
        let wanted: BTreeMap<PathBuf, Identity> = wanted
            .into_iter()
            .filter_map(|folder| Identity::of(&folder).map(|identity| (folder, identity)))
            .take(FOLDERS_MAX)
            .collect();
        self.watched.retain(|folder, identity| {
            let stays = wanted.get(folder) == Some(identity);
            // One that was deleted is not watched any more.
            if !stays && let Err(error) = watcher.unwatch(folder) {
                debug!(folder = %folder.display(), %error, "folder was not watched");
            }
            stays
        });
        for (folder, identity) in wanted {
            if self.watched.contains_key(&folder) {
                continue;
            }
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(folder, identity);
                }
                Err(error) => self.warn(&error),
            }
        }
        self.watcher = Some(watcher);
    }

    fn warn(&mut self, error: &notify::Error) {
        // A folder that went since it was looked for comes up at the next look.
        if !self.is_reported && !matches!(error.kind, notify::ErrorKind::PathNotFound) {
            warn!(%error, "cannot watch files: polling them instead");
            self.is_reported = true;
        }
    }
}

impl Identity {
    fn of(folder: &Path) -> Option<Self> {
        let found = std::fs::metadata(folder).ok().filter(std::fs::Metadata::is_dir)?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
            born: found.created().ok(),
        })
    }
}

/// Adds the folders that a path leads through where something can change it: those that hold a symbolic link on the way,
/// the one that holds the end of the path, and that end itself with its `samples` where it is a folder. Where the path
/// ends early, the folder in which it does.
fn through(path: &Path, folders: &mut BTreeSet<PathBuf>) {
    let mut at = PathBuf::from("/");
    let mut rest: VecDeque<OsString> = parts(path);
    let mut n_links = 0;
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        if let Ok(target) = std::fs::read_link(&next) {
            folders.insert(at.clone());
            n_links += 1;
            if n_links > LINKS_MAX {
                return;
            }
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            let mut longer = parts(&target);
            longer.append(&mut rest);
            rest = longer;
        } else {
            if rest.is_empty() || !next.exists() {
                folders.insert(at.clone());
            }
            if !next.exists() {
                return;
            }
            at = next;
        }
    }
    if at.is_dir() {
        folders.insert(at.join("samples"));
        folders.insert(at);
    }
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(part) => Some(part.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_leads_through_the_folders_that_hold_its_links_and_its_end() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().canonicalize().unwrap();
        for folder in ["plain/deep", "store/v1", "model/samples"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        for file in ["plain/deep/a", "store/v1/a"] {
            std::fs::write(root.join(file), "").unwrap();
        }
        symlink("../store/v1", root.join("plain/current")).unwrap();
        symlink(root.join("plain/current/a"), root.join("link")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let rows: [(&str, &[&str]); 8] = [
            ("plain/deep/a", &["plain/deep"]),
            ("plain/../plain/./deep/a", &["plain/deep"]),
            ("plain/deep/missing", &["plain/deep"]),
            ("plain/missing/deep/a", &["plain"]),
            ("plain/current/a", &["plain", "store/v1"]),
            ("link", &["", "plain", "store/v1"]),
            ("model", &["", "model", "model/samples"]),
            ("loop", &[""]),
        ];
        for (path, expected) in rows {
            let mut folders = BTreeSet::new();
            through(&root.join(path), &mut folders);
            let expected: BTreeSet<PathBuf> = expected
                .iter()
                .map(|folder| root.join(folder).components().collect())
                .collect();
            assert_eq!(folders, expected, "{path}");
        }
    }
}
