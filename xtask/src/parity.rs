//! `cargo xtask parity`: networks of torchvision and timm through Millrace, ONNX Runtime and PyTorch, side by side.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::project::Project;
use crate::step;

/// Where the scripts and their requirements are.
const SCRIPTS: &str = "tests/models";

/// What to compare.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Networks of torchvision and timm by name, such as `resnet18`; all of `tests/models/zoo.py` where none is given
    names: Vec<String>,
    /// Times PyTorch as well
    #[arg(long)]
    torch: bool,
    /// Compares alone, and times nothing
    #[arg(long)]
    quick: bool,
    /// Threads of each
    #[arg(long, default_value_t = 1)]
    threads: u32,
    /// Where the exported networks are or will be; beside what cargo builds otherwise. All of them take some 15 GB
    #[arg(long)]
    zoo: Option<PathBuf>,
    /// A Python that has the packages of `tests/models/requirements.txt`; otherwise an environment with them is made
    #[arg(long)]
    python: Option<PathBuf>,
}

/// Exports what is not there yet, and compares.
///
/// # Errors
/// When an environment cannot be made, an export fails, or the outputs differ.
pub(crate) fn run(project: &Project, arguments: &Arguments) -> Result<()> {
    let folder = project.target.join("parity");
    let zoo = arguments.zoo.clone().unwrap_or_else(|| folder.join("zoo"));
    let python = match &arguments.python {
        Some(python) => python.clone(),
        None => environment(project, &folder.join("python"))?,
    };
    has_packages(&python)?;
    let scripts = project.root.join(SCRIPTS);
    let script = |name: &str| {
        let mut command = Command::new(&python);
        command.arg(scripts.join(name)).current_dir(&project.root);
        command
    };
    step::must_succeed(script("zoo.py").arg(&zoo).args(&arguments.names))?;
    let forward = project.build_released("millrace-onnx", "forward")?;
    let mut compare = script("parity.py");
    compare.arg(forward).arg(zoo).args(&arguments.names);
    compare.arg("--threads").arg(arguments.threads.to_string());
    compare.args((!arguments.quick).then_some("--speed"));
    compare.args(arguments.torch.then_some("--torch"));
    step::must_succeed(&mut compare)
}

/// Finds out before anything is exported whether a Python has what the scripts import.
fn has_packages(python: &Path) -> Result<()> {
    let imports = "import numpy, onnx, onnxruntime, onnxscript, safetensors, timm, torch, torchvision";
    let output = Command::new(python)
        .args(["-c", imports])
        .output()
        .with_context(|| format!("cannot start {}", python.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{python} lacks a package: {}\nrun `{python} -m pip install -r {SCRIPTS}/requirements.txt`, or leave --python out",
            said.trim().lines().last().unwrap_or_default(),
            python = python.display(),
        );
    }
    Ok(())
}

/// An environment of Python with the pinned packages: made once, and again when the pins change.
fn environment(project: &Project, folder: &Path) -> Result<PathBuf> {
    let python = folder.join("bin/python");
    let requirements = project.root.join(SCRIPTS).join("requirements.txt");
    let wanted = std::fs::read(&requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    let installed = folder.join("requirements.txt");
    if python.exists() && std::fs::read(&installed).is_ok_and(|found| found == wanted) {
        return Ok(python);
    }
    println!(
        "Installing PyTorch and ONNX Runtime into {}: some 6 GB.",
        folder.display()
    );
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
