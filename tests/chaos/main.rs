//! Random faults against hosts that compete for the same queues, and the oracle's report of what became of every message.
//! The faults are a function of the seed. Knows the hosts by their command line alone.

mod fleet;
mod judge;
mod nemesis;
mod publisher;
mod rest;
mod run;
mod schedule;
mod stage;
mod verdict;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use clap::Parser;

use run::Run;

/// Random faults against competing hosts: brokers and hosts killed, frozen, starved and cut off at random
#[derive(Parser)]
struct Arguments {
    /// How long faults happen
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// What the faults and messages are drawn from; another one each time where it is not given
    #[arg(long)]
    seed: Option<u64>,
    /// Hosts that compete
    #[arg(long, default_value_t = 3)]
    hosts: usize,
    /// Publishes so many messages, and ends the faults when they are done or the minutes are over
    #[arg(long)]
    messages: Option<u64>,
    /// Prints the report as JSON
    #[arg(long)]
    json: bool,
    /// Where logs, the faults and the report are kept
    #[arg(long, default_value = "target/chaos")]
    keep: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        now.as_secs()
    });
    let artefacts = arguments.keep.join(format!("seed-{seed}"));
    if artefacts.exists() {
        std::fs::remove_dir_all(&artefacts).context("cannot remove what another run kept")?;
    }
    std::fs::create_dir_all(&artefacts)?;
    eprintln!("seed {seed}, {} hosts, {} minutes", arguments.hosts, arguments.minutes);
    let run = Run {
        seed,
        n_hosts: arguments.hosts.max(1),
        limit: Duration::try_from_secs_f64(arguments.minutes * 60.0).context("--minutes")?,
        n_messages: arguments.messages,
        artefacts,
    };
    let verdict = run.go()?;
    let kept = verdict.artefacts.join("report.json");
    std::fs::write(&kept, format!("{:#}\n", verdict.json()))?;
    match arguments.json {
        true => println!("{:#}", verdict.json()),
        false => println!("{verdict}"),
    }
    if !verdict.violations.is_empty() {
        std::process::exit(1);
    }
    Ok(())
}
