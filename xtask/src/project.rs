//! Where things are: the repository, the target folder, the host's binary.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::step;

/// The repository and the folder that cargo builds into.
pub(crate) struct Project {
    /// The repository's root, absolute.
    pub(crate) root: PathBuf,
    /// Cargo's target folder, absolute.
    pub(crate) target: PathBuf,
    // Invariant: the profile's folder in `target`, the same that xtask itself was built into.
    profile: PathBuf,
}

/// The host as it is deployed, and the bench with it.
const BENCH: [&str; 10] = [
    "build",
    "--release",
    "--package",
    "millrace",
    "--bin",
    "millrace",
    "--package",
    "millrace-tests",
    "--example",
    "drain",
];

/// What the bench needs of cargo.
pub(crate) struct Built {
    /// The host.
    pub(crate) host: PathBuf,
    /// The bench.
    pub(crate) bench: PathBuf,
}

/// The host without GPU support, and with everything else.
pub(crate) const WITHOUT_GPUS: [&str; 3] = ["--no-default-features", "--features", "millrace/transports"];

/// A program of a member.
#[derive(Clone, Copy)]
pub(crate) enum Program {
    /// A binary.
    Binary(&'static str),
    /// An example.
    Example(&'static str),
    /// The host that tests run. Tests ask for more of some libraries (paused time of tokio) than the host by itself does,
    /// and those would be built twice: the host is built beside an example of the tests.
    TestedHost,
    /// The host without GPU support: without Burn it is built in half the time.
    HostWithoutGpus,
}

impl Project {
    /// Finds the repository by what cargo tells its children.
    pub(crate) fn find() -> Result<Self> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask`")?;
        let root = Path::new(&manifest)
            .parent()
            .context("xtask lies in no repository")?
            .to_owned();
        // This program lies in TARGET/PROFILE/xtask: that honours CARGO_TARGET_DIR and every
        // configuration file, without asking cargo for its metadata.
        let executable = std::env::current_exe().context("cannot find this program's own path")?;
        let profile = executable
            .parent()
            .context("this program lies in no folder")?
            .to_owned();
        let target = profile
            .parent()
            .context("this program lies in no target folder")?
            .to_owned();
        Ok(Self { root, target, profile })
    }

    /// A cargo command in the repository that builds into the same target folder.
    pub(crate) fn cargo<I, S>(&self, arguments: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .args(arguments)
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target);
        // Cargo sets these for xtask; in its children they would only cause rebuilds.
        let is_ours = |name: &OsStr| {
            let name = name.to_string_lossy();
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        };
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_ours(name)) {
            command.env_remove(name);
        }
        command
    }

    /// Builds a program of a member, and gives its path.
    ///
    /// The host is always selected beside it: which features a library is built with depends on the selection, and
    /// another one would build Burn a second time. What the host without GPU support is built with, the others are, too.
    pub(crate) fn build(&self, package: &str, program: Program) -> Result<PathBuf> {
        let (kind, name, folder) = match program {
            Program::Binary(name) => ("--bin", name, self.profile.clone()),
            Program::Example(name) => ("--example", name, self.profile.join("examples")),
            Program::TestedHost | Program::HostWithoutGpus => ("--bin", "millrace", self.profile.clone()),
        };
        let mut build = self.cargo(["build", "--package", "millrace", "--package", package, kind, name]);
        let (library, crates) = match program {
            Program::HostWithoutGpus => {
                build.args(WITHOUT_GPUS);
                ("libwasmtime-", "350 crates: ten minutes")
            }
            Program::Binary(_) | Program::Example(_) | Program::TestedHost => {
                ("libburn_flex-", "500 crates: half an hour")
            }
        };
        if matches!(program, Program::TestedHost) {
            build.args(["--example", "chaos"]);
        }
        if !has_built(&self.profile, library) {
            println!("The first build compiles about {crates} on two cores.");
        }
        step::must_succeed(&mut build)?;
        Ok(folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX)))
    }

    /// Builds the host as it is deployed, and the bench with it: the echo that it is compared with is a part of the bench.
    ///
    /// # Errors
    /// When they cannot be built.
    pub(crate) fn build_bench(&self) -> Result<Built> {
        let folder = self.target.join("release");
        if !has_built(&folder, "libburn_flex-") {
            println!("The first released build compiles about 500 crates: half an hour on two cores.");
        }
        step::must_succeed(&mut self.cargo(BENCH))?;
        Ok(Built {
            host: folder.join(program("millrace")),
            bench: folder.join("examples").join(program("drain")),
        })
    }

    /// Builds the host that preprocesses natively, and gives its path. Cargo calls both `millrace`: this one is copied, and the
    /// one that is deployed put back in its place.
    ///
    /// # Errors
    /// When it cannot be built.
    pub(crate) fn build_native_host(&self) -> Result<PathBuf> {
        let folder = self.target.join("release");
        let (host, native) = (
            folder.join(program("millrace")),
            folder.join(program("millrace-native")),
        );
        println!("Building the host that preprocesses natively.");
        step::must_succeed(self.cargo(BENCH).args(["--features", "millrace/native-preprocess"]))?;
        std::fs::copy(&host, &native).with_context(|| format!("cannot write {}", native.display()))?;
        self.build_bench()?;
        Ok(native)
    }

    /// Builds an example of a member as it is deployed, and gives its path. Only for members without Burn: the host is not
    /// selected beside it.
    ///
    /// # Errors
    /// When it cannot be built.
    pub(crate) fn build_released(&self, package: &str, example: &str) -> Result<PathBuf> {
        step::must_succeed(&mut self.cargo(["build", "--release", "--package", package, "--example", example]))?;
        let folder = self.target.join("release").join("examples");
        Ok(folder.join(format!("{example}{}", std::env::consts::EXE_SUFFIX)))
    }

    /// Gives a program a runtime folder where the session has none: the Vulkan loader complains at every start.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub(crate) fn quiet_vulkan<'a>(&self, command: &'a mut Command) -> Result<&'a mut Command> {
        if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
            let folder = self.target.join("runtime");
            std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
            command.env("XDG_RUNTIME_DIR", folder);
        }
        Ok(command)
    }

    /// A path for people: relative to the repository where it lies in it.
    pub(crate) fn shown<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}

/// The name of a program's file.
fn program(name: &str) -> String {
    format!("{name}{}", std::env::consts::EXE_SUFFIX)
}

/// Whether a profile's folder has a library, which takes long to build.
fn has_built(profile: &Path, library: &str) -> bool {
    let Ok(mut built) = profile.join("deps").read_dir() else {
        return false;
    };
    built.any(|file| file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with(library)))
}
