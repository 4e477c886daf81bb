//! The subject of a command: a plugin's file, or the crate that it is built from. Asks cargo, and builds nothing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, bail};
use serde::Deserialize;

/// The targets that cargo builds plugins for.
const TARGETS: [&str; 2] = ["wasm32-wasip2", "wasm32-unknown-unknown"];

/// Where it puts them.
const PROFILES: [&str; 2] = ["release", "debug"];

/// Folders within folders of sources.
const DEPTH_MAX: usize = 16;

/// The largest file of settings that is read.
const SETTINGS_MAX_BYTES: u64 = 1 << 20;

/// A plugin's file, with its cases.
#[derive(Debug)]
pub(super) struct Subject {
    /// The file.
    pub(super) wasm: PathBuf,
    /// The default place of its cases.
    pub(super) cases: PathBuf,
    /// Where pictures of failures go.
    pub(super) pictures: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    crate_types: Vec<String>,
}

impl Subject {
    /// Finds what a path means.
    ///
    /// # Errors
    /// When there is nothing, or something that is older than its sources.
    pub(super) fn of(path: &Path) -> anyhow::Result<Self> {
        if path.is_dir() {
            return Self::of_crate(path);
        }
        if !path.is_file() {
            bail!("`{}` is neither a plugin's file nor its crate", path.display());
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        Ok(Self {
            wasm: path.to_owned(),
            cases: folder.join("cases"),
            pictures: private_folder(),
        })
    }

    fn of_crate(folder: &Path) -> anyhow::Result<Self> {
        let manifest = folder.join("Cargo.toml");
        if !manifest.is_file() {
            bail!("`{}` is not a crate: it has no Cargo.toml", folder.display());
        }
        let Metadata {
            packages,
            target_directory,
        } = metadata(&manifest)?;
        let manifest = manifest.canonicalize()?;
        let is_it = |package: &Package| package.manifest_path.canonicalize().is_ok_and(|path| path == manifest);
        let package = packages.into_iter().find(is_it);
        let package = package.with_context(|| format!("`{}` is not a package", folder.display()))?;
        let is_plugin = |target: &Target| target.crate_types.iter().any(|kind| kind == "cdylib");
        let Some(library) = package.targets.iter().find(|target| is_plugin(target)) else {
            bail!("`{}` is not a plugin: its library is not a `cdylib`", package.name);
        };
        let file = format!("{}.wasm", library.name.replace('-', "_"));
        let built = TARGETS.into_iter().flat_map(|target| {
            let (folder, file) = (target_directory.join(target), file.clone());
            PROFILES.map(move |profile| folder.join(profile).join(&file))
        });
        let newest = built.filter_map(|path| Some((changed(&path)?, path))).max();
        let build = format!("build it first: millrace plugin build {}", folder.display());
        let Some((built, wasm)) = newest else {
            bail!(
                "`{}` is not built: there is no {file} in `{}`; {build}",
                package.name,
                target_directory.display()
            );
        };
        if let Some((_, source)) = newest_source(folder).filter(|(changed, _)| *changed > built) {
            bail!("`{}` is older than `{}`; {build}", wasm.display(), source.display());
        }
        Ok(Self {
            wasm,
            cases: folder.join("cases"),
            pictures: target_directory.join("cases").join(package.name),
        })
    }
}

/// Where cargo builds the crate in a folder.
///
/// # Errors
/// When cargo does not say.
pub(super) fn target_directory(folder: &Path) -> anyhow::Result<PathBuf> {
    Ok(metadata(&folder.join("Cargo.toml"))?.target_directory)
}

fn metadata(manifest: &Path) -> anyhow::Result<Metadata> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"]);
    let asked = command.arg(manifest).output();
    let answer = asked.context("cannot run cargo to find its target folder; name the .wasm file itself instead")?;
    if !answer.status.success() {
        bail!(
            "cargo cannot read it: {}",
            String::from_utf8_lossy(&answer.stderr).trim()
        );
    }
    Ok(serde_json::from_slice(&answer.stdout)?)
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

/// The source that was changed last.
fn newest_source(folder: &Path) -> Option<(SystemTime, PathBuf)> {
    let mut newest = None;
    for name in ["Cargo.toml", "build.rs"] {
        let path = folder.join(name);
        newest = newest.max(changed(&path).map(|changed| (changed, path)));
    }
    newest.max(newest_in(&folder.join("src"), DEPTH_MAX))
}

fn newest_in(folder: &Path, depth: usize) -> Option<(SystemTime, PathBuf)> {
    let entries = std::fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let newest = entries.filter_map(|entry| match entry.file_type().ok()?.is_dir() {
        true => newest_in(&entry.path(), depth.checked_sub(1)?),
        false => Some((changed(&entry.path())?, entry.path())),
    });
    newest.max()
}

/// A new folder with a name that cannot be guessed.
fn private_folder() -> PathBuf {
    std::env::temp_dir().join(format!("millrace-cases-{}", uuid::Uuid::new_v4()))
}

/// Settings as a JSON object: a file of JSON or TOML, or JSON itself.
pub(in crate::cli) fn read_settings(text: &str) -> anyhow::Result<String> {
    let path = Path::new(text);
    let ending = path.extension().and_then(|ending| ending.to_str());
    let object: serde_json::Map<String, serde_json::Value> = match ending {
        Some(ending @ ("toml" | "json")) if !text.trim_start().starts_with('{') => {
            let length = std::fs::metadata(path)
                .with_context(|| format!("cannot read `{text}`"))?
                .len();
            if length > SETTINGS_MAX_BYTES {
                bail!("`{text}` has {length} bytes, more than settings may have");
            }
            let content = std::fs::read_to_string(path).with_context(|| format!("cannot read `{text}`"))?;
            match ending {
                "toml" => toml::from_str(&content).with_context(|| format!("`{text}` is not a table of settings"))?,
                _ => {
                    serde_json::from_str(&content).with_context(|| format!("`{text}` is not an object of settings"))?
                }
            }
        }
        _ => serde_json::from_str(text).context("settings are a JSON object, or a .json or .toml file")?,
    };
    Ok(serde_json::Value::Object(object).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_json_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("s.toml"), "resize = \"nearest\"\n[deep]\na = [1]\n").unwrap();
        std::fs::write(path("s.json"), "{\"a\": 1}").unwrap();
        let read = |text: &str| read_settings(text).unwrap();
        assert_eq!(read(&path("s.toml")), r#"{"deep":{"a":[1]},"resize":"nearest"}"#);
        assert_eq!(read(&path("s.json")), r#"{"a":1}"#);
        assert_eq!(read(r#"{"file": "a.toml"}"#), r#"{"file":"a.toml"}"#);
        assert!(read_settings("resize").is_err());
        assert!(read_settings(&path("none.toml")).is_err());
    }
}
