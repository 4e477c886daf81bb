//! `millrace plugin new`: a crate of one's own that builds, outside of every repository. Knows templates, and no cargo.

mod embedded;
mod lock;
mod manifest;
mod template;

use std::io;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};

use crate::cli::output;
use crate::config::Name;
use template::{Crate, File, Sdk};

/// `millrace plugin new`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// The plugin's name, and the crate's: kebab-case, such as `dark-first`
    #[arg(value_name = "NAME")]
    name: String,
    /// What the plugin does
    #[arg(long, value_enum)]
    role: NewRole,
    /// The folder to make [default: ./NAME]
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// A copy of the SDK to depend on, such as `plugins/sdk` of a checkout [default: this binary's own, which is written
    /// into the crate]
    #[arg(long, value_name = "PATH")]
    sdk: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  millrace plugin new dark-first --role preprocess
  millrace plugin new to-people --role route --path ~/plugins/to-people
  millrace plugin new unwrap --role transform --sdk ../millrace/plugins/sdk

Then, in the new folder:
  cargo test                              without WebAssembly
  millrace plugin build
  millrace plugin watch                   builds and runs the cases at every save";

/// The role of a new plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum NewRole {
    /// Turns a message into the tensor that the model takes
    #[value(alias = "preprocessor")]
    Preprocess,
    /// Decides where the results of a prediction go
    #[value(alias = "router")]
    Route,
    /// Turns a message into another message, before the preprocessor or after the router
    #[value(alias = "transformer")]
    Transform,
}

/// Names that no crate can have: Rust's words, its own crates, and what the new crate depends on.
const RESERVED: [&str; 49] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "millrace-plugin",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "use",
];

pub(super) fn new(options: &Options) -> anyhow::Result<ExitCode> {
    let name = name(&options.name)?;
    let folder = options.path.clone().unwrap_or_else(|| name.as_str().into());
    let (sdk, has_pictures) = match &options.sdk {
        Some(path) => {
            let manifest = sdk_manifest(path)?;
            (Sdk::At(sdk_path(path, &folder)?), template::has_pictures(&manifest))
        }
        None => (Sdk::Own, template::own_has_pictures()),
    };
    let made = Crate {
        name: name.as_str(),
        role: options.role,
        sdk,
        has_pictures,
    };
    let files = made.files()?;
    write_all(&folder, &files).with_context(|| format!("cannot make {}", folder.display()))?;
    output::print(told(&name, options.role, &folder))?;
    Ok(ExitCode::SUCCESS)
}

fn name(text: &str) -> anyhow::Result<Name> {
    let shown = output::plain(text, 63);
    let Some(name) = Name::new(text) else {
        bail!(
            "`{shown}` cannot be the name of a plugin: it is 1 to 63 of a-z, 0-9 and -, and begins with a letter, such as \
             `dark-first`"
        );
    };
    ensure!(
        !RESERVED.contains(&text),
        "`{shown}` cannot be the name of a crate: Rust reserves it"
    );
    Ok(name)
}

/// The manifest of an SDK that is there already.
fn sdk_manifest(sdk: &Path) -> anyhow::Result<toml::Table> {
    let shown = sdk.display();
    let text = std::fs::read_to_string(sdk.join("Cargo.toml"));
    let text = text.with_context(|| format!("--sdk {shown}: no SDK in this folder: cannot read its Cargo.toml"))?;
    let manifest: toml::Table = text.parse().with_context(|| format!("--sdk {shown}: its Cargo.toml"))?;
    let package = manifest
        .get("package")
        .and_then(|package| package.get("name")?.as_str());
    ensure!(
        package == Some("millrace-plugin"),
        "--sdk {shown}: this is not the SDK, whose package is called `millrace-plugin`"
    );
    Ok(manifest)
}

/// The way from the new crate to an SDK that is there already. Given as a relative path it is written as one, so that both
/// can be moved together.
fn sdk_path(sdk: &Path, folder: &Path) -> anyhow::Result<String> {
    let shown = sdk.display();
    let absolute = std::fs::canonicalize(sdk).with_context(|| format!("--sdk {shown}"))?;
    let path = match sdk.is_absolute() {
        true => absolute,
        false => way(&std::path::absolute(folder)?, &absolute),
    };
    let path = path.to_str().with_context(|| format!("--sdk {shown} is not UTF-8"))?;
    ensure!(
        !path.contains(char::is_control),
        "--sdk {shown}: cargo cannot read such a path"
    );
    Ok(path.to_owned())
}

/// The relative path from a folder to another.
fn way(from: &Path, to: &Path) -> PathBuf {
    // A path that does not exist cannot be watched; the folder around it can.
    let from = match (from.parent().map(std::fs::canonicalize), from.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => from.to_owned(),
    };
    let n_common = from
        .components()
        .zip(to.components())
        .take_while(|(a, b)| a == b)
        .count();
    let up = from.components().skip(n_common).map(|_| Component::ParentDir);
    up.chain(to.components().skip(n_common)).collect()
}

/// Makes the folder whole, or not at all.
fn write_all(folder: &Path, files: &[File]) -> io::Result<()> {
    let is_free = match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if !is_free {
        return Err(io::Error::other(
            "the folder exists and is not empty: name another with --path",
        ));
    }
    let folder = std::path::absolute(folder)?;
    let parent = folder.parent().unwrap_or(&folder);
    std::fs::create_dir_all(parent)?;
    let unfinished = parent.join(format!(".millrace-new-{}", std::process::id()));
    let written = write_into(&unfinished, files).and_then(|()| std::fs::rename(&unfinished, &folder));
    if written.is_err() && unfinished.exists() {
        std::fs::remove_dir_all(&unfinished)?;
    }
    written
}

fn write_into(folder: &Path, files: &[File]) -> io::Result<()> {
    for file in files {
        let path = folder.join(&file.path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, &file.text)?;
    }
    Ok(())
}

fn told(name: &Name, role: NewRole, folder: &Path) -> String {
    let noun = role.noun();
    let folder = folder.display();
    format!(
        "made {folder}, a crate with the {noun} `{name}`

  cd {folder}
  cargo test                    its tests in src/lib.rs, without WebAssembly
  millrace plugin build         {wasm}
  millrace plugin test          its cases in cases/
  millrace plugin watch         both at every save

README.md says how it gets into a plugins.toml.",
        wasm = template::wasm(name.as_str()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_a_crate_is_a_name() {
        assert_eq!(name("dark-first").unwrap().as_str(), "dark-first");
        for wrong in ["Dark", "dark_first", "1st", "", "a\u{1b}", "../up"] {
            let error = name(wrong).unwrap_err().to_string();
            assert!(error.contains("cannot be the name of a plugin"), "{error}");
            assert!(!error.contains('\u{1b}'), "{error}");
        }
        for reserved in ["test", "match", "core", "millrace-plugin"] {
            assert!(name(reserved).is_err(), "{reserved}");
        }
    }

    #[test]
    fn a_way_leads_from_one_folder_to_another() {
        #[track_caller]
        fn check(from: &str, to: &str, expected: &str) {
            assert_eq!(way(Path::new(from), Path::new(to)), Path::new(expected));
        }
        check("/nowhere/a/new", "/nowhere/sdk", "../../sdk");
        check("/nowhere/a", "/nowhere/a/sdk", "sdk");
        check("/nowhere/a", "/elsewhere", "../../elsewhere");
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let files = [File {
            path: "deep/in/it.txt".to_owned(),
            text: "text".to_owned(),
        }];
        let (free, taken) = (folder.path().join("free"), folder.path().join("taken"));
        write_all(&free, &files).unwrap();
        assert_eq!(std::fs::read_to_string(free.join("deep/in/it.txt")).unwrap(), "text");
        std::fs::create_dir(&taken).unwrap();
        write_all(&taken, &files).unwrap();
        let error = write_all(&taken, &files).unwrap_err().to_string();
        assert_eq!(error, "the folder exists and is not empty: name another with --path");
        let names: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names.len(), 2, "nothing is left behind: {names:?}");
    }
}
