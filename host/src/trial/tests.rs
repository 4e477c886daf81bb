//! Trials that end as they should: undone, passed, and never by chance.

use super::*;

fn trial(limits: TrialConfig) -> (Arc<Trial<&'static str>>, mpsc::UnboundedReceiver<TrialEnded>) {
    let (ended, events) = mpsc::unbounded_channel();
    let name = Name::new("images").unwrap();
    let trial = Trial::new(name, 2, limits, Arc::new("previous"), ended);
    (Arc::new(trial), events)
}

fn limits(messages: u32, failures: u32) -> TrialConfig {
    TrialConfig {
        messages,
        failures,
        slower: 5.0,
    }
}

fn pace(plugins_us: u64, device_us: u64) -> Pace {
    Pace {
        plugins: Duration::from_micros(plugins_us),
        device: Duration::from_micros(device_us),
    }
}

/// A stream of numbers between 0 and 1 that is the same in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A time around `ms` that is off by a factor of up to `e` to the `spread`, and in one of five times by up to `spike_ms`
    /// more: the clock on the wall of a machine that others use, too.
    fn time(&mut self, ms: f64, spread: f64, spike_ms: f64) -> u64 {
        let spread = (self.next() + self.next() + self.next() - 1.5) / 1.5 * spread;
        let spike = if self.next() < 0.2 { self.next() * spike_ms } else { 0.0 };
        ((ms * spread.exp() + spike) * 1000.0) as u64
    }
}

#[test]
fn one_that_fails_no_more_than_it_may_passes_and_lets_go_of_the_previous() {
    let (trial, mut events) = trial(limits(4, 1));
    trial.saw(TrialResult::Worse("trap".to_owned()));
    for _ in 0..3 {
        trial.saw(TrialResult::Fine);
        trial.compare(pace(100, 100), pace(100, 100));
    }
    assert_eq!(trial.status().unwrap().seen, 4);
    assert!(events.try_recv().is_err(), "enough messages, and not enough pairs");
    trial.compare(pace(100, 100), pace(100, 100));
    assert_eq!(events.try_recv().unwrap().worse, None);
    assert!(trial.status().is_none() && trial.previous().is_none() && !trial.is_unproven());
    assert!(matches!(trial.begin_now(), Ok(TrialAssignment::Passed)));
}

#[test]
fn one_that_fails_more_often_is_undone_once_and_at_once() {
    let (trial, mut events) = trial(limits(100, 1));
    trial.saw(TrialResult::Worse("trap".to_owned()));
    trial.saw(TrialResult::Fine);
    trial.saw(TrialResult::Worse("out of bounds".to_owned()));
    let worse = events.try_recv().unwrap().worse.unwrap();
    assert!(worse.contains("2 of 3") && worse.ends_with("out of bounds"), "{worse}");
    assert!(matches!(trial.begin_now(), Ok(TrialAssignment::Undone(_))));
    trial.saw(TrialResult::Worse("late".to_owned()));
    assert!(events.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn new_stages_are_given_more_messages_as_they_prove_themselves() {
    let (trial, _events) = trial(limits(100, 5));
    let share = || {
        let places: Vec<_> = std::iter::from_fn(|| match trial.begin_now() {
            Ok(TrialAssignment::OnTrial { place, .. }) => Some(place),
            _ => None,
        })
        .collect();
        let status = trial.status().unwrap();
        assert_eq!(status.in_flight, places.len() as u64);
        places.len()
    };
    // All that came through in one round are twice as many in the next.
    let mut shares = Vec::new();
    for _ in 0..5 {
        let n = share();
        shares.push(n);
        (0..n).for_each(|_| trial.saw(TrialResult::Fine));
    }
    assert_eq!(shares, [1, 2, 4, 8, 16]);
    trial.saw(TrialResult::Worse("trap".to_owned()));
    assert_eq!(share(), 1);

    // A message that comes meanwhile waits a little, and the previous stages process it; at once where that is seen to
    // take long.
    let began = Instant::now();
    let TrialAssignment::OnTrial { place, .. } = trial.begin().await else {
        panic!("a hand is free")
    };
    assert!(matches!(trial.begin().await, TrialAssignment::Beside(_)));
    assert_eq!(began.elapsed(), PATIENCE);
    assert!(matches!(trial.begin().await, TrialAssignment::Beside(_)));
    assert_eq!(began.elapsed(), PATIENCE);
    drop(place);
    let TrialAssignment::OnTrial { place, .. } = trial.begin().await else {
        panic!("a hand is free")
    };
    let (waiting, ()) = tokio::join!(trial.begin(), async { drop(place) });
    assert!(matches!(waiting, TrialAssignment::OnTrial { .. }));
    assert_eq!(began.elapsed(), PATIENCE);
}

#[test]
fn previous_stages_that_fail_for_all_that_the_new_ones_process_are_no_measure() {
    let (trial, mut events) = trial(limits(100, 1));
    for _ in 0..2 {
        trial.previous_failed();
        trial.previous_failed();
        trial.previous_passed();
    }
    assert!(events.try_recv().is_err());
    (0..3).for_each(|_| trial.previous_failed());
    assert_eq!(events.try_recv().unwrap().worse, None);
    assert!(matches!(trial.begin_now(), Ok(TrialAssignment::Passed)));
}

#[test]
fn one_that_is_slower_on_the_same_messages_is_undone_and_one_that_costs_next_to_nothing_is_not() {
    #[track_caller]
    fn check(new: Pace, previous: Pace, expected: Option<&str>) {
        let (trial, mut events) = trial(limits(100, 1));
        for _ in 0..PAIRS {
            trial.compare(new, previous);
        }
        let worse = events.try_recv().ok().and_then(|ended| ended.worse);
        let is_expected = match (&worse, expected) {
            (Some(worse), Some(expected)) => worse.contains(expected),
            (None, None) => true,
            _ => false,
        };
        assert!(is_expected, "{worse:?}");
    }
    let told = "its plugins took 10.0ms of CPU time for a message where the version before took 1.0ms (medians); for 12 of 12 messages";
    check(pace(10_000, 0), pace(1000, 0), Some(told));
    check(
        pace(0, 40_000),
        pace(0, 2000),
        Some("its model took 40.0ms of its device"),
    );
    check(pace(4000, 4000), pace(1000, 1000), None);
    // Ten times of next to nothing.
    check(pace(1000, 5000), pace(100, 500), None);
}

fn is_undone(pairs: &[(Pace, Pace)]) -> bool {
    (1..=pairs.len()).any(|n| slower(&pairs[..n], 5.0).is_some())
}

#[test]
fn equal_versions_on_a_busy_machine_are_not_undone() {
    // Medians of ten were five times apart, and two of thirteen such swaps were undone for that.
    let (mut random, mut n_in_quarantine) = (Random(1), 0);
    for n in 0..100_000 {
        let mut busy = || pace(random.time(1.0, 2.0, 20.0), random.time(0.5, 2.0, 60.0));
        let pairs: Vec<(Pace, Pace)> = (0..PAIRS).map(|_| (busy(), busy())).collect();
        let of = |of: fn(&(Pace, Pace)) -> Duration| median(pairs.iter().take(10).map(of));
        n_in_quarantine += u32::from(of(|pair| pair.0.device) > of(|pair| pair.1.device) * 4);
        assert!(!is_undone(&pairs), "the {n}th");
    }
    assert!(n_in_quarantine > 100, "the times were calm: {n_in_quarantine}");
}

#[test]
fn one_that_takes_ten_times_as_much_is_found_out() {
    let mut random = Random(2);
    let n_undone = (0..1000).filter(|_| {
        let mut cpu = |ms| pace(random.time(ms, 0.8, 0.2), 0);
        let pairs: Vec<(Pace, Pace)> = (0..PAIRS).map(|_| (cpu(10.0), cpu(1.0))).collect();
        is_undone(&pairs)
    });
    let n_undone = n_undone.count();
    assert!(n_undone > 970, "{n_undone}");
}

#[test]
fn chance_undoes_one_swap_in_millions_however_the_times_lie() {
    // Between equal versions, chance is as likely in either direction: how often that undoes a swap.
    let chance = |q: f64| {
        let choose = |n: usize, k: usize| (0..k).fold(1.0, |all, i| all * (n - i) as f64 / (i + 1) as f64);
        let at_least: f64 = (SLOWER_PAIRS..=PAIRS as usize)
            .map(|k| choose(PAIRS as usize, k) * q.powi(k as i32) * (1.0 - q).powi((PAIRS as usize - k) as i32))
            .sum();
        at_least + q.powi(SLOWER_AT_ONCE as i32)
    };
    for (q, allowed) in [(0.1, 1e-11), (0.2, 1e-7), (0.3, 2e-6)] {
        assert!(chance(q) < allowed, "{q}: {}", chance(q));
    }
}
