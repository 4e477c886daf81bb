//! Names from files in messages: cut, and with what a terminal would act on escaped.

/// Characters of a name that a message shows.
const SHOWN: usize = 80;

/// A name as a message may show it.
pub fn shown(name: &str) -> String {
    let mut out: String = name.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if name.chars().nth(SHOWN).is_some() {
        out.push('…');
    }
    out
}
