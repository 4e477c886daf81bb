//! What the project wants to reach, as ratios and seconds of one run, and whether it was.

use std::collections::BTreeSet;

use super::parts::Parts;
use super::{Block, Call, Latency, Record, Spread};

/// One thing to reach.
#[derive(Debug, Clone)]
pub struct Target {
    /// What is compared.
    pub what: String,
    /// The figure to reach.
    pub target: f64,
    /// What was measured; nothing where it was not.
    pub seen: Option<Spread>,
    /// Whether a smaller figure is a better one.
    pub is_limit: bool,
    /// The unit.
    pub unit: &'static str,
}

/// What became of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its median is as good or better.
    Met,
    /// It is not.
    Missed,
    /// It was not measured in this run.
    NotMeasured,
}

impl Target {
    /// Says first what a ratio is of.
    fn of(self, what: &str) -> Self {
        Self {
            what: format!("{what}; {}", self.what),
            ..self
        }
    }

    /// Whether the median reaches it.
    pub fn verdict(&self) -> Verdict {
        match self.seen {
            None => Verdict::NotMeasured,
            Some(seen) if (seen.median <= self.target) == self.is_limit || seen.median == self.target => Verdict::Met,
            Some(_) => Verdict::Missed,
        }
    }
}

/// All targets, with what a record says of each.
pub fn targets(record: &Record) -> Vec<Target> {
    let ratio = |of: &str, to: &str, target: f64| Target {
        what: format!("rate: `{of}` / `{to}`"),
        target,
        seen: record.ratio(of, to).map(|ratio| ratio.spread),
        is_limit: false,
        unit: "",
    };
    let cpu = |subject: &str, target: f64| Target {
        what: format!("CPU for 1,000 messages: `{subject}`"),
        target,
        seen: record.figure(subject, Block::cpu_per_1000),
        is_limit: true,
        unit: " s",
    };
    let call = |isolation: &str, what: &str, target: f64| Target {
        what: what.to_owned(),
        target,
        seen: call(record, isolation),
        is_limit: true,
        unit: " µs",
    };
    vec![
        ratio("lenet", "naive", 6.0),
        ratio("lenet", "safe", 14.0),
        ratio("lenet", "strong", 5.0),
        ratio("identity", "echo", 0.6),
        ratio("identity-worker", "echo", 0.6),
        ratio("lenet", "echo", 0.4),
        ratio("lenet-worker", "echo", 0.4),
        cpu("identity", 0.06),
        cpu("identity-worker", 0.06),
        cpu("lenet", 0.10),
        cpu("lenet-worker", 0.10),
        parts(record),
        call(
            "message",
            "one call, 3 KB in, bytes out: fresh store and instance",
            12.0,
        ),
        call("worker", "one call, 3 KB in, bytes out: reused instance", 2.0),
        ratio("lenet", "lenet-native", 0.95).of("preprocessing in WebAssembly / native, raw"),
        ratio("lenet-worker", "lenet-native-worker", 0.95).of("the same, reused instances"),
        ratio("resnet18", "resnet18-native", 0.8).of("decoding in WebAssembly / native, JPEG of 224x224"),
        decoding(record, "message", "fresh"),
        decoding(record, "worker", "reused"),
        Target {
            what: "p99 / p50 at 70 % load: `lenet`".to_owned(),
            target: 4.0,
            seen: tail(record),
            is_limit: true,
            unit: "",
        },
        Target {
            what: "rate: two hosts on one queue / one that is the limit, `resnet18` with one thread".to_owned(),
            target: 1.8,
            seen: record.ratio_of_varied("resnet18", "hosts", 2, 1),
            is_limit: false,
            unit: "",
        },
        memory(record),
        neighbour(record),
        Target {
            what: "p99 beside swaps of a plugin that was compiled before / beside nothing: `lenet`".to_owned(),
            target: SWAPS_MAX,
            seen: record.p99_beside_swaps("a plugin, compiled before", "nothing"),
            is_limit: true,
            unit: "",
        },
    ]
}

/// What is promised beside a hostile plugin: a part of the rate beside an honest one.
pub const NEIGHBOUR_MIN: f64 = 0.9;
/// What is promised beside swaps: a factor of the p99 without.
pub const SWAPS_MAX: f64 = 1.5;

fn neighbour(record: &Record) -> Target {
    let kinds: BTreeSet<&str> = record.neighbours.iter().map(|one| one.hostile.as_str()).collect();
    let ratios = kinds.into_iter().filter_map(|kind| {
        let rounds = record.neighbours.iter().filter(|one| one.hostile == kind);
        Spread::of(rounds.map(|one| one.beside_hostile / one.beside_honest).collect())
    });
    Target {
        what: "rate: `lenet` beside a hostile plugin / beside an honest one, the worst of them".to_owned(),
        target: NEIGHBOUR_MIN,
        seen: ratios.min_by(|a, b| a.median.total_cmp(&b.median)),
        is_limit: false,
        unit: "",
    }
}

/// The decoder's calls alone: in a pipeline the network hides what they take.
fn decoding(record: &Record, isolation: &str, instances: &str) -> Target {
    let of = |call: &&Call, isolation: &str| {
        let is_photo = call.plugin == "decode-image" && call.input == "jpeg of 224x224";
        is_photo && call.isolation == isolation
    };
    let native = |round: usize| {
        record
            .calls
            .iter()
            .find(|call| call.round == round && of(call, "native"))
    };
    let calls = record.calls.iter().filter(|call| of(call, isolation));
    // Faster is more: calls in a second.
    let ratios = calls.filter_map(|call| Some(native(call.round)?.median_us / call.median_us));
    Target {
        what: format!("calls in a second: that decoding alone, {instances} instances"),
        target: 0.8,
        seen: Spread::of(ratios.collect()),
        is_limit: false,
        unit: "",
    }
}

fn parts(record: &Record) -> Target {
    let seen = Parts::of(record, "lenet", "shapes-lenet", ("decode-image", "raw")).and_then(|parts| {
        let ratios = record
            .rounds_of("lenet")
            .map(|block| parts.sum() / block.cpu_per_1000());
        Spread::of(ratios.collect())
    });
    Target {
        what: "CPU of echo, forward pass and plugin calls together / CPU of `lenet`".to_owned(),
        target: 0.8,
        seen,
        is_limit: false,
        unit: "",
    }
}

fn call(record: &Record, isolation: &str) -> Option<Spread> {
    let calls = record.calls.iter().filter(|call| call.isolation == isolation);
    let calls = calls.filter(|call| call.plugin == "tensor-passthrough" && call.input == "raw");
    Spread::of(calls.map(|call| call.median_us).collect())
}

fn tail(record: &Record) -> Option<Spread> {
    let rounds = record
        .latency
        .iter()
        .filter(|one| one.subject == "lenet" && one.is_steady());
    Spread::of(
        rounds
            .map(|one| f64::from(one.p99_us) / f64::from(one.p50_us))
            .collect(),
    )
}

impl Latency {
    /// Whether the subject kept up, and the sender too: otherwise its figures say nothing.
    pub fn is_steady(&self) -> bool {
        self.marks.is_empty()
    }
}

fn memory(record: &Record) -> Target {
    let ratio = |block: &Block| {
        let limit = record
            .memory_limits
            .iter()
            .find(|limit| limit.subject == block.subject)?;
        Some(block.peak_bytes as f64 / limit.bytes as f64)
    };
    // The worst of all pipelines.
    let ratios = record
        .blocks
        .iter()
        .filter(|block| block.varied.is_none())
        .filter_map(ratio);
    let spread = Spread::of(ratios.collect());
    Target {
        what: "peak memory / what `millrace check` says, the worst pipeline".to_owned(),
        target: 1.0,
        seen: spread.map(|spread| Spread {
            median: spread.high,
            ..spread
        }),
        is_limit: true,
        unit: "",
    }
}

#[cfg(test)]
mod tests {
    use super::{Spread, Target, Verdict};

    #[test]
    fn a_target_is_met_from_its_own_side() {
        let rows = [
            (5.0, Some(5.0), false, Verdict::Met),
            (5.0, Some(4.9), false, Verdict::Missed),
            (5.0, Some(6.0), false, Verdict::Met),
            (0.1, Some(0.1), true, Verdict::Met),
            (0.1, Some(0.2), true, Verdict::Missed),
            (0.1, Some(0.05), true, Verdict::Met),
            (0.1, None, true, Verdict::NotMeasured),
        ];
        for (target, seen, is_limit, expected) in rows {
            let seen = seen.and_then(|value| Spread::of(vec![value]));
            let target = Target {
                what: String::new(),
                target,
                seen,
                is_limit,
                unit: "",
            };
            assert_eq!(target.verdict(), expected, "{target:?}");
        }
    }
}
