//! Carrying out a disposition at a broker: which copy goes where before the original is acknowledged. Knows no broker:
//! `amqp` and the simulator each bring theirs.
//!
//! A message that goes back goes as a copy to its own queue, and the original is let go of, whatever the broker can do. Without a
//! copy the original is given back where the broker takes back one message by itself. Where it takes back none, the copy is tried
//! for longer, and at the end the original is left unsettled: the broker then hands over everything again from it on.

use std::error::Error;
use std::fmt::Display;
use std::time::Duration;

use tracing::warn;

use super::ack::{Settled, Settlement};
use super::commit_order::CommitTurn;
use super::hold::{GaveUp, HOLD_LIMIT, Hold};
use crate::config::Capabilities;
use crate::disposition::Disposition;
use crate::failpoints::{self, Failpoint};
use crate::message::{Envelope, Message};

/// How long a host tries to copy an ordinary message that goes back, unless a drain ends before: without a copy the original
/// goes back, marked as redelivered. For a quarantined message that mark counts as a crash, so it is held instead.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a message is copied to a queue of its own pipeline.
#[derive(Debug, Clone)]
pub enum Purpose {
    /// For another attempt, which has this number.
    Retry {
        attempt: u32,
    },
    /// To be quarantined, after this many hosts crashed with it in flight.
    Quarantine {
        crash_count: u32,
    },
    /// Back to the others, as it was.
    PutBack,
    DeadLetter(Envelope),
}

/// A delivery in flight.
pub trait Delivered: Sized + Send + Sync {
    /// A copy, ready to be published.
    type Copy: Display + Sync;
    /// Why a copy is not known to have arrived.
    type Error: Error;

    /// What its source can do.
    fn capabilities(&self) -> &'static Capabilities;

    /// Its turn to be let go of, where letting go of one message lets go of all before it.
    fn turn(&mut self) -> Option<CommitTurn> {
        None
    }

    /// Whether it is quarantined and runs alone.
    fn is_in_quarantine(&self) -> bool;

    /// Whether its source has taken it back already.
    fn is_void(&self) -> bool;

    /// Prepares a copy; `None` where one cannot be made.
    fn copy(&self, message: &Message, purpose: Purpose) -> Option<Self::Copy>;

    /// Publishes a copy and waits for its confirm.
    fn publish(&self, copy: &Self::Copy) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Acknowledges the original.
    fn ack(self) -> impl Future<Output = Settled> + Send;

    /// Gives the original back to its queue; where that takes back none by itself, leaves it unsettled.
    fn nack(self) -> impl Future<Output = Settled> + Send;
}

/// Carries out a delivery's disposition, or in its place `otherwise`, which says how it goes back, where the disposition
/// cannot be carried out in time. A copy is confirmed before the original is acknowledged.
pub async fn settle<D: Delivered>(delivered: D, settlement: Settlement<'_>) -> Settled {
    match settlement.disposition {
        Disposition::Ack => let_go(delivered).await,
        // Boxed, as all that is rare: an acknowledgement need not have the room for it.
        _ => Box::pin(settle_otherwise(delivered, settlement)).await,
    }
}

async fn settle_otherwise<D: Delivered>(delivered: D, settlement: Settlement<'_>) -> Settled {
    let Settlement {
        disposition,
        otherwise,
        message,
        hold,
        dead_letter,
        ..
    } = settlement;
    let purpose = match disposition {
        Disposition::Ack => return let_go(delivered).await,
        Disposition::Return => return give_back(delivered, Purpose::PutBack, message, hold).await,
        Disposition::Retry(_) => Purpose::Retry {
            attempt: message.attempt.saturating_add(1),
        },
        Disposition::Quarantine { crash_count } => Purpose::Quarantine {
            crash_count: *crash_count,
        },
        Disposition::Reject(reason) => Purpose::DeadLetter(dead_letter(reason)),
    };
    let back = match otherwise {
        Disposition::Quarantine { crash_count } => Purpose::Quarantine {
            crash_count: *crash_count,
        },
        _ => Purpose::PutBack,
    };
    let Some(copy) = delivered.copy(message, purpose) else {
        return give_back(delivered, back, message, hold).await;
    };
    if let Disposition::Quarantine { .. } = disposition {
        // Put back, it would leave the quarantine.
        return move_to(delivered, &copy, message, (hold, HOLD_LIMIT)).await;
    }
    failpoints::pass(Failpoint::Copy, &message.id).await;
    match hold.until_done(&copy, || delivered.publish(&copy)).await {
        Ok(()) => {
            failpoints::pass(Failpoint::Copied, &message.id).await;
            let_go(delivered).await
        }
        Err(GaveUp) => give_back(delivered, back, message, hold).await,
    }
}

/// Gives a message back as it was: as a copy, and the original is acknowledged. The original itself would be redelivered,
/// which looks to the next host as if one had crashed with it in flight.
async fn give_back<D: Delivered>(delivered: D, back: Purpose, message: &Message, hold: &Hold) -> Settled {
    let stays_in_quarantine = delivered.is_in_quarantine() || matches!(back, Purpose::Quarantine { .. });
    // The broker redelivers it: a copy would be one more.
    let copy = match delivered.is_void() {
        true => None,
        false => delivered.copy(message, back),
    };
    let Some(copy) = copy else {
        return delivered.nack().await;
    };
    let patience = match delivered.capabilities().gives_back && !stays_in_quarantine {
        true => PATIENCE,
        false => HOLD_LIMIT,
    };
    match move_to(delivered, &copy, message, (hold, patience)).await {
        Settled::Done => Settled::Returned,
        settled => settled,
    }
}

/// Acknowledges a message once its copy is confirmed; without a confirm in time, the original is given back.
async fn move_to<D: Delivered>(
    delivered: D,
    copy: &D::Copy,
    message: &Message,
    (hold, patience): (&Hold, Duration),
) -> Settled {
    failpoints::pass(Failpoint::Copy, &message.id).await;
    let publish = || delivered.publish(copy);
    let moved = hold.until_back(copy, publish, || delivered.is_void(), patience).await;
    if let Err(GaveUp) = moved {
        if delivered.is_in_quarantine() && !delivered.is_void() {
            warn!(
                "cannot copy the quarantined message in time: giving it back, and its next delivery may count as a crash"
            );
        }
        return delivered.nack().await;
    }
    failpoints::pass(Failpoint::Copied, &message.id).await;
    let_go(delivered).await
}

/// Lets go of a message when its turn has come. What is to take its place is safe already: were it made in turn, too, a drain
/// would wait for one confirm after the other.
async fn let_go<D: Delivered>(mut delivered: D) -> Settled {
    let Some(turn) = delivered.turn() else {
        return delivered.ack().await;
    };
    let Ok(turn) = turn.comes().await else {
        return match delivered.nack().await {
            Settled::Lost(why) => Settled::Lost(why),
            Settled::Done | Settled::Returned => Settled::Lost("one before it was not let go of".to_owned()),
        };
    };
    let settled = delivered.ack().await;
    if settled == Settled::Done {
        turn.pass();
    }
    settled
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures_util::FutureExt;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::CommitOrder;
    use crate::amqp::{PublishError, QUEUE};
    use crate::disposition::{Reason, ReasonClass, Stage};

    /// Takes copies, but no dead letters; records every call.
    struct Delivery {
        capabilities: &'static Capabilities,
        is_void: bool,
        turn: Option<CommitTurn>,
        takes_copies: bool,
        log: Arc<Mutex<Vec<String>>>,
    }

    impl Delivery {
        fn log(&self, what: &str) {
            let mut log = self.log.lock().unwrap();
            if log.last().is_none_or(|last| last != what) {
                log.push(what.to_owned());
            }
        }
    }

    impl Delivered for Delivery {
        type Copy = String;
        type Error = PublishError;

        fn capabilities(&self) -> &'static Capabilities {
            self.capabilities
        }

        fn turn(&mut self) -> Option<CommitTurn> {
            self.turn.take()
        }

        fn is_in_quarantine(&self) -> bool {
            false
        }

        fn is_void(&self) -> bool {
            self.is_void
        }

        fn copy(&self, _: &Message, purpose: Purpose) -> Option<String> {
            Some(match purpose {
                Purpose::DeadLetter(_) => "dead letter".to_owned(),
                purpose => format!("{purpose:?}"),
            })
        }

        async fn publish(&self, copy: &String) -> Result<(), PublishError> {
            self.log(copy);
            match copy.as_str() {
                "dead letter" => Err(PublishError::Disconnected),
                _ if !self.takes_copies => Err(PublishError::Disconnected),
                _ => Ok(()),
            }
        }

        async fn ack(self) -> Settled {
            self.log("ack");
            Settled::Done
        }

        async fn nack(self) -> Settled {
            self.log("nack");
            Settled::Returned
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_whose_dead_letter_is_late_goes_back_with_its_crash_count() {
        let quarantined = Disposition::Quarantine { crash_count: 3 };
        let check = async |otherwise: &Disposition, is_void, is_cut, expect: &[&str]| {
            let log = Arc::default();
            let delivery = Delivery {
                capabilities: &QUEUE,
                is_void,
                turn: None,
                takes_copies: true,
                log: Arc::clone(&log),
            };
            let cut = CancellationToken::new();
            if is_cut {
                cut.cancel();
            }
            let hold = Hold::new("digits", cut, Duration::from_secs(3));
            let rejected = Disposition::Reject(Reason {
                stage: Stage::Receive,
                class: ReasonClass::AttemptsSpent,
                text: String::new(),
                plugin: None,
            });
            let dead_letter = |_: &Reason| Envelope::default();
            let message = Message::default();
            let settlement = Settlement {
                disposition: &rejected,
                otherwise,
                message: &message,
                results: &[],
                hold: &hold,
                dead_letter: &dead_letter,
            };
            let settled = settle(delivery, settlement).await;
            assert_eq!(settled, Settled::Returned);
            assert_eq!(*log.lock().unwrap(), expect);
        };
        for is_cut in [false, true] {
            let (back, counted) = ("PutBack", "Quarantine { crash_count: 3 }");
            check(&Disposition::Return, false, is_cut, &["dead letter", back, "ack"]).await;
            check(&quarantined, false, is_cut, &["dead letter", counted, "ack"]).await;
            // The broker redelivers it, and the next host counts.
            check(&quarantined, true, is_cut, &["dead letter", "nack"]).await;
        }
    }

    /// Lets a delivery go back with a destination for copies that takes none; gives what was asked of it, and for how long.
    async fn goes_back(capabilities: &'static Capabilities) -> (Vec<String>, Settled, u64) {
        let log = Arc::default();
        let delivery = Delivery {
            capabilities,
            is_void: false,
            turn: None,
            log: Arc::clone(&log),
            takes_copies: false,
        };
        let hold = Hold::new("digits", CancellationToken::new(), Duration::from_secs(3));
        let message = Message::default();
        let settlement = Settlement {
            disposition: &Disposition::Return,
            otherwise: &Disposition::Return,
            results: &[],
            message: &message,
            hold: &hold,
            dead_letter: &|_| Envelope::default(),
        };
        let began = tokio::time::Instant::now();
        let settled = settle(delivery, settlement).await;
        let log = log.lock().unwrap().clone();
        (log, settled, began.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_source_takes_back_as_a_copy_alone_is_held_for_longer() {
        static COPIES_ALONE: Capabilities = Capabilities {
            gives_back: false,
            ..QUEUE
        };
        let asked = || vec!["PutBack".to_owned(), "nack".to_owned()];
        assert_eq!(
            goes_back(&QUEUE).await,
            (asked(), Settled::Returned, PATIENCE.as_secs())
        );
        let kept = (asked(), Settled::Returned, HOLD_LIMIT.as_secs());
        assert_eq!(goes_back(&COPIES_ALONE).await, kept);
    }

    #[tokio::test(start_paused = true)]
    async fn a_delivery_is_let_go_of_in_its_turn_and_not_behind_one_that_was_not() {
        let (mut order, log) = (CommitOrder::default(), Arc::default());
        let [first, second, third, fourth] = [(); 4].map(|()| Delivery {
            capabilities: &QUEUE,
            is_void: false,
            turn: Some(order.turn()),
            log: Arc::clone(&log),
            takes_copies: true,
        });
        let mut second = Box::pin(let_go(second));
        assert!(second.as_mut().now_or_never().is_none() && log.lock().unwrap().is_empty());
        assert_eq!(let_go(first).await, Settled::Done);
        assert_eq!(second.await, Settled::Done);
        assert_eq!(third.nack().await, Settled::Returned);
        log.lock().unwrap().clear();
        assert!(matches!(let_go(fourth).await, Settled::Lost(_)));
        assert_eq!(*log.lock().unwrap(), ["nack"]);
    }
}
