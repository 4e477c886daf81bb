//! The author's verbs, as an author uses them: outside the repository, with nothing but the binary, cargo and a folder.

mod looks;
mod watching;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use millrace_tests::host::{Ended, Mill};
use millrace_tests::samples::{pictures, root};
use millrace_tests::scene::{Plugin, head};

/// The model and a pipeline from `inbox` to `out` whose plugins are named.
fn mill(plugins: &[&Plugin], pipeline: &str) -> Result<Mill> {
    let head = head(plugins);
    let mill = Mill::new(&format!(
        "[host]\ncontrol = \"control.sock\"\n\n{head}\n[pipeline.pictures]\nsource = {{ folder = \"inbox\" }}\nmodel = \"shapes\"\n\
         {pipeline}\n\n[pipeline.pictures.destination.results]\nfolder = \"out\"\n"
    ))?;
    std::fs::create_dir(mill.path("inbox"))?;
    Ok(mill)
}

/// A plugin beside `plugins.toml`.
fn beside(file: &str) -> Plugin {
    Plugin {
        path: PathBuf::from(file),
        lines: String::new(),
    }
}

/// `millrace` in the mill's folder, with the crates that this repository was built with, and its build folder.
fn millrace(mill: &Mill, arguments: &[&str]) -> Result<Command> {
    let mut command = mill.command(arguments)?;
    command
        .env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_TARGET_DIR", target()?);
    Ok(command)
}

fn target() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program
        .ancestors()
        .nth(3)
        .context("this program lies in no target folder")?
        .to_owned())
}

fn ended(mut command: Command) -> Result<Ended> {
    let output = command.output()?;
    Ok(Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn run(mill: &Mill, arguments: &[&str]) -> Result<Ended> {
    ended(millrace(mill, arguments)?)
}

/// As [`run`], for what must succeed.
fn must(mill: &Mill, arguments: &[&str]) -> Result<String> {
    let ended = run(mill, arguments)?;
    ensure!(ended.code == Some(0), "millrace {}: {ended:?}", arguments.join(" "));
    Ok(ended.stdout)
}

/// Builds a crate of the mill, and puts what came out beside `plugins.toml`.
fn build(mill: &Mill, name: &str) -> Result<String> {
    let told = must(mill, &["plugin", "build", name])?;
    let built = target()?
        .join("wasm32-unknown-unknown/release")
        .join(format!("{}.wasm", name.replace('-', "_")));
    ensure!(told.contains(&built.display().to_string()), "{told}");
    std::fs::copy(&built, mill.path(&format!("{name}.wasm")))?;
    Ok(told)
}

/// A crate on the SDK of this repository, which is built once for all of them.
fn new(mill: &Mill, name: &str, role: &str) -> Result<()> {
    let sdk = root().join("plugins/sdk").display().to_string();
    must(mill, &["plugin", "new", name, "--role", role, "--sdk", &sdk]).map(drop)
}

#[test]
fn each_role_is_made_outside_the_repository_tested_built_checked_and_run() -> Result<()> {
    let plugins = [
        beside("typed-one.wasm"),
        beside("bytes-one.wasm"),
        beside("pick-one.wasm"),
    ];
    let mill = mill(
        &plugins.each_ref(),
        "preprocess = [\"typed-one\", \"bytes-one\"]\nroute = \"pick-one\"",
    )?;
    // The first brings its SDK along; the others use that of the first, by a path.
    must(&mill, &["plugin", "new", "pick-one", "--role", "route"])?;
    let sdk = "pick-one/millrace/sdk";
    must(
        &mill,
        &["plugin", "new", "bytes-one", "--role", "preprocess", "--sdk", sdk],
    )?;
    must(
        &mill,
        &["plugin", "new", "typed-one", "--role", "transform", "--sdk", sdk],
    )?;
    let again = run(&mill, &["plugin", "new", "pick-one", "--role", "route"])?;
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.stderr.contains("the folder exists and is not empty"), "{again:?}");

    let mut tests = Command::new("cargo");
    tests
        .args(["test", "--offline"])
        .current_dir(mill.path("pick-one"))
        .env("CARGO_TARGET_DIR", target()?);
    let tests = ended(tests)?;
    assert_eq!(tests.code, Some(0), "{tests:?}");
    assert!(tests.stdout.contains("test result: ok. 3 passed"), "{tests:?}");
    assert!(!tests.stderr.contains("warning"), "{tests:?}");

    for (name, role) in [
        ("pick-one", "a router"),
        ("bytes-one", "a preprocessor"),
        ("typed-one", "a transformer"),
    ] {
        let told = build(&mill, name)?;
        for part in [role, "sha256", "imports millrace:pipeline/types@0.1.0"] {
            assert!(told.contains(part), "no {part:?} in {told}");
        }
    }
    must(&mill, &["check", "plugins.toml"])?;

    let sample = pictures()?.into_iter().next().context("no sample")?;
    let source = std::fs::read_to_string(mill.path("bytes-one/src/lib.rs"))?;
    let body = match source.contains("image::Decoder") || source.contains("image::{Decoder") {
        true => sample.png.clone(),
        // As the model takes it: channels first.
        false => planes(&sample.raw()?),
    };
    std::fs::write(mill.path("inbox/picture"), body)?;
    must(&mill, &["run", "plugins.toml", "--once"])?;
    let result = std::fs::read(mill.path("out/picture.json"))?;
    let result: serde_json::Value = serde_json::from_slice(&result)?;
    assert_eq!(result["label"], sample.label.as_str());
    Ok(())
}

/// Pixels of three channels as three planes.
fn planes(pixels: &[u8]) -> Vec<u8> {
    (0..3)
        .flat_map(|channel| pixels.iter().skip(channel).step_by(3).copied())
        .collect()
}

#[test]
fn what_cannot_be_built_is_told_with_what_to_do_about_it() -> Result<()> {
    let mill = mill(&[], "")?;
    let tools = mill.path("tools");
    std::fs::create_dir(&tools)?;
    new(&mill, "broken-one", "route")?;
    let build = |folder: &str, path: Option<&Path>| -> Result<Ended> {
        let mut command = millrace(&mill, &["plugin", "build", folder])?;
        if let Some(path) = path {
            command.env("PATH", path).env_remove("RUSTC");
        }
        let ended = ended(command)?;
        ensure!(ended.code == Some(1), "{ended:?}");
        Ok(ended)
    };
    let check = |ended: Ended, parts: &[&str]| {
        for part in parts {
            assert!(ended.stderr.contains(part), "no {part:?} in {ended:?}");
        }
    };
    check(build(".", None)?, &["it has no Cargo.toml", "millrace plugin new"]);
    check(
        build("broken-one", Some(&tools))?,
        &["cannot find cargo", "https://rustup.rs"],
    );
    tool(&tools, "cargo", "exit 1")?;
    check(build("broken-one", Some(&tools))?, &["cannot find cargo"]);
    tool(&tools, "rustc", "echo /no/such/folder")?;
    let missing = "Rust's standard library for wasm32-unknown-unknown is not installed";
    check(build("broken-one", Some(&tools))?, &[missing, "libstd-rust-dev-wasm32"]);
    tool(&tools, "rustup", "exit 1")?;
    check(
        build("broken-one", Some(&tools))?,
        &[missing, "get it: rustup target add wasm32-unknown-unknown\n"],
    );

    // The compiler's own words, with file and line.
    let source = mill.path("broken-one/src/lib.rs");
    let text = std::fs::read_to_string(&source)?;
    std::fs::write(&source, format!("{text}\nfn broken() -> u32 {{ \"a text\" }}\n"))?;
    let line = text.lines().count() + 2;
    check(
        build("broken-one", None)?,
        &[
            "error[E0308]: mismatched types",
            &format!("src/lib.rs:{line}:"),
            "cargo failed: its output is above",
        ],
    );

    // A crate that builds, and is no plugin.
    let exported = "millrace_plugin::export_router!(Plugin);";
    assert!(text.contains(exported));
    std::fs::write(&source, text.replace(exported, ""))?;
    check(
        build("broken-one", None)?,
        &[
            "it is not a plugin: it exports no role of the contract",
            "export_router!",
        ],
    );
    let manifest = mill.path("broken-one/Cargo.toml");
    let text = std::fs::read_to_string(&manifest)?;
    std::fs::write(&manifest, text.replace("[\"cdylib\", \"rlib\"]", "[\"rlib\"]"))?;
    check(build("broken-one", None)?, &["a plugin is a `cdylib`"]);
    Ok(())
}

/// A program for a PATH that has nothing else.
fn tool(folder: &Path, name: &str, script: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n"))?;
    Ok(std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?)
}
