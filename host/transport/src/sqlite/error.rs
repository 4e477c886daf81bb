//! Why SQLite did not do something, and whether waiting helps. Knows no table.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::ErrorCode;

/// Why something was not done with a file. Cloned for everybody whose work was in one transaction.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum SqliteError {
    /// SQLite said no.
    #[error("cannot {action} `{}`", path.display())]
    Failed {
        /// What was tried, up to the name of the file.
        action: &'static str,
        path: PathBuf,
        source: Arc<rusqlite::Error>,
    },
    /// The file is gone from its place, or cannot be looked at.
    #[error("cannot reach `{}`", path.display())]
    Gone { path: PathBuf, source: Arc<io::Error> },
    /// It did not answer: a disk or a file system that hangs.
    #[error("`{}` did not answer within {} s", path.display(), within.as_secs())]
    Silent { path: PathBuf, within: Duration },
    /// The thread of the file is gone: the process is stopping, or it is our bug.
    #[error("work on `{}` has stopped", path.display())]
    Stopped { path: PathBuf },
    /// A table that is there already is not one that messages can be taken from, or results put into.
    #[error("the table `{table}` in `{}` has no column `{column}`: add it, or name another table", path.display())]
    NoColumn {
        path: PathBuf,
        table: String,
        column: &'static str,
    },
    /// A table of results would take one twice.
    #[error(
        "the table `{table}` in `{}` may have an `id` twice, and a result that is made again must replace nothing and be there once: \
         make `id` its primary key, or add a unique index on it",
        path.display()
    )]
    IdNotUnique { path: PathBuf, table: String },
}

impl SqliteError {
    pub(super) fn failed(action: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        Self::Failed {
            action,
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }

    pub(super) fn gone(path: &Path, source: io::Error) -> Self {
        Self::Gone {
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }

    /// Whether it passes by itself: the file is locked, the disk is full or away. Else an operator must act.
    pub(super) fn is_outage(&self) -> bool {
        match self {
            Self::Failed { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(
                    ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                        | ErrorCode::DiskFull
                        | ErrorCode::SystemIoFailure
                        | ErrorCode::FileLockingProtocolFailed
                        | ErrorCode::OutOfMemory
                        | ErrorCode::OperationInterrupted
                )
            ),
            Self::Silent { .. } => true,
            Self::Gone { .. } | Self::Stopped { .. } | Self::NoColumn { .. } | Self::IdNotUnique { .. } => false,
        }
    }

    /// Whether the row alone is at fault: it breaks a rule of its table, and would break it again.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Failed { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig)
            ),
            _ => false,
        }
    }
}
