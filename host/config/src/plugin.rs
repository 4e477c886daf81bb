//! `[plugin.NAME]`: a plugin's file, its limits and its settings. Runs none.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use millrace_schema::Form;

use super::Name;
use super::check::Checker;
use super::check_values::Expect;
use super::diagnostics::Diagnostic;
use super::keys::PATH;
use super::limits::{Choice, Scalar, Within};
use super::section::By;
use super::settings::Settings;
use super::table::{Key, Table};
use super::units;
use super::values::{Bytes, Text};
use crate::section;

section! {
    /// `[plugin.NAME]`
    #[derive(Clone, PartialEq, Eq)]
    pub struct PluginConfig = PLUGIN ("plugin", "[plugin.NAME]", "A plugin: one WebAssembly file.");

    /// Its name.
    pub name: Name = |table, checker| checker.name(table, "plugin");

    /// The WebAssembly file: a component, or a core module with an embedded component type.
    pub path ("path"): PathBuf = By {
        form: Form::Text(PATH),
        read: |table, checker| checker.required_path(table, "path", Expect::File, "`path = \"plugins/..wasm\"`"),
    }, "\"plugins/decode-image.wasm\"", required();

    /// The digest that the file must have: 64 hexadecimal digits, as `sha256sum` prints them.
    pub sha256 ("sha256"): Option<String> = By {
        form: Form::Text("^[0-9A-Fa-f]{64}$"),
        read: |table, checker| Some(checker.sha256(table)),
    }, "\"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"", or("any file"), at_home();

    /// CPU time of one call.
    pub deadline ("deadline"): Duration = DEADLINE, "\"1s\"", at_home();

    /// All memories and tables of one instance together.
    pub memory_bytes ("memory"): usize = MEMORY, "\"256MiB\"", at_home();

    /// `"message"`: a fresh instance for each message, so that no message can see another. `"worker"`: one instance for
    /// each worker thread, renewed after a fault: faster, and the plugin keeps what it remembers.
    pub isolation ("isolation"): Isolation = Choice {
        words: &[("message", Isolation::Message), ("worker", Isolation::Worker)],
        default: Isolation::Message,
    }, "\"message\"", at_home();

    /// The settings for the plugin's `configure`, as a JSON object. Dates and times become strings; `nan`, infinities and
    /// integers of more than 64 bits are refused.
    // May hold secrets from the environment: it is not printed.
    pub settings ("settings"): String = By {
        form: Form::Any,
        read: |table, checker| {
            let key: Key<Settings> = table.key("settings", checker.report);
            Some(key.into_given().map_or_else(|| "{}".to_owned(), |settings| settings.0))
        },
    }, "{ resize = \"bilinear\" }", at_home();
}

// The clock of the sandbox ticks in milliseconds; a call of more than five minutes is a mistake.
pub(crate) const DEADLINE: Within<Duration> = Within {
    min: Duration::from_millis(1),
    max: Duration::from_secs(300),
    default: Duration::from_secs(1),
};

// One page of WebAssembly, and all that 32 bits can address.
pub(crate) const MEMORY: Within<Bytes> = Within {
    min: Bytes(64 << 10),
    max: Bytes(4 << 30),
    default: Bytes(256 << 20),
};

/// Hexadecimal digits of a SHA-256.
const SHA256_DIGITS: usize = 64;

/// How long an instance lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// A fresh instance for each message.
    #[default]
    Message,
    /// One for each worker thread, renewed after a fault.
    Worker,
}

/// The default limits of a call: CPU time, and bytes of memory.
pub fn default_limits() -> (Duration, usize) {
    (DEADLINE.default, Bytes::value(MEMORY.default))
}

/// A plugin's limits as the file has them, `deadline` and `memory`.
pub fn limits_shown((deadline, memory_bytes): (Duration, usize)) -> (String, String) {
    let bytes = u64::try_from(memory_bytes).unwrap_or(u64::MAX);
    (units::show_duration(deadline), units::show_size(bytes))
}

/// Reads them; the default of what is not said.
///
/// # Errors
/// The problem of one of them.
pub fn limits_read(deadline: Option<&str>, memory: Option<&str>) -> Result<(Duration, usize), String> {
    let mut limits = default_limits();
    if let Some(text) = deadline {
        limits.0 = units::duration(text).map_err(|error| format!("`deadline`: {}", error.message))?;
        if !DEADLINE.contain(limits.0) {
            return Err(format!("`deadline` cannot be {text:?}"));
        }
    }
    if let Some(text) = memory {
        let bytes = units::size_bytes(text).map_err(|error| format!("`memory`: {}", error.message))?;
        if !MEMORY.contain(Bytes(bytes)) {
            return Err(format!("`memory` cannot be {text:?}"));
        }
        limits.1 = Bytes::value(Bytes(bytes));
    }
    Ok(limits)
}

impl Checker<'_, '_> {
    fn sha256(&mut self, table: &Table<'_>) -> Option<String> {
        let key: Key<Text> = table.key("sha256", self.report);
        let digest = key.given()?;
        let text = &digest.get_ref().value;
        if text.len() == SHA256_DIGITS && text.chars().all(|c| c.is_ascii_hexdigit()) {
            return Some(text.to_ascii_lowercase());
        }
        let n_chars = text.chars().count();
        let message = match text.chars().all(|c| c.is_ascii_hexdigit()) {
            true => format!("a SHA-256 has {SHA256_DIGITS} hexadecimal digits, found {n_chars}"),
            false => format!("a SHA-256 has {SHA256_DIGITS} hexadecimal digits and nothing else"),
        };
        self.report
            .diagnostic(Diagnostic::at(digest.span(), message).hint("`sha256sum FILE` prints it"));
        None
    }
}

impl fmt::Debug for PluginConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginConfig")
            .field("name", &self.name)
            .field("path", &self.path)
            .field("sha256", &self.sha256)
            .field("deadline", &self.deadline)
            .field("memory_bytes", &self.memory_bytes)
            .field("isolation", &self.isolation)
            .finish_non_exhaustive()
    }
}
