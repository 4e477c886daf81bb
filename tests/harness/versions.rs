//! Versions of a guest: files that differ, of the same behaviour.

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
