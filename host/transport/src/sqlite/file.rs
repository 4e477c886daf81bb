//! An SQLite file and its thread: everything that is done with the file is done there, many pieces of work in one transaction.
//! Knows no table.
//!
//! SQLite blocks, and a commit waits for the disk: one at a time makes hundreds a second, and those that wait together share
//! one. A file has one thread in the process, however many pipelines name it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error, info};

use super::error::SqliteError;
use super::job::{Access, Asked, Job};

/// How long SQLite waits for a lock that another process has. Others write for milliseconds; who has a lock for longer is
/// waited for with the pauses of a held message.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an answer may take: a lock, the work before it, and a slow disk.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Work that shares one transaction: more makes it no faster, and others wait for the file meanwhile.
const GROUP_MAX: usize = 256;
/// Work that waits for the thread: each in-flight message has a piece or two, and who comes to a full queue waits.
const QUEUE_MAX: usize = 1024;

/// A file, ours to work with.
#[derive(Clone)]
pub(super) struct File(Arc<Inner>);

struct Inner {
    path: PathBuf,
    jobs: mpsc::Sender<Box<dyn Job>>,
}

/// The files of this process. A thread ends when its file is no longer used.
static FILES: Mutex<BTreeMap<PathBuf, Weak<Inner>>> = Mutex::new(BTreeMap::new());

/// What the thread of a file has.
struct Worker {
    path: PathBuf,
    open: Option<Open>,
}

/// A connection, and the file that it is to: another may have come into its place.
struct Open {
    connection: Connection,
    identity: (u64, u64),
}

impl File {
    /// The file of this path, opened with the first work.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let path = real(path);
        let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inner) = files.get(&path).and_then(Weak::upgrade) {
            return Ok(Self(inner));
        }
        files.retain(|_, inner| inner.strong_count() > 0);
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let worker = Worker {
            path: path.clone(),
            open: None,
        };
        std::thread::Builder::new()
            .name("sqlite".to_owned())
            .spawn(move || worker.run(queue))?;
        let inner = Arc::new(Inner {
            path: path.clone(),
            jobs,
        });
        files.insert(path, Arc::downgrade(&inner));
        Ok(Self(inner))
    }

    /// Its path, without symbolic links.
    pub(super) fn path(&self) -> &Path {
        &self.0.path
    }

    /// Makes it where it is missing: an empty one will do. Nothing else does, so that a file that is away is not made anew.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) async fn make(&self) -> Result<(), SqliteError> {
        let path = self.path().to_owned();
        let made = tokio::task::spawn_blocking(move || {
            let made = std::fs::OpenOptions::new().append(true).create(true).open(&path);
            made.map(drop).map_err(|error| SqliteError::gone(&path, error))
        });
        made.await.unwrap_or_else(|_| {
            Err(SqliteError::Stopped {
                path: self.path().to_owned(),
            })
        })
    }

    /// Looks at it, and changes nothing.
    ///
    /// # Errors
    /// SQLite's, or no answer within half a minute.
    ///
    /// # Cancellation
    /// Safe.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, SqliteError> {
        self.within_limit(self.ask(action, Access::Read, work)).await
    }

    /// Changes it; the change is on the disk when this returns.
    ///
    /// # Errors
    /// As [`File::read`]. Without an answer it may have been changed all the same.
    ///
    /// # Cancellation
    /// It may be changed all the same.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, SqliteError> {
        self.within_limit(self.ask(action, Access::Write, work)).await
    }

    /// The same, for work whose answer must not be missed: it is awaited without a bound.
    ///
    /// # Errors
    /// SQLite's.
    pub(super) async fn write_to_the_end<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, SqliteError> {
        self.ask(action, Access::Write, work).await
    }

    /// Changes it soon, if the process lives: for who cannot wait.
    pub(super) fn write_later(
        &self,
        action: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static,
    ) {
        let job = Unawaited(Some(work));
        if self.0.jobs.try_send(Box::new(job)).is_err() {
            debug!(file = %self.path().display(), action, "no room for more work on the file");
        }
    }

    async fn ask<T: Send + 'static>(
        &self,
        action: &'static str,
        access: Access,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, SqliteError> {
        let stopped = || SqliteError::Stopped {
            path: self.path().to_owned(),
        };
        let (answer, answered) = oneshot::channel();
        let job = Asked {
            action,
            access,
            work: Some(work),
            made: None,
            answer,
        };
        self.0.jobs.send(Box::new(job)).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    async fn within_limit<T>(&self, asking: impl Future<Output = Result<T, SqliteError>>) -> Result<T, SqliteError> {
        match tokio::time::timeout(ANSWER_LIMIT, asking).await {
            Ok(answer) => answer,
            Err(_) => Err(SqliteError::Silent {
                path: self.path().to_owned(),
                within: ANSWER_LIMIT,
            }),
        }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("File").field(&self.0.path).finish()
    }
}

/// Work whose answer is not awaited.
struct Unawaited<W>(Option<W>);

impl<W: FnOnce(&Connection) -> rusqlite::Result<()> + Send> Job for Unawaited<W> {
    fn access(&self) -> Access {
        Access::Write
    }

    fn is_awaited(&self) -> bool {
        true
    }

    fn run(&mut self, connection: &Connection) -> Result<(), ()> {
        match self.0.take() {
            Some(work) => work(connection).map_err(drop),
            None => Ok(()),
        }
    }

    fn end(self: Box<Self>, path: &Path, committed: Result<(), SqliteError>) {
        if let Err(error) = committed {
            debug!(file = %path.display(), %error, "left undone");
        }
    }
}

impl Worker {
    fn run(mut self, mut queue: mpsc::Receiver<Box<dyn Job>>) {
        let mut group = Vec::new();
        while queue.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
            group.retain(|job| job.is_awaited());
            if group.is_empty() {
                continue;
            }
            let mut jobs = std::mem::take(&mut group);
            let worked = catch_unwind(AssertUnwindSafe(|| self.work(&mut jobs)));
            let ended = worked.unwrap_or_else(|_| {
                error!(file = %self.path.display(), "work on the file panicked: a bug of Millrace, please report it");
                self.open = None;
                Err(SqliteError::Stopped {
                    path: self.path.clone(),
                })
            });
            for job in jobs {
                job.end(&self.path, ended.clone());
            }
        }
    }

    fn work(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), SqliteError> {
        let connection = self.connection()?;
        for job in jobs.iter_mut().filter(|job| job.access() == Access::Read) {
            // Its answer has the error.
            job.run(connection).ok();
        }
        let mut writes = jobs.iter_mut().filter(|job| job.access() == Access::Write).peekable();
        if writes.peek().is_none() {
            return Ok(());
        }
        let ended = transaction(connection, writes);
        if ended.is_err() && !connection.is_autocommit() {
            // Where that fails too, the connection is of no use any more.
            if connection.execute_batch("ROLLBACK").is_err() {
                self.open = None;
            }
        }
        ended.map_err(|error| SqliteError::failed("write to", &self.path, error))
    }

    /// The connection to the file that is at the path now. SQLite itself goes on with a file that was removed or replaced, and
    /// whatever it writes there is lost.
    fn connection(&mut self) -> Result<&Connection, SqliteError> {
        // The place is empty or no file: it may come back as it was.
        let found = std::fs::metadata(&self.path).map_err(|error| SqliteError::gone(&self.path, error))?;
        let is_new = self.open.as_ref().is_none_or(|open| open.identity != identity(&found));
        if is_new {
            if let Some(open) = self.open.take() {
                info!(file = %self.path.display(), "another file is in the place of this one: opening it");
                // Closed in good order, it would remove the journal of the file that is there now.
                if let Err(error) = open
                    .connection
                    .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
                {
                    debug!(%error, "cannot keep the journal of the former file");
                }
            }
            self.open = Some(open(&self.path)?);
        }
        match &self.open {
            Some(open) => Ok(&open.connection),
            None => Err(SqliteError::Stopped {
                path: self.path.clone(),
            }),
        }
    }
}

/// Does the work in one transaction; what fails leaves nothing of itself.
fn transaction<'a>(connection: &Connection, jobs: impl Iterator<Item = &'a mut Box<dyn Job>>) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    for job in jobs {
        connection.execute_batch("SAVEPOINT job")?;
        let undone = job.run(connection).is_err();
        if connection.is_autocommit() {
            // A full disk and the like: SQLite ended the transaction by itself, and nothing of it stays.
            return Err(rusqlite::Error::ExecuteReturnedResults);
        }
        connection.execute_batch(match undone {
            true => "ROLLBACK TO job; RELEASE job",
            false => "RELEASE job",
        })?;
    }
    connection.execute_batch("COMMIT")
}

fn open(path: &Path) -> Result<Open, SqliteError> {
    let failed = |error| SqliteError::failed("open", path, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    // Readers do not hold up writers then. Where the file cannot have it (a network file system), it keeps what it has.
    if let Err(error) = connection.pragma_update(None, "journal_mode", "wal") {
        debug!(file = %path.display(), %error, "the file keeps its journal mode");
    }
    // What was committed survives a power cut.
    connection.pragma_update(None, "synchronous", "full").map_err(failed)?;
    let found = std::fs::metadata(path).map_err(|error| SqliteError::gone(path, error))?;
    Ok(Open {
        connection,
        identity: identity(&found),
    })
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// A path without symbolic links, where the file or its folder exists.
pub(super) fn real(path: &Path) -> PathBuf {
    let in_folder = || Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize()
        .ok()
        .or_else(in_folder)
        .unwrap_or_else(|| path.components().collect())
}
