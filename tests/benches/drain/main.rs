//! How fast Millrace is beside everything that people compare it with, on one broker in one run: `cargo xtask bench`.
//! Results are checked for correctness in the run itself.

mod about;
mod alone;
mod arguments;
mod clock;
mod echo;
mod interrupt;
mod measure;
mod neighbour;
mod open;
mod photos;
mod progress;
mod run;
mod running;
mod starts;
mod subject;
mod supplies;
mod swaps;
mod undone;
mod vary;

use anyhow::Result;
use clap::{Parser, Subcommand};
use millrace_tests::broker::Broker;

use arguments::Arguments;
use measure::Bench;
use subject::{LENET, ROUND};
use supplies::Supplies;

/// Measures Millrace beside a bare echo, beside the consumers that people write in Python, and beside the limits of its own
/// parts: throughput, CPU time, latency, memory and start-up. All drain one broker in turn, and every result is checked.
#[derive(Parser)]
#[command(
    bin_name = "cargo xtask bench",
    after_help = "Examples:
  cargo xtask bench                                    everything: some 45 minutes
  cargo xtask bench --quick                            some 7 minutes
  cargo xtask bench --write-docs                       everything, into docs/performance.md
  cargo xtask bench --only echo,identity --parts rounds --rounds 8
  cargo xtask bench --parts prefetch,batch --out sweeps.json
  cargo xtask bench neighbour                          what a hostile plugin costs the pipeline beside it

Ratios are of blocks beside each other; trust them and the CPU seconds more than messages a second. Leave the machine alone
meanwhile: a block in which other programs took more than a tenth of it is marked."
)]
struct Words {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    arguments: Arguments,
}

#[derive(Subcommand)]
enum Verb {
    /// Drains a queue beside a hostile plugin and beside an honest one, in turn, and prints their ratios
    Neighbour,
    /// Swaps plugins and models while messages come at 70 % of the drain rate, and prints their latency; then swaps to bad
    /// versions under a backlog, and prints how soon each is undone
    Swaps,
    /// The second half of `swaps` alone
    Undone,
    /// Swaps plugins many times, and demands that memory, threads and files stay as they are
    Soak {
        /// How often
        #[arg(long, default_value_t = 10_000)]
        swaps: usize,
    },
    /// The echo itself: consumes, publishes mandatory and confirmed, acknowledges, without end
    #[command(hide = true)]
    Echo {
        url: String,
        input: String,
        results: String,
        prefetch: u16,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    let Words { verb, arguments } = Words::parse();
    if let Some(Verb::Echo {
        url,
        input,
        results,
        prefetch,
    }) = &verb
    {
        return echo::run(url, input, results, *prefetch).await;
    }
    if arguments.list {
        let mut listed = std::collections::BTreeSet::new();
        for subject in ROUND.into_iter().filter(|subject| listed.insert(subject.name)) {
            println!("{subject:<21}{}", subject.what);
        }
        return Ok(());
    }
    if arguments.page {
        return arguments::rewrite_page();
    }
    if arguments.needs {
        return needs(verb.as_ref(), &arguments);
    }
    interrupt::ends(async move {
        match verb {
            Some(verb) => one(verb, &arguments).await,
            None => run::run(&arguments).await,
        }
    })
    .await
}

/// Says what must be there before.
fn needs(verb: Option<&Verb>, arguments: &Arguments) -> Result<()> {
    if verb.is_none() && arguments.wants_python()? {
        println!("python");
    }
    if verb.is_none() && arguments.wants_native_host()? {
        println!("native-host");
    }
    Ok(())
}

/// One of the other benches.
async fn one(verb: Verb, arguments: &Arguments) -> Result<()> {
    let broker = Broker::start()?;
    let bench = Bench {
        broker: &broker,
        kind: arguments.kind(),
        supplies: Supplies::gather(&[LENET], None)?,
        messages: arguments.messages,
        prefetch: arguments.prefetch,
        broker_idle_cpu: 0.0,
    };
    let rounds = arguments.rounds();
    println!(
        "{} messages a block, {rounds} rounds, {} queues, prefetch {}",
        bench.messages, arguments.queue, bench.prefetch
    );
    match verb {
        Verb::Neighbour => neighbour::run(&bench, rounds).await,
        Verb::Swaps => swaps::run(&bench, rounds).await,
        Verb::Undone => undone::run(&bench).await,
        Verb::Soak { swaps } => swaps::soak(&bench, swaps).await,
        Verb::Echo { .. } => Ok(()),
    }
}
