//! Where each value must lie, what may be chosen, and what holds where the file says nothing: one constant each, for
//! the checks and for the declared keys. Knows no table.

use std::time::Duration;

use millrace_model_types::{DeviceChoice, Precision};
use millrace_schema::{Bounds, Words};
use serde_json::Value;

use super::units::{show_duration, show_size};
use super::values::Bytes;
use super::{Isolation, ProbeOutcome};

/// Where a number must lie, and what it is where the file says nothing.
pub struct Limits<T> {
    pub key: &'static str,
    pub min: T,
    pub max: T,
    pub default: T,
}

/// Limits whose greatest value is nothing that anybody reaches.
pub(crate) struct AtLeast<T: 'static>(pub(crate) &'static Limits<T>);

/// A few words, what each stands for, and which holds where the file says nothing.
pub struct Choice<T: 'static> {
    pub words: &'static [(&'static str, T)],
    pub default: T,
}

/// A limit's value as the file writes it.
pub trait Show: Copy + PartialOrd {
    fn show(self) -> String;

    /// As JSON: what is written in quotes is a string.
    fn value(self) -> Value {
        self.show().into()
    }
}

/// Devices that have a name of their own.
pub(crate) const DEVICE: Choice<DeviceChoice> = Choice {
    words: &[
        ("auto", DeviceChoice::Auto),
        ("gpu", DeviceChoice::Gpu),
        ("cpu", DeviceChoice::Cpu),
    ],
    default: DeviceChoice::Auto,
};

/// The form of a GPU by its place, and what stands before that.
pub(crate) const GPU_AT: &str = "^gpu:[0-9]{1,2}$";
pub(crate) const GPU_AT_BEFORE: &str = "gpu:";

/// How numbers are kept on a GPU.
pub(crate) const PRECISION: Choice<Precision> = Choice {
    words: &[("f32", Precision::F32), ("f16", Precision::F16)],
    default: Precision::F32,
};

// More than any machine has; the default is the number of physical cores.
pub(crate) const THREADS: Limits<i128> = Limits {
    key: "threads",
    min: 1,
    max: 1_024,
    default: 1,
};

// Each has the weights once more; two or three keep a device busy while others read and write.
pub(crate) const INSTANCES: Limits<i128> = Limits {
    key: "instances",
    min: 1,
    max: 16,
    default: 1,
};

/// Devices that one model may run on.
pub(crate) const MAX_DEVICES: usize = 16;

// A batch is padded and warmed up at its largest size before the first message.
pub(crate) const MAX_BATCH: Limits<i128> = Limits {
    key: "max_batch",
    min: 1,
    max: 4_096,
    default: 1,
};

// Two milliseconds are little beside a forward pass, and enough to fill a batch under load.
pub(crate) const MAX_WAIT: Limits<Duration> = Limits {
    key: "max_wait",
    min: Duration::ZERO,
    max: Duration::from_secs(10),
    default: Duration::from_millis(2),
};

// The clock of the sandbox ticks in milliseconds; a call of more than five minutes is a mistake.
pub(super) const DEADLINE: Limits<Duration> = Limits {
    key: "deadline",
    min: Duration::from_millis(1),
    max: Duration::from_secs(300),
    default: Duration::from_secs(1),
};

// One page of WebAssembly, and all that 32 bits can address.
pub(crate) const MEMORY: Limits<Bytes> = Limits {
    key: "memory",
    min: Bytes(64 << 10),
    max: Bytes(4 << 30),
    default: Bytes(256 << 20),
};

/// How long an instance lives.
pub(crate) const ISOLATION: Choice<Isolation> = Choice {
    words: &[("message", Isolation::Message), ("worker", Isolation::Worker)],
    default: Isolation::Message,
};

// The range of AMQP's 16 bits; its 0 means no bound, which nothing here may be. 256 is enough to keep batches full
// while results are confirmed.
pub const PREFETCH: Limits<i128> = Limits {
    key: "prefetch",
    min: 1,
    max: 65_535,
    default: 256,
};

// One and two more; a thousand are a loop.
pub(crate) const ATTEMPTS: Limits<i128> = Limits {
    key: "attempts",
    min: 1,
    max: 1_000,
    default: 3,
};

/// Plugins that a message passes before the model, or after it: each costs a call.
pub(crate) const CHAIN_MAX: usize = 8;

// Far above a camera's JPEG; 256 of them still fit into a small machine. No broker takes a message above the greatest.
pub(crate) const MAX_MESSAGE: Limits<Bytes> = Limits {
    key: "max_message",
    min: Bytes(1),
    max: Bytes(512 << 20),
    default: Bytes(8 << 20),
};

// The contract lets a router return 8 MiB.
pub(crate) const MAX_RESULTS: Limits<Bytes> = Limits {
    key: "max_results",
    min: Bytes(1 << 10),
    max: Bytes(8 << 20),
    default: Bytes(8 << 20),
};

/// Messages that a trial sees.
pub(crate) const TRIAL_MESSAGES_DEFAULT: u32 = 100;

/// Messages that may fail.
pub(crate) const TRIAL_FAILURES_DEFAULT: u32 = 2;

// A trial of more messages than this never ends, and until it ends both versions are in memory.
pub(crate) const TRIAL_MESSAGES: Limits<i128> = Limits {
    key: "messages",
    min: 0,
    max: 100_000,
    default: TRIAL_MESSAGES_DEFAULT as i128,
};

pub(crate) const TRIAL_FAILURES: Limits<i128> = Limits {
    key: "failures",
    default: TRIAL_FAILURES_DEFAULT as i128,
    ..TRIAL_MESSAGES
};

// A version that must not be slower at all would be undone by chance, one time in two.
pub(crate) const SLOWER: Limits<f64> = Limits {
    key: "slower",
    min: 1.1,
    max: 1_000.0,
    default: 5.0,
};

/// The expected outcome of a smoke test.
pub(super) const OUTCOME: Choice<ProbeOutcome> = Choice {
    words: &[
        ("results", ProbeOutcome::Results),
        ("skip", ProbeOutcome::Skip),
        ("reject", ProbeOutcome::Reject),
    ],
    default: ProbeOutcome::Results,
};

impl<T: Show + Sync> Bounds for Limits<T> {
    fn min(&self) -> Option<Value> {
        Some(self.min.value())
    }

    fn max(&self) -> Option<Value> {
        Some(self.max.value())
    }

    fn default(&self) -> Option<Value> {
        Some(self.default.value())
    }
}

impl<T: Show + Sync> Bounds for AtLeast<T> {
    fn min(&self) -> Option<Value> {
        self.0.min()
    }

    fn max(&self) -> Option<Value> {
        None
    }

    fn default(&self) -> Option<Value> {
        None
    }
}

impl<T: PartialEq + Sync> Words for Choice<T> {
    fn words(&self) -> Vec<&'static str> {
        self.words.iter().map(|(word, _)| *word).collect()
    }

    fn default(&self) -> &'static str {
        let word = self.words.iter().find(|(_, value)| *value == self.default);
        word.map(|(word, _)| *word).unwrap_or_default()
    }
}

impl Show for i128 {
    fn show(self) -> String {
        self.to_string()
    }

    fn value(self) -> Value {
        i64::try_from(self).map_or(Value::Null, Value::from)
    }
}

impl Show for f64 {
    fn show(self) -> String {
        self.to_string()
    }

    fn value(self) -> Value {
        self.into()
    }
}

impl Show for Duration {
    fn show(self) -> String {
        show_duration(self)
    }
}

impl Show for Bytes {
    fn show(self) -> String {
        show_size(self.0)
    }
}
