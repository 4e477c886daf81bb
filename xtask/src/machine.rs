//! What the machine lacks: packages of the distribution, parts of the Rust toolchain. Adds them where it may, else
//! says the exact command.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::step;

/// A package of the distribution, and how to see that it is there.
pub(crate) struct Package {
    name: &'static str,
    why: &'static str,
    is_there: fn() -> bool,
}

/// A broker for the tests to start, software Vulkan for the path that a GPU takes, what builds the guests in C, what the
/// book uses, and what counts instructions.
pub(crate) const NEEDED_BY_TESTS: &[Package] = &[
    RABBITMQ, MESA, CLANG, LINKER, C_LIBRARY, C_BUILTINS, CURL, PIKA, NUMPY, PYZMQ, VALGRIND,
];
/// What counts them.
pub(crate) const NEEDED_BY_INSTRUCTIONS: &[Package] = &[VALGRIND];
/// A broker alone.
pub(crate) const NEEDED_BY_BENCH: &[Package] = &[RABBITMQ];

const RABBITMQ: Package = Package {
    name: "rabbitmq-server",
    why: "the tests start their own broker",
    is_there: || Path::new("/usr/lib/rabbitmq/bin/rabbitmq-server").exists() || answers("rabbitmq-server", &["--help"]),
};
const MESA: Package = Package {
    name: "mesa-vulkan-drivers",
    why: "the tests run the model on software Vulkan",
    is_there: || {
        std::fs::read_dir("/usr/share/vulkan/icd.d").is_ok_and(|folder| {
            folder
                .flatten()
                .any(|entry| entry.file_name().to_string_lossy().contains("lvp"))
        })
    },
};
const CLANG: Package = Package {
    name: "clang",
    why: IN_C,
    is_there: || answers("clang", &["--version"]),
};
const LINKER: Package = Package {
    name: "lld",
    why: IN_C,
    is_there: || answers("wasm-ld", &["--version"]),
};
const C_LIBRARY: Package = Package {
    name: "wasi-libc",
    why: IN_C,
    is_there: || Path::new("/usr/include/wasm32-wasi/stdlib.h").exists(),
};
const C_BUILTINS: Package = Package {
    name: "libclang-rt-dev-wasm32",
    why: IN_C,
    is_there: || {
        let asked = Command::new("clang")
            .args([
                "--target=wasm32-wasi",
                "--rtlib=compiler-rt",
                "--print-libgcc-file-name",
            ])
            .output();
        asked.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).exists())
    },
};
const IN_C: &str = "the tests build plugins in C";
const CURL: Package = Package {
    name: "curl",
    why: "the book asks a host by it",
    is_there: || answers("curl", &["--version"]),
};
const PIKA: Package = Package {
    name: "python3-pika",
    why: "the book begins at a consumer in Python",
    is_there: || answers(PYTHON, &["-c", "import pika"]),
};
const NUMPY: Package = Package {
    name: "python3-numpy",
    why: "the book begins at a consumer in Python",
    is_there: || answers(PYTHON, &["-c", "import numpy"]),
};
const PYZMQ: Package = Package {
    name: "python3-zmq",
    why: "the book has a client of ZeroMQ",
    is_there: || answers(PYTHON, &["-c", "import zmq"]),
};
const VALGRIND: Package = Package {
    name: "valgrind",
    why: "the tests count the instructions of a message under it",
    is_there: || answers("valgrind", &["--version"]),
};
/// The one that the distribution's packages are for.
const PYTHON: &str = "/usr/bin/python3";
const WASM_TARGETS: [&str; 2] = ["wasm32-wasip2", "wasm32-unknown-unknown"];

/// Installs the packages that are missing.
///
/// # Errors
/// Names the command to run where this user may not install anything.
pub(crate) fn install(packages: &[Package]) -> Result<()> {
    let missing: Vec<&Package> = packages.iter().filter(|package| !(package.is_there)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    for package in &missing {
        println!("{} is missing ({}).", package.name, package.why);
    }
    let by_hand = format!(
        "sudo apt-get update && sudo apt-get install --no-install-recommends {}",
        names.join(" ")
    );
    let Some(root) = as_root() else {
        bail!("install it first, this user may not:\n    {by_hand}");
    };
    println!("Installing {} from the distribution's packages.", names.join(" and "));
    let apt = |arguments: &[&str]| {
        let words: Vec<&str> = root
            .iter()
            .copied()
            .chain(["apt-get", "-q"])
            .chain(arguments.iter().copied())
            .collect();
        let (program, rest) = words.split_first().context("no command")?;
        step::must_succeed(
            Command::new(program)
                .args(rest)
                .env("DEBIAN_FRONTEND", "noninteractive")
                .stdin(Stdio::null()),
        )
    };
    apt(&["update"])
        .and_then(|()| apt(&[&["install", "--yes", "--no-install-recommends"], names.as_slice()].concat()))
        .with_context(|| format!("install it yourself:\n    {by_hand}"))
}

/// Adds the wasm targets to the toolchain.
///
/// # Errors
/// Says what to do where there is no rustup.
pub(crate) fn add_wasm_targets() -> Result<()> {
    let missing: Vec<&str> = WASM_TARGETS.into_iter().filter(|target| !has_target(target)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    rustup("target", &missing)
}

/// Adds rustfmt and clippy to the toolchain.
///
/// # Errors
/// Says what to do where there is no rustup.
pub(crate) fn add_components() -> Result<()> {
    let missing: Vec<&str> = [("rustfmt", "fmt"), ("clippy", "clippy")]
        .into_iter()
        .filter(|(_, verb)| !answers("cargo", &[verb, "--version"]))
        .map(|(component, _)| component)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    rustup("component", &missing)
}

/// The words before a command that needs root: none for root itself; nothing where there is no way.
fn as_root() -> Option<&'static [&'static str]> {
    let identity = Command::new("id").arg("-u").output().ok()?;
    if identity.stdout.trim_ascii() == b"0" {
        return Some(&[]);
    }
    answers("sudo", &["-n", "true"]).then_some(&["sudo", "-n", "--preserve-env=DEBIAN_FRONTEND"])
}

fn has_target(target: &str) -> bool {
    let libraries = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", target])
        .output();
    libraries.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

fn rustup(kind: &str, names: &[&str]) -> Result<()> {
    if !answers("rustup", &["--version"]) {
        bail!(
            "the Rust {kind} {} is missing and there is no rustup to add it: install it with the package manager \
             that Rust came from, or take Rust from https://rustup.rs",
            names.join(" and ")
        );
    }
    step::must_succeed(Command::new("rustup").args([kind, "add"]).args(names))
}

/// Whether a program answers, and with a text that holds this one.
pub(crate) fn says(program: &Path, argument: &str, expected: &str) -> bool {
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).output();
    output.is_ok_and(|output| output.status.success() && String::from_utf8_lossy(&output.stdout).contains(expected))
}

fn answers(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
