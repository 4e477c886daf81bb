//! A folder by its name, which another folder may come to have, or none. Changes nothing; all of it blocks.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, OFlags};

use super::FolderError;

/// A folder's name, and what is known of the folder that had it first.
#[derive(Debug, Clone)]
pub(super) struct NamedFolder {
    path: PathBuf,
    /// Whether a file system was mounted right there. Once it is not, the bare place is no folder of ours, and on
    /// another disk.
    was_mounted: bool,
}

/// The folder that has the name now, held open: what is asked of it concerns one folder.
#[derive(Debug)]
pub(super) struct PresentFolder {
    file: File,
    path: PathBuf,
}

/// A file's device and number.
pub(super) type Identity = (u64, u64);

impl NamedFolder {
    /// A folder as it is now.
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            was_mounted: open_directory(path).is_ok_and(|file| is_mounted(&file).unwrap_or(false)),
        }
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that has the name now.
    ///
    /// # Errors
    /// There is none, it cannot be listed, or the file system that was mounted there is not.
    pub(super) fn open(&self) -> Result<PresentFolder, FolderError> {
        let failed = FolderError::at("open", &self.path);
        let file = open_directory(&self.path).map_err(&failed)?;
        if self.was_mounted && !is_mounted(&file).map_err(&failed)? {
            return Err(FolderError::Unmounted {
                path: self.path.clone(),
            });
        }
        Ok(PresentFolder {
            file,
            path: self.path.clone(),
        })
    }
}

impl PresentFolder {
    /// The device of its file system.
    pub(super) fn device(&self) -> Result<u64, FolderError> {
        let metadata = self.file.metadata().map_err(FolderError::at("open", &self.path))?;
        Ok(metadata.dev())
    }

    /// Makes sure that files can be moved out of it.
    pub(super) fn may_take(&self) -> Result<(), FolderError> {
        let rights = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
        rustix::fs::accessat(&self.file, ".", rights, AtFlags::EACCESS)
            .map_err(|error| FolderError::at("take files from", &self.path)(error.into()))
    }

    /// Which file has a path in it, links not followed; none where there is no such file.
    pub(super) fn file(&self, path: &Path) -> Result<Option<Identity>, FolderError> {
        match rustix::fs::statat(&self.file, path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(it) => Ok(Some((it.st_dev, it.st_ino))),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
            Err(error) => Err(FolderError::at("look into", &self.path)(error.into())),
        }
    }
}

fn open_directory(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::DIRECTORY.bits().cast_signed())
        .open(path)
}

/// Whether a directory is where a file system is mounted. One that another directory of the same file system is mounted on
/// cannot be told from any other.
fn is_mounted(directory: &File) -> io::Result<bool> {
    let (own, above) = (
        directory.metadata()?,
        rustix::fs::statat(directory, "..", AtFlags::empty())?,
    );
    Ok(own.dev() != above.st_dev)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_where_a_file_system_was_mounted_is_no_folder_without_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut named = NamedFolder::new(folder.path());
        assert!(!named.was_mounted);
        named.open().unwrap();
        named.was_mounted = true;
        assert!(matches!(named.open(), Err(FolderError::Unmounted { .. })));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_mounted_file_system_is_told_from_a_folder() {
        let proc = NamedFolder::new(Path::new("/proc"));
        assert!(proc.was_mounted);
        proc.open().unwrap();
    }

    #[test]
    fn only_a_folder_can_be_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let named = NamedFolder::new(&path);
        assert!(named.open().is_err());
        std::fs::write(&path, "").unwrap();
        assert!(named.open().is_err());
    }
}
