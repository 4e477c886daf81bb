//! Hosts that are started and stopped as a queue rises and falls, by the rule of `docs/scaling.md`; and what comes again when
//! a host is killed. Every message must have its result at the end.

mod fleet;
mod load;
mod redelivery;
mod report;
mod rule;
mod trial;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use millrace_tests::broker::Broker;
use millrace_tests::relay::{Flow, Relay};
use tokio::runtime::Runtime;

use trial::Trial;

/// Lets hosts follow a load that rises and falls. The hosts reach their broker through a relay that delays every byte, so that
/// `prefetch` and the delay limit a host, and not the CPU of this machine.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Messages in flight in a host
    #[arg(long, default_value_t = 16)]
    prefetch: u16,
    /// Delay between hosts and broker, each way
    #[arg(long, default_value_t = 50)]
    delay_ms: u64,
    /// Hosts at the most
    #[arg(long, default_value_t = 3)]
    hosts_max: usize,
    /// Load, in % of what one host does, and for how many seconds: `30x30,250x75,30x90`
    #[arg(long, default_value = "30x30,250x75,30x90")]
    load: String,
    /// Where the time line is written as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Verb {
    /// Kills one of two hosts under load, and counts what comes again, by prefetch
    Redelivery {
        /// Prefetches to try
        #[arg(long, value_delimiter = ',', default_value = "16,64,256")]
        prefetches: Vec<u16>,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = Runtime::new()?;
    let broker = Broker::start()?;
    let relay = Relay::start(broker.port())?;
    relay.set(Flow::Delay(Duration::from_millis(arguments.delay_ms)));
    println!("delay between hosts and broker: {} ms each way", arguments.delay_ms);
    if let Some(Verb::Redelivery { prefetches }) = &arguments.verb {
        return redelivery::run(&runtime, &broker, &relay, prefetches);
    }
    let trial = Trial {
        runtime: &runtime,
        broker: &broker,
        relay: &relay,
        prefetch: arguments.prefetch,
        hosts_max: arguments.hosts_max,
        steps: trial::steps(&arguments.load)?,
    };
    let report = trial.run()?;
    println!("{report}");
    if let Some(path) = arguments.json {
        std::fs::write(&path, serde_json::to_string_pretty(&report.json())?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    report.judge()
}
