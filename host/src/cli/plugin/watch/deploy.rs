//! Gives a plugin to the host that runs a file: the new one over the old one, and a reload. Knows no crate.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::cli::control::{self, Reloaded};
use crate::cli::output::plain;
use crate::config::{Config, Name};

/// Where a plugin goes.
#[derive(Debug)]
pub(super) struct Deployment {
    file: PathBuf,
    plugin: Name,
}

impl Deployment {
    /// To the host that runs this file, as the plugin of that name in it. Neither needs to be there yet.
    ///
    /// # Errors
    /// When there can be no such name.
    pub(super) fn new(file: PathBuf, plugin: String) -> anyhow::Result<Self> {
        match Name::new(&plugin) {
            Some(plugin) => Ok(Self { file, plugin }),
            None => bail!(
                "`{}` cannot be the name of a plugin: --plugin names it",
                plain(&plugin, 63)
            ),
        }
    }

    /// Gives it to the host, and says what came of it.
    ///
    /// # Errors
    /// When there is no way to give it, or the host refuses it; its file is then as it was.
    pub(super) async fn give(&self, wasm: &Path) -> anyhow::Result<String> {
        let shown = plain(&self.file.display().to_string(), 4096);
        let target = self.target()?;
        if !control::is_there(&self.file).await? {
            return Ok(format!("no host runs {shown}: nobody is given it"));
        }
        let swap = Swap::make(wasm, &target).with_context(|| format!("cannot write {}", target.display()))?;
        let reloaded = control::reload_of(&self.file).await;
        if !matches!(reloaded, Ok(Reloaded::Made(_))) {
            swap.undo()
                .with_context(|| format!("cannot write {} as it was", target.display()))?;
        }
        match reloaded? {
            Reloaded::Made(told) => Ok(told),
            Reloaded::Not(told) => bail!(
                "{}\n{} is as it was",
                told.trim_end(),
                plain(&target.display().to_string(), 4096)
            ),
        }
    }

    /// The file that it has in `plugins.toml`; the rest of that file may have mistakes.
    fn target(&self) -> anyhow::Result<PathBuf> {
        let sound = match Config::load(&self.file) {
            Ok((config, _)) => config.errors().sound(),
            Err(errors) => errors.sound(),
        };
        match sound.plugins.get(&self.plugin) {
            Some(plugin) if plugin.sha256.is_some() => bail!(
                "{} pins the sha256 of the plugin `{}`: no other file may have it",
                self.file.display(),
                self.plugin
            ),
            Some(plugin) => Ok(plugin.path.clone()),
            None => {
                let names: Vec<String> = sound.plugins.keys().map(|name| format!("`{name}`")).collect();
                bail!(
                    "{} has no plugin `{}` that is right, but {}: --plugin names another",
                    self.file.display(),
                    self.plugin,
                    if names.is_empty() {
                        "none".to_owned()
                    } else {
                        names.join(", ")
                    }
                )
            }
        }
    }
}

/// A file in the place of another.
struct Swap {
    target: PathBuf,
    /// What was there; none where it is the same file.
    before: Option<PathBuf>,
}

impl Swap {
    /// Puts a copy in the place of a file at once: a host that reads it meanwhile sees one or the other.
    fn make(wasm: &Path, target: &Path) -> io::Result<Self> {
        // Through links: what a link names is replaced, and the link stays.
        let target = std::fs::canonicalize(target)?;
        if std::fs::canonicalize(wasm)? == target {
            return Ok(Self { target, before: None });
        }
        let (fresh, before) = (beside(&target, "new"), beside(&target, "before"));
        std::fs::copy(wasm, &fresh)?;
        std::fs::copy(&target, &before)?;
        std::fs::rename(&fresh, &target)?;
        Ok(Self {
            target,
            before: Some(before),
        })
    }

    /// Puts back what was there.
    fn undo(&self) -> io::Result<()> {
        match &self.before {
            Some(before) => std::fs::rename(before, &self.target),
            None => Ok(()),
        }
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        if let Some(before) = &self.before
            && let Err(error) = std::fs::remove_file(before)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, file = %before.display(), "cannot remove what was kept");
        }
    }
}

/// A hidden name in the same folder, so that a rename stays on one disk.
fn beside(path: &Path, what: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_leaves_nothing_behind_and_can_be_undone() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();
        std::fs::write(path("new.wasm"), "new").unwrap();
        std::fs::write(path("real.wasm"), "old").unwrap();
        std::os::unix::fs::symlink(path("real.wasm"), path("link.wasm")).unwrap();
        let swap = Swap::make(&path("new.wasm"), &path("link.wasm")).unwrap();
        assert_eq!(read("real.wasm"), "new");
        swap.undo().unwrap();
        drop(swap);
        assert_eq!(read("link.wasm"), "old");
        drop(Swap::make(&path("new.wasm"), &path("link.wasm")).unwrap());
        assert_eq!(read("real.wasm"), "new");
        let same = Swap::make(&path("real.wasm"), &path("link.wasm")).unwrap();
        same.undo().unwrap();
        assert_eq!(read("link.wasm"), "new");
        assert!(path("link.wasm").is_symlink());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn the_plugin_is_found_in_a_file_with_other_mistakes() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("crop.wasm"), "").unwrap();
        std::fs::write(
            path("plugins.toml"),
            "[plugin.crop]\npath = \"crop.wasm\"\n[pipeline.x]\nmistake = 1\n",
        )
        .unwrap();
        let target = |plugin: &str| {
            Deployment::new(path("plugins.toml"), plugin.to_owned())
                .unwrap()
                .target()
        };
        assert_eq!(target("crop").unwrap(), path("crop.wasm"));
        let error = target("other").unwrap_err().to_string();
        assert!(
            error.ends_with("has no plugin `other` that is right, but `crop`: --plugin names another"),
            "{error}"
        );
        assert!(Deployment::new(path("x"), "No Name".to_owned()).is_err());
    }
}
