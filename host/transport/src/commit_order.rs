//! The order in which a source lets go of messages, where letting go of one lets go of all before it. Knows no source.

use tokio::sync::oneshot;

/// The deliveries of one lane, such as a partition, in the order in which the source handed them over.
#[derive(Debug, Default)]
pub struct CommitOrder {
    last: Option<oneshot::Receiver<()>>,
}

/// The place of a delivery in its lane. Dropped before it was passed on, it ends the lane: nothing behind it may be let go of.
#[derive(Debug)]
pub struct CommitTurn {
    // None where nothing before it is open.
    before: Option<oneshot::Receiver<()>>,
    next: oneshot::Sender<()>,
}

/// One before it was not let go of: everything from that one on comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneEnded;

impl CommitOrder {
    /// Whether something in it was dropped before it was passed on, and nothing behind it can be let go of any more.
    pub fn has_ended(&mut self) -> bool {
        let last = self.last.as_mut().map(oneshot::Receiver::try_recv);
        matches!(last, Some(Err(oneshot::error::TryRecvError::Closed)))
    }

    /// The place of the next delivery.
    pub fn turn(&mut self) -> CommitTurn {
        let (next, last) = oneshot::channel();
        CommitTurn {
            before: self.last.replace(last),
            next,
        }
    }
}

impl CommitTurn {
    /// Waits until everything before it was let go of.
    ///
    /// # Errors
    /// When something before it never will be.
    ///
    /// # Cancellation
    /// Ends the lane.
    pub async fn comes(mut self) -> Result<Self, LaneEnded> {
        if let Some(before) = self.before.take() {
            before.await.map_err(|_| LaneEnded)?;
        }
        Ok(self)
    }

    /// Lets the next be let go of: this one was.
    pub fn pass(self) {
        // None waits where it was the last.
        self.next.send(()).ok();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_turn_comes_when_all_before_have_passed_and_never_behind_one_that_was_dropped() {
        let mut order = CommitOrder::default();
        let [first, second, third, fourth] = [(); 4].map(|()| order.turn());
        let mut second = Box::pin(second.comes());
        assert!(second.as_mut().now_or_never().is_none());
        first.comes().await.unwrap().pass();
        second.await.unwrap().pass();
        drop(third.comes().await.unwrap());
        assert_eq!(fourth.comes().await.unwrap_err(), LaneEnded);
        assert_eq!(order.turn().comes().await.unwrap_err(), LaneEnded);
        assert!(CommitOrder::default().turn().comes().await.is_ok());
    }
}
