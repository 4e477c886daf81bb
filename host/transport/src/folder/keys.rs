//! The keys of a folder: declared, read and checked. Opens no file.

use std::sync::Arc;
use std::time::Duration;

use millrace_schema::{Declared, Form};

use super::config::{FOLDER, FolderDestinationConfig, FolderSourceConfig};
use crate::config::Globs;
use crate::config::reading::{
    Checker, DURATION, Diagnostic, EndpointRole, Expect, Key, Limits, LinkedEndpoint, PATH, PATTERNS, PREFETCH,
    Patterns, Report, Table, Text,
};
use crate::config::{DestinationKind, PipelineTables, ReadDestination, ReadSource, SourceKind, Transport};
use crate::{DestinationConfig, SourceConfig};

/// Folders.
pub(crate) static TRANSPORT: Transport = Transport {
    name: "folder",
    sources: &[SourceKind {
        key: "folder",
        place: "for a folder",
        example: "{ folder = \"..\" }",
        keys: SOURCE,
        no_dead_letter_queue: Some("the dead letters of a folder are in its folder `dead`"),
        secrets: &[],
        capabilities: &FOLDER,
        read: RawFolderSource::read,
    }],
    destinations: &[DestinationKind {
        key: "folder",
        example: "`folder = \"..\"`",
        keys: DESTINATION,
        misplaced: &[],
        read: RawFolderDestination::read,
    }],
    connections: &[],
};

// A folder is near: less is needed in flight than of a broker.
const FOLDER_PREFETCH: Limits<i128> = Limits {
    default: 64,
    ..PREFETCH
};

// An ordinary copy has no longer pause between its writes, and no picture takes an hour to write.
const SETTLE: Limits<Duration> = Limits {
    key: "settle",
    min: Duration::ZERO,
    max: Duration::from_secs(3_600),
    default: Duration::from_millis(200),
};

const SOURCE: &[Declared] = &[
    Declared::new(
        "folder",
        Form::Text(PATH),
        "\"inbox\"",
        "The folder, which must be there; files directly in it are messages. Two pipelines cannot take from one.",
    ),
    Declared::new("prefetch", Form::Integer(&FOLDER_PREFETCH), "64", "Messages in flight.").with(&["folder"]),
    Declared::new(
        "pattern",
        PATTERNS,
        "\"*.png\"",
        "Which files are messages, by name: a pattern or a list.",
    )
    .or("`\"*\"`")
    .with(&["folder"])
    .why("it chooses the files of a folder")
    .at_home(),
    Declared::new(
        "settle",
        Form::Quantity(&DURATION, &SETTLE),
        "\"2s\"",
        "How long a file must not have changed before it is claimed. One that is known to be open for writing is waited for \
        besides.",
    )
    .with(&["folder"])
    .why("it says when a file in a folder is complete")
    .at_home(),
];

const DESTINATION: &[Declared] = &[Declared::new(
    "folder",
    Form::Text(PATH),
    "\"out\"",
    "Where results are written.",
)];

/// `source = { folder = "inbox" }`
struct RawFolderSource {
    /// A folder of files: `folder = "inbox"`.
    folder: Key<Text>,
    /// Messages in flight: `prefetch = 64`.
    prefetch: Key<i128>,
    /// Which files are messages: `pattern = "*.png"` or `["*.png", "*.jpg"]`.
    pattern: Key<Patterns>,
    /// How long a file must not have changed: `settle = "200ms"`.
    settle: Key<Duration>,
}

/// A destination with `folder = "out"`.
struct RawFolderDestination {
    folder: Key<Text>,
}

impl RawFolderSource {
    fn read(table: &mut Table<'_>, report: &mut Report<'_>) -> Box<dyn ReadSource> {
        Box::new(Self {
            folder: table.key("folder", report),
            prefetch: table.key("prefetch", report),
            pattern: table.key("pattern", report),
            settle: table.key("settle", report),
        })
    }

    fn pattern(&self, checker: &mut Checker<'_, '_>) -> Globs {
        let Some(patterns) = self.pattern.given() else {
            return Globs::every_name();
        };
        let all = patterns.get_ref().0.iter();
        for pattern in all.filter(|pattern| pattern.get_ref().value.contains('/')) {
            let message = format!("the pattern {} can match no file", pattern.get_ref().quoted());
            let hint = "a pattern is for the file's name alone: only files directly in the folder are messages";
            checker.diagnostic(Diagnostic::at(pattern.span(), message).hint(hint));
        }
        checker.patterns(patterns)
    }
}

impl ReadSource for RawFolderSource {
    fn check(&self, checker: &mut Checker<'_, '_>, tables: &PipelineTables<'_>) -> Option<Arc<dyn SourceConfig>> {
        let prefetch = checker.within(&self.prefetch, &FOLDER_PREFETCH);
        let pattern = self.pattern(checker);
        let given = self.folder.given()?;
        let folder = checker.path(given, Expect::Folder);
        if let Some(folder) = &folder {
            checker.link(
                tables.pipeline,
                EndpointRole::Source,
                LinkedEndpoint::folder(folder),
                given.span(),
            );
        }
        Some(Arc::new(FolderSourceConfig {
            folder: folder?,
            pattern,
            prefetch: u16::try_from(prefetch).unwrap_or(u16::MAX),
            settle: checker.within(&self.settle, &SETTLE),
        }))
    }
}

impl RawFolderDestination {
    fn read(table: &mut Table<'_>, report: &mut Report<'_>) -> Box<dyn ReadDestination> {
        Box::new(Self {
            folder: table.key("folder", report),
        })
    }
}

impl ReadDestination for RawFolderDestination {
    fn check(&self, checker: &mut Checker<'_, '_>, tables: &PipelineTables<'_>) -> Option<Arc<dyn DestinationConfig>> {
        let given = self.folder.given()?;
        let folder = checker.path(given, Expect::FolderToBe)?;
        checker.link(
            tables.pipeline,
            EndpointRole::Destination,
            LinkedEndpoint::folder(&folder),
            given.span(),
        );
        Some(Arc::new(FolderDestinationConfig { folder }))
    }
}
