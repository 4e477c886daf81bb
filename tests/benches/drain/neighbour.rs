//! What a hostile plugin costs the pipeline beside it: the same drain beside an honest neighbour of the same load and
//! beside a hostile one, in turn. Knows the host by its command line alone.
//!
//! The same load: both neighbours have messages waiting from the beginning to the end, so both have of the workers all
//! that the host lets them have; and an honest call takes CPU time, or memory, of the order that the hostile one takes
//! before it is ended.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use millrace_tests::amqp::{Client, Parcel, QueueKind};
use millrace_tests::samples::guest;
use millrace_tests::scene::Scene;
use millrace_tests::unique;

use crate::measure::Bench;
use crate::report::median;
use crate::subject::{Body, Subject};

/// A hostile mode of the guest, the honest mode that it is compared with, and how many messages it has waiting.
const PAIRS: [(&str, &str, usize); 6] = [
    ("loop", "work", 2_000),
    ("memory-bomb", "use-memory", 2_000),
    ("huge-output", "use-memory", 2_000),
    ("log-flood", "work", 2_000),
    ("body-flood", "ok", 60_000),
    ("trap", "ok", 60_000),
];
/// What is promised: a part of the throughput beside an honest neighbour.
const PROMISED: f64 = 0.9;

/// Measures every pair in every round, and prints the median of the ratios of each.
pub(crate) async fn run(bench: &Bench<'_>, rounds: usize) -> Result<()> {
    let mut report = String::new();
    for (hostile, honest, waiting) in PAIRS {
        let (mut ratios, mut beside_honest, mut beside_hostile) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            // Forwards and backwards in turn, so that what changes over time touches both.
            let mut order = [honest, hostile];
            if round % 2 == 1 {
                order.reverse();
            }
            for mode in order {
                let rate = block(bench, mode, waiting).await.with_context(|| mode.to_owned())?;
                println!("round {} beside {mode}: {rate:.0} messages/s", round + 1);
                let rates = if mode == honest {
                    &mut beside_honest
                } else {
                    &mut beside_hostile
                };
                rates.push(rate);
            }
            let last = |rates: &[f64]| rates.last().copied().unwrap_or(f64::NAN);
            ratios.push(last(&beside_hostile) / last(&beside_honest));
        }
        let lowest = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let ratio = median(ratios);
        writeln!(
            report,
            "{hostile:<14}{honest:<14}{:>10.0}{:>10.0}{ratio:>8.2}{lowest:>8.2}  {}",
            median(beside_hostile),
            median(beside_honest),
            if ratio >= PROMISED { "kept" } else { "NOT KEPT" }
        )?;
    }
    println!(
        "\n{:<14}{:<14}{:>10}{:>10}{:>8}{:>8}\n{report}",
        "hostile", "honest", "msg/s", "msg/s", "ratio", "lowest"
    );
    Ok(())
}

/// The rate of the good pipeline beside one neighbour.
async fn block(bench: &Bench<'_>, mode: &str, waiting: usize) -> Result<f64> {
    let client = Client::connect(&bench.broker.url()).await?;
    let subject = Subject::PerMessage(Body::Raw);
    let mut scene = Scene {
        prefetch: bench.prefetch,
        source: vec!["type = \"passive\""],
        ..Scene::new(bench.broker)?
    };
    let neighbour = unique("neighbour");
    scene.tables = tables(&neighbour, mode, bench.prefetch)?;
    for queue in [&scene.input, &scene.results, &neighbour] {
        client.declare(queue, QueueKind::Quorum).await?;
    }
    let noise = (0..waiting).map(|n| Parcel::new(&n.to_string(), vec![b'x'; 16 << 10]));
    client.publish_all(&neighbour, noise).await?;
    client.publish_all(&scene.input, bench.parcels(subject)?).await?;

    let running = subject.start(scene.clone())?;
    let (begin, end) = bench.watch(&client, &scene, running.pid()).await?;
    let left = client.count(&neighbour).await?;
    drop(running);
    ensure!(left > 0, "the neighbour had nothing to do before the end");
    bench.check(subject, &client, &scene).await?;
    let (results, dead) = (format!("{neighbour}.results"), format!("{neighbour}.dead"));
    for queue in [&scene.input, &scene.results, &scene.dead, &neighbour, &results, &dead] {
        client.delete(queue).await?;
    }
    Ok((end.results - begin.results) as f64 / (end.at - begin.at).as_secs_f64())
}

fn tables(neighbour: &str, mode: &str, prefetch: u16) -> Result<String> {
    let plugin = |name: &str| -> Result<String> { Ok(guest("wasm32-wasip2", name)?.display().to_string()) };
    Ok(format!(
        r#"
[host]
workers = 2

[plugin.neighbour]
path = {:?}
settings = {{ mode = "{mode}" }}
deadline = "100ms"
memory = "128MiB"

[plugin.neighbour-route]
path = {:?}

[pipeline.neighbour]
source = {{ queue = "{neighbour}", prefetch = {prefetch}, type = "passive" }}
preprocess = "neighbour"
model = "shapes"
route = "neighbour-route"

[pipeline.neighbour.destination.results]
exchange = ""
routing_key = "{neighbour}.results"
"#,
        plugin("hostile")?,
        plugin("hostile-route")?
    ))
}
