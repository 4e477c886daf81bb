//! The costs of cases, as figures that can be kept and compared. Knows no engine.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cli::output::plain;
use crate::sandbox::Cost;

/// A time is worse when it is above the baseline's spread and by more than this part: machines are never still.
const WORSE_PART: f64 = 0.1;

/// How much of a name is shown.
const NAME_CHARS: usize = 60;

/// The saved figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Benched {
    pub(super) format: String,
    /// The digest of the plugin's file.
    pub(super) plugin_sha256: String,
    /// By the case's name.
    pub(super) cases: BTreeMap<String, Figures>,
}

/// The cost of one case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Figures {
    /// Runs that the times are from.
    pub(super) runs: usize,
    /// Making an instance.
    pub(super) instantiate: Times,
    /// Giving it its settings.
    pub(super) configure: Times,
    /// Copying the body into it.
    pub(super) copy_in: Times,
    /// Its own time.
    pub(super) run: Times,
    /// Copying its answer out.
    pub(super) copy_out: Times,
    /// The same on every machine.
    pub(super) fuel: u64,
    /// The most memory.
    pub(super) memory_bytes: u64,
}

/// Nanoseconds of many runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Times {
    /// A tenth of the runs were faster.
    pub(super) low_ns: u64,
    /// Half of them were.
    pub(super) median_ns: u64,
    /// Nine tenths were.
    pub(super) high_ns: u64,
}

pub(super) const FORMAT: &str = "millrace-bench/1";

impl Figures {
    /// From many runs of one case, and one whose fuel was counted.
    pub(super) fn of(runs: &[Cost], counted: &Cost) -> Self {
        let times = |part: fn(&Cost) -> Duration| Times::of(runs.iter().map(part).collect());
        Self {
            runs: runs.len(),
            instantiate: times(|cost| cost.instantiate),
            configure: times(|cost| cost.configure),
            copy_in: times(|cost| cost.copy_in),
            run: times(|cost| cost.run),
            copy_out: times(|cost| cost.copy_out),
            fuel: counted.fuel(),
            memory_bytes: counted.memory_bytes,
        }
    }

    /// The times with their names, in the order of a call.
    pub(super) fn times(&self) -> [(&'static str, Times); 5] {
        [
            ("instantiate", self.instantiate),
            ("configure", self.configure),
            ("copy in", self.copy_in),
            ("run", self.run),
            ("copy out", self.copy_out),
        ]
    }

    /// The figures that are worse than before, a line each.
    pub(super) fn worse_than(&self, before: &Self) -> Vec<String> {
        let mut worse = Vec::new();
        for ((name, now), (_, before)) in self.times().into_iter().zip(before.times()) {
            let part = now.median_ns as f64 / before.median_ns.max(1) as f64 - 1.0;
            if now.median_ns > before.high_ns && part > WORSE_PART {
                let (from, to) = (shown_ns(before.median_ns), shown_ns(now.median_ns));
                worse.push(format!("{name}: {from} -> {to} (+{:.0} %)", part * 100.0));
            }
        }
        for (name, now, before) in [
            ("fuel", self.fuel, before.fuel),
            ("memory", self.memory_bytes, before.memory_bytes),
        ] {
            if now > before {
                let part = (now as f64 / before.max(1) as f64 - 1.0) * 100.0;
                worse.push(format!("{name}: {before} -> {now} (+{part:.2} %)"));
            }
        }
        worse
    }
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |tenths: usize| {
            let index = times.len().saturating_sub(1) * tenths / 10;
            times
                .get(index)
                .map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
        };
        Self {
            low_ns: at(1),
            median_ns: at(5),
            high_ns: at(9),
        }
    }
}

/// The cases that became worse, and those that are only in one of both.
pub(super) fn compared(now: &Benched, before: &Benched) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, figures) in &now.cases {
        let shown = plain(name, NAME_CHARS);
        match before.cases.get(name) {
            None => lines.push(format!("new      {shown}: not in the baseline")),
            Some(before) => {
                let worse = figures.worse_than(before).into_iter();
                lines.extend(worse.map(|what| format!("WORSE    {shown}: {}", plain(&what, 4 * NAME_CHARS))));
            }
        }
    }
    let gone = before.cases.keys().filter(|name| !now.cases.contains_key(*name));
    lines.extend(gone.map(|name| format!("gone     {}: only in the baseline", plain(name, NAME_CHARS))));
    lines
}

/// A case for people.
pub(super) fn shown(name: &str, figures: &Figures) -> String {
    let mut text = format!("{}\n", plain(name, NAME_CHARS));
    for (name, times) in figures.times() {
        let (low, median, high) = (
            shown_ns(times.low_ns),
            shown_ns(times.median_ns),
            shown_ns(times.high_ns),
        );
        writeln!(text, "  {name:<12} {median:>10}   ({low} to {high})").unwrap_or_default();
    }
    let memory = crate::memory::shown(figures.memory_bytes);
    write!(text, "  fuel         {:>10}\n  memory       {memory:>10}", figures.fuel).unwrap_or_default();
    text
}

fn shown_ns(nanos: u64) -> String {
    let nanos = nanos as f64;
    match nanos {
        _ if nanos < 1e3 => format!("{nanos:.0} ns"),
        _ if nanos < 1e6 => format!("{:.1} us", nanos / 1e3),
        _ => format!("{:.2} ms", nanos / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(run_us: u64, fuel: u64) -> Figures {
        let runs: Vec<Cost> = (0..11)
            .map(|n| Cost {
                run: Duration::from_micros(run_us + n),
                ..Cost::default()
            })
            .collect();
        let counted = Cost {
            fuel_before: 10,
            fuel_call: fuel - 10,
            memory_bytes: 1 << 20,
            ..Cost::default()
        };
        Figures::of(&runs, &counted)
    }

    #[test]
    fn what_is_worse_is_told_with_how_much() {
        let before = figures(100, 1000);
        assert_eq!(
            (before.run.low_ns, before.run.median_ns, before.run.high_ns),
            (101_000, 105_000, 109_000)
        );
        assert_eq!(figures(100, 1000).worse_than(&before), Vec::<String>::new());
        assert_eq!(
            figures(106, 900).worse_than(&before),
            Vec::<String>::new(),
            "within what machines do"
        );
        assert_eq!(
            figures(205, 1100).worse_than(&before),
            ["run: 105.0 us -> 210.0 us (+100 %)", "fuel: 1000 -> 1100 (+10.00 %)"]
        );
    }

    #[test]
    fn cases_are_compared_by_name() {
        let benched = |names: &[&str]| Benched {
            format: FORMAT.to_owned(),
            plugin_sha256: String::new(),
            cases: names
                .iter()
                .map(|name| (name.to_string(), figures(100, 1000)))
                .collect(),
        };
        assert_eq!(
            compared(&benched(&["a", "b"]), &benched(&["b", "c"])),
            ["new      a: not in the baseline", "gone     c: only in the baseline"]
        );
        let kept = serde_json::to_string(&benched(&["a"])).unwrap();
        assert_eq!(serde_json::from_str::<Benched>(&kept).unwrap(), benched(&["a"]));
    }
}
