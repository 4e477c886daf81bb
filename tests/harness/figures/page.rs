//! A record as a page of the documentation. Decides nothing: what it says is in the record, or in the notes.

use std::collections::BTreeMap;

use super::bars::bars;
use super::number::{mebibytes, range, short};
use super::tables::{alone, latency, neighbours, parts, start_ups, swaps, varied};
use super::target::{Target, Verdict, targets};
use super::{Block, Record, Spread};

/// The page. `notes` is what people write about it: why a target is missed, and what was tried.
pub fn page(record: &Record, notes: &str) -> String {
    let sections = [
        head(record),
        target_table(record),
        notes.trim().to_owned(),
        throughput(record),
        ratios(record),
        latency(record),
        parts(record),
        alone(record),
        varied(record),
        neighbours(record),
        swaps(record),
        start_ups(record),
        how(record),
    ];
    let sections: Vec<&str> = sections.iter().map(|section| section.trim()).collect();
    let filled: Vec<&str> = sections.into_iter().filter(|section| !section.is_empty()).collect();
    filled.join("\n\n") + "\n"
}

fn head(record: &Record) -> String {
    let first = "# Performance\n\n<!-- Generated: by `cargo xtask bench --write-docs`, from performance.json and \
                 tests/benches/notes.md. -->\n\n";
    if record.machine.cores == 0 {
        return format!("{first}Nothing was measured yet: `cargo xtask bench --write-docs` writes this page.");
    }
    let Record { machine, settings, .. } = record;
    format!(
        "{first}The figures in tables are of one run on one machine ({}, {} cores, broker included, {}), over {} queues, in {}: \
         every subject drains the same broker in turn, forwards and backwards, with the same pictures, the same \
         weights and, unless a row says otherwise, the same guarantee. Each message must have one result, and the right one. The \
         machine's speed varies, so **read the ratios**: they are of blocks that ran beside each other.",
        machine.cpu,
        machine.cores,
        record.date.split('T').next().unwrap_or_default(),
        settings.queue,
        rounds(record),
    )
}

/// How often each part was measured.
fn rounds(record: &Record) -> String {
    let n_of = |rounds: Vec<usize>| rounds.into_iter().max().map_or(0, |last| last + 1);
    let in_rounds = record.blocks.iter().filter(|block| block.varied.is_none());
    let varied = record.blocks.iter().filter(|block| block.varied.is_some());
    let parts = [
        ("throughput", n_of(in_rounds.map(|block| block.round).collect())),
        ("latency", n_of(record.latency.iter().map(|one| one.round).collect())),
        ("what it depends on", n_of(varied.map(|block| block.round).collect())),
        (
            "neighbours",
            n_of(record.neighbours.iter().map(|one| one.round).collect()),
        ),
        ("swaps", n_of(record.swaps.iter().map(|one| one.round).collect())),
    ];
    let measured: Vec<String> = parts
        .iter()
        .filter(|(_, n)| *n > 0)
        .map(|(part, n)| format!("{n} round{} of {part}", if *n == 1 { "" } else { "s" }))
        .collect();
    measured.join(", ")
}

fn target_table(record: &Record) -> String {
    if targets(record).iter().all(|target| target.seen.is_none()) {
        return String::new();
    }
    let mut text = "## Targets\n\n| what | target | seen | lowest to highest | |\n|---|---|---|---|---|\n".to_owned();
    for target in targets(record) {
        let verdict = match target.verdict() {
            Verdict::Met => "met",
            Verdict::Missed => "**missed**",
            Verdict::NotMeasured => "not measured",
        };
        let Target { what, unit, .. } = &target;
        let sign = if target.is_limit { "≤" } else { "≥" };
        let seen = target
            .seen
            .map_or("-".to_owned(), |seen| format!("{}{unit}", short(seen.median)));
        let range = target.seen.map_or("-".to_owned(), range);
        text += &format!(
            "| {what} | {sign} {}{unit} | {seen} | {range} | {verdict} |\n",
            target.target
        );
    }
    text
}

fn throughput(record: &Record) -> String {
    let subjects = record.subjects.iter();
    let rows: Vec<(String, f64, String)> = subjects
        .filter_map(|subject| {
            let rate = record.figure(&subject.name, Block::rate)?.median;
            Some((subject.name.clone(), rate, format!("{rate:.0} messages/s")))
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "## Throughput and CPU\n\nMessages a second, medians over the rounds:\n\n{}\n",
        bars(&rows)
    );
    text += "| subject | messages/s | lowest to highest | CPU s for 1,000 | broker's CPU s for 1,000 | batch | peak memory | guarantee |\n\
             |---|---|---|---|---|---|---|---|\n";
    for subject in &record.subjects {
        let figure = |of: fn(&Block) -> f64| record.figure(&subject.name, of);
        let (Some(rate), Some(cpu), Some(broker)) = (
            figure(Block::rate),
            figure(Block::cpu_per_1000),
            figure(Block::broker_cpu_per_1000),
        ) else {
            continue;
        };
        let batches = record.rounds_of(&subject.name).filter_map(|block| block.mean_batch);
        let batch = Spread::of(batches.collect()).map_or("-".to_owned(), |spread| short(spread.median));
        let peak = figure(|block| block.peak_bytes as f64).map_or(0.0, |spread| spread.high);
        text += &format!(
            "| `{}` | {:.0} | {:.0} to {:.0} | {} | {} | {batch} | {} | {} |\n",
            subject.name,
            rate.median,
            rate.low,
            rate.high,
            short(cpu.median),
            short(broker.median),
            mebibytes(peak),
            subject.guarantee
        );
    }
    text += "\n| subject | what it is | body |\n|---|---|---|\n";
    for subject in &record.subjects {
        text += &format!(
            "| `{}` | {} | {}, {} bytes |\n",
            subject.name, subject.what, subject.body, subject.body_bytes
        );
    }
    text + &marked(record)
}

/// What spoils figures, counted.
fn marked(record: &Record) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let blocks = record.blocks.iter().map(|block| &block.marks);
    let latency = record.latency.iter().map(|one| &one.marks);
    let neighbours = record.neighbours.iter().map(|one| &one.marks);
    let swaps = record.swaps.iter().map(|one| &one.marks);
    let all: Vec<&Vec<String>> = blocks.chain(latency).chain(neighbours).chain(swaps).collect();
    for mark in all.iter().copied().flatten() {
        *counts.entry(mark).or_default() += 1;
    }
    if counts.is_empty() {
        return String::new();
    }
    let counts: Vec<String> = counts.iter().map(|(mark, n)| format!("{n} {mark}")).collect();
    format!(
        "\nOf {} measurements of this page are marked: {}. (`foreign cpu`: other programs took more than a tenth of the machine; \
         `short`: the block lasted less than a second; `unsteady`: the echo's rate varied more than twofold over the rounds; \
         `sender late`: the sender of messages did not keep its schedule, since the cores were full; `saturated`: the subject \
         fell behind the sender.)\n",
        all.len(),
        counts.join(", ")
    )
}

fn ratios(record: &Record) -> String {
    if record.ratios.is_empty() {
        return String::new();
    }
    let mut text =
        "## Ratios of rates\n\nOf each block of the first to the nearest block of the second in its round.\n\n\
                    | | median | quarters | lowest to highest | pairs |\n|---|---|---|---|---|\n"
            .to_owned();
    for ratio in &record.ratios {
        let Spread { q1, q3, n, median, .. } = ratio.spread;
        text += &format!(
            "| `{}` / `{}` | {} | {} to {} | {} | {n} |\n",
            ratio.of,
            ratio.to,
            short(median),
            short(q1),
            short(q3),
            range(ratio.spread)
        );
    }
    text
}

fn how(record: &Record) -> String {
    if record.machine.cores == 0 {
        return String::new();
    }
    let Record { machine, settings, .. } = record;
    let versions: Vec<String> = machine
        .versions
        .iter()
        .map(|one| format!("{} {}", one.name, one.version))
        .collect();
    let mut text = format!(
        "## How it was measured\n\n```text\n{}\n```\n\n\
         - Commit `{}`{}, {}. {}, {} cores, {}, Linux {}. {}.\n\
         - Millrace and the echo are built as they are deployed, with `--release`. Prefetch {} for both; each peer has its own.\n\
         - A block: the queue is filled, the subject started, and the results are counted every 10 ms. The first twentieth does not \
         count. A first round sets how many messages make a block of {} s and counts for nothing else. Rounds run forwards and \
         backwards in turn.\n\
         - CPU seconds are those of the process in `/proc`, all threads; the broker's are without the {} s that it takes in each \
         second without clients.\n\
         - PyTorch and ONNX Runtime have {} thread{}: with a thread for each core they take the cores from the broker, and \
         drained a tenth as much where that was tried.\n\
         - Every figure is in `docs/performance.json`, each block by itself.\n",
        record.command,
        record.commit,
        if record.dirty { " with changes" } else { "" },
        record.date,
        machine.cpu,
        machine.cores,
        mebibytes(machine.memory_bytes as f64),
        machine.kernel,
        versions.join(", "),
        settings.prefetch,
        settings.seconds,
        short(settings.broker_idle_cpu),
        settings.peer_threads,
        if settings.peer_threads == 1 { "" } else { "s" },
    );
    for skipped in &record.skipped {
        text += &format!("- Not measured: `{}`, because {}.\n", skipped.subject, skipped.why);
    }
    text
}
