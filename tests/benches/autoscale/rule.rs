//! The autoscaling rule of `docs/scaling.md`: how many hosts a load needs. Knows no host and no broker.

use std::time::Duration;

/// Hosts that are stopped at a time: one of so many, and at least one. One by one, hundreds would take hours to leave.
const STOPPED_OF: usize = 10;

/// The constants of the rule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    /// Messages a second that one host does, measured under a backlog.
    pub(crate) rate_per_host: f64,
    /// How soon a backlog should be gone, in seconds.
    pub(crate) drain_seconds: f64,
    /// Hosts at the least.
    pub(crate) hosts_min: usize,
    /// Hosts at the most.
    pub(crate) hosts_max: usize,
    /// Hysteresis: a host is stopped when the others have this part of their rate to spare.
    pub(crate) spare: f64,
    /// How long the load must have been that low.
    pub(crate) calm: Duration,
    /// Nothing is changed for so long after a change: a new host needs its start before the queue shows it. No longer than
    /// that: meanwhile the queue grows, and asks for hosts that nobody needs once it is gone.
    pub(crate) cooldown: Duration,
}

/// What is seen at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// Since the beginning.
    pub(crate) at: Duration,
    /// Messages that are ready in the queue.
    pub(crate) n_waiting: f64,
    /// Messages a second that come.
    pub(crate) arrivals_per_second: f64,
    /// Hosts that run.
    pub(crate) n_hosts: usize,
}

/// Follows the rule from look to look.
#[derive(Debug)]
pub(crate) struct Controller {
    rule: Rule,
    changed_at: Option<Duration>,
    calm_since: Option<Duration>,
}

impl Rule {
    /// Messages a second that must be done.
    pub(crate) fn demand(&self, look: Look) -> f64 {
        look.n_waiting / self.drain_seconds + look.arrivals_per_second
    }

    fn hosts_for(&self, demand: f64) -> usize {
        // What is too large for a number saturates, and is cut to the most.
        ((demand / self.rate_per_host).ceil() as usize).clamp(self.hosts_min, self.hosts_max)
    }
}

impl Controller {
    pub(crate) fn new(rule: Rule) -> Self {
        Self {
            rule,
            changed_at: None,
            calm_since: None,
        }
    }

    /// How many hosts there should be now: at once as many as are needed, or some fewer after a calm time.
    pub(crate) fn decide(&mut self, look: Look) -> usize {
        let Look { at, n_hosts, .. } = look;
        let demand = self.rule.demand(look);
        let is_cool = self
            .changed_at
            .is_none_or(|changed| at.saturating_sub(changed) >= self.rule.cooldown);
        let wanted = self.rule.hosts_for(demand);
        if wanted > n_hosts {
            self.calm_since = None;
            if !is_cool {
                return n_hosts;
            }
            self.changed_at = Some(at);
            return wanted;
        }
        let n_stopped = (n_hosts / STOPPED_OF).max(1);
        let others = n_hosts.saturating_sub(n_stopped);
        let fits = demand <= others as f64 * self.rule.rate_per_host * (1.0 - self.rule.spare);
        if others < self.rule.hosts_min || !fits {
            self.calm_since = None;
            return n_hosts;
        }
        let since = *self.calm_since.get_or_insert(at);
        if at.saturating_sub(since) < self.rule.calm || !is_cool {
            return n_hosts;
        }
        (self.changed_at, self.calm_since) = (Some(at), None);
        others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule {
        rate_per_host: 100.0,
        drain_seconds: 30.0,
        hosts_min: 1,
        hosts_max: 3,
        spare: 0.2,
        calm: Duration::from_secs(15),
        cooldown: Duration::from_secs(5),
    };

    /// Seconds, messages that wait, arrivals a second, hosts wanted; the hosts are those of the row before, one at first.
    fn check(rows: &[(u64, f64, f64, usize)]) {
        let (mut controller, mut n_hosts) = (Controller::new(RULE), 1);
        for (row, &(at, n_waiting, arrivals_per_second, expected)) in rows.iter().enumerate() {
            let look = Look {
                at: Duration::from_secs(at),
                n_waiting,
                arrivals_per_second,
                n_hosts,
            };
            n_hosts = controller.decide(look);
            assert_eq!(n_hosts, expected, "row {row}: {look:?}");
        }
    }

    const MANY: Rule = Rule {
        hosts_max: 1_000,
        ..RULE
    };

    /// Hosts after each second, with a queue as a fluid, hosts that take 2 s to start, and arrivals counted over 5 s; steps
    /// are seconds and messages a second.
    fn follow(rule: Rule, steps: &[(usize, f64)]) -> Vec<usize> {
        let loads = steps.iter().flat_map(|&(seconds, load)| vec![load; seconds]);
        let loads: Vec<f64> = loads.collect();
        let (mut controller, mut n_waiting) = (Controller::new(rule), 0.0_f64);
        let mut n_hosts = vec![1, 1];
        for (at, load) in loads.iter().enumerate() {
            let last = n_hosts[n_hosts.len() - 1];
            let n_ready = last.min(n_hosts[n_hosts.len() - 2]);
            n_waiting = (n_waiting + load - n_ready as f64 * rule.rate_per_host).max(0.0);
            let recent = &loads[at.saturating_sub(4)..=at];
            n_hosts.push(controller.decide(Look {
                at: Duration::from_secs(at as u64),
                n_waiting,
                arrivals_per_second: recent.iter().sum::<f64>() / recent.len() as f64,
                n_hosts: last,
            }));
        }
        n_hosts.split_off(2)
    }

    #[test]
    fn many_hosts_follow_a_load_without_swinging() {
        let hosts = follow(MANY, &[(60, 300.0), (300, 2_500.0), (600, 300.0)]);
        let most = hosts.iter().copied().max().unwrap_or(0);
        assert!((25..=32).contains(&most), "{most}");
        assert!((25..=32).contains(&hosts[359]), "{hosts:?}");
        assert_eq!(hosts.last(), Some(&4), "{hosts:?}");
        let rises = hosts.windows(2).filter(|pair| pair[1] > pair[0]);
        let last_rise = hosts.windows(2).rposition(|pair| pair[1] > pair[0]);
        assert!(rises.count() <= 5 && last_rise < Some(75), "{hosts:?}");
    }

    /// Why the cooldown is no longer than a start.
    #[test]
    fn a_long_cooldown_asks_for_hosts_that_nobody_needs() {
        let patient = Rule {
            cooldown: Duration::from_secs(60),
            ..MANY
        };
        let most = |rule| follow(rule, &[(60, 300.0), (300, 2_500.0)]).into_iter().max();
        assert!(most(MANY) <= Some(32), "{:?}", most(MANY));
        assert!(most(patient) > Some(45), "{:?}", most(patient));
    }

    #[test]
    fn hosts_are_added_at_once() {
        check(&[(0, 0.0, 90.0, 1), (1, 0.0, 250.0, 3), (2, 9e9, 9e9, 3)]);
    }

    #[test]
    fn a_backlog_counts_by_the_time_in_which_it_should_be_gone() {
        check(&[(0, 300.0, 90.0, 1), (1, 330.0, 90.0, 2)]);
    }

    #[test]
    fn a_change_is_given_time_to_show() {
        check(&[(0, 0.0, 150.0, 2), (4, 0.0, 250.0, 2), (5, 0.0, 250.0, 3)]);
    }

    #[test]
    fn hosts_are_stopped_one_by_one_after_calm_times() {
        check(&[
            (0, 0.0, 250.0, 3),
            (10, 0.0, 30.0, 3),
            (24, 0.0, 30.0, 3),
            (25, 0.0, 30.0, 2),
            (26, 0.0, 30.0, 2),
            (41, 0.0, 30.0, 1),
            (99, 0.0, 0.0, 1),
        ]);
    }

    #[test]
    fn a_load_near_a_limit_changes_nothing() {
        check(&[
            (0, 0.0, 110.0, 2),
            (10, 0.0, 85.0, 2),
            (30, 0.0, 85.0, 2),
            (50, 0.0, 110.0, 2),
        ]);
    }

    #[test]
    fn a_calm_time_that_is_broken_begins_again() {
        check(&[
            (0, 0.0, 150.0, 2),
            (10, 0.0, 30.0, 2),
            (20, 0.0, 90.0, 2),
            (26, 0.0, 30.0, 2),
            (40, 0.0, 30.0, 2),
            (41, 0.0, 30.0, 1),
        ]);
    }
}
