//! What throughput depends on: one thing at a time has several values, in turn. Knows which, and not how a block is measured.

use anyhow::{Context, Result, ensure};
use millrace_tests::amqp::{Client, QueueKind};
use millrace_tests::figures::{Block, Varied};

use crate::arguments::{Arguments, Part};
use crate::run::Run;
use crate::running::{Running, Variation};
use crate::subject::{Body, ECHO, IDENTITY, LENET, Network, Pipeline, RESNET18, Runs, Subject};

const PREFETCHES: [u16; 4] = [1, 10, 100, 1000];
const BATCHES: [usize; 3] = [1, 8, 64];
const COUNTS: [usize; 3] = [1, 2, 4];
/// Messages for one host, at the least: two do not start in the same moment.
const HOSTS_LEAST: usize = 15_000;
/// Photos in flight of each host: with as many as elsewhere the first to start would have them all.
const HOSTS_PREFETCH: u16 = 32;
/// Messages in the queue of which a block drains the first.
const WAITING: [usize; 2] = [50_000, 1_000_000];
/// The edge of the pictures in them.
pub(crate) const WAITING_EDGE: u32 = 16;

/// A block that differs from the usual in one thing.
struct Trial {
    what: &'static str,
    value: u64,
    subject: Subject,
    variation: Variation,
}

/// Blocks in one turn of everything that is asked for.
pub(crate) fn n_blocks(arguments: &Arguments, subjects: &[Subject]) -> usize {
    let n_waiting = if arguments.has(Part::Waiting) { 12 } else { 0 };
    trials(arguments, subjects).len() + n_waiting
}

/// The echo and the least pipeline on raw pictures of one size.
pub(crate) fn of_size(edge: u32) -> [Subject; 2] {
    let body = Body::Noise(edge);
    let least = match IDENTITY.runs {
        Runs::Host(pipeline) => Runs::Host(Pipeline {
            network: Network::Mean(edge),
            ..pipeline
        }),
        other => other,
    };
    [
        Subject { body, ..ECHO },
        Subject {
            body,
            runs: least,
            ..IDENTITY
        },
    ]
}

/// Measures everything that is asked for once; backwards in every other turn.
pub(crate) async fn run(run: &mut Run<'_>, arguments: &Arguments, subjects: &[Subject], round: usize) -> Result<()> {
    let mut order = trials(arguments, subjects);
    if round % 2 == 1 {
        order.reverse();
    }
    for (position, trial) in order.into_iter().enumerate() {
        let n = match trial.what {
            // One message at a time, or large ones, are slower than what was seen: a block would last minutes.
            "prefetch" if trial.value < 100 => run.n_messages(&trial.subject) / 8,
            "bytes in a message" => run.n_messages(&trial.subject).min(limit_of(trial.value)),
            // The drain counts from when the last of them is ready.
            "hosts" => {
                let least = if trial.subject == LENET { HOSTS_LEAST } else { 0 };
                run.n_messages(&trial.subject).max(least) * (trial.variation.hosts + 1) / 2
            }
            _ => run.n_messages(&trial.subject),
        };
        let measured = run.block(&trial.subject, n.max(100), &trial.variation).await;
        let mut block = measured.with_context(|| format!("{} {}", trial.what, trial.value))?;
        (block.round, block.position) = (round, position);
        block.varied = Some(Varied {
            what: trial.what.to_owned(),
            value: trial.value,
        });
        keep(run, block);
    }
    if arguments.has(Part::Waiting) && round == 0 {
        for kind in [QueueKind::Classic, QueueKind::Quorum] {
            for n_waiting in WAITING {
                let block = waiting(run, kind, n_waiting).await.context("waiting")?;
                keep(run, block);
            }
        }
    }
    Ok(())
}

/// Messages of a size that make a gigabyte: fewer are drained before anything can be measured.
fn limit_of(bytes: u64) -> usize {
    usize::try_from((1 << 30) / bytes).unwrap_or(usize::MAX)
}

fn keep(run: &mut Run<'_>, block: Block) {
    if let Some(varied) = &block.varied {
        let what = format!(
            "{} {}, {}: {:.0} messages/s, CPU {:.3} s for 1,000, {} MiB {}",
            varied.what,
            varied.value,
            block.subject,
            block.rate(),
            block.cpu_per_1000(),
            block.peak_bytes >> 20,
            block.marks.join(", ")
        );
        run.report_varied(&what);
    }
    run.record.blocks.push(block);
}

fn trials(arguments: &Arguments, subjects: &[Subject]) -> Vec<Trial> {
    let usual = Variation::usual(arguments.prefetch);
    let mut trials = Vec::new();
    let mut add = |what, value: usize, subject, variation| {
        trials.push(Trial {
            what,
            value: value as u64,
            subject,
            variation,
        });
    };
    if arguments.has(Part::Prefetch) {
        for prefetch in PREFETCHES {
            add("prefetch", prefetch.into(), LENET, Variation::usual(prefetch));
        }
    }
    if arguments.has(Part::Batch) {
        for batch in BATCHES {
            let model = format!("max_batch = {batch}");
            add("max_batch", batch, LENET, Variation { model, ..usual.clone() });
        }
    }
    if arguments.has(Part::Size) {
        for edge in arguments.edges() {
            for subject in of_size(*edge) {
                add("bytes in a message", 3 * (edge * edge) as usize, subject, usual.clone());
            }
        }
    }
    if arguments.has(Part::Pipelines) {
        for pipelines in COUNTS {
            add(
                "pipelines",
                pipelines,
                LENET,
                Variation {
                    pipelines,
                    ..usual.clone()
                },
            );
        }
    }
    if arguments.has(Part::Hosts) {
        for hosts in COUNTS {
            // One worker and one thread of the model: of a large network one host takes one core, and leaves the other.
            let variation = |prefetch| Variation {
                hosts,
                host: "workers = 1".to_owned(),
                model: "threads = 1".to_owned(),
                ..Variation::usual(prefetch)
            };
            add("hosts", hosts, LENET, variation(arguments.prefetch));
            if subjects.contains(&RESNET18) {
                add("hosts", hosts, RESNET18, variation(HOSTS_PREFETCH));
            }
        }
    }
    trials
}

/// A block at the head of a long queue: as many messages as usual are drained, and the rest is left.
async fn waiting(run: &Run<'_>, kind: QueueKind, n_waiting: usize) -> Result<Block> {
    let [_, subject] = of_size(WAITING_EDGE);
    let usual = Variation::usual(run.bench.prefetch);
    let bench = &run.bench;
    let client = Client::connect(&bench.broker.url()).await?;
    let scene = bench.scene_of(&client, kind).await?;
    client
        .publish_all(&scene.input, bench.supplies.parcels(&subject, n_waiting)?)
        .await?;
    let n = run.n_messages(&subject).min(n_waiting);
    let mut running = Running::start(&subject, &scene, &bench.supplies, &usual, n)?;
    let marks = bench.watch(&client, &scene, &mut running, n).await?;
    let mut block = bench.block_of(&subject, &mut running, marks)?;
    drop(running);
    // Its consumer is gone: nothing is added to these.
    let n_results = client.count(&scene.results).await? as usize;
    ensure!(n_results >= n, "{n_results} results, and there were {n}");
    let results = client.take_all(&scene.results, n_results).await?;
    bench.check_all(&subject, &results, n_waiting)?;
    bench.remove(&client, &scene).await?;
    block.messages = n_waiting;
    block.varied = Some(Varied {
        what: match kind {
            QueueKind::Quorum => "messages waiting, quorum".to_owned(),
            QueueKind::Classic | QueueKind::ClassicTransient => "messages waiting, classic".to_owned(),
        },
        value: n_waiting as u64,
    });
    Ok(block)
}
