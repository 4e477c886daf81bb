//! Guests in C, built by the very commands that `docs/other-languages.md` tells. Knows no host.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::Resolve;

use crate::samples::root;

/// The released contract: what was built against it must run for as long as 0.1 is served.
const CONTRACT: &str = "wit/0.1.0";
const WORLDS: [&str; 3] = ["preprocessor", "router", "transformer"];
/// The guests and what they share.
const SOURCES: &str = "tests/c-guests";
/// Where the commands are.
const BOOK: &str = "docs/other-languages.md";
/// What to do where clang, its linker, the C library or the builtins are missing.
const INSTALL: &str = "guests in C need clang for wasm32: `cargo xtask test` installs it, or \
                       `apt-get install clang lld wasi-libc libclang-rt-dev-wasm32`";

/// Builds a guest of `tests/c-guests` in a folder, and gives the core module's path.
///
/// # Errors
/// With the compiler's words; and with what to install where there is none.
pub fn build(folder: &Path, guest: &str) -> Result<PathBuf> {
    build_with(folder, guest, |command| command)
}

/// As [`build`], with the command changed before.
///
/// # Errors
/// As [`build`].
pub fn build_with(folder: &Path, guest: &str, change: impl FnOnce(String) -> String) -> Result<PathBuf> {
    for world in WORLDS {
        write_bindings(folder, world)?;
    }
    for source in std::fs::read_dir(root().join(SOURCES))? {
        let source = source?;
        std::fs::copy(source.path(), folder.join(source.file_name()))?;
    }
    let command = change(command(guest)?);
    let output = Command::new("sh")
        .args(["-e", "-c", &command])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command}\n{said}\n{INSTALL}");
    ensure!(said.is_empty(), "the compiler warns:\n{command}\n{said}");
    Ok(folder.join(format!("{guest}.wasm")))
}

/// The block of the book that builds a guest.
fn command(guest: &str) -> Result<String> {
    let book = std::fs::read_to_string(root().join(BOOK))?;
    // What stands behind `sh` is for whoever follows the whole book.
    let fenced = book.split("```sh").skip(1).filter_map(|rest| rest.split_once('\n'));
    let mut blocks = fenced.filter_map(|(_, rest)| rest.split("```").next());
    let output = format!("-o {guest}.wasm");
    let block = blocks.find(|block| block.contains(&output));
    Ok(block
        .with_context(|| format!("no command in {BOOK} builds {guest}"))?
        .to_owned())
}

/// What `wit-bindgen c --autodrop-borrows yes --world WORLD` writes, by the same library.
fn write_bindings(folder: &Path, world: &str) -> Result<()> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(root().join(CONTRACT))?;
    let world = resolve.select_world(&[package], Some(world))?;
    let mut files = Files::default();
    let options = wit_bindgen_c::Opts {
        autodrop_borrows: wit_bindgen_c::Enabled::Yes,
        ..Default::default()
    };
    options.build().generate(&mut resolve, world, &mut files)?;
    for (name, bytes) in files.iter() {
        std::fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}
