//! The paths of one address, and the pipeline behind each. Knows no socket.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::front::Front;

/// How long a request waits for the successor of a pipeline that takes no more: with a changed source that begins in the
/// same moment.
const SUCCESSION: Duration = Duration::from_millis(250);

/// Connections besides two for each message: for clients that keep one for the next, and for those that are refused.
const CONNECTIONS_MORE: usize = 32;

/// The paths of an address.
#[derive(Debug)]
pub(super) struct Routes(watch::Sender<BTreeMap<String, Arc<Front>>>);

impl Default for Routes {
    fn default() -> Self {
        Self(watch::Sender::new(BTreeMap::new()))
    }
}

impl Routes {
    /// Leads the requests for its path to this pipeline from now on.
    pub(super) fn lead_to(&self, front: &Arc<Front>) {
        self.0.send_modify(|routes| {
            routes.insert(front.terms.path.clone(), Arc::clone(front));
        });
    }

    /// The same where no pipeline takes messages there: until it asks for the first, they wait.
    pub(super) fn lead_to_unless_open(&self, front: &Arc<Front>) {
        self.0.send_if_modified(|routes| {
            let is_open = routes.get(&front.terms.path).is_some_and(|now| now.is_open());
            if !is_open {
                routes.insert(front.terms.path.clone(), Arc::clone(front));
            }
            !is_open
        });
    }

    /// The pipeline of a path, open where there is one that is; nothing where the path has none. At a start an address listens
    /// before each of its paths is there, so that one that has none is waited for, too.
    pub(super) async fn of(&self, path: &str) -> Option<Arc<Front>> {
        let now = self.0.borrow().get(path).cloned();
        if now.as_ref().is_some_and(|front| front.is_open()) {
            return now;
        }
        let mut routes = self.0.subscribe();
        let open = routes.wait_for(|routes| routes.get(path).is_some_and(|front| front.is_open()));
        let next = match tokio::time::timeout(SUCCESSION, open).await {
            Ok(Ok(routes)) => routes.get(path).cloned(),
            // It may be there by now, and not open.
            Ok(Err(_)) | Err(_) => self.0.borrow().get(path).cloned(),
        };
        next.or(now)
    }

    /// Whether a pipeline takes messages at a path.
    pub(super) fn leads_somewhere(&self, path: &str) -> bool {
        self.0.borrow().get(path).is_some_and(|front| front.is_open())
    }

    /// Connections at once.
    pub(super) fn connections_max(&self) -> usize {
        let routes = self.0.borrow();
        let n_slots: usize = routes
            .values()
            .filter(|front| front.is_open())
            .map(|front| front.n_slots())
            .sum();
        2 * n_slots + CONNECTIONS_MORE
    }
}
