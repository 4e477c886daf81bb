//! What can be seen of the connections from outside. Changes nothing.

use std::sync::Arc;

use tokio::sync::watch;

use super::link::{Link, Waiting};
use super::publisher::Publishing;

/// Sees the connections while the host runs, and keeps none of them open. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ConnectionMonitor {
    pub(super) consuming: Arc<Link>,
    pub(super) publishing: Arc<Link>,
    pub(super) state: watch::Receiver<Publishing>,
}

/// The connections at one moment.
#[derive(Debug, Clone)]
pub struct Status {
    /// Whether the connection that messages come by is there.
    pub is_consuming: bool,
    /// The connection that results go by.
    pub publishing: Publishing,
    /// What is waited for on the connection that messages come by, or for it.
    pub consuming_waits: Option<Waiting>,
    /// The same of the connection that results go by.
    pub publishing_waits: Option<Waiting>,
    /// How often the connection that messages come by was made.
    pub n_consuming_made: u64,
    /// How often the connection that results go by was made.
    pub n_publishing_made: u64,
}

impl ConnectionMonitor {
    /// Ends both connections, which are then made again: a way on where nothing else has helped.
    pub fn cut(&self) {
        self.consuming.cut();
        self.publishing.cut();
    }

    /// The connections now.
    pub fn status(&self) -> Status {
        Status {
            is_consuming: self.consuming.is_connected(),
            publishing: *self.state.borrow(),
            consuming_waits: self.consuming.waiting(),
            publishing_waits: self.publishing.waiting(),
            n_consuming_made: self.consuming.n_made(),
            n_publishing_made: self.publishing.n_made(),
        }
    }
}
