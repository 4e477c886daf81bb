//! What the CPU time of a message is made of: the parts, each measured alone, beside what the whole takes.

use super::{Record, Spread, median};

/// CPU seconds for 1,000 messages of the parts of a pipeline, and of the whole.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    /// A client that consumes, publishes, awaits the confirm and acknowledges.
    pub(super) echo: f64,
    /// The network's forward pass, in batches of [`Parts::batch`].
    pub(super) forward: f64,
    /// The call of the preprocessor.
    pub(super) preprocess: f64,
    /// The call of the router.
    pub(super) route: f64,
    /// What the host takes.
    pub(super) whole: Spread,
    /// Items in a batch of the forward pass that was measured.
    pub(super) batch: usize,
}

impl Parts {
    /// Of a pipeline: its subject, its network, and its preprocessor with what that is given.
    pub(super) fn of(record: &Record, subject: &str, model: &str, preprocess: (&str, &str)) -> Option<Self> {
        let isolation = match subject {
            "lenet-worker" | "identity-worker" => "worker",
            _ => "message",
        };
        let call = |plugin: &str, input: &str| {
            let calls = record.calls.iter();
            let calls = calls.filter(|call| call.plugin == plugin && call.isolation == isolation);
            // Microseconds of a call are milliseconds of a thousand.
            let cpu = calls
                .filter(|call| call.input == input)
                .map(|call| call.cpu_us / 1000.0);
            Spread::of(cpu.collect()).map(|spread| spread.median)
        };
        let batch = record.batch(subject, model)?;
        let forwards = record.forwards.iter().filter(|one| one.model == model);
        let forwards = forwards.filter(|one| one.batch == batch && one.threads == 1);
        let forward = median(forwards.map(|one| 1000.0 / one.items_per_second).collect());
        Some(Self {
            echo: record.figure("echo", super::Block::cpu_per_1000)?.median,
            forward,
            preprocess: call(preprocess.0, preprocess.1)?,
            route: call("by-label", "a prediction")?,
            whole: record.figure(subject, super::Block::cpu_per_1000)?,
            batch,
        })
    }

    /// The parts together.
    pub(super) fn sum(&self) -> f64 {
        self.echo + self.forward + self.preprocess + self.route
    }
}

impl Record {
    /// The batch size that was measured alone and is nearest to what the pipeline made.
    fn batch(&self, subject: &str, model: &str) -> Option<usize> {
        let made = Spread::of(self.rounds_of(subject).filter_map(|block| block.mean_batch).collect());
        let made = made.map_or(1.0, |spread| spread.median);
        let sizes = self.forwards.iter().filter(|one| one.model == model);
        let away = |batch: usize| (batch as f64 / made).ln().abs();
        sizes.map(|one| one.batch).min_by(|a, b| away(*a).total_cmp(&away(*b)))
    }
}
