//! Calls of plugins, counted by plugin, stage and generation. Knows no page and no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::disposition::Stage;
use crate::histogram::{Histogram, TIMES};

/// Generations whose calls are counted separately. The counts of older ones are merged, so that no count ever goes
/// back.
const GENERATIONS_MAX: usize = 8;

/// Plugins whose calls in older generations are counted separately: a file may name another one with each change.
const OLDER_PLUGINS_MAX: usize = 16;

/// Calls of one plugin in one stage.
#[derive(Debug, Clone)]
pub struct Calls {
    /// The plugin's name; empty for the merged older ones.
    pub plugin: String,
    /// The stage of the call.
    pub stage: Stage,
    /// The generation; `None` for the merged older ones.
    pub generation: Option<u64>,
    /// By what came of them.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Their times.
    pub time: Histogram,
}

/// One call of a plugin.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The plugin's name.
    pub plugin: &'a str,
    /// The stage of the call.
    pub stage: Stage,
    /// The generation that the plugin serves in.
    pub generation: u64,
}

/// Calls of every plugin.
#[derive(Debug, Default, Clone)]
pub struct CallCounts {
    all: Vec<Calls>,
    // Invariant: at most `GENERATIONS_MAX`.
    generations: Vec<u64>,
}

impl CallCounts {
    /// Every plugin, stage and generation that is counted separately.
    pub fn iter(&self) -> impl Iterator<Item = &Calls> {
        self.all.iter()
    }

    /// Adds a call, by a constant that says what came of it.
    pub(super) fn add(&mut self, call: Call<'_>, outcome: &'static str, took: Duration) {
        let calls = match self.keeps_separate(call.generation) {
            true => self.of(call.plugin, call.stage, Some(call.generation)),
            false => self.older(call.plugin, call.stage),
        };
        if let Some(calls) = calls {
            *calls.outcomes.entry(outcome).or_default() += 1;
            calls.time.add_time(took);
        }
    }

    /// Whether a generation is counted separately; a new one makes the oldest one merge.
    fn keeps_separate(&mut self, generation: u64) -> bool {
        if self.generations.contains(&generation) {
            return true;
        }
        if self.generations.len() >= GENERATIONS_MAX {
            let oldest = self.generations.iter().copied().min().unwrap_or_default();
            if generation < oldest {
                return false;
            }
            self.generations.retain(|kept| *kept != oldest);
            let of_oldest = |calls: &mut Calls| calls.generation == Some(oldest);
            for calls in self.all.extract_if(.., of_oldest).collect::<Vec<_>>() {
                self.make_older(&calls);
            }
        }
        self.generations.push(generation);
        true
    }

    fn make_older(&mut self, calls: &Calls) {
        if let Some(older) = self.older(&calls.plugin, calls.stage) {
            for (outcome, n) in &calls.outcomes {
                *older.outcomes.entry(outcome).or_default() += n;
            }
            older.time.merge(&calls.time);
        }
    }

    /// The counts of the older generations, merged.
    fn older(&mut self, plugin: &str, stage: Stage) -> Option<&mut Calls> {
        let mut older = self.all.iter().filter(|calls| calls.generation.is_none());
        let is_full = older.clone().count() >= OLDER_PLUGINS_MAX;
        let is_known = older.any(|older| older.plugin == plugin);
        let plugin = if is_known || !is_full { plugin } else { "" };
        self.of(plugin, stage, None)
    }

    /// The counts of a plugin in a stage and a generation; found without an allocation where there were any.
    fn of(&mut self, plugin: &str, stage: Stage, generation: Option<u64>) -> Option<&mut Calls> {
        let is_it = |calls: &Calls| calls.generation == generation && calls.stage == stage && calls.plugin == plugin;
        let at = self.all.iter().position(is_it).unwrap_or(self.all.len());
        if at == self.all.len() {
            self.all.push(Calls {
                plugin: plugin.to_owned(),
                stage,
                generation,
                outcomes: BTreeMap::new(),
                time: Histogram::new(&TIMES),
            });
        }
        self.all.get_mut(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls of `crop` in the stage before the model.
    fn crop(generation: u64) -> Call<'static> {
        Call {
            plugin: "crop",
            stage: Stage::Preprocess,
            generation,
        }
    }

    #[test]
    fn calls_are_counted_by_what_came_of_them_and_by_time() {
        let mut calls = CallCounts::default();
        for (outcome, took_ms) in [("ok", 2), ("ok", 3), ("trap", 70), ("deadline", 60_001)] {
            calls.add(crop(1), outcome, Duration::from_millis(took_ms));
        }
        let [calls] = &calls.all[..] else {
            panic!("{calls:?}");
        };
        assert_eq!(
            calls.outcomes,
            BTreeMap::from([("ok", 2), ("trap", 1), ("deadline", 1)])
        );
        let below = |seconds| calls.time.cumulative().find(|(bound, _)| *bound == seconds);
        assert_eq!(
            [0.001, 0.005, 0.1, 60.0].map(below).map(|found| found.unwrap().1),
            [0, 2, 3, 3]
        );
        assert!((calls.time.sum() - 60.076).abs() < 1e-9);
    }

    #[test]
    fn the_last_generations_are_told_apart_and_no_call_is_ever_forgotten() {
        let mut calls = CallCounts::default();
        let took = Duration::from_millis(1);
        let plugins: Vec<_> = (0..100).map(|n| format!("plugin-{n}")).collect();
        for generation in 1..=1000 {
            calls.add(crop(generation), "ok", took);
            let plugin = &plugins[usize::try_from(generation % 100).unwrap()];
            calls.add(
                Call {
                    plugin,
                    stage: Stage::Route,
                    generation,
                },
                "trap",
                took,
            );
            // A message that goes on with what it began with.
            calls.add(crop(generation.saturating_sub(20)), "ok", took);
        }
        let sum = |is_it: &dyn Fn(&Calls) -> bool| -> u64 {
            let found = calls.iter().filter(|calls| is_it(calls));
            found.flat_map(|calls| calls.outcomes.values()).sum()
        };
        assert_eq!(sum(&|_| true), 3000);
        assert_eq!(sum(&|calls| calls.plugin == "crop"), 2000);
        assert_eq!(sum(&|calls| calls.generation == Some(1000)), 2);
        assert_eq!(sum(&|calls| calls.generation == Some(992)), 0);
        assert_eq!(calls.iter().map(|calls| calls.time.n()).sum::<u64>(), 3000);
        assert!(
            calls.all.len() <= 2 * GENERATIONS_MAX + OLDER_PLUGINS_MAX + 1,
            "{}",
            calls.all.len()
        );
    }
}
