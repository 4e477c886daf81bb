//! Versions of a guest: files that differ, of the same behaviour or, of the hostile one, of another. Knows no host.

use anyhow::{Context, Result, ensure};
use sha2::{Digest as _, Sha256};

/// Where the hostile guest keeps settings of its own, and how long they are with the mark.
const MARK: &[u8] = b"hostile settings: ";
const OWN_SETTINGS_BYTES: usize = 96;

/// The guest with a custom section at its end, which runs nothing: another version of it.
///
/// Section 0, its size, the length of its name and the name: the binary format of components and core modules alike.
pub fn version(guest: &[u8], number: u64) -> Vec<u8> {
    let (name, text) = (b"version", number.to_string());
    let mut bytes = guest.to_vec();
    // Both fit into one byte of LEB128.
    bytes.extend([0, (1 + name.len() + text.len()) as u8, name.len() as u8]);
    bytes.extend(name);
    bytes.extend(text.as_bytes());
    bytes
}

/// The hostile guest with settings in the file itself, which hold where `plugins.toml` gives it none.
///
/// # Errors
/// When the file is not the hostile guest, or the settings are too long.
pub fn hostile(wasm: &[u8], settings: &str) -> Result<Vec<u8>> {
    let mut places = wasm.windows(MARK.len()).enumerate().filter(|(_, at)| *at == MARK);
    // The mark is there a second time, as what the guest compares with: the settings follow the first brace.
    let (at, _) = places
        .find(|(at, _)| wasm.get(at + MARK.len()) == Some(&b'{'))
        .context("no hostile guest")?;
    let mut own = MARK.to_vec();
    own.extend_from_slice(settings.as_bytes());
    ensure!(own.len() <= OWN_SETTINGS_BYTES, "too long: {settings}");
    own.resize(OWN_SETTINGS_BYTES, b' ');
    let mut other = wasm.to_vec();
    let place = other
        .get_mut(at..at + OWN_SETTINGS_BYTES)
        .context("a file that is cut")?;
    place.copy_from_slice(&own);
    Ok(other)
}

/// How headers and the log name these bytes: the first 12 digits of their digest.
pub fn digest(wasm: &[u8]) -> String {
    let digest = Sha256::digest(wasm);
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
