//! The tables of a page about the parts, the latency and what throughput depends on.

use std::collections::{BTreeMap, BTreeSet};

use super::number::{mebibytes, range, short};
use super::parts::Parts;
use super::{Block, Call, Latency, Neighbour, Record, Spread, Swaps, median};

pub(super) fn latency(record: &Record) -> String {
    let mut subjects: Vec<&str> = record.latency.iter().map(|one| one.subject.as_str()).collect();
    subjects.dedup();
    let mut seen = Vec::new();
    subjects.retain(|subject| {
        !seen.contains(subject) && {
            seen.push(subject);
            true
        }
    });
    if subjects.is_empty() {
        return String::new();
    }
    let mut text = "## Latency\n\nMessages come at a steady rate, 70 % of what each subject keeps up with while somebody publishes on \
                    the same machine. The time of each message counts from when it was due, whether or not the sender, the broker or the \
                    subject stood still then. Medians over the rounds without a mark where there are any, in milliseconds.\n\n\
                    | subject | keeps up with | sent | p50 | p90 | p99 | lowest to highest, all rounds | p99.9 | slowest | sender late, p99 | |\n\
                    |---|---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for subject in subjects {
        let all: Vec<&Latency> = record.latency.iter().filter(|one| one.subject == subject).collect();
        let p99 = Spread::of(all.iter().map(|one| f64::from(one.p99_us) / 1000.0).collect());
        let mut marks: Vec<&str> = all.iter().flat_map(|one| &one.marks).map(String::as_str).collect();
        marks.sort_unstable();
        marks.dedup();
        let steady: Vec<&Latency> = all.iter().copied().filter(|one| one.is_steady()).collect();
        let rounds = if steady.is_empty() { all } else { steady };
        let of = |value: fn(&Latency) -> f64| median(rounds.iter().map(|one| value(one)).collect());
        let ms = |value: f64| short(value / 1000.0);
        text += &format!(
            "| `{subject}` | {:.0}/s | {:.0}/s | {} | {} | {} | {} | {} | {} | {} | {} |\n",
            of(|one| one.capacity),
            of(|one| one.rate),
            ms(of(|one| f64::from(one.p50_us))),
            ms(of(|one| f64::from(one.p90_us))),
            ms(of(|one| f64::from(one.p99_us))),
            p99.map_or("-".to_owned(), range),
            ms(of(|one| f64::from(one.p999_us))),
            ms(of(|one| f64::from(one.max_us))),
            ms(of(|one| f64::from(one.sender_late_p99_us))),
            marks.join(", ")
        );
    }
    text
}

pub(super) fn parts(record: &Record) -> String {
    let pipelines = [
        ("identity", "mean", ("tensor-passthrough", "raw")),
        ("identity-worker", "mean", ("tensor-passthrough", "raw")),
        ("lenet", "shapes-lenet", ("decode-image", "raw")),
        ("lenet-worker", "shapes-lenet", ("decode-image", "raw")),
        ("lenet-png", "shapes-lenet", ("decode-image", "png")),
        ("lenet-jpeg", "shapes-lenet", ("decode-image", "jpeg")),
    ];
    let rows = pipelines.iter().filter_map(|(subject, model, preprocess)| {
        let parts = Parts::of(record, subject, model, *preprocess)?;
        Some(format!(
            "| `{subject}` | {} | {} (batch {}) | {} | {} | {} | {} | {:.2} |\n",
            short(parts.echo),
            short(parts.forward),
            parts.batch,
            short(parts.preprocess),
            short(parts.route),
            short(parts.sum()),
            short(parts.whole.median),
            parts.sum() / parts.whole.median
        ))
    });
    let rows: String = rows.collect();
    if rows.is_empty() {
        return rows;
    }
    format!(
        "## What a message is made of\n\nCPU seconds for 1,000 messages: the parts, each measured alone in the same run, beside what \
         the host takes.\n\n\
         | pipeline | echo | forward pass | preprocessor | router | together | host | together / host |\n\
         |---|---|---|---|---|---|---|---|\n{rows}"
    )
}

pub(super) fn alone(record: &Record) -> String {
    let mut text = String::new();
    let mut forwards: BTreeMap<(&str, usize, usize), Vec<f64>> = BTreeMap::new();
    for one in &record.forwards {
        let key = (one.model.as_str(), one.threads, one.batch);
        forwards.entry(key).or_default().push(one.items_per_second);
    }
    if !forwards.is_empty() {
        text += "## The limits alone\n\nThe forward pass, by `millrace model bench`:\n\n\
                 | network | threads | batch | items/s |\n|---|---|---|---|\n";
    }
    for ((model, threads, batch), rates) in forwards {
        text += &format!("| `{model}` | {threads} | {batch} | {:.0} |\n", median(rates));
    }
    let mut calls: BTreeMap<(&str, &str, &str), Vec<&Call>> = BTreeMap::new();
    for one in &record.calls {
        let key = (one.plugin.as_str(), one.input.as_str(), one.isolation.as_str());
        calls.entry(key).or_default().push(one);
    }
    if !calls.is_empty() {
        let native = match calls.keys().any(|key| key.2 == "native") {
            true => "; `native` is the same code without WebAssembly",
            false => "",
        };
        text += "\nThe plugin calls, one after the other on one worker; `message` makes a store and an instance for each call, `worker` \
                 uses one again";
        text += native;
        text += ":\n\n| plugin | input | isolation | median µs | p90 µs | CPU µs |\n|---|---|---|---|---|---|\n";
    }
    for ((plugin, input, isolation), rounds) in calls {
        let of = |value: fn(&Call) -> f64| short(median(rounds.iter().map(|one| value(one)).collect()));
        text += &format!(
            "| `{plugin}` | {input} | {isolation} | {} | {} | {} |\n",
            of(|one| one.median_us),
            of(|one| one.p90_us),
            of(|one| one.cpu_us)
        );
    }
    text
}

pub(super) fn varied(record: &Record) -> String {
    let mut rows: BTreeMap<(&str, &str, u64), Vec<&Block>> = BTreeMap::new();
    for block in &record.blocks {
        if let Some(varied) = &block.varied {
            let key = (varied.what.as_str(), block.subject.as_str(), varied.value);
            rows.entry(key).or_default().push(block);
        }
    }
    let (mut text, mut last) = (String::new(), "");
    for ((what, subject, value), blocks) in rows {
        if what != last {
            let head = if last.is_empty() {
                "## What it depends on\n\n"
            } else {
                "\n"
            };
            text += &format!(
                "{head}| {what} | subject | messages/s | lowest to highest | CPU s for 1,000 | broker's CPU s for 1,000 | batch | peak memory | |\n\
                 |---|---|---|---|---|---|---|---|---|\n"
            );
            last = what;
        }
        let of = |value: fn(&Block) -> f64| median(blocks.iter().map(|block| value(block)).collect());
        let batches = Spread::of(blocks.iter().filter_map(|block| block.mean_batch).collect());
        let rates = Spread::of(blocks.iter().map(|block| block.rate()).collect());
        text += &format!(
            "| {value} | `{subject}` | {:.0} | {} | {} | {} | {} | {} | {} |\n",
            of(Block::rate),
            rates.map_or("-".to_owned(), |rates| format!("{:.0} to {:.0}", rates.low, rates.high)),
            short(of(Block::cpu_per_1000)),
            short(of(Block::broker_cpu_per_1000)),
            batches.map_or("-".to_owned(), |spread| short(spread.median)),
            mebibytes(of(|block| block.peak_bytes as f64)),
            marks(blocks.iter().flat_map(|block| &block.marks)),
        );
    }
    text
}

/// Each mark once.
fn marks<'a>(marks: impl Iterator<Item = &'a String>) -> String {
    let marks: BTreeSet<&str> = marks.map(String::as_str).collect();
    marks.into_iter().collect::<Vec<&str>>().join(", ")
}

pub(super) fn start_ups(record: &Record) -> String {
    if record.start_ups.is_empty() {
        return String::new();
    }
    let mut text = "## Start-up and memory\n\nFrom the start of the process, with one message in the queue, to its result; the files \
                    were read before. Millrace compiles its plugins in that time. What a pipeline may take at the most is what \
                    `millrace check` says.\n\n\
                    | subject | first result after | lowest to highest | peak memory | may take |\n|---|---|---|---|---|\n"
        .to_owned();
    for start_up in &record.start_ups {
        let Some(spread) = Spread::of(start_up.seconds.clone()) else {
            continue;
        };
        let peak = record.figure(&start_up.subject, |block| block.peak_bytes as f64);
        let limit = record
            .memory_limits
            .iter()
            .find(|limit| limit.subject == start_up.subject);
        text += &format!(
            "| `{}` | {} s | {} | {} | {} |\n",
            start_up.subject,
            short(spread.median),
            range(spread),
            peak.map_or("-".to_owned(), |peak| mebibytes(peak.high)),
            limit.map_or("-".to_owned(), |limit| mebibytes(limit.bytes as f64)),
        );
    }
    text
}

pub(super) fn neighbours(record: &Record) -> String {
    let mut pairs: BTreeMap<(&str, &str), Vec<&Neighbour>> = BTreeMap::new();
    for one in &record.neighbours {
        pairs.entry((&one.hostile, &one.honest)).or_default().push(one);
    }
    if pairs.is_empty() {
        return String::new();
    }
    let mut text = "## Beside a hostile plugin\n\nThe same drain of `lenet`'s queue beside another pipeline of the same host, whose preprocessor \
                    does what it should not, and beside one that takes as much honestly. Promised is nine tenths.\n\n\
                    | hostile | honest | messages/s beside the hostile | beside the honest | ratio | lowest to highest | |\n|---|---|---|---|---|---|---|\n"
        .to_owned();
    for ((hostile, honest), rounds) in pairs {
        let of = |value: fn(&Neighbour) -> f64| median(rounds.iter().map(|one| value(one)).collect());
        let ratios = Spread::of(
            rounds
                .iter()
                .map(|one| one.beside_hostile / one.beside_honest)
                .collect(),
        );
        text += &format!(
            "| {hostile} | {honest} | {:.0} | {:.0} | {} | {} | {} |\n",
            of(|one| one.beside_hostile),
            of(|one| one.beside_honest),
            ratios.map_or("-".to_owned(), |ratios| short(ratios.median)),
            ratios.map_or("-".to_owned(), range),
            marks(rounds.iter().flat_map(|one| &one.marks))
        );
    }
    text
}

pub(super) fn swaps(record: &Record) -> String {
    let Some(first) = record.swaps.first() else {
        return String::new();
    };
    let mut text = format!(
        "## Beside swaps\n\nLatency at 70 % of what `lenet` keeps up with, for {} s, while plugins or the model are swapped. Promised \
         is 1.5 times the p99 beside nothing, for a version that was compiled before.\n\n\
         | beside | swaps | p50 ms | p99 ms | lowest to highest | of the p99 beside nothing, by round | a swap, ms | |\n|---|---|---|---|---|---|---|---|\n",
        first.seconds
    );
    let mut kinds: Vec<&str> = Vec::new();
    for one in &record.swaps {
        if !kinds.contains(&one.beside.as_str()) {
            kinds.push(&one.beside);
        }
    }
    for beside in kinds {
        let rounds: Vec<&Swaps> = record.swaps.iter().filter(|one| one.beside == beside).collect();
        let ms = |value: fn(&Swaps) -> u32| {
            short(median(
                rounds.iter().map(|one| f64::from(value(one)) / 1000.0).collect(),
            ))
        };
        let swap = Spread::of(rounds.iter().filter_map(|one| one.swap_ms).collect());
        let p99 = Spread::of(rounds.iter().map(|one| f64::from(one.p99_us) / 1000.0).collect());
        let ratio = record.p99_beside_swaps(beside, &first.beside);
        text += &format!(
            "| {beside} | {} | {} | {} | {} | {} | {} | {} |\n",
            rounds.iter().map(|one| one.n_swaps).max().unwrap_or(0),
            ms(|one| one.p50_us),
            ms(|one| one.p99_us),
            p99.map_or("-".to_owned(), range),
            ratio.map_or("-".to_owned(), |ratio| short(ratio.median)),
            swap.map_or("-".to_owned(), |spread| short(spread.median)),
            marks(rounds.iter().flat_map(|one| &one.marks))
        );
    }
    text
}
