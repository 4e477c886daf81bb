//! The sources of a crate: the folders and files whose change is a reason to build. Knows no language.

use std::path::{Path, PathBuf};

/// Folders of a crate that are watched with everything in them.
const FOLDERS: [&str; 4] = ["src", "cases", "wit", "millrace"];

/// Files of a crate that are watched.
const FILES: [&str; 3] = ["Cargo.toml", "Cargo.lock", "build.rs"];

/// Folders that are watched at most: the watch itself has the same bound.
const FOLDERS_MAX: usize = 500;

/// Every path to watch. A folder counts with what lies directly in it.
pub(super) fn of(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = FILES.iter().map(|name| folder.join(name)).collect();
    let mut open: Vec<PathBuf> = FOLDERS.iter().rev().map(|name| folder.join(name)).collect();
    while let Some(path) = open.pop() {
        if paths.len() >= FOLDERS_MAX {
            break;
        }
        let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
        // Not through links: they may lead in a circle.
        let within = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        open.extend(within.map(|entry| entry.path()));
        paths.push(path);
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_within_folders_are_watched() {
        let crate_folder = tempfile::tempdir().unwrap();
        let path = |name: &str| crate_folder.path().join(name);
        std::fs::create_dir_all(path("src/a/b")).unwrap();
        std::fs::create_dir_all(path("target/debug")).unwrap();
        std::os::unix::fs::symlink(path("src"), path("src/a/circle")).unwrap();
        let paths = of(crate_folder.path());
        for name in ["Cargo.toml", "src", "src/a", "src/a/b", "cases"] {
            assert!(paths.contains(&path(name)), "{name}: {paths:?}");
        }
        assert!(
            !paths
                .iter()
                .any(|path| path.ends_with("target") || path.ends_with("circle")),
            "{paths:?}"
        );
    }
}
