//! Why a plugin cannot be taken into service: what was found, and what was expected.

use std::path::PathBuf;
use std::time::Duration;

use millrace_types::scarcity::scarcity;

use super::text::size;
use super::{CallError, Role, Setting, SettingDiagnostic};

/// Why a plugin cannot be taken into service.
#[derive(Debug, thiserror::Error)]
#[error("plugin `{name}` ({}): {problem}", path.display())]
pub struct LoadError {
    /// Its name in `plugins.toml`.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    pub problem: LoadProblem,
}

/// The problem with a plugin's file.
#[derive(Debug, thiserror::Error)]
pub enum LoadProblem {
    /// It cannot be read.
    #[error("cannot read it: {0}")]
    Read(std::io::Error),
    /// It is larger than any plugin needs to be.
    #[error("it is larger than {}", shown(*.allowed))]
    TooLarge {
        /// Bytes.
        allowed: u64,
    },
    /// It is not the file that `plugins.toml` pins.
    #[error("its sha256 is {found}, but the pinned one is {expected}")]
    Digest {
        /// The pin.
        expected: String,
        /// The file's.
        found: String,
    },
    /// It is native code, which no sandbox holds.
    #[error("it is precompiled native code, which is refused: name the .wasm file that it was made from")]
    Precompiled,
    /// It is something else.
    #[error("it is not WebAssembly: {0}")]
    NotWasm(String),
    /// It is a module of WebAssembly, but nothing says of what contract.
    #[error(
        "it is a core module without an embedded component type, so it cannot be a plugin; was it built with the plugin SDK?"
    )]
    NoContract,
    /// It ends in the middle.
    #[error("it ends in the middle: was it cut off, or is it still being written?")]
    CutOff,
    /// It was written meanwhile.
    #[error("it changed while it was read: is it still being written?")]
    Changed,
    /// It is broken, or uses what the sandbox does not offer.
    #[error("it is not valid: {0}")]
    Invalid(String),
    /// It targets another world, or another version of this one.
    #[error("it exports `{found}`, but is used as a {role}, which exports `{expected}`")]
    World {
        /// Its exports.
        found: String,
        /// Its use.
        role: Role,
        /// The expected export.
        expected: &'static str,
    },
    /// It targets no world of ours.
    #[error("it is not a {role}: it does not export `{expected}`")]
    NoPlugin {
        /// Its use.
        role: Role,
        /// The expected export.
        expected: &'static str,
    },
    /// It was made for another version of the contract.
    #[error("it imports `{found}`, but this host has `{expected}`")]
    Version {
        /// Its imports.
        found: String,
        /// The expected import.
        expected: String,
    },
    /// It wants more than plugins get.
    #[error("it imports {}, which {} not granted", quoted(.0), if .0.len() == 1 { "is" } else { "are" })]
    Ungranted(Vec<String>),
    /// Its imports or exports are of other types than the contract's.
    #[error("it does not fit the contract: {0}")]
    Link(String),
    /// Its memory does not begin within its limit.
    #[error("it needs {needed} of memory at its start, allowed {allowed}")]
    Memory { needed: String, allowed: String },
    /// It does not accept its settings, in its own words.
    #[error("it rejects its settings: {0}")]
    Settings(String),
    /// Its declaration of settings cannot be used.
    #[error("its declaration of settings is wrong: {0}")]
    Declaration(String),
    /// Its settings are not those that it takes.
    #[error("{}", listed(.diagnostics))]
    SettingDiagnostics {
        /// The mistakes.
        diagnostics: Vec<SettingDiagnostic>,
        /// The settings that it takes.
        takes: Vec<Setting>,
    },
    /// It failed in its trial.
    #[error("it failed when it was given its settings: it {0}")]
    Trial(CallError),
    /// No plugin takes so long to compile.
    #[error("compiling it took more than {} s of CPU time", .0.as_secs_f64())]
    CompileTime(Duration),
    /// The machine was too busy for it, or the compiler waits for something.
    #[error("compiling it took longer than {} s", .0.as_secs_f64())]
    CompileStalled(Duration),
    /// No plugin needs so much to be compiled.
    #[error("compiling it needed more than {} of memory", shown(*.allowed))]
    CompileMemory {
        /// Bytes.
        allowed: u64,
    },
    /// It is small and compiles to something large.
    #[error("it compiles to more than {} of machine code", shown(*.allowed))]
    CodeSize {
        /// Bytes.
        allowed: u64,
    },
    /// The compiler's bug, met on this file.
    #[error("the compiler crashed on it ({how}){}{said}", if .said.is_empty() { "" } else { ": " })]
    CompilerCrashed {
        /// The signal or the exit code, as the system says it.
        how: String,
        /// Its last words.
        said: String,
    },
    /// The compiling process cannot start.
    #[error("cannot run the compiler: {0}")]
    Compiler(std::io::Error),
    /// Machine code may not be run here that was made after the process began.
    #[error("this machine forbids executable memory, which a compiled plugin needs: {0}")]
    ForbiddenCode(String),
    /// Our own bug, met on this file.
    #[error("the host failed while loading it: {0}")]
    Host(String),
    /// The trial thread cannot start.
    #[error("cannot start a thread to try it: {0}")]
    Thread(std::io::Error),
}

impl LoadProblem {
    /// A hint for its author, where there is one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Ungranted(_) => Some(UNGRANTED),
            _ => None,
        }
    }

    /// The hint for a problem of the machine, or of a limit of this process, which says nothing about the file.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Compiler(error) => Some(scarcity(error).unwrap_or(match error.kind() {
                std::io::ErrorKind::NotFound => {
                    "a plugin is compiled by a second process of this program: `/proc` must be mounted where the host runs"
                }
                std::io::ErrorKind::PermissionDenied => {
                    "a plugin is compiled by a second process of this program: its file must lie where programs may be run, \
                     and a filter of system calls must let the host start it"
                }
                _ => "a plugin is compiled by a second process of this program, which must be able to start",
            })),
            Self::Thread(error) => Some(scarcity(error).unwrap_or("allow the host to start threads")),
            Self::Read(error) => scarcity(error),
            Self::ForbiddenCode(_) => Some(
                "allow it to this program: `MemoryDenyWriteExecute=no` of systemd, `execmem` of SELinux, a profile of system \
                 calls that lets `mprotect` make memory executable",
            ),
            _ => None,
        }
    }
}

/// Tools that make components of interpreters import all that a program could want, and have a switch against it.
const UNGRANTED: &str = "nothing can be granted to a plugin yet: leave such imports out by the switch of the tool that makes the \
    component: `--stub-wasi` of componentize-py, `--disable all` of jco; a program in Rust or C imports what its code uses, so \
    that it must not ask for the time, for files or for the network";

fn shown(bytes: u64) -> String {
    size(usize::try_from(bytes).unwrap_or(usize::MAX))
}

fn listed(diagnostics: &[SettingDiagnostic]) -> String {
    let texts: Vec<&str> = diagnostics.iter().map(|diagnostic| diagnostic.text.as_str()).collect();
    texts.join("; ")
}

fn quoted(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
