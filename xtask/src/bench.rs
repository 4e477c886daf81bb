//! `cargo xtask bench`: builds the host as it is deployed and the bench beside it, sets up Python for the peers, and starts it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::guests;
use crate::machine;
use crate::project::Project;
use crate::python::Needs;
use crate::step;

/// What the peers and what makes ResNet-18 import. A given Python may lack what makes the plugin in Python: then that is skipped.
const PYTHON: Needs = Needs {
    requirements: "tests/benches/peers/requirements.txt",
    imports: "aio_pika, aiormq, numpy, onnx, onnxruntime, pika, PIL, safetensors, torch, torchvision",
    notice: "Installing PyTorch, ONNX Runtime and clients of RabbitMQ: some 6 GB,",
};
/// The bench's argument for its Python.
const ARGUMENT: &str = "--python";

/// Builds what is measured, and measures it.
///
/// # Errors
/// When something cannot be built, or the bench fails.
pub(crate) fn run(project: &Project, arguments: &[String]) -> Result<()> {
    let built = project.build_bench()?;
    let bench = || {
        let mut bench = Command::new(&built.bench);
        bench.args(arguments).current_dir(&project.root);
        bench
    };
    if arguments
        .iter()
        .any(|word| matches!(word.as_str(), "-h" | "--help" | "help" | "--list" | "--page"))
    {
        return step::must_succeed(&mut bench());
    }
    machine::install(machine::NEEDED_BY_BENCH)?;
    let guests = guests::build(project)?;
    let given = given(arguments);
    let needs = needs(&mut bench())?;
    let python = match (&given, needs.contains("python")) {
        // Its packages are looked at, so that a run does not fail at its end.
        (Some(given), _) => Some(PYTHON.python(project, Some(given), given)?),
        (None, true) => Some(PYTHON.python(project, None, &project.target.join("bench/python"))?),
        (None, false) => None,
    };
    let mut measuring = bench();
    if let (None, Some(python)) = (given, python) {
        measuring.arg(ARGUMENT).arg(python);
    }
    if needs.contains("native-host") {
        measuring.env("MILLRACE_NATIVE_HOST", project.build_native_host()?);
    }
    measuring
        .env("MILLRACE_GUESTS", guests.folder)
        .env("MILLRACE_HOST", built.host);
    step::must_succeed(&mut measuring)
}

/// The Python that the arguments name.
fn given(arguments: &[String]) -> Option<PathBuf> {
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if word == ARGUMENT {
            return words.next().map(PathBuf::from);
        }
        if let Some(path) = word.strip_prefix(ARGUMENT).and_then(|rest| rest.strip_prefix('=')) {
            return Some(Path::new(path).to_owned());
        }
    }
    None
}

/// What the arguments ask for and do not name, in the bench's words: `python`, `native-host`.
fn needs(bench: &mut Command) -> Result<String> {
    let output = bench.arg("--needs").output().context("cannot start the bench")?;
    // Wrong arguments are reported by the bench itself, when it is started.
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
