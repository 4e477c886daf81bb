//! Notices when a pipeline stands still for longer than every bound that could explain it: says so, and says so again
//! when it moves. Judges counts and a clock; knows no message, no broker and no plugin.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info};

use crate::config::{Config, Name};
use crate::counters::Motion;
use crate::disposition::Stage;
use crate::failpoints::{self, Failpoint};
use crate::instruments::Instruments;
use crate::sandbox::wall_time;

/// How often it looks.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// The bound of a batch on its device, and of a message's wait for its turn there: no device has a bound of its own.
const DEVICE: Duration = Duration::from_secs(120);

/// How long a message may wait for a quarantined one that runs alone, beside the time of that one.
const QUARANTINED: Duration = Duration::from_secs(5);

/// Calls of one plugin for one message: one, once more after a fault, and both again by the version before while a new
/// one is on trial.
const CALLS: u32 = 4;

/// A pipeline that stands still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stalled {
    /// Since its last step.
    pub lasts: Duration,
    /// The time that limits explain.
    pub bound: Duration,
    /// Messages in flight.
    pub n_in_flight: u64,
    /// Messages in flight by stage.
    pub at: BTreeMap<Stage, u64>,
}

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            lasts,
            bound,
            n_in_flight,
            at,
        } = self;
        let (lasts_s, bound_s) = (lasts.as_secs(), bound.as_secs());
        write!(
            f,
            "nothing has moved for {lasts_s} s, and no limit explains more than {bound_s} s: {n_in_flight} in flight"
        )?;
        let n_at: u64 = at.values().sum();
        let others = (n_in_flight.saturating_sub(n_at), "waiting or being settled".to_owned());
        let all = at.iter().map(|(stage, n)| (*n, format!("at {stage}"))).chain([others]);
        for (place, (n, what)) in all.filter(|(n, _)| *n > 0).enumerate() {
            let before = if place == 0 { " (" } else { ", " };
            write!(f, "{before}{n} {what}")?;
        }
        f.write_str(if *n_in_flight > 0 { ")" } else { "" })
    }
}

/// The tracked progress of a pipeline.
#[derive(Debug, Clone, Default)]
pub struct Pulse {
    n_steps: u64,
    // The last step, or the last moment at which there was nothing to do or something else to name.
    since: Option<Instant>,
    stalled: Option<Stalled>,
}

/// The finding of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing new.
    Nothing,
    /// It stands still.
    Stalled,
    /// It moves again.
    Moves,
}

impl Pulse {
    /// Looks at a pipeline; `is_explained` says that it has nothing to do or that what it waits for is named elsewhere.
    pub(crate) fn look(&mut self, now: Instant, motion: Motion, is_explained: bool, bound: Duration) -> Found {
        let has_moved = motion.n_steps != self.n_steps;
        self.n_steps = motion.n_steps;
        let since = *self.since.get_or_insert(now);
        if has_moved || is_explained || motion.n_in_flight == 0 {
            self.since = Some(now);
            return match self.stalled.take() {
                Some(_) => Found::Moves,
                None => Found::Nothing,
            };
        }
        let lasts = now.saturating_duration_since(since);
        if lasts <= bound {
            return Found::Nothing;
        }
        let Motion { n_in_flight, at, .. } = motion;
        let stalled = Stalled {
            lasts,
            bound,
            n_in_flight,
            at,
        };
        match self.stalled.replace(stalled) {
            Some(_) => Found::Nothing,
            None => Found::Stalled,
        }
    }

    /// Whether it stands still.
    pub fn stalled(&self) -> Option<&Stalled> {
        self.stalled.as_ref()
    }
}

/// The longest that a pipeline with messages in flight may go without a step while nothing that it waits for has a name:
/// what one message of any pipeline may take alone, since a quarantined message keeps the others waiting.
pub(crate) fn bound(config: &Config) -> Duration {
    let calls = |names: &mut dyn Iterator<Item = &Name>| -> Duration {
        let plugins = names.filter_map(|name| config.plugins.get(name));
        plugins.map(|plugin| wall_time(plugin.deadline) * CALLS).sum()
    };
    let longest = config
        .pipelines
        .values()
        .map(|pipeline| calls(&mut pipeline.plugins.iter()));
    let connections = config
        .connections
        .values()
        .map(|connection| connection.settling_limit());
    let ends = config.pipelines.values().flat_map(|pipeline| {
        let destinations = pipeline.destinations.values();
        let limits = destinations.filter_map(|destination| destination.settling_limit());
        limits.chain(pipeline.source.settling_limit())
    });
    let answers = connections.chain(ends).max();
    longest.max().unwrap_or_default() + DEVICE + QUARANTINED + answers.unwrap_or_default()
}

/// Looks at every pipeline until it is dropped.
pub(crate) async fn watch(instruments: &Instruments) {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let shortened = failpoints::hit(Failpoint::Stall).map(|_| LOOK);
        for (name, found, stalled) in instruments.look(Instant::now(), shortened) {
            match (found, stalled) {
                (Found::Stalled, Some(stalled)) => {
                    error!(pipeline = %name, n_in_flight = stalled.n_in_flight, lasts_s = stalled.lasts.as_secs(), "stalled: {stalled}");
                    // Whatever is with the broker comes again when its connection ends, and is owed nothing then.
                    if stalled.is_at_the_broker() && instruments.cut(&name) {
                        error!(pipeline = %name, "closing the connections to the broker: it will redeliver the messages in flight");
                    }
                }
                (Found::Moves, _) => info!(pipeline = %name, "the pipeline moves again"),
                _ => {}
            }
        }
    }
}

impl Stalled {
    /// Whether all messages in flight are done with plugins and model.
    fn is_at_the_broker(&self) -> bool {
        let inside = [Stage::Preprocess, Stage::Infer, Stage::Route];
        inside.iter().all(|stage| self.at.get(stage).is_none_or(|n| *n == 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(10);

    fn motion(n_steps: u64, n_in_flight: u64) -> Motion {
        Motion {
            n_steps,
            n_in_flight,
            at: [(Stage::Deliver, n_in_flight)].into(),
        }
    }

    #[test]
    fn a_pipeline_stands_still_when_nothing_moves_and_nothing_explains_it() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        // When, steps so far, messages in flight, explained, and the finding.
        let rows = [
            (0, 0, 0, false, Found::Nothing),
            // Nothing to do, however long.
            (100, 0, 0, false, Found::Nothing),
            (101, 1, 1, false, Found::Nothing),
            (111, 1, 1, false, Found::Nothing),
            (112, 1, 1, false, Found::Stalled),
            // Told once.
            (200, 1, 1, false, Found::Nothing),
            (201, 2, 1, false, Found::Moves),
            (212, 2, 1, false, Found::Stalled),
            // The wait has a name now.
            (213, 2, 1, true, Found::Moves),
            (223, 2, 1, false, Found::Nothing),
            (224, 2, 1, false, Found::Stalled),
            (225, 3, 0, false, Found::Moves),
        ];
        let mut pulse = Pulse::default();
        for (second, n_steps, n_in_flight, is_explained, expected) in rows {
            let found = pulse.look(at(second), motion(n_steps, n_in_flight), is_explained, BOUND);
            assert_eq!(found, expected, "at {second} s");
        }
        assert_eq!(pulse.stalled(), None);
    }

    #[test]
    fn what_stands_still_says_where() {
        let stalled = Stalled {
            lasts: Duration::from_secs(200),
            bound: Duration::from_secs(185),
            n_in_flight: 6,
            at: [(Stage::Infer, 2), (Stage::Route, 0), (Stage::Deliver, 3)].into(),
        };
        assert_eq!(
            stalled.to_string(),
            "nothing has moved for 200 s, and no limit explains more than 185 s: 6 in flight (2 at infer, 3 at deliver, 1 \
             waiting or being settled)"
        );
        assert!(!stalled.is_at_the_broker());
    }
}
