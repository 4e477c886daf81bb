//! Runs thousands of schedules, with each kind of source. One that failed says how to run it again.

use super::schedule::{Seen, run};
use super::world::SourceKind;
use crate::transport::amqp::QUEUE;
use crate::transport::folder::FOLDER;
use crate::transport::{Capabilities, Redelivery};

/// Schedules in one run of the tests, with a queue as the source: some seconds.
const N_SCHEDULES: u64 = 3000;

/// And with each other kind of source.
const N_OTHER_SCHEDULES: u64 = 1000;

/// A log with partitions: what is behind a message that is let go of stays, what is before it goes, too. It marks nothing.
static LOG: Capabilities = Capabilities {
    gives_back: false,
    redelivery: Redelivery::Untold,
    ..QUEUE
};

/// The same, where the source tells a crash for certain.
static MARKED_LOG: Capabilities = Capabilities {
    redelivery: Redelivery::Ambiguous,
    ..LOG
};

/// Names another number of schedules.
const SCHEDULES: &str = "MILLRACE_SCHEDULES";

/// Names one seed, to run it alone: `MILLRACE_SEED=17 cargo test --workspace --lib simulation`.
const SEED: &str = "MILLRACE_SEED";

fn number_in(variable: &str) -> Option<u64> {
    let number = std::env::var(variable).ok()?;
    Some(number.parse().expect("it is a number"))
}

/// Runs as many schedules as the environment says, all of which must pass; gives what they did, unless it is one alone.
fn run_all(source: SourceKind, n_schedules: u64) -> Option<Seen> {
    let only_seed = number_in(SEED);
    let seeds = only_seed.map_or(1..=number_in(SCHEDULES).unwrap_or(n_schedules), |seed| seed..=seed);
    let (mut failures, mut total) = (Vec::new(), Seen::default());
    for seed in seeds {
        match run(seed, source) {
            Ok(seen) => total += seen,
            Err(what) => failures.push((seed, what)),
        }
    }
    #[expect(clippy::disallowed_macros, reason = "the output of a test")]
    let print = |line: String| println!("{line}");
    print(format!("{total:?}"));
    if let Some((seed, what)) = failures.first() {
        let n_failed = failures.len();
        for (seed, what) in failures.iter().skip(1).step_by(1 + n_failed / 20) {
            print(format!("{SEED}={seed}: {what}"));
        }
        panic!("{n_failed} schedules failed; the first, {SEED}={seed}: {what}");
    }
    if only_seed.is_some() {
        return None;
    }
    let has_happened = [total.n_kills, total.n_restarts, total.n_drains, total.n_ended]
        .iter()
        .all(|n| *n > 100);
    assert!(has_happened && total.n_undone > 20, "{total:?}");
    Some(total)
}

#[test]
fn every_schedule_of_faults_settles_every_message_as_it_deserves() {
    let queue = SourceKind {
        capabilities: &QUEUE,
        is_in_order: false,
    };
    if let Some(total) = run_all(queue, N_SCHEDULES) {
        assert!(total.n_in_quarantine > 100 && total.n_left == 0, "{total:?}");
    }
}

#[test]
fn a_source_that_tells_its_own_outage_from_a_crash_miscounts_none() {
    let folder = SourceKind {
        capabilities: &FOLDER,
        is_in_order: false,
    };
    if let Some(total) = run_all(folder, N_OTHER_SCHEDULES) {
        assert!(total.n_in_quarantine > 100 && total.n_miscounted == 0, "{total:?}");
    }
}

#[test]
fn a_source_that_lets_go_in_order_and_tells_no_redelivery_loses_nothing_and_quarantines_nothing() {
    let log = SourceKind {
        capabilities: &LOG,
        is_in_order: true,
    };
    if let Some(total) = run_all(log, N_OTHER_SCHEDULES) {
        assert!(
            total.n_left > 50 && total.n_rewound > 0 && total.n_in_quarantine == 0,
            "{total:?}"
        );
    }
}

#[test]
fn a_source_that_lets_go_in_order_and_tells_redeliveries_finds_out_its_poison() {
    let log = SourceKind {
        capabilities: &MARKED_LOG,
        is_in_order: true,
    };
    if let Some(total) = run_all(log, N_OTHER_SCHEDULES) {
        assert!(total.n_left > 100 && total.n_in_quarantine > 100, "{total:?}");
    }
}
