//! The keys of a folder: declared, read and checked. Opens no file.

use std::path::PathBuf;
use std::time::Duration;

use super::OWN_FOLDERS;
use super::config::FOLDER;
use crate::config::reading::{
    By, Checker, Diagnostic, EndpointRole, Expect, Form, FromTable, Key, LinkedEndpoint, PATH, PATTERNS, PREFETCH,
    Patterns, Table, Text, Within, destination, section, source,
};
use crate::config::{DestinationKind, Globs, SourceKind, Transport};

/// Folders.
pub(crate) static TRANSPORT: Transport = Transport {
    name: "folder",
    title: "Folders",
    page: "folders.md",
    sources: &[SourceKind {
        key: "folder",
        place: "for a folder",
        example: "{ folder = \"..\" }",
        keys: FolderSourceConfig::KEYS,
        no_dead_letter_queue: Some("the dead letters of a folder are in its folder `dead`"),
        secrets: &[],
        capabilities: &FOLDER,
        read: source::<FolderSourceConfig>,
    }],
    destinations: &[DestinationKind {
        key: "folder",
        example: "`folder = \"..\"`",
        keys: FolderDestinationConfig::KEYS,
        misplaced: &[],
        read: destination::<FolderDestinationConfig>,
    }],
    connections: &[],
};

section! {
    /// `source = { folder = ".." }`
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct FolderSourceConfig;

    /// The folder, which must be there; files directly in it are messages. Two pipelines cannot take from one.
    pub folder ("folder"): PathBuf = By {
        form: Form::Text(PATH),
        read: |table, checker| folder(table, checker, (EndpointRole::Source, Expect::Folder)),
    }, "\"inbox\"";

    /// Messages in flight.
    pub prefetch ("prefetch"): u16 = Within::<u16> {
        // A folder is near: less is needed in flight than of a broker.
        default: 64,
        ..PREFETCH
    }, "64", with(&["folder"]);

    /// Which files are messages, by name: a pattern or a list.
    pub pattern ("pattern"): Globs = By { form: PATTERNS, read: |table, checker| Some(pattern(table, checker)) },
        "\"*.png\"", or("`\"*\"`"), with(&["folder"]), why("it chooses the files of a folder"), at_home();

    /// How long a file must not have changed before it is claimed. One that is known to be open for writing is waited for
    /// besides.
    pub settle ("settle"): Duration = Within {
        min: Duration::ZERO,
        // No picture takes an hour to write.
        max: Duration::from_secs(3_600),
        // An ordinary copy has no longer pause between its writes.
        default: Duration::from_millis(200),
    }, "\"2s\"", with(&["folder"]), why("it says when a file in a folder is complete"), at_home();
}

section! {
    /// A destination with `folder = ".."`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct FolderDestinationConfig;

    /// Where results are written.
    pub folder ("folder"): PathBuf = By {
        form: Form::Text(PATH),
        read: |table, checker| folder(table, checker, (EndpointRole::Destination, Expect::FolderToBe)),
    }, "\"out\"";
}

fn folder(table: &Table<'_>, checker: &mut Checker<'_, '_>, (role, expect): (EndpointRole, Expect)) -> Option<PathBuf> {
    let key: Key<Text> = table.key("folder", checker.report);
    let given = key.given()?;
    let folder = checker.path(given, expect)?;
    checker.link(table, role, LinkedEndpoint::folder(&folder, &OWN_FOLDERS), given.span());
    Some(folder)
}

fn pattern(table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Globs {
    let key: Key<Patterns> = table.key("pattern", checker.report);
    let Some(patterns) = key.given() else {
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
