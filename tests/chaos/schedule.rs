//! Which faults come when: a function of the seed and of nothing else. Knows no broker and no host.

use std::fmt;
use std::time::Duration;

use millrace_tests::random::Random;

/// Faults of one lane follow each other; the lanes run beside each other, so that faults meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Hosts die, drain and stand still.
    Hosts,
    /// The broker dies, stops, stands still, is starved, and its queues refuse.
    Broker,
    /// The lines between hosts and broker.
    Network,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    KillHost,
    DrainHost,
    FreezeHost,
    KillBroker,
    StopBroker,
    FreezeBroker,
    StarveBroker,
    FillResults,
    UnbindResults,
    Cut,
    Reset,
    Hole,
    Swallow,
    Delay,
    Slice,
    Throttle,
}

/// One fault of the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What happens.
    pub(crate) kind: Kind,
    /// To which host; of no meaning to a fault of the broker.
    pub(crate) host: usize,
    /// How long it is quiet in this lane before.
    pub(crate) pause: Duration,
    /// How long the fault lasts.
    pub(crate) lasts: Duration,
}

/// The endless faults of one lane. Every kind comes once before any comes again, in an order of its own each time.
#[derive(Debug)]
pub(crate) struct Schedule {
    lane: Lane,
    n_hosts: usize,
    random: Random,
    deck: Vec<Kind>,
}

impl Lane {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Hosts, Self::Broker, Self::Network];

    /// What may happen in it; what is written twice comes twice as often.
    fn kinds(self) -> &'static [Kind] {
        use Kind::*;
        match self {
            Self::Hosts => &[KillHost, KillHost, DrainHost, FreezeHost],
            Self::Broker => &[
                KillBroker,
                KillBroker,
                StopBroker,
                FreezeBroker,
                StarveBroker,
                FillResults,
                UnbindResults,
            ],
            Self::Network => &[Cut, Reset, Hole, Swallow, Delay, Slice, Throttle],
        }
    }

    /// The least and the most quiet between two faults: long enough that messages flow again.
    fn pause_ms(self) -> (u64, u64) {
        match self {
            Self::Hosts => (3_000, 12_000),
            Self::Broker => (3_000, 10_000),
            Self::Network => (2_000, 8_000),
        }
    }
}

impl Kind {
    /// The least and the most that it lasts.
    fn lasts_ms(self) -> (u64, u64) {
        match self {
            // A supervisor starts a dead host at once, or after a pause of its own.
            Self::KillHost | Self::DrainHost => (0, 3_000),
            Self::KillBroker | Self::StopBroker => (100, 4_000),
            // Below the confirm timeout: what only waits must not come twice.
            Self::FreezeHost | Self::FreezeBroker | Self::Hole => (1_000, 8_000),
            Self::StarveBroker | Self::FillResults | Self::UnbindResults => (2_000, 8_000),
            Self::Cut | Self::Reset => (0, 1),
            Self::Swallow => (500, 3_000),
            Self::Delay | Self::Slice | Self::Throttle => (1_000, 6_000),
        }
    }

    /// On how many of `n_hosts` hosts it can make the broker deliver again what was in flight.
    pub(crate) fn n_hosts_cut_off(self, n_hosts: usize) -> usize {
        match self {
            Self::KillBroker | Self::StopBroker => n_hosts,
            Self::KillHost | Self::Cut | Self::Reset | Self::Swallow => 1,
            // Drained, or only late: everything is settled once.
            Self::DrainHost
            | Self::FreezeHost
            | Self::FreezeBroker
            | Self::StarveBroker
            | Self::FillResults
            | Self::UnbindResults
            | Self::Hole
            | Self::Delay
            | Self::Slice
            | Self::Throttle => 0,
        }
    }

    /// Whether it makes a living host connect again.
    pub(crate) fn cuts_connections(self) -> bool {
        self != Self::KillHost && self.n_hosts_cut_off(1) > 0
    }
}

impl Schedule {
    /// The faults of one lane.
    pub(crate) fn new(seed: u64, lane: Lane, n_hosts: usize) -> Self {
        let random = Random::stream(seed, lane as u64);
        Self {
            lane,
            n_hosts,
            random,
            deck: Vec::new(),
        }
    }

    /// The next fault.
    pub(crate) fn draw(&mut self) -> Fault {
        if self.deck.is_empty() {
            self.deck.extend(self.lane.kinds());
            self.random.shuffle(&mut self.deck);
        }
        let kind = self.deck.pop().unwrap_or(Kind::KillHost);
        let (least, most) = self.lane.pause_ms();
        let pause = self.random.between_ms(least, most);
        let (least, most) = kind.lasts_ms();
        let lasts = self.random.between_ms(least, most);
        Fault {
            kind,
            host: self.random.below(self.n_hosts),
            pause,
            lasts,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::KillHost => "kill host",
            Self::DrainHost => "drain host",
            Self::FreezeHost => "freeze host",
            Self::KillBroker => "kill broker",
            Self::StopBroker => "stop broker",
            Self::FreezeBroker => "freeze broker",
            Self::StarveBroker => "memory alarm",
            Self::FillResults => "results full",
            Self::UnbindResults => "results unbound",
            Self::Cut => "cut line",
            Self::Reset => "reset line",
            Self::Hole => "black hole",
            Self::Swallow => "swallow bytes",
            Self::Delay => "delay line",
            Self::Slice => "slice line",
            Self::Throttle => "throttle line",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, host, lasts, .. } = self;
        write!(f, "{kind}")?;
        let of_broker = Lane::Broker.kinds().contains(kind);
        if !of_broker {
            write!(f, " {host}")?;
        }
        write!(f, ", {} ms", lasts.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, Lane, Schedule};

    fn faults(seed: u64, lane: Lane, n: usize) -> Vec<Fault> {
        let mut schedule = Schedule::new(seed, lane, 3);
        (0..n).map(|_| schedule.draw()).collect()
    }

    #[test]
    fn a_schedule_is_a_function_of_its_seed() {
        for lane in Lane::ALL {
            assert_eq!(faults(7, lane, 50), faults(7, lane, 50));
            assert_ne!(faults(7, lane, 50), faults(8, lane, 50));
        }
    }

    #[test]
    fn every_kind_comes_before_any_comes_again() {
        for lane in Lane::ALL {
            let drawn: Vec<_> = faults(1, lane, lane.kinds().len())
                .iter()
                .map(|fault| fault.kind)
                .collect();
            for kind in lane.kinds() {
                assert!(drawn.contains(kind), "{kind}");
            }
        }
    }

    #[test]
    fn every_host_is_hit() {
        for host in 0..3 {
            assert!(faults(1, Lane::Hosts, 30).iter().any(|fault| fault.host == host));
        }
    }
}
