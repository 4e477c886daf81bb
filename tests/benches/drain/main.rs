//! How fast a full queue is drained: Millrace with the shipped model beside a bare echo on the same broker, in one run.
//! Results are checked for correctness in the run itself.

mod echo;
mod measure;
mod neighbour;
mod report;
mod subject;
mod swaps;
mod undone;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};
use millrace_tests::amqp::QueueKind;
use millrace_tests::broker::Broker;
use millrace_tests::samples::pictures;

use measure::Bench;
use report::Report;
use subject::Subject;

/// Drains a queue of pictures with Millrace and with a bare echo, in turn, and prints their ratios.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Messages in the queue at the start of each block
    #[arg(long, default_value_t = 10_000)]
    messages: usize,
    /// Rounds; each measures every subject once, forwards and backwards in turn
    #[arg(long, default_value_t = 4)]
    rounds: usize,
    /// Messages in flight
    #[arg(long, default_value_t = 300)]
    prefetch: u16,
    /// The type of the queues
    #[arg(long, value_enum, default_value_t = Queue::Quorum)]
    queue: Queue,
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

#[derive(Clone, Copy, ValueEnum)]
enum Queue {
    Quorum,
    Classic,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(Verb::Echo {
        url,
        input,
        results,
        prefetch,
    }) = &arguments.verb
    {
        return echo::run(url, input, results, *prefetch).await;
    }
    let kind = match arguments.queue {
        Queue::Quorum => QueueKind::Quorum,
        Queue::Classic => QueueKind::Classic,
    };
    let broker = Broker::start()?;
    let bench = Bench {
        broker: &broker,
        kind,
        samples: pictures()?,
        messages: arguments.messages,
        prefetch: arguments.prefetch,
    };
    println!(
        "{} messages a block, {} rounds, {kind:?} queues, prefetch {}",
        bench.messages, arguments.rounds, bench.prefetch
    );
    match arguments.verb {
        Some(Verb::Neighbour) => return neighbour::run(&bench, arguments.rounds).await,
        Some(Verb::Swaps) => return swaps::run(&bench, arguments.rounds).await,
        Some(Verb::Undone) => return undone::run(&bench).await,
        Some(Verb::Soak { swaps }) => return swaps::soak(&bench, swaps).await,
        Some(Verb::Echo { .. }) | None => {}
    }
    let mut report = Report::default();
    for round in 0..arguments.rounds {
        let mut order = Subject::ALL;
        if round % 2 == 1 {
            order.reverse();
        }
        for subject in order {
            let block = bench.block(subject).await.with_context(|| subject.to_string())?;
            println!("round {} {subject}: {:.0} messages/s", round + 1, block.rate);
            report.add(round, subject, block);
        }
    }
    println!("\n{report}");
    Ok(())
}
