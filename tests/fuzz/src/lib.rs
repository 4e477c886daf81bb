//! Broken text and bytes for the tests of whatever reads what strangers wrote. Knows nothing of who reads it.
//!
//! `PROPTEST_CASES` sets how many cases each test draws, `PROPTEST_RNG_SEED` from which seed: `cargo xtask fuzz` does.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
pub use proptest::{self, prelude};

/// Changes of one text or file: enough to break it in two places that depend on each other.
const CHANGES_MAX: usize = 8;
/// Bytes that are cut out, repeated or put in at a time.
const SPAN_MAX: usize = 64;
/// What length fields hold when they lie.
const NUMBERS: [&[u8]; 8] = [
    &[0],
    &[0xff],
    &[0x7f, 0xff],
    &[0xff, 0xff],
    &[0, 0, 0, 0],
    &[0x7f, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
];

/// One change; places are relative to the length of what is changed.
#[derive(Debug, Clone)]
enum Change<T> {
    Replace(Index, Vec<T>),
    Insert(Index, Vec<T>),
    Remove(Index, usize),
    Repeat(Index, usize, Index),
    Truncate(Index),
}

/// The settings of a test: so many cases, unless `PROPTEST_CASES` says another number. A case that fails is printed
/// and becomes a row of a test; no file keeps it.
pub fn config(cases: u32) -> ProptestConfig {
    let told = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: told.unwrap_or(cases),
        failure_persistence: None,
        // Shrinking a file of a few kilobytes must not take longer than finding it.
        max_shrink_iters: 4096,
        ..ProptestConfig::default()
    }
}

/// One of `files`, changed, or no file at all.
pub fn bytes(files: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        vec(any::<u8>(), 1..4),
        select(NUMBERS.as_slice()).prop_map(<[u8]>::to_vec),
        vec(any::<u8>(), 1..SPAN_MAX),
    ];
    prop_oneof![
        15 => (select(files), changes(piece)).prop_map(|(file, changes)| apply(file, changes)),
        1 => vec(any::<u8>(), 0..1024),
    ]
}

/// One of `texts`, changed, with `words` put in at random places, or no such text at all.
pub fn text(texts: Vec<String>, words: &'static [&'static str]) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => select(words).prop_map(|word| word.chars().collect()),
        1 => vec(any::<char>(), 1..4),
        1 => "[ -~\n]{1,16}".prop_map(|text| text.chars().collect()),
    ];
    prop_oneof![
        15 => (select(texts), changes(piece))
            .prop_map(|(text, changes)| apply(text.chars().collect(), changes).into_iter().collect()),
        1 => ".{0,256}",
    ]
}

fn changes<T: Clone + std::fmt::Debug>(piece: impl Strategy<Value = Vec<T>>) -> impl Strategy<Value = Vec<Change<T>>> {
    let change =
        (0..5_u8, any::<Index>(), piece, 1..SPAN_MAX, any::<Index>()).prop_map(|(kind, at, piece, n, to)| match kind {
            0 => Change::Replace(at, piece),
            1 => Change::Insert(at, piece),
            2 => Change::Remove(at, n),
            3 => Change::Repeat(at, n, to),
            _ => Change::Truncate(at),
        });
    vec(change, 0..CHANGES_MAX)
}

fn apply<T: Clone>(mut whole: Vec<T>, changes: Vec<Change<T>>) -> Vec<T> {
    for change in changes {
        let length = whole.len();
        let place = |at: Index| at.index(length + 1);
        match change {
            Change::Replace(at, piece) => {
                let at = place(at);
                let end = length.min(at + piece.len());
                whole.splice(at..end, piece);
            }
            Change::Insert(at, piece) => {
                let at = place(at);
                whole.splice(at..at, piece);
            }
            Change::Remove(at, n) => {
                let at = place(at);
                whole.drain(at..length.min(at + n));
            }
            Change::Repeat(at, n, to) => {
                let at = place(at);
                let piece: Vec<T> = whole.iter().skip(at).take(n).cloned().collect();
                let to = place(to);
                whole.splice(to..to, piece);
            }
            Change::Truncate(at) => {
                // A file that ends at once is seldom interesting: half of the time only its last part is cut.
                let at = place(at);
                whole.truncate(at.max(length / 2));
            }
        }
    }
    whole
}

/// The most address space this process has ever had, in bytes: shows what was asked for even where it was not touched.
/// Nothing where the system does not tell.
pub fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest! {
        #![proptest_config(config(256))]

        #[test]
        fn what_is_changed_stays_within_a_few_pieces(bytes in bytes(vec![vec![7; 100]])) {
            prop_assert!(bytes.len() <= 1024);
        }

        #[test]
        fn texts_are_texts(text in text(vec!["a = 1\n".to_owned()], &["[", "\"\"\""])) {
            prop_assert!(text.len() <= 4 * 1024);
        }
    }
}
