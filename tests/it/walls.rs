//! Walls between crates: which library a crate may see, directly or by way of others. Cargo draws them; this holds the plan.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use millrace_tests::samples::root;

/// A family of libraries, and the only crates that may depend on it directly.
const OWNERS: [(&str, &[&str]); 6] = [
    ("burn", &["millrace-burn", "millrace-train"]),
    // The reader of a file format, without Burn.
    ("burn-pack", &["millrace-model-folder"]),
    // The tests are a foreign client.
    ("lapin", &["millrace-transport", "millrace-tests"]),
    ("rusqlite", &["millrace-transport", "millrace-tests"]),
    ("wasmtime", &["millrace-sandbox"]),
    ("wgpu", &["millrace-burn"]),
];
/// Libraries that a crate which only reads files must not depend on.
const HEAVY: [&str; 9] = [
    "burn",
    "burn-core",
    "burn-wgpu",
    "cubecl",
    "wgpu",
    "wasmtime",
    "lapin",
    "hyper",
    "tokio",
];
/// Libraries that the sandbox must not depend on.
const NOT_FOR_PLUGINS: [&str; 7] = ["burn", "burn-core", "burn-wgpu", "cubecl", "wgpu", "lapin", "hyper"];
/// Libraries that the transports must not depend on.
const NOT_FOR_TRANSPORTS: [&str; 6] = ["burn", "burn-core", "burn-wgpu", "cubecl", "wgpu", "wasmtime"];
/// Libraries that the host without GPU support must not depend on: the demo is built without them, in half the time.
const FOR_GPUS: [&str; 8] = [
    "burn",
    "burn-core",
    "burn-flex",
    "burn-wgpu",
    "cubecl",
    "cubecl-core",
    "wgpu",
    "naga",
];
/// The selection of everything that this host is built with.
const WITHOUT_GPUS: [&str; 5] = [
    "--no-default-features",
    "--features",
    "transports",
    "--edges",
    "normal,build",
];
/// A crate, and what may not be among its dependencies, however far down.
const WITHOUT: [(&str, &[&str]); 9] = [
    ("millrace-model-types", &["serde", "tracing"]),
    ("millrace-types", &HEAVY),
    ("millrace-config", &HEAVY),
    ("millrace-sandbox", &NOT_FOR_PLUGINS),
    ("millrace-transport", &NOT_FOR_TRANSPORTS),
    ("millrace-model-folder", &HEAVY),
    ("millrace-graph", &HEAVY),
    ("millrace-cpu", &HEAVY),
    ("millrace-onnx", &HEAVY),
];

#[test]
fn a_library_belongs_to_few_crates() -> Result<()> {
    let packages: serde_json::Value =
        serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1"])?)?;
    let packages = packages["packages"].as_array().context("packages")?;
    ensure!(packages.len() > 20, "{} packages", packages.len());
    for package in packages {
        let name = package["name"].as_str().context("a name")?;
        for dependency in package["dependencies"].as_array().context("dependencies")? {
            // A test may write a file of any library's.
            if dependency["kind"] == "dev" {
                continue;
            }
            let library = dependency["name"].as_str().context("a dependency's name")?;
            let family =
                |owned: &str| library == owned || library.strip_prefix(owned).is_some_and(|rest| rest.starts_with('-'));
            // The longest name says it best: `burn-pack` is not `burn`.
            let owner = OWNERS
                .iter()
                .filter(|(owned, _)| family(owned))
                .max_by_key(|(owned, _)| owned.len());
            if let Some((_, owners)) = owner {
                ensure!(
                    owners.contains(&name),
                    "{name} depends on {library}, which belongs to {owners:?}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn light_crates_are_built_without_heavy_ones() -> Result<()> {
    for (package, without) in WITHOUT {
        let found = built_with(package, without)?;
        ensure!(found.is_empty(), "{package} is built with {found:?}");
    }
    Ok(())
}

#[test]
fn a_host_without_gpu_support_is_built_without_burn() -> Result<()> {
    let packages: BTreeSet<String> = tree("millrace", &WITHOUT_GPUS, "{p}")?
        .iter()
        .map(|line| name(line))
        .collect();
    let found: Vec<&str> = FOR_GPUS
        .into_iter()
        .filter(|library| packages.contains(*library))
        .collect();
    ensure!(found.is_empty(), "it is built with {found:?}");
    ensure!(built_with("millrace", &FOR_GPUS)? == FOR_GPUS);
    Ok(())
}

/// What runs a plugin outside of the sandbox is there for the bench alone.
#[test]
fn no_default_build_preprocesses_natively() -> Result<()> {
    let is_native = |options: &[&str]| -> Result<bool> {
        let packages = tree("millrace", &[options, &["--edges", "normal"]].concat(), "{p} {f}")?;
        let sandbox = packages.iter().find(|line| name(line) == "millrace-sandbox");
        Ok(sandbox.context("no sandbox")?.contains("native-preprocess"))
    };
    ensure!(!is_native(&[])?);
    ensure!(is_native(&["--features", "native-preprocess"])?);
    Ok(())
}

/// Otherwise the first build with GPU support, after the demo, would build wasmtime and its like a second time.
#[test]
fn a_host_without_gpu_support_shares_its_libraries() -> Result<()> {
    let with = tree("millrace", &["--edges", "normal,build"], "{p} {f}")?;
    let own = ["millrace", "millrace-models"];
    for line in tree("millrace", &WITHOUT_GPUS, "{p} {f}")? {
        ensure!(
            with.contains(&line) || own.contains(&&*name(&line)),
            "with GPU support `{line}` has other features: ask for them in host/Cargo.toml"
        );
    }
    Ok(())
}

/// `[profile.dev]` holds for what we depend on; a member that is not named below would be built without checks.
#[test]
fn every_member_is_built_with_checks() -> Result<()> {
    let manifest: toml::Table = std::fs::read_to_string(root().join("Cargo.toml"))?.parse()?;
    let metadata: serde_json::Value =
        serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1"])?)?;
    let members = metadata["packages"].as_array().context("no packages")?;
    ensure!(members.len() > 20, "{} members alone", members.len());
    for member in members {
        let member = member["name"].as_str().context("no name")?;
        let profile = &manifest["profile"]["dev"]["package"].get(member);
        let checked = profile.and_then(|profile| profile.get("overflow-checks")?.as_bool());
        // The kernels' checks are in profile `checked`.
        ensure!(
            checked == Some(member != "millrace-cpu"),
            "Cargo.toml does not say how `{member}` is built for development: [profile.dev.package]"
        );
    }
    Ok(())
}

/// A name that no crate has would be a wall that holds nothing back.
#[test]
fn every_wall_holds_something_back() -> Result<()> {
    for (package, without) in [
        ("millrace", HEAVY.as_slice()),
        ("millrace", &NOT_FOR_PLUGINS),
        ("millrace", &NOT_FOR_TRANSPORTS),
        ("millrace-transport", &["lapin", "hyper", "tokio"]),
        ("millrace-sandbox", &["wasmtime", "tokio"]),
    ] {
        let found = built_with(package, without)?;
        ensure!(
            found == without,
            "{package} is built with {found:?} alone of {without:?}"
        );
    }
    Ok(())
}

/// Which of these libraries are among a crate's dependencies, however far down.
fn built_with<'a>(package: &str, libraries: &[&'a str]) -> Result<Vec<&'a str>> {
    let names: BTreeSet<String> = tree(package, &["--edges", "normal"], "{p}")?
        .iter()
        .map(|line| name(line))
        .collect();
    ensure!(names.contains(package), "no tree of {package}: {names:?}");
    Ok(libraries
        .iter()
        .filter(|library| names.contains(**library))
        .copied()
        .collect())
}

/// A line of this format for each crate that a package is built with.
fn tree(package: &str, options: &[&str], format: &str) -> Result<BTreeSet<String>> {
    let arguments = ["tree", "-p", package, "--prefix", "none", "--format", format];
    let tree = cargo(&[&arguments, options].concat())?;
    // What was listed before is marked.
    Ok(tree
        .lines()
        .map(|line| line.trim_end_matches("(*)").trim().to_owned())
        .collect())
}

/// The crate's name in such a line.
fn name(line: &str) -> String {
    line.split(' ').next().unwrap_or_default().to_owned()
}

/// What cargo prints of this workspace, without the network.
fn cargo(arguments: &[&str]) -> Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .args(["--offline", "--locked"])
        .current_dir(root())
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
