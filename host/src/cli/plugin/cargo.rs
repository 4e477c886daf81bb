//! Has cargo build a plugin, and says what is missing where it cannot. Knows nothing of what a plugin is.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::cli::output::plain;

/// How a crate is built.
#[derive(Debug, Clone, Args)]
pub(super) struct CargoArguments {
    /// The crate's folder
    #[arg(value_name = "DIR", default_value = ".")]
    pub(super) folder: PathBuf,
    /// Builds without optimisation: sooner built, slower plugin
    #[arg(long)]
    debug: bool,
    /// The target platform
    #[arg(long, value_enum, default_value_t = Target::Unknown)]
    target: Target,
}

/// Rust's names of platforms of WebAssembly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Target {
    /// A core module that imports nothing but the contract; the host makes a component of it
    #[value(name = "wasm32-unknown-unknown")]
    Unknown,
    /// A component with the imports of Rust's standard library, which are inert
    #[value(name = "wasm32-wasip2")]
    Wasip2,
}

/// Why there is no plugin.
#[derive(Debug, thiserror::Error)]
pub(super) enum CargoError {
    #[error("{} is not a plugin crate: it has no Cargo.toml\n`millrace plugin new NAME --role ..` makes a crate", .0.display())]
    NoManifest(PathBuf),
    #[error("{} is not TOML: {}", path.display(), error.message())]
    Manifest { path: PathBuf, error: toml::de::Error },
    #[error("{} is a workspace, not a crate: name the folder of one of its crates", .0.display())]
    Workspace(PathBuf),
    #[error(
        "{} is not a plugin crate: a plugin is a `cdylib`\nadd to it:\n  [lib]\n  crate-type = [\"cdylib\", \"rlib\"]",
        .0.display()
    )]
    NoPlugin(PathBuf),
    #[error(
        "cannot find cargo, which builds plugins in Rust\nget Rust by https://rustup.rs, then: rustup target add {0}"
    )]
    NoCargo(&'static str),
    #[error("Rust's standard library for {target} is not installed\nget it: {how}")]
    NoTarget { target: &'static str, how: String },
    #[error("cannot run {program}")]
    Run {
        program: &'static str,
        source: std::io::Error,
    },
    #[error("cargo failed: its output is above")]
    Failed,
    #[error("cargo succeeded, but made no .wasm file for `{0}`")]
    NoArtifact(String),
}

/// A plugin that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Built {
    /// The crate's name.
    pub(super) name: String,
    /// The file.
    pub(super) path: PathBuf,
}

/// The lines of cargo's output that count.
#[derive(Deserialize)]
struct Line {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Unknown => "wasm32-unknown-unknown",
            Self::Wasip2 => "wasm32-wasip2",
        }
    }
}

impl CargoArguments {
    /// Builds it, where cargo always does or in a folder apart; what cargo says goes to stderr as it comes. Blocking.
    ///
    /// # Errors
    /// Says what is missing, and how to get it.
    pub(super) fn build(&self, separate_target: Option<&Path>) -> Result<Built, CargoError> {
        let name = plugin_name(&self.folder)?;
        let target = self.target.name();
        if !has_target(&self.folder, target)? {
            let how = match find("rustup").is_some() {
                true => format!("rustup target add {target}"),
                false => format!(
                    "rustup target add {target}, where Rust is from https://rustup.rs; Debian and Ubuntu have the package \
                     libstd-rust-dev-wasm32"
                ),
            };
            return Err(CargoError::NoTarget { target, how });
        }
        let mut cargo = Command::new("cargo");
        // Diagnostics are rendered by cargo itself, for people; only what was made comes as JSON.
        cargo
            .args([
                "build",
                "--target",
                target,
                "--message-format",
                "json-render-diagnostics",
            ])
            .args((!self.debug).then_some("--release"))
            .args(
                separate_target
                    .map(|separate_target| [OsStr::new("--target-dir"), separate_target.as_os_str()])
                    .into_iter()
                    .flatten(),
            )
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let run = |source| missing("cargo", target, source);
        let mut child = cargo.spawn().map_err(run)?;
        let made = child
            .stdout
            .take()
            .map(|stdout| artifact(BufReader::new(stdout), &self.folder));
        let status = child.wait().map_err(run)?;
        match (status.success(), made.flatten()) {
            (false, _) => Err(CargoError::Failed),
            (true, Some(path)) => Ok(Built { name, path }),
            (true, None) => Err(CargoError::NoArtifact(name)),
        }
    }
}

/// The name of the crate in a folder, if it is one that can be a plugin.
pub(super) fn plugin_name(folder: &Path) -> Result<String, CargoError> {
    let path = folder.join("Cargo.toml");
    let Ok(text) = std::fs::read_to_string(&path) else {
        return Err(CargoError::NoManifest(folder.to_owned()));
    };
    let manifest: toml::Table = match text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return Err(CargoError::Manifest { path, error }),
    };
    let name = manifest
        .get("package")
        .and_then(|package| package.get("name")?.as_str());
    let Some(name) = name else {
        return Err(CargoError::Workspace(path));
    };
    let lib = manifest.get("lib");
    let kinds = lib.and_then(|lib| lib.get("crate-type").or_else(|| lib.get("crate_type"))?.as_array());
    match kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind.as_str() == Some("cdylib"))) {
        true => Ok(plain(name, 63)),
        false => Err(CargoError::NoPlugin(path)),
    }
}

/// Whether the compiler that cargo will use has a standard library for the target.
fn has_target(folder: &Path, target: &'static str) -> Result<bool, CargoError> {
    // Without cargo the rest is not worth telling.
    if find("cargo").is_none() {
        return Err(CargoError::NoCargo(target));
    }
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command
        .args(["--print", "target-libdir", "--target", target])
        .current_dir(folder)
        .stdin(Stdio::null());
    let output = command.output().map_err(|source| missing("rustc", target, source))?;
    let libdir = String::from_utf8_lossy(&output.stdout);
    // A compiler that does not know the question is cargo's to complain about.
    Ok(!output.status.success() || Path::new(libdir.trim()).exists())
}

/// Where a program is in the PATH.
fn find(program: &str) -> Option<PathBuf> {
    let path: OsString = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

fn missing(program: &'static str, target: &'static str, source: std::io::Error) -> CargoError {
    match source.kind() {
        std::io::ErrorKind::NotFound => CargoError::NoCargo(target),
        _ => CargoError::Run { program, source },
    }
}

/// The .wasm file that cargo made of the crate in a folder.
fn artifact(lines: impl BufRead, folder: &Path) -> Option<PathBuf> {
    let manifest = std::fs::canonicalize(folder.join("Cargo.toml")).ok()?;
    let is_wasm = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "wasm");
    let mut made = None;
    // Read to the end: cargo would wait for a reader that stopped. What a build script prints may be no UTF-8.
    for line in lines.split(b'\n').map_while(Result::ok) {
        let Ok(line) = serde_json::from_slice::<Line>(&line) else {
            continue;
        };
        let is_ours = || std::fs::canonicalize(&line.manifest_path).is_ok_and(|path| path == manifest);
        if line.reason == "compiler-artifact" && is_ours() {
            made = line.filenames.into_iter().find(is_wasm).or(made);
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_crate_that_makes_a_plugin_is_built() {
        #[track_caller]
        fn check(manifest: &str, expected: &str) {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
            let found = plugin_name(folder.path()).unwrap_or_else(|error| error.to_string());
            assert!(found.contains(expected), "{found}");
        }
        let package = "[package]\nname = \"crop\"\n";
        check(&format!("{package}[lib]\ncrate-type = [\"cdylib\", \"rlib\"]"), "crop");
        check(package, "crate-type = [\"cdylib\", \"rlib\"]");
        check(
            &format!("{package}[lib]\ncrate-type = [\"rlib\"]"),
            "a plugin is a `cdylib`",
        );
        check("[workspace]", "is a workspace, not a crate");
        check("[package", "Cargo.toml is not TOML: ");
        let empty = tempfile::tempdir().unwrap();
        let error = plugin_name(empty.path()).unwrap_err().to_string();
        assert!(error.contains("it has no Cargo.toml"), "{error}");
    }

    #[test]
    fn the_artifact_is_the_crates_own() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("Cargo.toml");
        std::fs::write(&manifest, "").unwrap();
        let line = |manifest: &Path, file: &str| {
            let line = serde_json::json!({
                "reason": "compiler-artifact", "manifest_path": manifest, "filenames": ["/t/x.rlib", file],
            });
            format!("{line}\n")
        };
        let text = [
            "not JSON\n".to_owned(),
            line(Path::new("/elsewhere/Cargo.toml"), "/t/other.wasm"),
            line(&manifest, "/t/crop.wasm"),
            line(&manifest, "/t/build-script"),
            "{\"reason\": \"build-finished\", \"success\": true}\n".to_owned(),
        ];
        let found = artifact(text.concat().as_bytes(), folder.path());
        assert_eq!(found.as_deref(), Some(Path::new("/t/crop.wasm")));
        assert_eq!(artifact(&b"{}"[..], folder.path()), None);
    }
}
