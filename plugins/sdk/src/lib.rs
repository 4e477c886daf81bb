//! Writes a Millrace plugin as one `impl` and one macro. Knows the contract in `wit/`, and nothing of any model;
//! of pictures only what its cargo feature `image` adds.
//!
//! ```
//! use millrace_plugin::{Message, Preprocessor, Refusal, Tensor, TensorType};
//!
//! /// Takes the first bytes of the body as they are.
//! struct FirstBytes {
//!     settings: Settings,
//! }
//!
//! millrace_plugin::settings! {
//!     /// The `settings` table of `plugins.toml`.
//!     struct Settings {
//!         /// How many bytes of the body are left out at its beginning.
//!         skip: usize = 0,
//!     }
//! }
//!
//! impl Preprocessor for FirstBytes {
//!     type Settings = Settings;
//!
//!     fn new(settings: Settings) -> Result<Self, String> {
//!         Ok(Self { settings })
//!     }
//!
//!     fn preprocess(&mut self, message: &Message, wants: &TensorType) -> Result<Tensor, Refusal> {
//!         let bytes = message.body().into_iter().skip(self.settings.skip).take(wants.elements()).collect();
//!         Ok(Tensor::bytes(wants.shape.clone(), bytes)?)
//!     }
//! }
//!
//! millrace_plugin::export_preprocessor!(FirstBytes);
//! ```
//!
//! Build it as a `cdylib` for `wasm32-wasip2` or `wasm32-unknown-unknown`. On every other target the macro
//! expands to nothing and [`testing`] stands in for the host, so that a plugin's tests are ordinary `cargo test`s.

// What the macros expand to names this crate, here too.
extern crate self as millrace_plugin;

mod destination;
pub mod header;
#[cfg(any(test, all(feature = "heap", target_family = "wasm", target_os = "unknown")))]
mod heap;
#[cfg(feature = "pixels")]
pub mod image;
pub mod json;
mod label_pattern;
mod log;
mod message;
mod outbound;
mod prediction;
mod refusal;
mod role;
mod settings;
mod tensor;
mod transformed;

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod bindings;
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod export;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use destination::Destination;
pub use label_pattern::LabelPattern;
pub use log::{Level, write};
pub use message::{Message, Property};
pub use outbound::Outbound;
pub use prediction::{Prediction, Score};
pub use refusal::Refusal;
pub use role::{Preprocessor, Router, Transformer};
pub use settings::{NoSettings, Setting, SettingKind, SettingValue, Settings};
pub use tensor::{Element, ElementCount, Tensor, TensorData, TensorType};
pub use transformed::Transformed;

/// The crate that settings are read with, and JSON results written; derive with `#[serde(crate = "millrace_plugin::serde")]`.
pub use serde;
/// The crate that JSON results are written with.
pub use serde_json;

/// The examples of the README are run like those of the code.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

#[cfg(test)]
mod tests {
    /// Names after `pub use`, `pub mod` and those of macros that are exported; what is hidden begins with two underscores.
    fn exported() -> Vec<String> {
        let sources = [
            include_str!("lib.rs"),
            include_str!("log.rs"),
            include_str!("role.rs"),
            include_str!("settings.rs"),
        ];
        let mut names = Vec::new();
        let (mut is_hidden, mut is_exported) = (false, false);
        for line in sources.iter().flat_map(|source| source.lines()) {
            if let Some(used) = line.strip_prefix("pub use ") {
                let used = used.rsplit("::").next().unwrap_or_default();
                let used = used.trim_matches(['{', '}', ';']).split(", ");
                names.extend(used.map(str::to_owned));
            } else if let Some(module) = line.strip_prefix("pub mod ").filter(|_| !is_hidden) {
                names.push(module.trim_matches(';').to_owned());
            } else if let Some(name) = line.strip_prefix("macro_rules! ") {
                let is_ours = std::mem::take(&mut is_exported);
                names.extend(is_ours.then(|| format!("{}!", name.trim_end_matches(" {"))));
            }
            is_hidden = line == "#[doc(hidden)]";
            is_exported |= line == "#[macro_export]";
        }
        names.retain(|name| !name.starts_with("__"));
        names
    }

    #[test]
    fn the_readme_names_everything_that_is_exported() {
        let readme = include_str!("../README.md");
        let names = exported();
        for name in [
            "Transformer",
            "export_transformer!",
            "settings!",
            "warn!",
            "testing",
            "serde",
        ] {
            assert!(names.iter().any(|known| known == name), "no {name} in {names:?}");
        }
        let missing: Vec<_> = names
            .iter()
            .filter(|name| !readme.contains(&format!("`{name}`")) && !readme.contains(&format!("`{name}::")))
            .collect();
        assert!(missing.is_empty(), "the README does not name {missing:?}");
    }
}
