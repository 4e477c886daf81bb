//! Dead letters in a folder's `dead/`: read where they lie, and put back by a rename. Knows no pipeline.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use serde::Deserialize;

use super::deliver::is_plain_name;
use super::files::{Temporary, open_plain, rename_new, sync_directory};
use super::shared::REASON_SUFFIX;
use super::{DEAD, FolderError};
use crate::dead_letter::{self, DeadLetter};
use crate::dead_letters::own;
use crate::message::Message;
use crate::{DeadLetterError, DeadLetterStore, Handle, HeldDeadLetter, OpenStore, Requeuer};

/// The largest reason that is read, in bytes; ours are far smaller.
const REASON_BYTES_MAX: u64 = 1 << 20;

/// An inbox as a place of dead letters.
#[derive(Debug, Clone)]
pub struct FolderStore {
    inbox: PathBuf,
}

/// The dead letters that are in a folder now, by name.
#[derive(Debug)]
struct DeadLetters {
    inbox: PathBuf,
    dead: PathBuf,
    /// The last name first.
    names: Vec<OsString>,
}

/// A dead letter that was read.
#[derive(Debug)]
pub(super) struct Found {
    /// Its content.
    dead_letter: DeadLetter,
    path: PathBuf,
    /// The name of the folder that it came from.
    inbox: String,
    /// The name that the file had in the inbox, where that is known.
    name: Option<String>,
}

/// Why a file was not put back; it is still in `dead/`.
#[derive(Debug, thiserror::Error)]
pub(super) enum PutBackError {
    /// Files in the inbox have every name that it may have.
    #[error("a file named `{}` waits in the inbox already", .0.escape_debug())]
    NameTaken(String),
    /// File work failed.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

/// The file beside a dead letter, as far as it is one.
#[derive(Deserialize, Default)]
struct Reason {
    file: Option<String>,
    attempt: Option<u32>,
    stage: Option<String>,
    class: Option<String>,
    text: Option<String>,
    envelope: Option<Envelope>,
}

#[derive(Deserialize)]
struct Envelope {
    message_id: String,
    correlation_id: Option<String>,
    content_type: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

impl DeadLetters {
    /// Lists the dead letters of an inbox. Blocks.
    ///
    /// # Errors
    /// The folder cannot be read; one that no host has used has no dead letters.
    fn open(inbox: &Path) -> Result<Self, FolderError> {
        let dead = inbox.join(DEAD);
        let failed = FolderError::at("list", &dead);
        let mut names = Vec::new();
        match std::fs::read_dir(&dead) {
            Ok(entries) => {
                for entry in entries {
                    let entry = entry.map_err(&failed)?;
                    let name = entry.file_name();
                    let bytes = name.as_encoded_bytes();
                    let is_ours = bytes.starts_with(b".") || bytes.ends_with(REASON_SUFFIX.as_bytes());
                    if !is_ours && entry.file_type().is_ok_and(|kind| kind.is_file()) {
                        names.push(name);
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && inbox.is_dir() => {}
            Err(error) => return Err(failed(error)),
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(Self {
            inbox: inbox.to_owned(),
            dead,
            names,
        })
    }

    /// The next dead letter by name; none at the end. Blocks.
    fn look_at_next(&mut self) -> Option<Found> {
        loop {
            let name = self.names.pop()?;
            let path = self.dead.join(&name);
            // Gone meanwhile: another process has put it back.
            let Ok(metadata) = path.symlink_metadata() else {
                continue;
            };
            let reason = read_reason(&reason_path(&path)).unwrap_or_default();
            // A name that is no UTF-8 was written with marks in the place of what is not.
            let is_whole = |name: &String| is_plain_name(name) && !name.contains(char::REPLACEMENT_CHARACTER);
            let original = reason.file.clone().filter(is_whole);
            let mut dead_letter = reason.into_dead_letter();
            if dead_letter.id.is_empty() {
                dead_letter.id = name.to_string_lossy().into_owned();
            }
            dead_letter.file = Some(name.to_string_lossy().into_owned());
            dead_letter.n_bytes = metadata.len();
            return Some(Found {
                dead_letter,
                path,
                inbox: self
                    .inbox
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
                name: original,
            });
        }
    }
}

impl FolderStore {
    /// The dead letters of a folder that is a source.
    pub(super) fn of(inbox: &Path) -> Self {
        Self {
            inbox: inbox.to_owned(),
        }
    }

    fn dead(&self) -> PathBuf {
        self.inbox.join(DEAD)
    }

    /// Moves a dead letter's file back into the inbox, then removes its reason. Blocks. A kill between the two loses nothing.
    ///
    /// # Errors
    /// The file is in `dead/` as before, or it is back and its reason stays, which does no harm.
    fn move_back(&self, found: &Found) -> Result<(), PutBackError> {
        let own = found.path.file_name().unwrap_or_default().to_owned();
        let names = found.name.iter().map(OsString::from).chain([own]);
        let mut moved = Err(io::ErrorKind::AlreadyExists.into());
        for name in names {
            moved = rename_new(&found.path, &self.inbox.join(name));
            if !matches!(&moved, Err(error) if error.kind() == io::ErrorKind::AlreadyExists) {
                break;
            }
        }
        match moved {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let name = found.dead_letter.file.clone().unwrap_or_default();
                return Err(PutBackError::NameTaken(name));
            }
            moved => moved.map_err(FolderError::at("move into the inbox", &found.path))?,
        }
        sync_directory(&self.inbox).map_err(FolderError::at("sync", &self.inbox))?;
        let reason = reason_path(&found.path);
        match std::fs::remove_file(&reason) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(FolderError::at("remove", &reason)(error).into());
            }
            _ => {}
        }
        let dead = self.dead();
        Ok(sync_directory(&dead).map_err(FolderError::at("sync", &dead))?)
    }
}

impl DeadLetterStore for FolderStore {
    fn shown(&self) -> String {
        format!("folder `{}`", self.dead().display())
    }

    fn are_files(&self) -> bool {
        true
    }

    fn open(&self) -> BoxFuture<'_, Result<Box<dyn OpenStore>, DeadLetterError>> {
        let opened = DeadLetters::open(&self.inbox).map_err(DeadLetterError::new);
        ready(opened.map(|dead_letters| Box::new(dead_letters) as Box<dyn OpenStore>)).boxed()
    }

    fn refuses_target(&self) -> Option<&'static str> {
        Some(
            "--to names a queue, but these dead letters are in a folder: requeue moves their files back into that folder",
        )
    }

    fn target(&self, _: &DeadLetter, _: Option<&str>) -> Result<String, String> {
        Ok("the inbox".to_owned())
    }

    fn requeuer(&self) -> Box<dyn Requeuer> {
        Box::new(self.clone())
    }
}

impl Requeuer for FolderStore {
    fn open(&self) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }

    fn put_back(&self, held: Box<dyn HeldDeadLetter>, to: String) -> BoxFuture<'_, Result<String, DeadLetterError>> {
        let found = own::<Found>(held);
        let moved = found.and_then(|found| self.move_back(&found).map_err(DeadLetterError::new));
        ready(moved.map(|()| to)).boxed()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }
}

impl OpenStore for DeadLetters {
    fn n_left(&self) -> usize {
        self.names.len()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Box<dyn HeldDeadLetter>>, DeadLetterError>> {
        let found = self.look_at_next();
        ready(Ok(found.map(|found| Box::new(found) as Box<dyn HeldDeadLetter>))).boxed()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, Result<(), DeadLetterError>> {
        ready(Ok(())).boxed()
    }
}

impl HeldDeadLetter for Found {
    fn dead_letter(&self) -> &DeadLetter {
        &self.dead_letter
    }

    fn handle(&self) -> Handle {
        Handle::File(self.path.clone())
    }

    fn message(&self) -> Result<Message, DeadLetterError> {
        let dead_letter = &self.dead_letter;
        Ok(Message {
            id: dead_letter.message_id().to_owned(),
            source: self.inbox.clone(),
            file: self.name.as_ref().map(OsString::from),
            key: self
                .name
                .clone()
                .or_else(|| dead_letter.file.clone())
                .unwrap_or_default(),
            attempt: dead_letter.attempt(),
            content_type: dead_letter.content_type.clone(),
            ..Message::default()
        })
    }

    fn open_body(&self) -> Result<Box<dyn Read + '_>, DeadLetterError> {
        let opened = open_plain(&self.path).map_err(FolderError::at("read", &self.path));
        Ok(Box::new(opened.map_err(DeadLetterError::new)?))
    }
}

impl Reason {
    fn into_dead_letter(self) -> DeadLetter {
        let mut dead_letter = DeadLetter::default();
        if let Some(envelope) = self.envelope {
            dead_letter.id = envelope.message_id;
            dead_letter.correlation_id = envelope.correlation_id;
            dead_letter.content_type = envelope.content_type;
            dead_letter.headers = envelope.headers;
        }
        // A reason from before there were envelopes says at least this.
        let attempt = self.attempt.map(|attempt| attempt.to_string());
        for (name, value) in [
            ("stage", self.stage),
            ("reason", self.class),
            ("text", self.text),
            ("attempt", attempt),
        ] {
            if let Some(value) = value {
                dead_letter.headers.entry(dead_letter::header(name)).or_insert(value);
            }
        }
        dead_letter
    }
}

/// Writes a file that was not there, whole or not at all, and syncs it. Blocks.
///
/// # Errors
/// There is one of this name, or it cannot be written.
pub fn write_new(path: &Path, content: &mut dyn io::Read) -> Result<(), FolderError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    Temporary::copy(directory, content)
        .and_then(|temporary| temporary.place_new(path))
        .map_err(FolderError::at("write", path))?;
    sync_directory(directory).map_err(FolderError::at("sync", directory))
}

fn reason_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(REASON_SUFFIX);
    name.into()
}

/// The reason beside a file; none where there is none, or where it is nothing that we wrote.
fn read_reason(path: &Path) -> Option<Reason> {
    let mut text = Vec::new();
    open_plain(path)
        .ok()?
        .take(REASON_BYTES_MAX)
        .read_to_end(&mut text)
        .ok()?;
    serde_json::from_slice(&text).ok()
}
