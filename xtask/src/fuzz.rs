//! `cargo xtask fuzz`: the property tests of everything that strangers write, for long and with fresh seeds.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::project::Project;
use crate::step;

/// Cases of one round and test: a round takes about a minute, and a seed stands for no more than that.
const CASES_A_ROUND: u32 = 4000;

/// What to fuzz, and for how long.
#[derive(Args)]
pub(crate) struct Arguments {
    /// How long
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Repeats the round of this seed, which a failed round prints, and no other
    #[arg(long)]
    seed: Option<u64>,
    /// Everything, where none is given
    #[arg(value_enum)]
    target: Option<Target>,
}

/// Whatever is read and was written by strangers.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Target {
    /// `plugins.toml`
    Config,
    /// `model.toml` and files of weights
    Models,
    /// Tensors and results of plugins
    Outputs,
    /// Pictures, tensors and whatever else the shipped plugins read
    Images,
    /// Properties and headers of messages
    Headers,
}

impl Target {
    /// The part of the names of its tests that no other has.
    fn filter(self) -> &'static str {
        match self {
            Self::Config => "fuzz::any_text_is_read_",
            Self::Models => "fuzz::any_bytes_are_",
            Self::Outputs => "fuzz::output_",
            Self::Images => "tests::fuzz::",
            Self::Headers => "amqp::fuzz::",
        }
    }
}

/// Draws cases until the time is over.
///
/// # Errors
/// With the seed of the round that failed; its output names the case.
pub(crate) fn run(project: &Project, arguments: &Arguments) -> Result<()> {
    let limit = Duration::try_from_secs_f64(arguments.minutes * 60.0).context("--minutes")?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let first = arguments.seed.unwrap_or(now.as_secs());
    let (began, mut n_rounds) = (Instant::now(), 0);
    while n_rounds == 0 || (arguments.seed.is_none() && began.elapsed() < limit) {
        let seed = first + n_rounds;
        // All of the workspace, whatever is run of it: another selection would build Burn once more.
        let mut tests = project.cargo(["test", "--workspace", "--lib", "--test", "folder", "--quiet"]);
        tests
            .arg(arguments.target.map_or("fuzz::", Target::filter))
            .env("PROPTEST_CASES", CASES_A_ROUND.to_string())
            .env("PROPTEST_RNG_SEED", seed.to_string())
            .env("RUST_BACKTRACE", "0");
        let outcome = step::run("fuzz", &mut tests)?;
        n_rounds += 1;
        if !outcome.succeeded {
            bail!("seed {seed} fails; make its case a row of a test: cargo xtask fuzz --seed {seed}");
        }
        if outcome.step_counts.passed == 0 {
            bail!("no test ran");
        }
        let (n, took) = (outcome.step_counts.passed, step::shown(began.elapsed()));
        println!("seed {seed}: {n} tests of {CASES_A_ROUND} cases passed; {n_rounds} rounds in {took}");
    }
    Ok(())
}
