//! Environments of Python with pinned packages, for who brings none. Knows no package.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::project::Project;
use crate::step;

/// What a program in Python needs.
pub(crate) struct Needs {
    /// The file of pinned packages, from the repository's root.
    pub(crate) requirements: &'static str,
    /// Modules that the packages bring, separated by commas.
    pub(crate) imports: &'static str,
    /// What is said before they are installed.
    pub(crate) notice: &'static str,
}

impl Needs {
    /// The given Python, or one of an environment in this folder, which is made where it is not there; its packages were looked at.
    ///
    /// # Errors
    /// When an environment cannot be made, or a package is missing.
    pub(crate) fn python(&self, project: &Project, given: Option<&Path>, folder: &Path) -> Result<PathBuf> {
        let python = match given {
            Some(python) => python.to_owned(),
            None => self.environment(project, folder)?,
        };
        self.must_have_packages(&python)?;
        Ok(python)
    }

    /// Finds out before anything is done whether a Python has what the programs import.
    fn must_have_packages(&self, python: &Path) -> Result<()> {
        let output = Command::new(python)
            .args(["-c", &format!("import {}", self.imports)])
            .output()
            .with_context(|| format!("cannot start {}", python.display()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!(
                "{python} lacks a package: {}\nrun `{python} -m pip install -r {}`, or leave --python out",
                said.trim().lines().last().unwrap_or_default(),
                self.requirements,
                python = python.display(),
            );
        }
        Ok(())
    }

    /// An environment with the pinned packages: made once, and again when the pins change.
    fn environment(&self, project: &Project, folder: &Path) -> Result<PathBuf> {
        let python = folder.join("bin/python");
        let requirements = project.root.join(self.requirements);
        let wanted = std::fs::read(&requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
        let installed = folder.join("requirements.txt");
        if python.exists() && std::fs::read(&installed).is_ok_and(|found| found == wanted) {
            return Ok(python);
        }
        println!("{} into {}.", self.notice, folder.display());
        step::must_succeed(Command::new("python3").args(["-m", "venv"]).arg(folder))
            .context("python3 with its module `venv` is needed (Debian: `apt install python3-venv`), or `--python`")?;
        step::must_succeed(
            Command::new(&python)
                .args(["-m", "pip", "install", "--quiet", "-r"])
                .arg(&requirements),
        )?;
        std::fs::write(&installed, wanted).with_context(|| format!("cannot write {}", installed.display()))?;
        Ok(python)
    }
}
