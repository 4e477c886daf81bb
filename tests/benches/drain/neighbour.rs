//! What a hostile plugin costs the pipeline beside it: the same drain beside an honest neighbour of the same load and
//! beside a hostile one, in turn. Knows the host by its command line alone.
//!
//! The same load: both neighbours have messages waiting from the beginning to the end, so both have of the workers all
//! that the host lets them have; and an honest call takes CPU time, or memory, of the order that the hostile one takes
//! before it is ended.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use millrace_tests::amqp::{Client, Parcel, QueueKind};
use millrace_tests::figures::{NEIGHBOUR_MIN, Neighbour, Spread, median};
use millrace_tests::samples::guest;
use millrace_tests::unique;

use crate::measure::Bench;
use crate::running::{Running, Variation};
use crate::subject::LENET;

/// A hostile mode of the guest, the honest mode that it is compared with, and how many messages it has waiting.
const PAIRS: [(&str, &str, usize); 6] = [
    ("loop", "work", 2_000),
    ("memory-bomb", "use-memory", 2_000),
    ("huge-output", "use-memory", 2_000),
    ("log-flood", "work", 2_000),
    ("body-flood", "ok", 60_000),
    ("trap", "ok", 60_000),
];

/// The pairs of a whole run.
const SOME: [&str; 3] = ["loop", "memory-bomb", "trap"];

/// Measures every pair in every round, and prints the median of the ratios of each.
pub(crate) async fn run(bench: &Bench<'_>, rounds: usize) -> Result<()> {
    let mut report = String::new();
    for (hostile, ..) in PAIRS {
        let mut seen = Vec::new();
        for round in 0..rounds {
            let one = pair(bench, hostile, round).await?;
            println!(
                "round {}: beside {hostile} {:.0} messages/s, beside {} {:.0} {}",
                round + 1,
                one.beside_hostile,
                one.honest,
                one.beside_honest,
                one.marks.join(", ")
            );
            seen.push(one);
        }
        let of = |value: fn(&Neighbour) -> f64| seen.iter().map(value).collect::<Vec<f64>>();
        let ratios = Spread::of(of(|one| one.beside_hostile / one.beside_honest)).context("no rounds")?;
        writeln!(
            report,
            "{hostile:<14}{:<14}{:>10.0}{:>10.0}{:>8.2}{:>8.2}  {}",
            seen.first().map_or("", |one| &one.honest),
            median(of(|one| one.beside_hostile)),
            median(of(|one| one.beside_honest)),
            ratios.median,
            ratios.low,
            if ratios.median >= NEIGHBOUR_MIN {
                "kept"
            } else {
                "NOT KEPT"
            }
        )?;
    }
    println!(
        "\n{:<14}{:<14}{:>10}{:>10}{:>8}{:>8}\n{report}",
        "hostile", "honest", "msg/s", "msg/s", "ratio", "lowest"
    );
    Ok(())
}

/// Measures some pairs once, each as the page calls it.
pub(crate) async fn some(bench: &Bench<'_>, round: usize) -> Result<Vec<Neighbour>> {
    let mut seen = Vec::new();
    for hostile in SOME {
        let one = pair(bench, hostile, round).await?;
        seen.push(Neighbour {
            hostile: in_words(&one.hostile).to_owned(),
            honest: in_words(&one.honest).to_owned(),
            ..one
        });
    }
    Ok(seen)
}

/// What a mode of the guest does.
fn in_words(mode: &str) -> &str {
    match mode {
        "loop" => "never returns",
        "memory-bomb" => "takes memory without end",
        "trap" => "traps at once",
        "work" => "computes for tens of milliseconds",
        "use-memory" => "fills 96 MiB",
        "ok" => "answers at once",
        other => other,
    }
}

/// Measures beside a hostile neighbour and beside its honest one.
async fn pair(bench: &Bench<'_>, hostile: &str, round: usize) -> Result<Neighbour> {
    let pair = PAIRS.into_iter().find(|pair| pair.0 == hostile);
    let (hostile, honest, waiting) = pair.context("no such neighbour")?;
    let mut seen = Neighbour {
        round,
        hostile: hostile.to_owned(),
        honest: honest.to_owned(),
        ..Neighbour::default()
    };
    // Forwards and backwards in turn, so that what changes over time touches both.
    let mut order = [honest, hostile];
    if round % 2 == 1 {
        order.reverse();
    }
    for mode in order {
        let (rate, marks) = block(bench, mode, waiting).await.with_context(|| mode.to_owned())?;
        seen.marks.extend(marks);
        match mode == honest {
            true => seen.beside_honest = rate,
            false => seen.beside_hostile = rate,
        }
    }
    Ok(seen)
}

/// The rate of the good pipeline beside one neighbour, and what is wrong with it.
async fn block(bench: &Bench<'_>, mode: &str, waiting: usize) -> Result<(f64, Vec<String>)> {
    let client = Client::connect(&bench.broker.url()).await?;
    let scene = bench.scene(&client).await?;
    let neighbour = unique("neighbour");
    client.declare(&neighbour, QueueKind::Quorum).await?;
    let variation = Variation {
        host: "workers = 2".to_owned(),
        tables: tables(&neighbour, mode, bench.prefetch)?,
        ..Variation::usual(bench.prefetch)
    };
    let noise = (0..waiting).map(|n| Parcel::new(&n.to_string(), vec![b'x'; 16 << 10]));
    client.publish_all(&neighbour, noise).await?;
    client
        .publish_all(&scene.input, bench.supplies.parcels(&LENET, bench.messages)?)
        .await?;

    let mut running = Running::start(&LENET, &scene, &bench.supplies, &variation, bench.messages)?;
    let (begin, end) = bench.watch(&client, &scene, &mut running, bench.messages).await?;
    let left = client.count(&neighbour).await?;
    drop(running);
    ensure!(left > 0, "the neighbour had nothing to do before the end");
    bench.check(&LENET, &client, &scene, bench.messages).await?;
    let (results, dead) = (format!("{neighbour}.results"), format!("{neighbour}.dead"));
    bench.remove(&client, &scene).await?;
    for queue in [&neighbour, &results, &dead] {
        client.delete(queue).await?;
    }
    let rate = (end.results - begin.results) as f64 / (end.at - begin.at).as_secs_f64();
    Ok((rate, end.busy.marks_since(&begin.busy)))
}

fn tables(neighbour: &str, mode: &str, prefetch: u16) -> Result<String> {
    let plugin = |name: &str| -> Result<String> { Ok(guest("wasm32-wasip2", name)?.display().to_string()) };
    Ok(format!(
        r#"
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
