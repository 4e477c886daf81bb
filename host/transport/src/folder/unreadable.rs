//! Files that cannot be read: they stay where they are, and are tried again. Knows no folder.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::time::{Duration, Instant};

use tracing::{info, warn};

/// Files that are remembered by name; more are tried as seldom, and not logged.
const NAMES_MAX: usize = 1024;

/// The first pause; each further one doubles it.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Those of one folder.
#[derive(Debug, Default)]
pub(super) struct Unreadable {
    files: HashMap<OsString, Trouble>,
}

#[derive(Debug)]
struct Trouble {
    n_tries: u32,
    why: String,
}

impl Unreadable {
    /// Records that a file could not be read, and logs it the first time; returns when to try it again.
    pub(super) fn failed(&mut self, name: &OsStr, error: &io::Error) -> Instant {
        let is_known = self.files.contains_key(name);
        if !is_known && self.files.len() >= NAMES_MAX {
            return Instant::now() + PAUSE_MAX;
        }
        let why = error.to_string();
        if !is_known {
            let (file, advice) = (name.to_string_lossy(), advice(error));
            warn!(
                file = %file.escape_debug(), error = why, advice,
                "cannot read the file: it stays where it is, and is tried again"
            );
        }
        let trouble = self.files.entry(name.to_owned()).or_insert(Trouble {
            n_tries: 0,
            why: String::new(),
        });
        let pause = PAUSE.saturating_mul(1 << trouble.n_tries.min(6)).min(PAUSE_MAX);
        (trouble.n_tries, trouble.why) = (trouble.n_tries.saturating_add(1), why);
        Instant::now() + pause
    }

    /// Records that a file could be read.
    pub(super) fn read(&mut self, name: &OsStr) {
        if self.files.remove(name).is_some() {
            info!(file = %name.to_string_lossy().escape_debug(), "the file can be read again");
        }
    }

    /// Whether a file could not be read.
    pub(super) fn has(&self, name: &OsStr) -> bool {
        self.files.contains_key(name)
    }

    /// Forgets files that are gone.
    pub(super) fn retain(&mut self, is_there: impl Fn(&OsStr) -> bool) {
        self.files.retain(|name, _| is_there(name));
    }

    /// How many, one of them, and why; nothing where there is none.
    pub(super) fn in_words(&self) -> Option<String> {
        let (name, Trouble { why, .. }) = self.files.iter().min_by_key(|(name, _)| *name)?;
        let (n, name) = (self.files.len(), name.to_string_lossy());
        let files = if n == 1 { "1 file" } else { &format!("{n} files") };
        Some(format!(
            "{files} cannot be read, such as `{}`: {why}",
            name.escape_debug()
        ))
    }
}

/// The advice.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "let the host's user read it, or move it away",
        _ => "look at the disk, or move the file away",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_file_is_tried_more_and_more_seldom_until_it_is_read_or_gone() {
        let mut files = Unreadable::default();
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let (cat, dog) = (OsStr::new("cat\u{1b}.png"), OsStr::new("dog.png"));
        let mut pauses = Vec::new();
        for _ in 0..9 {
            let began = Instant::now();
            pauses.push((files.failed(cat, &denied()) - began).as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        files.failed(dog, &denied());
        assert_eq!(
            files.in_words().as_deref(),
            Some("2 files cannot be read, such as `cat\\u{1b}.png`: permission denied")
        );
        files.read(cat);
        files.retain(|name| name != dog);
        assert_eq!(files.in_words(), None);
    }
}
