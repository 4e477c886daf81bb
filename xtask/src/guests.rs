//! Builds the plugins, and the guests that tests use, for both wasm targets.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::machine;
use crate::project::Project;
use crate::step;

/// The profile that guests are built with.
const PROFILE: &str = "guest";
/// A component: it imports WASI, which the host links inert.
pub(crate) const COMPONENT: &str = "wasm32-wasip2";
/// A core module with an embedded component type, which the host turns into a component.
const CORE_MODULE: &str = "wasm32-unknown-unknown";

/// The guests that were built.
pub(crate) struct Guests {
    /// The folder: `TARGET/NAME.wasm` in it, NAME being the package's.
    pub(crate) folder: PathBuf,
    files: Vec<PathBuf>,
    packages: Vec<String>,
}

/// Builds all guests and prints where they are.
pub(crate) fn run(project: &Project) -> Result<()> {
    for file in build(project)?.files {
        println!("{}", project.shown(&file));
    }
    Ok(())
}

/// Builds all guests with their profile and gathers them under `guests` in the target folder.
pub(crate) fn build(project: &Project) -> Result<Guests> {
    build_for(project, packages(project)?, &[COMPONENT, CORE_MODULE])
}

/// Builds some guests in the same way, as components alone.
pub(crate) fn build_components(project: &Project, packages: &[&str]) -> Result<Guests> {
    let packages = packages.iter().map(|package| (*package).to_owned());
    build_for(project, packages.collect(), &[COMPONENT])
}

fn build_for(project: &Project, packages: Vec<String>, targets: &[&str]) -> Result<Guests> {
    machine::add_wasm_targets()?;
    let folder = project.target.join("guests");
    let mut files = Vec::new();
    for target in targets {
        let mut cargo = project.cargo(["build", "--profile", PROFILE, "--target", target]);
        select(&mut cargo, &packages);
        step::must_succeed(&mut cargo)?;
        let into = folder.join(target);
        fs::create_dir_all(&into).with_context(|| format!("cannot make {}", into.display()))?;
        let built = project.target.join(target).join(PROFILE);
        for package in &packages {
            files.push(gather(&built, &into, package)?);
        }
    }
    Ok(Guests {
        folder,
        files,
        packages,
    })
}

impl Guests {
    /// Makes a cargo command one about the guests.
    pub(crate) fn select(&self, cargo: &mut Command) {
        select(cargo, &self.packages);
    }

    /// One guest, built as a component.
    pub(crate) fn component(&self, package: &str) -> PathBuf {
        self.folder.join(COMPONENT).join(format!("{package}.wasm"))
    }
}

fn select(cargo: &mut Command, packages: &[String]) {
    for package in packages {
        cargo.args(["--package", package]);
    }
}

/// Cargo names the file after the library, with underscores; people and tests name it after the package.
fn gather(built: &Path, into: &Path, package: &str) -> Result<PathBuf> {
    let from = built.join(format!("{}.wasm", package.replace('-', "_")));
    let to = into.join(format!("{package}.wasm"));
    // Through a rename: a host that is running may be reading the old file.
    let fresh = into.join(format!(".{package}.wasm"));
    fs::copy(&from, &fresh).with_context(|| format!("cannot copy {}", from.display()))?;
    fs::rename(&fresh, &to).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(to)
}

/// Every package under `plugins/` and `tests/guests/` that yields a wasm file; the folder is named after the package.
fn packages(project: &Project) -> Result<Vec<String>> {
    let mut packages = Vec::new();
    for room in ["plugins", "tests/guests"] {
        let room = project.root.join(room);
        let Ok(entries) = fs::read_dir(&room) else { continue };
        for entry in entries {
            let folder = entry?.path();
            let Ok(manifest) = fs::read_to_string(folder.join("Cargo.toml")) else {
                continue;
            };
            if manifest.contains("cdylib") {
                packages.push(name(&manifest).with_context(|| format!("no name in {}", folder.display()))?);
            }
        }
    }
    if packages.is_empty() {
        bail!("no guest found under plugins/");
    }
    packages.sort();
    Ok(packages)
}

fn name(manifest: &str) -> Option<String> {
    let line = manifest.lines().find(|line| line.starts_with("name = "))?;
    Some(line.split('"').nth(1)?.to_owned())
}
