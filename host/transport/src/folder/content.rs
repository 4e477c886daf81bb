//! The content of a file, and its metadata when it was read. Knows no claim; all of it blocks.

use std::fs::Metadata;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::SystemTime;

use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::files::open_plain;

/// A file's metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) bytes: u64,
    pub(super) modified: Option<SystemTime>,
}

/// The bytes of a file, and its metadata when they were read.
pub(super) enum Content {
    Body(Vec<u8>, Look),
    /// With its size in bytes.
    TooLarge(u64, Look),
    StillWritten,
    /// Another file took its place.
    NoFile,
}

/// Reads a file of at most `max_bytes`; a larger one is not read.
pub(super) fn read_content(path: &Path, max_bytes: usize) -> io::Result<Content> {
    let file = match open_plain(path) {
        Ok(file) => file,
        // A link, and one is never followed.
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => return Ok(Content::NoFile),
        Err(error) => return Err(error),
    };
    let before = file.metadata()?;
    if !before.is_file() {
        return Ok(Content::NoFile);
    }
    let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX);
    if before.len() > limit {
        return Ok(Content::TooLarge(before.len(), Look::of(&before)));
    }
    let mut body = Vec::with_capacity(usize::try_from(before.len()).unwrap_or(0));
    (&file).take(limit.saturating_add(1)).read_to_end(&mut body)?;
    let (before, after) = (Look::of(&before), Look::of(&file.metadata()?));
    if after != before {
        return Ok(Content::StillWritten);
    }
    Ok(Content::Body(body, after))
}

/// Whether a file could not be read for lack of a resource that has nothing to do with it.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];
    shortages
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

impl Look {
    /// The metadata of a file.
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
        }
    }
}

/// The digest of a file that may have grown, as far as it may be a message.
pub(super) fn digest(path: &Path, max_bytes: usize) -> io::Result<Option<String>> {
    Ok(match read_content(path, max_bytes)? {
        Content::Body(body, _) => Some(hex(&Sha256::digest(&body))),
        Content::TooLarge(..) | Content::StillWritten | Content::NoFile => None,
    })
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a string cannot fail.
            if write!(text, "{byte:02x}").is_err() {
                text.clear();
            }
            text
        })
}
