//! What wit-bindgen makes of the contract for the SDK, by its library. Knows no plugin.
//!
//! The SDK has it as sources, so that a plugin's first build compiles no parser of the contract and no generator.

use std::path::Path;

use anyhow::{Context, Result};
use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator as _};
use wit_bindgen_rust::{Opts, WithOption};

/// Where the SDK's bindings are, and those of each interface that a plugin exports are below.
pub const FOLDER: &str = "plugins/sdk/src/bindings";

/// The contract.
const CONTRACT: &str = "wit";

/// The interface that every plugin exports; its bindings have the types for all of them.
const EVERY: &str = "plugin";

/// An interface and the world of it alone.
const WORLDS: [(&str, &str); 4] = [
    (EVERY, "every-plugin"),
    ("preprocess", "every-preprocessor"),
    ("route", "every-router"),
    ("transform", "every-transformer"),
];

/// The modules that the SDK has of it, by their path in the repository.
///
/// # Errors
/// When the contract cannot be read.
pub fn modules(root: &Path) -> Result<Vec<(String, String)>> {
    let module = |(interface, world)| {
        let made = module(root, interface, world).with_context(|| format!("the bindings of `{interface}`"))?;
        Ok((format!("{FOLDER}/{interface}.rs"), made))
    };
    WORLDS.into_iter().map(module).collect()
}

fn module(root: &Path, interface: &str, world: &str) -> Result<String> {
    let mut resolve = Resolve::default();
    resolve.push_path(root.join(CONTRACT))?;
    let package = resolve.push_str("world.wit", &wit(interface, world))?;
    let world = resolve.select_world(&[package], None)?;
    let mut files = Files::default();
    options(interface).build().generate(&mut resolve, world, &mut files)?;
    let (_, made) = files.iter().next().context("nothing was generated")?;
    let made = str::from_utf8(made)?;
    Ok(format!(
        "//! The contract's `{interface}`, as wit-bindgen says it in Rust. Knows no plugin.\n//!\n\
         //! Generated: `cargo xtask generate` writes it anew when `wit/pipeline.wit` changes.\n\n{made}"
    ))
}

fn wit(interface: &str, world: &str) -> String {
    let log = match interface {
        EVERY => "import millrace:pipeline/log@0.1.0;",
        _ => "",
    };
    format!(
        "package millrace:sdk-{interface};
         world {world} {{
             import millrace:pipeline/types@0.1.0;
             {log}
             export millrace:pipeline/{interface}@0.1.0;
         }}"
    )
}

fn options(interface: &str) -> Opts {
    let types = "millrace_plugin::bindings::plugin::millrace::pipeline::types";
    let with = match interface {
        EVERY => Vec::new(),
        _ => vec![(
            "millrace:pipeline/types@0.1.0".to_owned(),
            WithOption::Path(types.to_owned()),
        )],
    };
    Opts {
        format: true,
        generate_all: interface == EVERY,
        pub_export_macro: true,
        default_bindings_module: Some(format!("millrace_plugin::bindings::{interface}")),
        runtime_path: Some("millrace_plugin::export::wit_bindgen_rt".to_owned()),
        with,
        ..Opts::default()
    }
}
