//! The files that the binary carries for new crates: the SDK, the contract, the schemas, and the versions that they
//! were built with.

/// Every file, by its path in a new crate's `millrace/` folder; `build.rs` gathers them.
pub(super) const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// The workspace's manifest, which the SDK's inherits from.
pub(super) const WORKSPACE: &str = include_str!("../../../../../Cargo.toml");

/// The SDK's manifest.
pub(super) const SDK_MANIFEST: &str = "sdk/Cargo.toml";

/// The versions of everything that this workspace is built with.
pub(super) const LOCK: &str = "Cargo.lock";

/// A file's text; `None` where there is no such file.
pub(super) fn text(path: &str) -> Option<&'static str> {
    FILES.iter().find(|(name, _)| *name == path).map(|(_, text)| *text)
}
