//! How many bytes came and went on a connection: a peer that is slow is told from one that is silent. Knows no protocol.

use std::sync::atomic::{AtomicU64, Ordering};

/// The bytes of one connection.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    came: AtomicU64,
    went: AtomicU64,
}

impl Traffic {
    /// Bytes of a frame that says something came: a heartbeat says nothing but that somebody is there.
    pub(super) fn comes(&self, n_bytes: usize) {
        self.came.fetch_add(n_bytes as u64, Ordering::Relaxed);
    }

    /// Bytes were taken by the socket.
    pub(super) fn goes(&self, n_bytes: usize) {
        self.went.fetch_add(n_bytes as u64, Ordering::Relaxed);
    }

    /// Bytes that came until now, without heartbeats.
    pub(super) fn came(&self) -> u64 {
        self.came.load(Ordering::Relaxed)
    }

    /// Bytes that went until now.
    pub(super) fn went(&self) -> u64 {
        self.went.load(Ordering::Relaxed)
    }
}
