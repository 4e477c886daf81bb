//! Work for the thread of a file, and the way of its answer. Knows no table.

use std::path::Path;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::error::SqliteError;

/// Whether work changes the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// One piece of work.
pub(super) trait Job: Send {
    fn access(&self) -> Access;

    /// Whether the answer is still awaited: work that was given up is not begun.
    fn is_awaited(&self) -> bool;

    /// Does it, once. The error says that nothing of it may stay.
    fn run(&mut self, connection: &Connection) -> Result<(), ()>;

    /// Answers. An error of the transaction is everybody's.
    fn end(self: Box<Self>, path: &Path, committed: Result<(), SqliteError>);
}

/// Work whose answer is awaited.
pub(super) struct Asked<W, T> {
    pub(super) action: &'static str,
    pub(super) access: Access,
    // None once it was begun.
    pub(super) work: Option<W>,
    pub(super) made: Option<rusqlite::Result<T>>,
    pub(super) answer: oneshot::Sender<Result<T, SqliteError>>,
}

impl<W, T> Job for Asked<W, T>
where
    W: FnOnce(&Connection) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn access(&self) -> Access {
        self.access
    }

    fn is_awaited(&self) -> bool {
        !self.answer.is_closed()
    }

    fn run(&mut self, connection: &Connection) -> Result<(), ()> {
        let Some(work) = self.work.take() else { return Ok(()) };
        let made = work(connection);
        let done = made.as_ref().map(drop).map_err(drop);
        self.made = Some(made);
        done
    }

    fn end(self: Box<Self>, path: &Path, committed: Result<(), SqliteError>) {
        let answer = match (self.made, committed) {
            // Its own error says more than that of the transaction, which may have ended because of it.
            (Some(Err(error)), _) => Err(SqliteError::failed(self.action, path, error)),
            (_, Err(error)) => Err(error),
            (Some(Ok(made)), Ok(())) => Ok(made),
            (None, Ok(())) => Err(SqliteError::Stopped { path: path.to_owned() }),
        };
        // Nobody waits any more: what was claimed for them is given back where it is dropped.
        self.answer.send(answer).ok();
    }
}
