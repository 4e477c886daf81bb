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
pub(super) struct Routes(watch::Sender<BTreeMap<String, Route>>);

#[derive(Debug)]
struct Route {
    now: Arc<Front>,
    // Of a changed source that has not begun.
    next: Option<Arc<Front>>,
}

impl Default for Routes {
    fn default() -> Self {
        Self(watch::Sender::new(BTreeMap::new()))
    }
}

impl Routes {
    /// Leads the requests for its path to this pipeline from now on.
    pub(super) fn lead_to(&self, front: &Arc<Front>) {
        self.0.send_modify(|routes| lead(routes, front));
    }

    /// The same where no pipeline takes messages there: until it asks for the first, they wait. Else it is the successor of
    /// the one that does.
    pub(super) fn lead_to_unless_open(&self, front: &Arc<Front>) {
        self.0.send_modify(
            |routes| match routes.get_mut(&front.terms.path).filter(|route| route.now.is_open()) {
                Some(route) => route.next = Some(Arc::clone(front)),
                None => lead(routes, front),
            },
        );
    }

    /// The pipeline of a path, open where there is one that is; nothing where the path has none. At a start an address listens
    /// before each of its paths is there, so that one that has none is waited for, too.
    pub(super) async fn of(&self, path: &str) -> Option<Arc<Front>> {
        let now = self.now(path);
        if now.as_ref().is_some_and(|front| front.is_open()) {
            return now;
        }
        let mut routes = self.0.subscribe();
        let open = routes.wait_for(|routes| routes.get(path).is_some_and(|route| route.now.is_open()));
        // Without one, a pipeline may be there by now that is not open.
        drop(tokio::time::timeout(SUCCESSION, open).await);
        self.now(path).or(now)
    }

    /// Whether a pipeline takes messages at a path, or is about to.
    pub(super) fn leads_somewhere(&self, path: &str) -> bool {
        let routes = self.0.borrow();
        let Some(route) = routes.get(path) else { return false };
        route.now.is_open() || route.next.as_ref().is_some_and(|next| next.is_open())
    }

    /// Connections at once.
    pub(super) fn connections_max(&self) -> usize {
        let routes = self.0.borrow();
        let n_slots: usize = routes
            .values()
            .filter(|route| route.now.is_open())
            .map(|route| route.now.n_slots())
            .sum();
        2 * n_slots + CONNECTIONS_MORE
    }
    fn now(&self, path: &str) -> Option<Arc<Front>> {
        self.0.borrow().get(path).map(|route| Arc::clone(&route.now))
    }
}

fn lead(routes: &mut BTreeMap<String, Route>, front: &Arc<Front>) {
    let route = Route {
        now: Arc::clone(front),
        next: None,
    };
    routes.insert(front.terms.path.clone(), route);
}
