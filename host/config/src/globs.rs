//! Patterns for names and keys that can be compared, as a change of the file must be. Knows no key.

use globset::{Glob, GlobSet, GlobSetBuilder};

/// Patterns of which one must match. Equal where they are written the same, in the same order.
#[derive(Debug, Clone, Default)]
pub struct Globs {
    /// Invariant: the patterns of `set`, which does not return them.
    globs: Vec<Glob>,
    set: GlobSet,
}

impl Globs {
    /// Builds a set; without a pattern it matches nothing.
    ///
    /// # Errors
    /// When the patterns together are too large.
    pub fn new(globs: impl IntoIterator<Item = Glob>) -> Result<Self, globset::Error> {
        let globs: Vec<Glob> = globs.into_iter().collect();
        let mut set = GlobSetBuilder::new();
        for glob in &globs {
            set.add(glob.clone());
        }
        let set = set.build()?;
        Ok(Self { globs, set })
    }

    /// Matches every name of a file.
    pub fn every_name() -> Self {
        let star = Glob::new("*").and_then(|star| Self::new([star]));
        star.unwrap_or_default()
    }

    /// Whether a pattern matches the whole text.
    pub fn is_match(&self, text: impl AsRef<std::path::Path>) -> bool {
        self.set.is_match(text)
    }
}

impl PartialEq for Globs {
    fn eq(&self, other: &Self) -> bool {
        self.globs == other.globs
    }
}

impl Eq for Globs {}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(patterns: &[&str]) -> Globs {
        Globs::new(patterns.iter().map(|pattern| Glob::new(pattern).unwrap())).unwrap()
    }

    #[test]
    fn patterns_are_equal_where_they_are_written_the_same() {
        assert_eq!(globs(&["a.*", "b"]), globs(&["a.*", "b"]));
        for other in [&["a.*"] as &[&str], &["a.*", "c"], &["b", "a.*"], &[]] {
            assert_ne!(globs(&["a.*", "b"]), globs(other));
        }
        assert_eq!(Globs::default(), globs(&[]));
    }

    #[test]
    fn one_pattern_of_several_is_enough_and_none_matches_nothing() {
        assert!(globs(&["a.*", "b"]).is_match("b"));
        assert!(!globs(&["a.*", "b"]).is_match("c"));
        assert!(!Globs::default().is_match("b"));
        assert!(Globs::every_name().is_match("any name.at all"));
    }
}
