//! The breaker on a paused clock: what opens it, who is tried, what closes it.

use std::collections::BTreeMap;

use super::machine::THRESHOLD;
use super::*;

fn failing_component(stage: Stage, digest: &str) -> FailingComponent {
    FailingComponent {
        stage,
        name: "crop".to_owned(),
        digest: digest.to_owned(),
    }
}

fn trap() -> Reason {
    Reason {
        stage: Stage::Preprocess,
        class: ReasonClass::Trap,
        text: "trapped".to_owned(),
        plugin: None,
    }
}

fn breaker() -> Breaker {
    Breaker::new("images", CancellationToken::new())
}

fn served(_: &FailingComponent) -> bool {
    true
}

async fn running(breaker: &Breaker) -> Ticket {
    let mut ticket = breaker.ticket();
    ticket.turn(served).await.unwrap();
    ticket
}

fn fail(ticket: &mut Ticket) -> FailureVerdict {
    ticket.failed(failing_component(Stage::Preprocess, "a"), 1, &trap(), Duration::ZERO)
}

/// Opens it, and gives the message that opened it, which is kept.
async fn open(breaker: &Breaker) -> Ticket {
    for _ in 1..THRESHOLD {
        assert_eq!(fail(&mut running(breaker).await), FailureVerdict::Stands);
    }
    let mut last = running(breaker).await;
    assert_eq!(fail(&mut last), FailureVerdict::Kept);
    assert!(breaker.opened().is_some());
    last
}

/// Whether something that waits is done by now, without letting the clock go on.
async fn is_now<F: Future>(future: F) -> bool {
    tokio::select! {
        biased;
        _ = future => true,
        () = tokio::task::yield_now() => false,
    }
}

#[tokio::test(start_paused = true)]
async fn it_opens_when_as_many_in_a_row_fail_by_one_component() {
    let breaker = breaker();
    // Rows: a letter fails by that build, `+` is a success, `m` fails by the model.
    let rows = [
        ("aaaa", false),
        ("aaaaa", true),
        ("aaaa+a", false),
        ("aaaa+aaaaa", true),
        ("amamama", false),
        ("amamamama", true),
        ("aaaabaaaa", false),
    ];
    for (events, opens) in rows {
        let breaker = breaker.0.pipeline.clone();
        let breaker = Breaker::new(&breaker, CancellationToken::new());
        for event in events.chars() {
            let mut ticket = running(&breaker).await;
            match event {
                '+' => ticket.passed(Stage::Preprocess, "a"),
                'm' => drop(ticket.failed(failing_component(Stage::Infer, "m"), 1, &trap(), Duration::ZERO)),
                build => drop(ticket.failed(
                    failing_component(Stage::Preprocess, &build.to_string()),
                    1,
                    &trap(),
                    Duration::ZERO,
                )),
            }
        }
        assert_eq!(breaker.opened().is_some(), opens, "{events}");
        assert_eq!(breaker.n_opened(), u64::from(opens), "{events}");
    }
}

#[tokio::test(start_paused = true)]
async fn while_open_nothing_is_received_and_a_kept_message_is_the_half_open_call() {
    let breaker = breaker();
    let mut others = vec![running(&breaker).await, running(&breaker).await];
    let mut kept = vec![open(&breaker).await];
    for mut other in others.drain(..) {
        assert_eq!(fail(&mut other), FailureVerdict::Kept);
        kept.push(other);
    }
    assert!(!is_now(breaker.admits(served)).await);
    let began = Instant::now();
    let mut first = kept.pop().unwrap();
    first.turn(served).await.unwrap();
    let pause = began.elapsed();
    assert!((1..=2).contains(&pause.as_secs()), "{pause:?}");
    assert_eq!(first.state, TicketState::HalfOpen(1));
    assert_eq!(breaker.opened().unwrap().half_open_in, Duration::ZERO);
    // One at a time: the next waits however long the half-open call takes.
    let mut second = kept.pop().unwrap();
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(!is_now(second.turn(served)).await);
    assert_eq!(fail(&mut first), FailureVerdict::HalfOpenFailed);
    drop(first);
    assert!(!is_now(second.turn(served)).await);
    second.turn(served).await.unwrap();
    second.passed(Stage::Preprocess, "a");
    assert!(breaker.opened().is_none());
    let mut third = kept.pop().unwrap();
    assert!(is_now(third.turn(served)).await);
    assert_eq!(third.state, TicketState::Runs);
    assert!(is_now(breaker.admits(served)).await);
}

#[tokio::test(start_paused = true)]
async fn with_none_in_flight_one_message_is_received_as_the_half_open_call() {
    let breaker = breaker();
    let mut kept = open(&breaker).await;
    kept.turn(served).await.unwrap();
    assert_eq!(fail(&mut kept), FailureVerdict::HalfOpenFailed);
    assert!(!is_now(breaker.admits(served)).await);
    drop(kept);
    let began = Instant::now();
    breaker.admits(served).await;
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    let mut half_open = breaker.ticket();
    // It is taken and has not begun: there is room for no other.
    assert!(!is_now(breaker.admits(served)).await);
    assert!(is_now(half_open.turn(served)).await);
    assert!(!is_now(breaker.admits(served)).await);
    // It was refused, or given back: that says nothing, and the next may be tried at once.
    drop(half_open);
    assert!(is_now(breaker.admits(served)).await);
}

#[tokio::test(start_paused = true)]
async fn pauses_double_up_to_five_minutes() {
    let breaker = breaker();
    let mut half_open = open(&breaker).await;
    let mut pauses = BTreeMap::new();
    for n in 0..12 {
        let began = Instant::now();
        half_open.turn(served).await.unwrap();
        assert_eq!(fail(&mut half_open), FailureVerdict::HalfOpenFailed);
        pauses.insert(n, began.elapsed().as_secs_f64());
        half_open = breaker.ticket();
    }
    for (n, pause) in &pauses {
        let least = f64::min(2_f64.powi(*n), 150.0);
        assert!((least..=2.0 * least + 0.1).contains(pause), "{pauses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_build_in_service_closes_it() {
    let breaker = breaker();
    let mut kept = open(&breaker).await;
    assert!(!is_now(kept.turn(served)).await);
    let began = Instant::now();
    kept.turn(|failing_component| failing_component.digest != "a")
        .await
        .unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(breaker.opened().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_straggler_that_succeeds_closes_it_and_an_old_half_open_call_is_one_no_more() {
    let breaker = breaker();
    let mut straggler = running(&breaker).await;
    let mut half_open = open(&breaker).await;
    half_open.turn(served).await.unwrap();
    straggler.passed(Stage::Preprocess, "a");
    assert!(breaker.opened().is_none());
    let mut next = open(&breaker).await;
    next.turn(served).await.unwrap();
    assert_eq!(fail(&mut half_open), FailureVerdict::Kept);
    drop(half_open);
    assert!(!is_now(breaker.ticket().turn(served)).await);
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_goes_back_when_a_drain_begins_or_it_waited_too_long() {
    let breaker = breaker();
    let mut half_open = open(&breaker).await;
    half_open.turn(served).await.unwrap();
    let began = Instant::now();
    assert_eq!(breaker.ticket().turn(served).await, Err(GaveUp));
    let waited = began.elapsed();
    assert!(waited >= HOLD_LIMIT && waited < HOLD_LIMIT + 2 * LOOK, "{waited:?}");
    breaker.0.drain.cancel();
    assert!(is_now(breaker.ticket().turn(served)).await);
    assert_eq!(breaker.machine().n_waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn what_runs_is_kept_when_others_found_out_at_a_high_price_that_it_fails() {
    // Rows: what each failure cost, and whether what runs beside is to be kept at once.
    for (cost_ms, is_kept) in [(1, false), (1000, true)] {
        let breaker = breaker();
        let mut beside = running(&breaker).await;
        for _ in 0..THRESHOLD {
            let mut ticket = running(&breaker).await;
            let cost = Duration::from_millis(cost_ms);
            ticket.failed(failing_component(Stage::Preprocess, "a"), 1, &trap(), cost);
        }
        assert_eq!(is_now(beside.keeps_all()).await, is_kept, "{cost_ms}");
        beside.begins_anew();
        assert_eq!(breaker.machine().n_waiting, 1);
        tokio::time::advance(Duration::from_secs(3)).await;
        beside.turn(served).await.unwrap();
        assert!(!is_now(beside.keeps_all()).await, "a half_open runs to its end");
        breaker.swapped(|_| false);
        assert!(breaker.opened().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_half_open_call_that_tells_nothing_makes_way_before_it_is_settled() {
    let breaker = breaker();
    let mut kept = open(&breaker).await;
    kept.turn(served).await.unwrap();
    let mut next = breaker.ticket();
    assert!(!is_now(next.turn(served)).await);
    kept.ends();
    assert!(is_now(next.turn(served)).await);
    drop((kept, next));
    assert!(is_now(breaker.admits(served)).await);
}
