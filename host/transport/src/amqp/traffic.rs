//! How many bytes a connection received and sent, which distinguishes a slow peer from a silent one. Knows no protocol.

use std::sync::atomic::{AtomicU64, Ordering};

/// The bytes of one connection.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    came: AtomicU64,
    went: AtomicU64,
}

impl Traffic {
    /// Counts received bytes of a frame that is no heartbeat: a heartbeat proves nothing but that the peer lives.
    pub(super) fn comes(&self, n_bytes: usize) {
        self.came.fetch_add(n_bytes as u64, Ordering::Relaxed);
    }

    /// Counts bytes that were written to the socket.
    pub(super) fn goes(&self, n_bytes: usize) {
        self.went.fetch_add(n_bytes as u64, Ordering::Relaxed);
    }

    /// Bytes that were received until now, without heartbeats.
    pub(super) fn came(&self) -> u64 {
        self.came.load(Ordering::Relaxed)
    }

    /// Bytes that were sent until now.
    pub(super) fn went(&self) -> u64 {
        self.went.load(Ordering::Relaxed)
    }
}
