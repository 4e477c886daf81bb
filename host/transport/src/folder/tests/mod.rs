//! The folder transport over real files: what is claimed, where it goes, and what a kill leaves.

mod outages;
mod quarantine_queue;
mod results;
mod settling;
mod taking;

use std::ffi::OsStr;
use std::fs::{File, read_dir};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::ack::FileAck;
use super::deliver::{self, is_plain_name, prepare, result_name};
use super::named_folder::NamedFolder;
use super::scan::Step;
use super::{FolderError, FolderSource, FolderSourceConfig, Found, Timing};
use crate::config::Globs;
use crate::disposition::{Disposition, Reason, ReasonClass, Stage};
use crate::message::{Envelope, Message};
use crate::{Hold, Settled, Settlement, Source as _, Until};

/// No step of these tests takes a tenth of it on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// Bodies in these tests are shorter, but for one.
const MESSAGE_BYTES_MAX: usize = 1000;

fn inbox() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Writes a file that has been there for a minute.
fn put(folder: &TempDir, name: impl AsRef<OsStr>, body: &[u8]) {
    let path = folder.path().join(name.as_ref());
    std::fs::write(&path, body).expect("a file");
    let file = File::options().write(true).open(path).expect("the file");
    file.set_modified(SystemTime::now() - Duration::from_secs(60))
        .expect("its time");
}

fn config(folder: &Path, prefetch: u16) -> FolderSourceConfig {
    FolderSourceConfig {
        folder: folder.to_owned(),
        pattern: Globs::every_name(),
        prefetch,
        settle: Timing::default().quiet,
    }
}

async fn deliver(folder: &Path, name: &str, body: &[u8], envelope: &Envelope) -> Result<(), FolderError> {
    deliver::deliver(&NamedFolder::new(folder), name, body, envelope).await
}

fn hold() -> Hold {
    Hold::new("tests", CancellationToken::new(), Duration::from_secs(3))
}

fn quick() -> Timing {
    Timing {
        retry: Duration::from_millis(20),
        unfinished: Duration::from_millis(20),
        ..Timing::default()
    }
}

fn open_with(folder: &TempDir, until: Until, timing: Timing) -> FolderSource {
    FolderSource::open_blocking(&config(folder.path(), 4), MESSAGE_BYTES_MAX, until, timing).expect("a source")
}

fn open(folder: &TempDir) -> FolderSource {
    open_with(folder, Until::Empty, quick())
}

async fn next_delivery(source: &mut FolderSource) -> Option<Found> {
    tokio::time::timeout(DEADLINE, source.next_file())
        .await
        .expect("an answer in time")
        .expect("no error")
}

async fn next(source: &mut FolderSource) -> (Message, FileAck) {
    let (message, ack_handle) = next_delivery(source).await.expect("a message");
    (message.expect("a readable message"), ack_handle)
}

async fn settle(ack_handle: FileAck, disposition: Disposition) {
    end(ack_handle, &disposition, &hold()).await.expect("a settled message");
}

async fn end(ack_handle: FileAck, disposition: &Disposition, hold: &Hold) -> Result<Settled, FolderError> {
    end_with(ack_handle, disposition, &Envelope::default(), hold).await
}

async fn end_with(
    ack_handle: FileAck,
    disposition: &Disposition,
    dead_letter: &Envelope,
    hold: &Hold,
) -> Result<Settled, FolderError> {
    let settlement = Settlement {
        disposition,
        otherwise: &Disposition::Return,
        message: &Message {
            attempt: 3,
            ..Message::default()
        },
        results: &[],
        hold,
        dead_letter: &|_| dead_letter.clone(),
    };
    ack_handle.end_claim(settlement).await
}

fn reason(class: ReasonClass) -> Reason {
    Reason {
        stage: Stage::Preprocess,
        class,
        text: "no picture".to_owned(),
        plugin: None,
    }
}

/// The files in a folder, by name; hidden ones and folders are left out.
fn names(folder: impl AsRef<Path>) -> Vec<String> {
    let files = read_dir(folder).expect("a folder").map(|it| it.expect("an entry"));
    let mut names: Vec<_> = files
        .filter(|it| it.file_type().is_ok_and(|kind| !kind.is_dir()))
        .map(|it| it.file_name().to_string_lossy().into_owned())
        .filter(|it| !it.starts_with('.'))
        .collect();
    names.sort();
    names
}

/// All files under the private folder.
fn claimed(folder: &TempDir) -> Vec<PathBuf> {
    let mut open = vec![folder.path().join(".millrace")];
    let mut files = Vec::new();
    while let Some(next) = open.pop() {
        for entry in read_dir(next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path)
            } else {
                files.push(path)
            }
        }
    }
    files.retain(|it| it.file_name() != Some(OsStr::new("lock")));
    files
}

/// On a thread that may not read what its user may not, root or not.
fn without_privileges(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        let none = rustix::thread::CapabilitySet::empty();
        let sets = rustix::thread::CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        };
        rustix::thread::set_capabilities(None, sets).expect("fewer rights");
        work();
    });
    thread.join().expect("what it found");
}
