//! Sending the results of a message: all or nothing, in its turn where its source keeps an order. Knows no work and no settlement.

use futures_util::future::try_join_all;
use tracing::{debug, info};

use crate::disposition::{Disposition, ReasonClass, Stage};
use crate::error_chain::ErrorChain;
use crate::transport::{AckHandle, CommitTurn, DeliverError, GaveUp, Hold, LaneEnded, PendingOutput};
use crate::work::reject;

/// Waits for the turn of a message, where its source keeps an order. A message that goes back, or whose turn does not come,
/// takes all behind it in its lane with it.
pub(crate) async fn in_turn(
    hold: &Hold,
    made: Result<Vec<PendingOutput>, Disposition>,
    turn: CommitTurn,
) -> (Result<Vec<PendingOutput>, Disposition>, Option<CommitTurn>) {
    if let Err(Disposition::Return) = made {
        return (made, None);
    }
    tokio::select! {
        biased; // a turn that has come counts
        turn = turn.comes() => match turn {
            Ok(turn) => (made, Some(turn)),
            Err(LaneEnded) => (Err(Disposition::Return), None),
        },
        () = hold.cut() => (Err(Disposition::Return), None),
    }
}

/// Sends every result until it is confirmed. All or nothing: one that does not arrive holds the message, and one that is
/// refused costs it, after the others have ended.
pub(crate) async fn all(hold: &Hold, pending_outputs: &[PendingOutput], ack: &dyn AckHandle) -> Disposition {
    let sending = pending_outputs.iter().map(|pending_output| async move {
        // With its channel gone it is redelivered in any case: one more try would only be one more copy.
        hold.until_done_unless(pending_output, || send(pending_output), || ack.is_void())
            .await
    });
    match try_join_all(sending).await {
        Ok(sent) => delivered(sent),
        Err(GaveUp) => Disposition::Return,
    }
}

/// Sends the results of a quarantined message once. One that does not arrive is not held: the host outlived the
/// message, which shows that it is innocent, and others wait until it is done.
pub(crate) async fn once(hold: &Hold, pending_outputs: &[PendingOutput]) -> Disposition {
    let sending = try_join_all(pending_outputs.iter().map(send));
    match hold.try_once(sending).await {
        Ok(Ok(sent)) => return delivered(sent),
        Ok(Err(error)) => {
            info!(error = %ErrorChain(&error), "the result of a quarantined message did not arrive: the message goes back to the others")
        }
        Err(GaveUp) => {
            debug!(
                "the drain ended before the result of a quarantined message was confirmed: the message goes back to the others"
            )
        }
    }
    Disposition::Return
}

/// A result that its destination refuses for good, and why.
struct Refused(String);

/// Sends a result once. A refusal is an answer: nothing is held for it.
async fn send(pending_output: &PendingOutput) -> Result<Result<(), Refused>, DeliverError> {
    match pending_output.send().await {
        Ok(()) => Ok(Ok(())),
        Err(DeliverError::Refused(why)) => Ok(Err(Refused(format!(
            "{pending_output} refuses the result: {}",
            ErrorChain(why.as_ref())
        )))),
        Err(error @ DeliverError::Unconfirmed(_)) => Err(error),
    }
}

/// The disposition of a message whose results have all ended.
fn delivered(sent: Vec<Result<(), Refused>>) -> Disposition {
    match sent.into_iter().find_map(Result::err) {
        None => Disposition::Ack,
        // Whether the plugin or the message chose the value is not known, and a publisher must not stop a pipeline.
        Some(Refused(why)) => reject(Stage::Deliver, ReasonClass::Undeliverable, why),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::transport::{CommitOrder, Output, Settled, Settlement};

    /// Answers in this order; the last answer stands.
    #[derive(Debug)]
    struct Answers(Mutex<Vec<Result<(), DeliverError>>>);

    impl std::fmt::Display for Answers {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("table `results`")
        }
    }

    impl Output for Answers {
        fn send(&self) -> BoxFuture<'_, Result<(), DeliverError>> {
            let mut answers = self.0.lock().unwrap();
            let answer = if answers.len() > 1 { answers.remove(0) } else { Ok(()) };
            std::future::ready(answer).boxed()
        }
    }

    #[derive(Debug)]
    struct Ack;

    impl AckHandle for Ack {
        fn settle<'a>(self: Box<Self>, _: Settlement<'a>) -> BoxFuture<'a, Settled> {
            std::future::ready(Settled::Done).boxed()
        }
    }

    fn away() -> Result<(), DeliverError> {
        Err(DeliverError::new(std::io::Error::other("away")))
    }

    fn refused() -> Result<(), DeliverError> {
        Err(DeliverError::refused(std::io::Error::other("a rule of the table")))
    }

    fn output(answers: Vec<Result<(), DeliverError>>) -> PendingOutput {
        Box::new(Answers(Mutex::new(answers)))
    }

    fn hold() -> Hold {
        Hold::new("digits", CancellationToken::new(), Duration::from_secs(3))
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_result_costs_its_message_after_the_others_have_arrived() {
        let outputs = [output(vec![refused(), Ok(())]), output(vec![away(), away(), Ok(())])];
        let began = tokio::time::Instant::now();
        let Disposition::Reject(reason) = all(&hold(), &outputs, &Ack).await else {
            panic!("not rejected");
        };
        assert!(!began.elapsed().is_zero(), "the other result was not waited for");
        assert_eq!(
            (reason.stage, reason.class),
            (Stage::Deliver, ReasonClass::Undeliverable)
        );
        assert_eq!(reason.text, "table `results` refuses the result: a rule of the table");
        let outputs = [output(vec![refused(), Ok(())])];
        assert!(matches!(once(&hold(), &outputs).await, Disposition::Reject(_)));
        let outputs = [output(vec![away(), Ok(())])];
        assert!(matches!(once(&hold(), &outputs).await, Disposition::Return));
    }

    #[tokio::test]
    async fn a_message_ends_in_its_turn_and_one_that_goes_back_takes_those_behind_it_along() {
        let (hold, mut order) = (hold(), CommitOrder::default());
        let [first, second, third] = [(); 3].map(|()| order.turn());
        let mut second = Box::pin(in_turn(&hold, Ok(Vec::new()), second));
        assert!(
            second.as_mut().now_or_never().is_none(),
            "it did not wait for the first"
        );
        let (made, turn) = in_turn(&hold, Err(Disposition::Ack), first).await;
        assert!(matches!(made, Err(Disposition::Ack)));
        turn.unwrap().pass();
        let (made, turn) = second.await;
        assert!(made.is_ok());
        drop(turn);
        let (made, turn) = in_turn(&hold, Ok(Vec::new()), third).await;
        assert!(matches!(made, Err(Disposition::Return)) && turn.is_none());
        assert!(order.has_ended());
    }
}
