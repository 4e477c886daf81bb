//! The paths of one address, and the pipeline behind each. Knows no socket.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::request_queue::RequestQueue;

/// How long a request waits for the successor of a pipeline that takes no more: with a changed source that begins in the
/// same moment.
const SUCCESSION: Duration = Duration::from_millis(250);

/// How long a path that a pipeline left is answered with 503, because the pipeline may only be paused; then it is a path like
/// any other that none has.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Connections besides two for each message: for clients that keep one for the next, and for those that are refused.
const CONNECTIONS_MORE: usize = 32;

/// The paths of an address.
#[derive(Debug)]
pub(super) struct Routes(watch::Sender<BTreeMap<String, Route>>);

#[derive(Debug)]
struct Route {
    now: Arc<RequestQueue>,
    // When its pipeline left; a pipeline that is paused comes back.
    left: Option<Instant>,
    // Of a changed source that has not begun.
    next: Option<Arc<RequestQueue>>,
}

impl Default for Routes {
    fn default() -> Self {
        Self(watch::Sender::new(BTreeMap::new()))
    }
}

impl Routes {
    /// Leads the requests for its path to this pipeline from now on.
    pub(super) fn lead_to(&self, requests: &Arc<RequestQueue>) {
        self.0.send_modify(|routes| lead(routes, requests));
    }

    /// The same where no pipeline takes messages there: until it asks for the first, they wait. Else it is the successor of
    /// the one that does.
    pub(super) fn lead_to_unless_open(&self, requests: &Arc<RequestQueue>) {
        self.0.send_modify(
            |routes| match routes.get_mut(&requests.terms.path).filter(|route| route.now.is_open()) {
                Some(route) => route.next = Some(Arc::clone(requests)),
                None => lead(routes, requests),
            },
        );
    }

    /// The pipeline of a path, open where there is one that is; nothing where the path has none. At a start an address listens
    /// before each of its paths is there, so that one that has none is waited for, too.
    pub(super) async fn of(&self, path: &str) -> Option<Arc<RequestQueue>> {
        let now = self.now(path);
        let is_over = |route: &Route| route.left.is_some_and(|left| left.elapsed() > REMEMBERED);
        if self.0.borrow().get(path).is_some_and(is_over) {
            return None;
        }
        if now.as_ref().is_some_and(|requests| requests.is_open()) {
            return now;
        }
        let mut routes = self.0.subscribe();
        let open = routes.wait_for(|routes| routes.get(path).is_some_and(|route| route.now.is_open()));
        // Without one, a pipeline may be there by now that is not open.
        drop(tokio::time::timeout(SUCCESSION, open).await);
        self.now(path).or(now)
    }

    /// A pipeline takes no more messages at its path.
    pub(super) fn leave(&self, requests: &Arc<RequestQueue>) {
        self.0.send_modify(|routes| {
            routes.retain(|_, route| route.left.is_none_or(|left| left.elapsed() <= REMEMBERED));
            let route = routes.get_mut(&requests.terms.path);
            if let Some(route) = route.filter(|route| Arc::ptr_eq(&route.now, requests)) {
                route.left = Some(Instant::now());
            }
        });
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
    fn now(&self, path: &str) -> Option<Arc<RequestQueue>> {
        self.0.borrow().get(path).map(|route| Arc::clone(&route.now))
    }
}

fn lead(routes: &mut BTreeMap<String, Route>, requests: &Arc<RequestQueue>) {
    let route = Route {
        now: Arc::clone(requests),
        left: None,
        next: None,
    };
    routes.insert(requests.terms.path.clone(), route);
}

#[cfg(test)]
mod tests {
    use super::super::head::Terms;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_path_whose_pipeline_left_is_remembered_for_a_while() {
        let routes = Routes::default();
        let terms = Terms {
            path: "/classify".to_owned(),
            token: None,
            is_loopback: true,
            body_bytes_max: 1,
            answer_within: Duration::from_secs(1),
        };
        let (requests, messages) = RequestQueue::new(terms, 1);
        routes.lead_to(&requests);
        assert!(routes.leads_somewhere("/classify"));
        drop(messages);
        routes.leave(&requests);
        let found = routes.of("/classify").await;
        assert!(
            found.is_some_and(|requests| !requests.is_open()),
            "it may only be paused"
        );
        tokio::time::advance(REMEMBERED).await;
        assert!(routes.of("/classify").await.is_none());
    }
}
