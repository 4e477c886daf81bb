//! A folder that is made aside and appears whole, or not at all. Knows nothing of what is in it.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use crate::cli::model::steps::Steps;

/// Bytes that are copied at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// The file that marks a folder that may be replaced.
const MANIFEST: &str = millrace_models::MANIFEST_FILE;

/// A folder beside its final place. It is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    to: PathBuf,
    aside: PathBuf,
    stopped: &'a AtomicBool,
    is_done: bool,
}

/// Whether something may be in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    /// Nothing may be there.
    Refuse,
    /// A model folder is replaced.
    Replace,
}

impl<'a> Stage<'a> {
    /// Begins a folder that will be at `to`.
    ///
    /// # Errors
    /// When something is there that may not be replaced, or the folder cannot be made.
    pub(super) fn begin(to: &Path, existing: Existing, stopped: &'a AtomicBool) -> anyhow::Result<Self> {
        refuse(to, existing)?;
        let name = to
            .file_name()
            .with_context(|| format!("--out: `{}` has no name for a folder", to.display()))?;
        let parent = match to.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let aside = parent.join(format!(".{}.{}.partial", name.to_string_lossy(), std::process::id()));
        let made = std::fs::create_dir_all(parent).and_then(|()| std::fs::create_dir(&aside));
        made.with_context(|| format!("cannot make the folder `{}`", aside.display()))?;
        Ok(Self {
            to: to.to_owned(),
            aside,
            stopped,
            is_done: false,
        })
    }

    /// Where it is until it is done.
    pub(super) fn folder(&self) -> &Path {
        &self.aside
    }

    /// Copies a file to a path within the folder. Yields its SHA-256 and its length.
    ///
    /// # Errors
    /// When it cannot be read or written, or the verb was stopped.
    pub(super) fn copy(&self, from: &Path, name: &str, steps: &Steps) -> anyhow::Result<(String, u64)> {
        let to = self.within(name)?;
        let cannot_read = || format!("cannot read `{}`", from.display());
        let cannot_write = || format!("cannot write `{}`", to.display());
        let mut source = File::open(from).with_context(cannot_read)?;
        let n_all = source.metadata().with_context(cannot_read)?.len();
        steps.now(
            &format!("copying {name}"),
            usize::try_from(n_all >> 20).unwrap_or(usize::MAX),
        );
        let mut target = File::create(&to).with_context(cannot_write)?;
        let (mut digest, mut n_bytes, mut chunk) = (Sha256::new(), 0_u64, vec![0; CHUNK_BYTES]);
        loop {
            self.go_on()?;
            let n_read = source.read(&mut chunk).with_context(cannot_read)?;
            let Some(part) = chunk.get(..n_read).filter(|part| !part.is_empty()) else {
                break;
            };
            digest.update(part);
            target.write_all(part).with_context(cannot_write)?;
            n_bytes += n_read as u64;
            steps.at(usize::try_from(n_bytes >> 20).unwrap_or(usize::MAX));
        }
        target.sync_all().with_context(cannot_write)?;
        let digest = digest.finalize();
        Ok((digest.iter().map(|byte| format!("{byte:02x}")).collect(), n_bytes))
    }

    /// Writes a text into the folder.
    ///
    /// # Errors
    /// When it cannot be written, or the verb was stopped.
    pub(super) fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        self.go_on()?;
        let to = self.within(name)?;
        let written = File::create(&to).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.with_context(|| format!("cannot write `{}`", to.display()))
    }

    /// Moves the folder to where it is to be.
    ///
    /// # Errors
    /// When something came in the way, or the verb was stopped.
    pub(super) fn finish(mut self, existing: Existing) -> anyhow::Result<()> {
        self.go_on()?;
        refuse(&self.to, existing)?;
        let cannot = || format!("cannot move the new folder to `{}`", self.to.display());
        let mut old = self.aside.as_os_str().to_owned();
        old.push(".old");
        let old = PathBuf::from(old);
        let had_one = match std::fs::rename(&self.to, &old) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(error).with_context(cannot),
        };
        if let Err(error) = std::fs::rename(&self.aside, &self.to) {
            if had_one {
                std::fs::rename(&old, &self.to).with_context(cannot)?;
            }
            return Err(error).with_context(cannot);
        }
        self.is_done = true;
        if had_one {
            std::fs::remove_dir_all(&old)
                .with_context(|| format!("cannot remove the old folder, which is `{}` now", old.display()))?;
        }
        Ok(())
    }

    /// A path in the folder, whose parents are made.
    fn within(&self, name: &str) -> anyhow::Result<PathBuf> {
        let is_plain = Path::new(name)
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if name.is_empty() || !is_plain {
            bail!("`{}` is not a path within the folder", name.escape_debug());
        }
        let path = self.aside.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("cannot make the folder `{}`", parent.display()))?;
        }
        Ok(path)
    }

    fn go_on(&self) -> anyhow::Result<()> {
        match self.stopped.load(Ordering::Relaxed) {
            true => bail!("stopped: nothing was written"),
            false => Ok(()),
        }
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        if !self.is_done
            && let Err(error) = std::fs::remove_dir_all(&self.aside)
        {
            crate::streams::error(format_args!("cannot remove `{}`: {error}", self.aside.display()));
        }
    }
}

/// Says what is in the way.
fn refuse(to: &Path, existing: Existing) -> anyhow::Result<()> {
    if std::fs::symlink_metadata(to).is_err() {
        return Ok(());
    }
    if existing == Existing::Refuse {
        bail!(
            "`{}` exists: replace the model folder with --force, or name another with --out",
            to.display()
        );
    }
    let mut entries = std::fs::read_dir(to).with_context(|| {
        format!(
            "`{}` is not a folder, and --force replaces only model folders",
            to.display()
        )
    })?;
    if !to.join(MANIFEST).exists() && entries.next().is_some() {
        bail!(
            "`{}` holds no {MANIFEST}, and --force replaces only model folders",
            to.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    static GOES_ON: AtomicBool = AtomicBool::new(false);
    static STOPPED: AtomicBool = AtomicBool::new(true);

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_appears_whole_or_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let to = root.path().join("models/cats");
        let from = root.path().join("cats.onnx");
        std::fs::write(&from, "abc").unwrap();
        let steps = Steps::begin("test");

        let stage = Stage::begin(&to, Existing::Refuse, &GOES_ON).unwrap();
        let (digest, n_bytes) = stage.copy(&from, "data/cats.onnx", &steps).unwrap();
        assert_eq!((&digest[..8], n_bytes), ("ba7816bf", 3));
        stage.write(MANIFEST, "name = \"cats\"\n").unwrap();
        assert!(!to.exists());
        stage.finish(Existing::Refuse).unwrap();
        assert_eq!(names(&to), ["data", MANIFEST]);
        assert_eq!(names(&root.path().join("models")), ["cats"]);

        let error = Stage::begin(&to, Existing::Refuse, &GOES_ON).unwrap_err().to_string();
        assert!(error.contains("exists: replace"), "{error}");
        let stage = Stage::begin(&to, Existing::Replace, &GOES_ON).unwrap();
        stage.write(MANIFEST, "name = \"dogs\"\n").unwrap();
        assert_eq!(names(&to), ["data", MANIFEST], "the old one serves until then");
        stage.finish(Existing::Replace).unwrap();
        assert_eq!(names(&to), [MANIFEST]);
        assert_eq!(names(&root.path().join("models")), ["cats"]);
    }

    #[test]
    fn what_is_stopped_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let to = root.path().join("cats");
        let stage = Stage::begin(&to, Existing::Refuse, &STOPPED).unwrap();
        assert_eq!(
            stage.write("a", "b").unwrap_err().to_string(),
            "stopped: nothing was written"
        );
        drop(stage);
        assert!(names(root.path()).is_empty());
    }

    #[test]
    fn only_model_folders_are_replaced_and_nothing_leaves_them() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("letter.txt"), "dear").unwrap();
        let error = Stage::begin(root.path(), Existing::Replace, &GOES_ON)
            .unwrap_err()
            .to_string();
        assert!(error.contains("holds no model.toml"), "{error}");
        let error = Stage::begin(&root.path().join("letter.txt"), Existing::Replace, &GOES_ON).unwrap_err();
        assert!(error.to_string().contains("is not a folder"), "{error}");
        let stage = Stage::begin(&root.path().join("cats"), Existing::Refuse, &GOES_ON).unwrap();
        for name in ["../a", "/a", ""] {
            assert!(
                stage
                    .write(name, "b")
                    .unwrap_err()
                    .to_string()
                    .contains("not a path within")
            );
        }
    }
}
