//! Gives a plugin to the host that runs a file: the new one over the old one, and a reload; and takes it away again where it
//! does not stay. Knows no crate.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use crate::cli::control::{self, Before, Followed, Reloaded};
use crate::cli::output::plain;
use crate::config::{Config, Name};
use crate::transport::REGISTRY;

/// Versions that are kept to be put back, and what they may have together: a trial goes back to the last one that is proven,
/// however many were saved since.
const VERSIONS_MAX: usize = 16;
const VERSIONS_MAX_BYTES: usize = 64 << 20;

/// Where a plugin goes.
#[derive(Debug)]
pub(super) struct Deployment {
    file: PathBuf,
    plugin: Name,
    // The content before, the oldest first.
    versions: VecDeque<Version>,
}

/// A file's content that may be put back.
#[derive(Debug)]
struct Version {
    digest: String,
    bytes: Vec<u8>,
}

/// The outcome of giving a plugin to a host. The words are harmless.
pub(super) enum Given {
    /// No host is there to take it.
    NoHost(String),
    /// The host serves it, for now.
    Serves { told: String, followed: Box<Followed> },
    /// The host refuses it; its file is as it was.
    Refused(String),
}

impl Deployment {
    /// To the host that runs this file, as the plugin of that name in it. Neither needs to be there yet.
    ///
    /// # Errors
    /// When the name is not valid.
    pub(super) fn new(file: PathBuf, plugin: String) -> anyhow::Result<Self> {
        match Name::new(&plugin) {
            Some(plugin) => Ok(Self {
                file,
                plugin,
                versions: VecDeque::new(),
            }),
            None => bail!(
                "`{}` cannot be the name of a plugin: name it with --plugin",
                plain(&plugin, 63)
            ),
        }
    }

    /// Gives it to the host, and says what came of it.
    ///
    /// # Errors
    /// When it cannot be given; its file is then as it was.
    pub(super) async fn give(&mut self, wasm: &Path) -> anyhow::Result<Given> {
        let shown = plain(&self.file.display().to_string(), 4096);
        let target = self.target()?;
        let target_shown = plain(&target.display().to_string(), 4096);
        if !control::is_there(&self.file).await? {
            let written = match target.exists() {
                true => String::new(),
                // Without it no host can begin.
                false => {
                    std::fs::copy(wasm, &target).with_context(|| format!("cannot write {target_shown}"))?;
                    format!("\n{target_shown} did not exist, and is this version now")
                }
            };
            return Ok(Given::NoHost(format!(
                "no host runs {shown}: not given to a host{written}"
            )));
        }
        self.keep(&target);
        let before = Before::now(&self.file, self.plugin.as_str()).await?;
        let swap = Swap::make(wasm, &target).with_context(|| format!("cannot write {target_shown}"))?;
        let reloaded = control::reload_of(&self.file).await;
        if !matches!(reloaded, Ok(Reloaded::Made { .. })) {
            swap.undo()
                .with_context(|| format!("cannot write {target_shown} as it was"))?;
        }
        Ok(match reloaded? {
            Reloaded::Made { told, change } => Given::Serves {
                told,
                followed: Box::new(Followed::new(&self.file, self.plugin.as_str(), *change, before)?),
            },
            Reloaded::Not(told) => Given::Refused(format!("{}\n{target_shown} is as it was", told.trim_end())),
        })
    }

    /// Puts the version with this digest back in its place, and says so.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn put_back(&self, digest: &str) -> anyhow::Result<String> {
        let target = self.target()?;
        let shown = plain(&target.display().to_string(), 4096);
        let short: String = digest.chars().take(12).collect();
        let short = plain(&short, 12);
        let there = std::fs::read(&target).ok().map(|bytes| digest_of(&bytes));
        if there.as_deref() == Some(digest) {
            return Ok(format!("{shown} is {short}, which serves"));
        }
        let Some(version) = self.versions.iter().find(|version| version.digest == digest) else {
            return Ok(format!(
                "{shown} is still the version that was undone, while {short} serves: save it again, or copy another version over it"
            ));
        };
        let real = std::fs::canonicalize(&target).with_context(|| format!("cannot write {shown}"))?;
        let fresh = beside(&real, "new");
        std::fs::write(&fresh, &version.bytes)
            .and_then(|()| std::fs::rename(&fresh, &real))
            .with_context(|| format!("cannot write {shown}"))?;
        Ok(format!("{shown} is {short} again, which serves"))
    }

    /// Keeps what lies in its place.
    fn keep(&mut self, target: &Path) {
        // A file that cannot be read cannot be put back.
        let Ok(bytes) = std::fs::read(target) else { return };
        let digest = digest_of(&bytes);
        self.versions.retain(|version| version.digest != digest);
        self.versions.push_back(Version { digest, bytes });
        let n_bytes = |versions: &VecDeque<Version>| versions.iter().map(|version| version.bytes.len()).sum::<usize>();
        while self.versions.len() > VERSIONS_MAX || n_bytes(&self.versions) > VERSIONS_MAX_BYTES {
            self.versions.pop_front();
        }
    }

    /// Whether its place is within a folder, such as the one that cargo builds in.
    pub(super) fn is_within(&self, folder: &Path) -> bool {
        let Ok(folder) = std::fs::canonicalize(folder) else {
            return false;
        };
        self.target()
            .is_ok_and(|target| control_address(&target).starts_with(folder))
    }

    /// The file that it has in `plugins.toml`; the rest of that file may have mistakes.
    fn target(&self) -> anyhow::Result<PathBuf> {
        let valid_parts = match Config::load(&self.file, &REGISTRY) {
            Ok((config, _)) => config.errors().valid_parts(),
            Err(errors) => errors.valid_parts(),
        };
        match valid_parts.plugins.get(&self.plugin) {
            Some(plugin) if plugin.sha256.is_some() => bail!(
                "{} pins the sha256 of the plugin `{}`: it accepts no other file",
                self.file.display(),
                self.plugin
            ),
            Some(plugin) => Ok(plugin.path.clone()),
            None if let Some(path) = self.not_there() => Ok(path),
            None => {
                let names: Vec<String> = valid_parts.plugins.keys().map(|name| format!("`{name}`")).collect();
                bail!(
                    "{} has no valid plugin `{}`, only {}: name another with --plugin",
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

impl Deployment {
    /// The file that it has, where nothing is wrong with it but that it is not there.
    fn not_there(&self) -> Option<PathBuf> {
        let text = std::fs::read_to_string(&self.file).ok()?;
        let table: toml::Table = text.parse().ok()?;
        let path = table.get("plugin")?.get(self.plugin.as_str())?.get("path")?.as_str()?;
        let path = self.file.parent().unwrap_or(Path::new("")).join(path);
        (!path.exists() && !path.to_string_lossy().contains("${")).then_some(path)
    }
}

/// A file in the place of another.
struct Swap {
    target: PathBuf,
    /// The content before; `None` where it is the same file.
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
            tracing::warn!(%error, file = %before.display(), "cannot remove the copy of the version before");
        }
    }
}

/// A path without links, as far as it is there: what is not built yet has a folder that is there.
fn control_address(path: &Path) -> PathBuf {
    for folder in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (std::fs::canonicalize(folder), path.strip_prefix(folder)) {
            return real.join(rest);
        }
    }
    path.to_owned()
}

fn digest_of(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
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

    fn deployment(folder: &Path, path: &str) -> Deployment {
        let file = folder.join("plugins.toml");
        std::fs::write(&file, format!("[plugin.crop]\npath = \"{path}\"\n")).unwrap();
        Deployment::new(file, "crop".to_owned()).unwrap()
    }

    #[test]
    fn the_version_that_serves_is_put_back_however_many_were_saved_since() {
        let folder = tempfile::tempdir().unwrap();
        let crop = folder.path().join("crop.wasm");
        let write = |version: &str| std::fs::write(&crop, version).unwrap();
        write("first");
        let mut deployment = deployment(folder.path(), "crop.wasm");
        for version in ["second", "third", "fourth"] {
            deployment.keep(&crop);
            write(version);
        }
        let told = deployment.put_back(&digest_of(b"first")).unwrap();
        assert!(told.ends_with("again, which serves"), "{told}");
        assert_eq!(std::fs::read_to_string(&crop).unwrap(), "first");
        let told = deployment.put_back(&digest_of(b"first")).unwrap();
        assert!(told.ends_with("is a7937b64b8ca, which serves"), "{told}");
        let told = deployment.put_back(&digest_of(b"another")).unwrap();
        assert!(told.contains("is still the version that was undone"), "{told}");
        assert_eq!(std::fs::read_to_string(&crop).unwrap(), "first");
        for n in 0..100 {
            write(&n.to_string());
            deployment.keep(&crop);
        }
        assert_eq!(deployment.versions.len(), VERSIONS_MAX);
    }

    #[test]
    fn a_place_that_cargo_builds_in_is_found_by_any_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(path("crate/target/wasm32-unknown-unknown")).unwrap();
        std::fs::write(path("crate/target/crop.wasm"), "").unwrap();
        std::os::unix::fs::symlink(path("crate/target"), path("built")).unwrap();
        std::os::unix::fs::symlink(path("crate/target/crop.wasm"), path("crop.wasm")).unwrap();
        let check = |place: &str, expected: bool| {
            let deployment = deployment(folder.path(), place);
            assert_eq!(deployment.is_within(&path("crate/target")), expected, "{place}");
        };
        check("crate/target/wasm32-unknown-unknown/release/crop.wasm", true);
        check("crate/../crate/target/crop.wasm", true);
        check("built/crop.wasm", true);
        check("crop.wasm", true);
        check("plugins/crop.wasm", false);
        check("crate/crop.wasm", false);
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
            error.ends_with("has no valid plugin `other`, only `crop`: name another with --plugin"),
            "{error}"
        );
        assert!(Deployment::new(path("x"), "No Name".to_owned()).is_err());
    }
}
