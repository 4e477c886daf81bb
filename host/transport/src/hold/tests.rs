//! What is held, for how long, and what is said of it.

use std::future::{pending, ready};
use std::io::Error;

use super::*;

/// RabbitMQ closes a channel on which an acknowledgement is owed for so long.
const CONSUMER_TIMEOUT: Duration = Duration::from_secs(1800);

#[tokio::test(start_paused = true)]
async fn a_message_that_is_held_too_long_is_given_up_well_before_the_consumer_timeout() {
    let hold = Hold::new("images", CancellationToken::new(), RESERVE_MAX);
    let began = Instant::now();
    let held = hold.until_done("a", || ready(Err::<(), _>(Error::other("away"))));
    assert_eq!(held.await, Err(GaveUp));
    assert!(began.elapsed() >= HOLD_LIMIT && 2 * began.elapsed() < CONSUMER_TIMEOUT);
    assert_eq!(hold.n_held(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_try_that_never_returns_is_held_no_longer_than_one_that_fails() {
    let hold = Hold::new("images", CancellationToken::new(), RESERVE_MAX);
    let began = Instant::now();
    let held = hold.until_done("a", pending::<Result<(), Error>>);
    assert_eq!(held.await, Err(GaveUp));
    assert_eq!(began.elapsed().as_secs(), HOLD_LIMIT.as_secs());
    let mut tries = 0;
    let again = || {
        tries += 1;
        let hangs = tries > 1;
        async move {
            if hangs {
                pending::<()>().await;
            }
            Err::<(), _>(Error::other("away"))
        }
    };
    let began = Instant::now();
    assert_eq!(hold.until_done("a", again).await, Err(GaveUp));
    assert_eq!(began.elapsed().as_secs(), HOLD_LIMIT.as_secs());
    assert_eq!(hold.n_held(), 0);

    let cut = CancellationToken::new();
    let hold = Hold::new("images", cut.clone(), RESERVE_MAX);
    let held = hold.until_done("a", pending::<Result<(), Error>>);
    let (held, ()) = tokio::join!(held, async { cut.cancel() });
    assert_eq!(held, Err(GaveUp));
}

#[tokio::test(start_paused = true)]
async fn a_hold_names_its_target_and_its_last_error() {
    let hold = Hold::new("images", CancellationToken::new(), RESERVE_MAX);
    let mut tries = 0;
    let held = hold.until_done("queue `a`", || {
        tries += 1;
        ready(Err::<(), _>(Error::other(if tries > 2 { "full" } else { "away" })))
    });
    let looking = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let first = hold.holding().map(|holding| holding.what);
        tokio::time::sleep(Duration::from_secs(30)).await;
        (first, hold.holding().map(|holding| holding.what))
    };
    tokio::select! {
        _ = held => panic!("it was done"),
        (first, last) = looking => {
            assert_eq!(first.as_deref(), Some("queue `a`: away"));
            assert_eq!(last.as_deref(), Some("queue `a`: full"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_drain_ends_a_hold_at_once() {
    let cut = CancellationToken::new();
    let hold = Hold::new("images", cut.clone(), RESERVE_MAX);
    let attempt = || ready(Err::<(), _>(Error::other("away")));
    let (held, ()) = tokio::join!(hold.until_done("a", attempt), async { cut.cancel() });
    assert_eq!(held, Err(GaveUp));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_received_once_a_message_is_held() {
    let hold = Hold::new("images", CancellationToken::new(), RESERVE_MAX);
    let mut tries = 0;
    let (next, done) = tokio::join!(
        hold.unless_held(pending::<()>()),
        hold.until_done("a", || {
            tries += 1;
            ready(if tries > 3 { Ok(()) } else { Err(Error::other("away")) })
        }),
    );
    assert_eq!((next, done), (None, Ok(())));
    assert_eq!(hold.unless_held(ready(7)).await, Some(7));
}

#[tokio::test(start_paused = true)]
async fn a_send_that_is_under_way_when_a_drain_ends_is_given_a_moment_and_no_other_begins() {
    let (cut, mut tries) = (CancellationToken::new(), 0);
    let hold = Hold::new("images", cut.clone(), RESERVE_MAX);
    cut.cancel();
    let began = Instant::now();
    let confirmed = hold.until_done("a", || async {
        tokio::time::sleep(RESERVE_MAX / 6).await;
        Ok::<_, Error>(())
    });
    assert_eq!(confirmed.await, Ok(()));
    let refused = hold.until_done("a", || {
        tries += 1;
        ready(Err::<(), _>(Error::other("away")))
    });
    assert_eq!((refused.await, tries), (Err(GaveUp), 1));
    let silent = hold.until_done("a", pending::<Result<(), Error>>);
    assert_eq!(silent.await, Err(GaveUp));
    assert_eq!(began.elapsed(), RESERVE_MAX / ON_ITS_WAY_SHARE);
}

#[tokio::test(start_paused = true)]
async fn returning_is_tried_until_the_reserve_is_spent_and_never_twice_at_once() {
    let cut = CancellationToken::new();
    let hold = Hold::new("images", cut.clone(), RESERVE_MAX);
    let began = Instant::now();
    let silent = hold.until_back("a", pending::<Result<(), Error>>, || false, HOLD_LIMIT);
    let (silent, ()) = tokio::join!(silent, async { cut.cancel() });
    assert_eq!((silent, began.elapsed()), (Err(GaveUp), RESERVE_MAX));

    let (cut, mut tries) = (CancellationToken::new(), 0);
    let hold = Hold::new("images", cut.clone(), RESERVE_MAX);
    cut.cancel();
    let back = hold.until_back(
        "a",
        || {
            tries += 1;
            ready(if tries > 3 { Ok(()) } else { Err(Error::other("away")) })
        },
        || false,
        HOLD_LIMIT,
    );
    assert_eq!((back.await, hold.n_held()), (Ok(()), 0));
    let void = hold.until_back("a", || ready(Err(Error::other("away"))), || true, HOLD_LIMIT);
    assert_eq!(void.await, Err(GaveUp));
    let hold = Hold::new("images", CancellationToken::new(), RESERVE_MAX);
    let (began, patience) = (Instant::now(), Duration::from_secs(30));
    let away = hold.until_back("a", || ready(Err(Error::other("away"))), || false, patience);
    assert_eq!((away.await, began.elapsed()), (Err(GaveUp), patience));
}

#[test]
fn a_drain_keeps_a_part_of_itself_for_giving_back() {
    for (drain_ms, reserve_ms) in [(0, 250), (1000, 250), (4000, 1000), (25_000, 3000), (3_600_000, 3000)] {
        assert_eq!(
            reserve(Duration::from_millis(drain_ms)),
            Duration::from_millis(reserve_ms)
        );
    }
}
