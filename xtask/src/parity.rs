//! `cargo xtask parity`: networks of torchvision and timm through Millrace, ONNX Runtime and PyTorch, side by side.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::project::Project;
use crate::python::Needs;
use crate::step;

/// Where the scripts and their requirements are.
const SCRIPTS: &str = "tests/models";

/// What the scripts import.
const PYTHON: Needs = Needs {
    requirements: "tests/models/requirements.txt",
    imports: "numpy, onnx, onnxruntime, onnxscript, safetensors, timm, torch, torchvision",
    notice: "Installing PyTorch and ONNX Runtime: some 6 GB,",
};

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
    let python = PYTHON.python(project, arguments.python.as_deref(), &folder.join("python"))?;
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
