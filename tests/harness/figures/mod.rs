//! What a run of the bench came to: the record that is written as JSON, and what follows from it. Measures nothing.

mod bars;
mod number;
mod page;
mod parts;
mod ratio;
mod statistic;
mod tables;
mod target;

pub use page::page;
pub use ratio::Ratio;
pub use statistic::{Spread, median, quantile};
pub use target::{NEIGHBOUR_MIN, SWAPS_MAX, Target, Verdict, targets};

use serde::{Deserialize, Serialize};

/// The version of the record's form. A reader that knows another refuses it.
pub const FORMAT: u32 = 1;

/// All that one run measured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`FORMAT`].
    pub format: u32,
    /// The commit of the repository, and whether files differed from it.
    pub commit: String,
    /// Whether the working tree differed from that commit.
    pub dirty: bool,
    /// When the run began, in UTC.
    pub date: String,
    /// The command that makes such a run.
    pub command: String,
    /// What it ran on.
    pub machine: Machine,
    /// How it was done.
    pub settings: Settings,
    /// What was measured, in words, by name.
    pub subjects: Vec<Described>,
    /// What was asked for and not measured.
    pub skipped: Vec<Skipped>,
    /// Every drain of a full queue, in the order of the run.
    pub blocks: Vec<Block>,
    /// Networks alone.
    pub forwards: Vec<Forward>,
    /// Plugins alone.
    pub calls: Vec<Call>,
    /// Messages that come at a steady rate.
    pub latency: Vec<Latency>,
    /// From the start of the process to the first result.
    pub start_ups: Vec<StartUp>,
    /// Throughput beside hostile plugins.
    pub neighbours: Vec<Neighbour>,
    /// Latency beside swaps.
    pub swaps: Vec<Swaps>,
    /// What `millrace check` says that a pipeline may take at the most.
    pub memory_limits: Vec<MemoryLimit>,
    /// Follows from the blocks: kept for who reads the file without this program.
    pub ratios: Vec<Ratio>,
}

/// The machine and the versions of what ran on it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Cores that programs may use.
    pub cores: usize,
    /// Memory.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
    /// Names and versions of programs and packages.
    pub versions: Vec<Version>,
}

/// The version of one program or package.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// Such as `torch`.
    pub name: String,
    /// Such as `2.15.0`.
    pub version: String,
}

/// How a run was done.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Rounds that count.
    pub rounds: usize,
    /// How long a block is to last.
    pub seconds: f64,
    /// `quorum` or `classic`.
    pub queue: String,
    /// Messages in flight of Millrace and of the echo.
    pub prefetch: u16,
    /// Threads of PyTorch and ONNX Runtime.
    pub peer_threads: usize,
    /// The broker's CPU seconds in a second without clients: taken off its figures.
    pub broker_idle_cpu: f64,
}

/// A subject in words.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// What it is.
    pub what: String,
    /// What is in the messages.
    pub body: String,
    /// The size of the first of them.
    pub body_bytes: usize,
    /// `at least once`, or `none`.
    pub guarantee: String,
}

/// What was left out, and why.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skipped {
    /// The name of a subject.
    pub subject: String,
    /// The reason.
    pub why: String,
}

/// What is varied in a row of blocks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Varied {
    /// Such as `prefetch`.
    pub what: String,
    /// Such as 64; for sizes in bytes.
    pub value: u64,
}

/// One drain of a full queue.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// The round, from 0.
    pub round: usize,
    /// The place in the round.
    pub position: usize,
    /// Who drained it.
    pub subject: String,
    /// What differs from the usual; nothing in a round.
    pub varied: Option<Varied>,
    /// Messages in the queue, each of which had one right result.
    pub messages: usize,
    /// Messages that count: the first twentieth does not.
    pub counted: usize,
    /// The time of those.
    pub seconds: f64,
    /// CPU seconds of the subject in that time.
    pub cpu_seconds: f64,
    /// CPU seconds of the broker, without what it takes when idle.
    pub broker_cpu_seconds: f64,
    /// The subject's memory at its height.
    pub peak_bytes: u64,
    /// Messages in a batch of the model, on average, where the subject says it.
    pub mean_batch: Option<f64>,
    /// The part of the machine that other programs took.
    pub foreign_cpu: f64,
    /// The load average before it.
    pub load: f64,
    /// What is wrong with it: `foreign cpu`, `short`.
    pub marks: Vec<String>,
}

/// A network alone, on one thread.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// The round.
    pub round: usize,
    /// The network.
    pub model: String,
    /// Items in a batch.
    pub batch: usize,
    /// Threads.
    pub threads: usize,
    /// The median time of a batch.
    pub median_ms: f64,
    /// Items in a second, by the median.
    pub items_per_second: f64,
}

/// Calls of one plugin, one after the other.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The round.
    pub round: usize,
    /// The plugin.
    pub plugin: String,
    /// `message`: a fresh instance for each call; `worker`: one instance for all.
    pub isolation: String,
    /// What is in the message.
    pub input: String,
    /// Calls.
    pub n: usize,
    /// The median time of a call.
    pub median_us: f64,
    /// Of ten calls, nine are faster.
    pub p90_us: f64,
    /// The mean CPU time of a call.
    pub cpu_us: f64,
}

/// The latency of messages that come at a steady rate: from when each was due to its result.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// The round.
    pub round: usize,
    /// Who answered.
    pub subject: String,
    /// Messages a second that the subject keeps up with while they are published.
    pub capacity: f64,
    /// Messages a second that were sent.
    pub rate: f64,
    /// Messages that count.
    pub messages: usize,
    /// Half of them were faster.
    pub p50_us: u32,
    /// Of ten, nine were faster.
    pub p90_us: u32,
    /// Of a hundred, 99 were faster.
    pub p99_us: u32,
    /// Of a thousand, 999 were faster.
    pub p999_us: u32,
    /// The slowest.
    pub max_us: u32,
    /// How late the sender was with 99 of a hundred.
    pub sender_late_p99_us: u32,
    /// `saturated`, `sender late`.
    pub marks: Vec<String>,
}

/// Starts of one subject.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartUp {
    /// Who was started.
    pub subject: String,
    /// From each start to the first result.
    pub seconds: Vec<f64>,
}

/// A pipeline beside a neighbour whose plugin is hostile, and beside one whose plugin takes as much honestly.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbour {
    /// The round.
    pub round: usize,
    /// What the hostile plugin does.
    pub hostile: String,
    /// What the honest one does.
    pub honest: String,
    /// Messages a second of the pipeline beside the hostile one.
    pub beside_hostile: f64,
    /// And beside the honest one.
    pub beside_honest: f64,
    /// What is wrong with them: `foreign cpu`.
    #[serde(default)]
    pub marks: Vec<String>,
}

/// Messages that come at a steady rate while something is swapped beside them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swaps {
    /// The round.
    pub round: usize,
    /// What is swapped.
    pub beside: String,
    /// How often.
    pub n_swaps: u32,
    /// How long that was measured, in seconds.
    pub seconds: f64,
    /// Messages.
    pub messages: usize,
    /// Half of them were faster.
    pub p50_us: u32,
    /// Of a hundred, 99 were faster.
    pub p99_us: u32,
    /// The median time of a swap.
    pub swap_ms: Option<f64>,
    /// What is wrong with it: `foreign cpu`, `saturated`.
    #[serde(default)]
    pub marks: Vec<String>,
}

/// The bound that `millrace check` states for a pipeline.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryLimit {
    /// Whose.
    pub subject: String,
    /// What it may take.
    pub bytes: u64,
}

impl Block {
    /// Messages a second.
    pub fn rate(&self) -> f64 {
        self.counted as f64 / self.seconds
    }

    /// CPU seconds of the subject for 1,000 messages.
    pub fn cpu_per_1000(&self) -> f64 {
        self.cpu_seconds / self.counted as f64 * 1000.0
    }

    /// CPU seconds of the broker for 1,000 messages.
    pub fn broker_cpu_per_1000(&self) -> f64 {
        self.broker_cpu_seconds / self.counted as f64 * 1000.0
    }
}

impl Record {
    /// The blocks of a subject in the rounds.
    pub fn rounds_of<'a>(&'a self, subject: &'a str) -> impl Iterator<Item = &'a Block> {
        let in_round = self.blocks.iter().filter(|block| block.varied.is_none());
        in_round.filter(move |block| block.subject == subject)
    }

    /// Marks the blocks of a run in which the echo's rate varied more than twofold.
    pub fn mark_unsteady(&mut self) {
        let spread = self.figure("echo", Block::rate);
        if spread.is_some_and(|spread| spread.high > 2.0 * spread.low) {
            for block in &mut self.blocks {
                block.marks.push("unsteady".to_owned());
            }
        }
    }

    /// A figure of a subject's blocks in the rounds.
    pub fn figure(&self, subject: &str, of: impl Fn(&Block) -> f64) -> Option<Spread> {
        Spread::of(self.rounds_of(subject).map(of).collect())
    }
}
