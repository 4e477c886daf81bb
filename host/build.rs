//! Puts the plugin SDK, the contract and the schemas into the binary: `millrace plugin new` writes them out for people who
//! have neither this repository nor a registry of it. Whole folders, so that a file that is added cannot be forgotten.

#![expect(clippy::disallowed_macros, reason = "a build script speaks to cargo by stdout")]

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What is put in, from the repository's root, and what it is called there. Of a folder every file with one of the
/// [`EXTENSIONS`], in it or below.
const ROOMS: [(&str, &str); 6] = [
    ("plugins/sdk/Cargo.toml", "sdk/Cargo.toml"),
    ("plugins/sdk/README.md", "sdk/README.md"),
    ("plugins/sdk/src", "sdk/src"),
    ("wit", "wit"),
    ("schema", "schema"),
    ("Cargo.lock", "Cargo.lock"),
];

/// Sources, the contract, the schemas.
const EXTENSIONS: [&str; 3] = ["rs", "wit", "json"];

/// Below `src`, what is built for the SDK's own tests alone.
const TESTS: &str = "tests";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let here = variable("CARGO_MANIFEST_DIR")?;
    let root = here.parent().unwrap_or(&here);
    let mut files = Vec::new();
    for (from, name) in ROOMS {
        let from = root.join(from);
        // A path that is not there would make every build begin anew.
        if from.exists() {
            println!("cargo::rerun-if-changed={}", from.display());
            match from.is_file() {
                true => files.push((name.to_owned(), from)),
                false => load_config(&from, name, &mut files)?,
            }
        }
    }
    files.sort();
    let mut list = String::from("&[\n");
    for (name, path) in files {
        let path = path.to_string_lossy();
        writeln!(list, "    ({name:?}, include_str!({path:?})),").map_err(io::Error::other)?;
    }
    list.push_str("]\n");
    fs::write(variable("OUT_DIR")?.join("embedded.rs"), list)
}

fn load_config(folder: &Path, name: &str, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let entry_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = format!("{name}/{entry_name}");
        if path.is_dir() {
            if entry_name != TESTS && name != "schema/src" {
                load_config(&path, &name, files)?;
            }
        } else if path
            .extension()
            .is_some_and(|found| EXTENSIONS.iter().any(|extension| found == *extension))
        {
            files.push((name, path));
        }
    }
    Ok(())
}

fn variable(name: &str) -> io::Result<PathBuf> {
    let value = env::var_os(name);
    value
        .map(PathBuf::from)
        .ok_or_else(|| io::Error::other(format!("cargo sets no {name}")))
}
