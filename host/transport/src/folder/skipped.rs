//! Entries of a folder that are no messages, logged once for each kind. Knows no folder.

use std::ffi::OsStr;
use std::fs::FileType;
use std::os::unix::fs::FileTypeExt as _;

use tracing::info;

use super::OWN_FOLDERS;

/// Names that writers give to files which are not complete.
const UNFINISHED: [&str; 5] = [".part", ".partial", ".tmp", ".crdownload", ".filepart"];

/// Our own files beside results: a folder that is a destination can be a source, too.
const ENVELOPE: &str = ".envelope.json";

/// Why an entry of a folder is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Skipped {
    Hidden,
    Unfinished,
    Envelope,
    Link,
    Folder,
    Special,
    /// Ours.
    Own,
}

impl Skipped {
    /// Why a name is no message's.
    pub(super) fn by_name(name: &OsStr) -> Option<Self> {
        let bytes = name.as_encoded_bytes();
        let ends_with = |end: &str| bytes.ends_with(end.as_bytes());
        if OWN_FOLDERS.iter().any(|own| bytes == own.as_bytes()) {
            Some(Self::Own)
        } else if bytes.starts_with(b".") {
            Some(Self::Hidden)
        } else if UNFINISHED.into_iter().any(ends_with) {
            Some(Self::Unfinished)
        } else {
            ends_with(ENVELOPE).then_some(Self::Envelope)
        }
    }

    /// Why an entry that is no plain file is no message.
    pub(super) fn by_kind(kind: FileType) -> Option<Self> {
        if kind.is_file() {
            None
        } else if kind.is_symlink() {
            Some(Self::Link)
        } else if kind.is_dir() {
            Some(Self::Folder)
        } else {
            Some(Self::Special)
                .filter(|_| kind.is_fifo() || kind.is_socket() || kind.is_block_device() || kind.is_char_device())
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Hidden => "hidden",
            Self::Unfinished => "unfinished by its name",
            Self::Envelope => "the envelope of a result",
            Self::Link => "a link",
            Self::Folder => "a folder",
            Self::Special => "a pipe, a socket or a device",
            Self::Own => "ours",
        }
    }
}

/// The kinds that were logged.
#[derive(Debug, Default)]
pub(super) struct ReportedSkips(Vec<Skipped>);

/// Those of one listing.
#[derive(Debug, Default)]
pub(super) struct SkipCounts(Vec<(Skipped, usize, String)>);

impl SkipCounts {
    /// Counts one.
    pub(super) fn add(&mut self, why: Skipped, name: &OsStr) {
        match self.0.iter_mut().find(|(of, ..)| *of == why) {
            Some((_, n, _)) => *n += 1,
            None => self.0.push((why, 1, name.to_string_lossy().escape_debug().to_string())),
        }
    }
}

impl ReportedSkips {
    /// Logs the kinds that were not logged before.
    pub(super) fn log(&mut self, source: &str, skip_counts: SkipCounts) {
        for (why, n, example) in skip_counts.0 {
            if why == Skipped::Own || self.0.contains(&why) {
                continue;
            }
            self.0.push(why);
            info!(
                source,
                why = why.as_str(),
                n,
                example,
                "ignoring entries of the folder that are no messages"
            );
        }
    }
}
