//! A graph in words.

/// A name from a file, as it can be printed: without control characters, and not longer than a line bears.
pub(crate) fn name(name: &str) -> String {
    const MOST: usize = 80;
    let mut printed = String::new();
    for (index, character) in name.chars().enumerate() {
        if index == MOST {
            printed.push('…');
            break;
        }
        match character {
            '`' | '\\' => printed.extend(character.escape_default()),
            ' '..='~' => printed.push(character),
            _ if character.is_alphanumeric() => printed.push(character),
            _ => printed.extend(character.escape_default()),
        }
    }
    printed
}
