//! A folder as a destination: results as files, each with its envelope beside it. Knows no source.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokio::sync::Semaphore;
use tracing::debug;

use super::FolderError;
use super::ack::{EnvelopeText, json};
use super::files::{Temporary, fitted_name, open_plain, sweep, sync_directory};
use super::named_folder::NamedFolder;
use crate::message::Envelope;

/// The suffix of the envelope beside a result.
const ENVELOPE_SUFFIX: &str = ".envelope.json";

/// Longest part of a message's key in a result's name, in bytes: room is left for index, extension and suffixes.
const STEM_BYTES_MAX: usize = 160;

/// Digits of the result id in a name: enough that no two results share them.
const ID_DIGITS: usize = 16;

/// Largest envelope that is read back, in bytes; ours are far smaller.
const ENVELOPE_BYTES_MAX: u64 = 1 << 20;

/// Extensions of the usual content types; any other is `bin`.
const EXTENSIONS: [(&str, &str); 9] = [
    ("application/json", "json"),
    ("text/plain", "txt"),
    ("text/csv", "csv"),
    ("image/png", "png"),
    ("image/jpeg", "jpg"),
    ("image/gif", "gif"),
    ("image/webp", "webp"),
    ("text/html", "html"),
    ("application/xml", "xml"),
];

/// Results that are written at once, by all pipelines. Each waits for the disk on a thread of its own; a disk combines
/// syncs that come together, so that one writer is an order of magnitude slower, and hundreds are no faster.
static WRITERS: Semaphore = Semaphore::const_new(24);

/// Names that mean devices on some systems that a folder may be shared with.
const RESERVED: [&str; 6] = ["con", "prn", "aux", "nul", "com", "lpt"];

/// Makes a folder ready for results: creates it, and removes files that killed hosts left unfinished.
///
/// # Errors
/// It cannot be created or written to.
pub(super) async fn prepare(folder: &Path) -> Result<(), FolderError> {
    let folder = folder.to_owned();
    let prepared = tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&folder).map_err(FolderError::at("create", &folder))?;
        sweep(&folder).map_err(FolderError::at("list", &folder))?;
        // Written and removed: a folder that refuses results is reported at the start, and not with the first result.
        Temporary::write(&folder, b"")
            .map_err(FolderError::at("write into", &folder))
            .map(drop)
    });
    prepared.await.map_err(FolderError::Stopped)?
}

/// Writes one result and its envelope, synced and renamed into place before it returns.
///
/// The same result (by its id) written again replaces itself. Another result, or any other file, that has the name
/// already is not replaced: then the name gets a part of the id. The envelope is there before the result is.
///
/// # Errors
/// The name is not a plain file name, the folder is gone, or the files cannot be written; then nothing or a part of it is
/// there, and writing it again completes it.
///
/// # Cancellation
/// It may be written all the same, whole.
pub(super) async fn deliver(
    folder: &NamedFolder,
    name: &str,
    body: &[u8],
    envelope: &Envelope,
) -> Result<(), FolderError> {
    if !is_plain_name(name) {
        return Err(FolderError::ResultName { name: name.to_owned() });
    }
    // Never closed, so there always is a permit.
    let permit = WRITERS.acquire().await.ok();
    let result = ResultFile {
        folder: folder.clone(),
        name: name.to_owned(),
        body: body.to_owned(),
        id: envelope.message_id.clone(),
        envelope: json(&EnvelopeText::from(envelope)),
    };
    let written = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        result.write()
    });
    written.await.map_err(FolderError::Stopped)?
}

/// The name of a result file: `cat.png.json`, and `cat.png.1.json` for the second one.
///
/// `key` is the input's file name, `None` where the input had none (a routing key names no message). Only letters,
/// digits, `-`, `_` and `.` of it are kept; where nothing before its extension is left, the result id takes its place. The
/// extension follows from the content type.
pub(super) fn result_name(key: Option<&str>, index: usize, content_type: Option<&str>, result_id: &str) -> String {
    let stem = key.and_then(stem).unwrap_or_else(|| safe_id(result_id));
    let extension = extension(content_type);
    let index = if index == 0 { String::new() } else { format!(".{index}") };
    format!("{stem}{index}.{extension}")
}

/// One result on its way to disk.
struct ResultFile {
    folder: NamedFolder,
    name: String,
    id: String,
    body: Vec<u8>,
    envelope: Vec<u8>,
}

impl ResultFile {
    /// Blocks.
    fn write(&self) -> Result<(), FolderError> {
        self.is_there()?;
        let folder = self.folder.path();
        let failed = FolderError::at("write a result into", folder);
        let body = Temporary::write(folder, &self.body).map_err(&failed)?;
        let envelope = Temporary::write(folder, &self.envelope).map_err(&failed)?;
        self.place(&body, &envelope)
            .map_err(FolderError::at("write result", &folder.join(&self.name)))?;
        sync_directory(folder).map_err(FolderError::at("sync", folder))
    }

    /// A folder that is gone is not made again: where its disk was unmounted, that would be on another one.
    fn is_there(&self) -> Result<(), FolderError> {
        match self.folder.open() {
            Err(FolderError::Io { source, path, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Err(FolderError::ResultFolderGone { path })
            }
            opened => opened.map(drop),
        }
    }

    /// Under the first of its names that nothing else has.
    fn place(&self, body: &Temporary, envelope: &Temporary) -> io::Result<()> {
        let mut placed = self.place_as(&self.name, body, envelope);
        for n_digits in [ID_DIGITS, STEM_BYTES_MAX] {
            match &placed {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    placed = self.place_as(&self.own_name(n_digits), body, envelope);
                }
                _ => break,
            }
        }
        placed
    }

    /// The envelope first: it reserves the name, and a result without one is never seen.
    fn place_as(&self, name: &str, body: &Temporary, envelope: &Temporary) -> io::Result<()> {
        let [body_path, envelope_path] = self.paths(name);
        match envelope.place_new(&envelope_path) {
            Ok(()) => body.place_new(&body_path).inspect_err(|error| {
                // A file that is not ours has this name.
                if error.kind() == io::ErrorKind::AlreadyExists
                    && let Err(error) = std::fs::rename(&envelope_path, envelope.path())
                {
                    debug!(file = %envelope_path.display(), %error, "an envelope stays without its result: it can be deleted");
                }
            }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if read_id(&envelope_path).is_none_or(|id| id != self.id) {
                    return Err(error);
                }
                envelope.replace(&envelope_path)?;
                body.replace(&body_path)
            }
            Err(error) => Err(error),
        }
    }

    fn paths(&self, name: &str) -> [PathBuf; 2] {
        let folder = self.folder.path();
        [folder.join(name), folder.join(format!("{name}{ENVELOPE_SUFFIX}"))]
    }

    /// A name with so many digits of the id, which no other result gets.
    fn own_name(&self, n_digits: usize) -> String {
        let id: String = safe_id(&self.id).chars().take(n_digits).collect();
        fitted_name(self.name.as_ref(), &id, ENVELOPE_SUFFIX.len())
            .to_string_lossy()
            .into_owned()
    }
}

/// The message id in an envelope file, as far as it is one.
fn read_id(path: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Id {
        message_id: String,
    }
    let mut text = Vec::new();
    open_plain(path)
        .ok()?
        .take(ENVELOPE_BYTES_MAX)
        .read_to_end(&mut text)
        .ok()?;
    serde_json::from_slice::<Id>(&text).ok().map(|it| it.message_id)
}

/// Whether a name can only mean a visible file in the folder itself, with room for its envelope's name.
pub(super) fn is_plain_name(name: &str) -> bool {
    let is_harmless = |c: char| !c.is_control() && !matches!(c, '/' | '\\');
    !name.starts_with('.')
        && !name.is_empty()
        && name.len() <= 255 - ENVELOPE_SUFFIX.len()
        && name.chars().all(is_harmless)
}

/// An untrusted key as a file name, without the characters that are not allowed.
fn stem(key: &str) -> Option<String> {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let safe: String = key
        .chars()
        .take(STEM_BYTES_MAX)
        .map(|c| if is_safe(c) { c } else { '_' })
        .collect();
    let safe = safe.trim_matches(|c| matches!(c, '.' | '_'));
    let device = safe
        .split('.')
        .next()
        .unwrap_or_default()
        .trim_end_matches(|c: char| c.is_ascii_digit());
    let is_reserved = RESERVED.iter().any(|it| device.eq_ignore_ascii_case(it))
        // It would pass for the envelope of another result.
        || safe.to_ascii_lowercase().ends_with(".envelope");
    // The extension alone distinguishes nothing.
    let before_extension = Path::new(key).file_stem().unwrap_or_default();
    let is_telling = before_extension
        .as_encoded_bytes()
        .iter()
        .any(u8::is_ascii_alphanumeric)
        && safe.chars().any(|c| c.is_ascii_alphanumeric());
    (is_telling && !is_reserved).then(|| safe.to_owned())
}

/// A result id as a name; ours are hexadecimal digits, and this holds for any.
fn safe_id(id: &str) -> String {
    let id: String = id
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(STEM_BYTES_MAX)
        .collect();
    if id.is_empty() { "result".to_owned() } else { id }
}

fn extension(content_type: Option<&str>) -> &str {
    let Some(content_type) = content_type else { return "bin" };
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if let Some((_, extension)) = EXTENSIONS.iter().find(|(it, _)| it.eq_ignore_ascii_case(essence)) {
        return extension;
    }
    if essence.to_ascii_lowercase().ends_with("+json") {
        return "json";
    }
    "bin"
}
