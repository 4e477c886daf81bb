//! An address that clients connect to: which pipeline takes its messages, and which are in flight. Knows no socket.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::in_flight::InFlight;
use super::message_queue::MessageQueue;

/// How long a message waits for the successor of a pipeline that takes no more: with a changed source that begins in the
/// same moment.
const SUCCESSION: Duration = Duration::from_millis(250);

/// An address. Messages in flight belong to it and not to a source, so that a message that is sent again after a change of the
/// file is known.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) in_flight: Arc<InFlight>,
    route: watch::Sender<Route>,
}

#[derive(Debug, Default)]
struct Route {
    now: Option<Arc<MessageQueue>>,
    // Of a changed source that has not begun.
    next: Option<Arc<MessageQueue>>,
}

impl Default for Address {
    fn default() -> Self {
        Self {
            in_flight: Arc::default(),
            route: watch::Sender::new(Route::default()),
        }
    }
}

impl Address {
    /// Leads messages to this pipeline from now on.
    pub(super) fn lead_to(&self, queue: &Arc<MessageQueue>) {
        self.route.send_modify(|route| {
            let is_now = route.now.as_ref().is_some_and(|now| Arc::ptr_eq(now, queue));
            if !is_now {
                *route = Route {
                    now: Some(Arc::clone(queue)),
                    next: None,
                };
            }
        });
    }

    /// The same where no pipeline takes messages. Else it is the successor of the one that does.
    pub(super) fn lead_to_unless_open(&self, queue: &Arc<MessageQueue>) {
        self.route
            .send_modify(|route| match route.now.as_ref().is_some_and(|now| now.is_open()) {
                true => route.next = Some(Arc::clone(queue)),
                false => route.now = Some(Arc::clone(queue)),
            });
    }

    /// The terms of the pipeline that takes messages, or is about to.
    pub(super) fn now(&self) -> Option<Arc<MessageQueue>> {
        let route = self.route.borrow();
        let open = [&route.now, &route.next]
            .into_iter()
            .flatten()
            .find(|queue| queue.is_open());
        open.or(route.now.as_ref()).cloned()
    }

    /// The pipeline that takes messages, waited for a moment; nothing where none does.
    ///
    /// # Cancellation
    /// Safe.
    pub(super) async fn open(&self) -> Option<Arc<MessageQueue>> {
        let mut route = self.route.subscribe();
        let is_open = |route: &Route| route.now.as_ref().is_some_and(|now| now.is_open());
        let open = route.wait_for(is_open);
        let found = tokio::time::timeout(SUCCESSION, open).await.ok()?.ok()?;
        found.now.clone()
    }
}
