//! The names of what is counted, and what each means. Knows no number.

use crate::metric::{Metric, counter, gauge, histogram};

pub(super) const GENERATION: Metric = gauge("millrace_generation", "The generation that serves.");
pub(super) const CHANGES: Metric = counter(
    "millrace_changes_total",
    "Changes of the running configuration, by outcome.",
);
pub(super) const RECEIVED: Metric = counter("millrace_received_total", "Messages received from the source.");
pub(super) const SETTLED: Metric = counter(
    "millrace_settled_total",
    "Messages settled, by outcome; rejected ones by the class of their reason. Received = settled + in flight.",
);
pub(super) const IN_FLIGHT: Metric = gauge(
    "millrace_in_flight",
    "Messages in flight: received and not yet settled.",
);
pub(super) const MESSAGE_SECONDS: Metric = histogram(
    "millrace_message_seconds",
    "Time from receiving a message until it is settled.",
);
pub(super) const STAGE_SECONDS: Metric = histogram(
    "millrace_stage_seconds",
    "Time of a stage of a message, waiting included.",
);
pub(super) const SOURCE_OPEN: Metric = gauge("millrace_source_open", "Whether the source hands out messages.");
pub(super) const HELD: Metric = gauge("millrace_held", "Messages that wait for a destination.");
pub(super) const BREAKER_OPEN: Metric = gauge(
    "millrace_breaker_open",
    "Whether the pipeline receives no messages because a plugin or the model fails for every message.",
);
pub(super) const BREAKER_OPENED: Metric = counter("millrace_breaker_opened_total", "How often the breaker opened.");
pub(super) const STALLED: Metric = gauge(
    "millrace_stalled",
    "Whether messages are in flight and nothing has moved for longer than every limit explains.",
);
pub(super) const PLUGIN_CALLS: Metric = counter(
    "millrace_plugin_calls_total",
    "Calls of a plugin, by outcome; a call that faults is made once more.",
);
pub(super) const PLUGIN_CALL_SECONDS: Metric = histogram(
    "millrace_plugin_call_seconds",
    "Time of a call of a plugin, waiting for a worker included.",
);
pub(super) const PLUGIN_CPU: Metric = counter(
    "millrace_plugin_cpu_seconds_total",
    "CPU time of the calls of a plugin.",
);
pub(super) const PLUGIN_WAIT: Metric = histogram(
    "millrace_plugin_wait_seconds",
    "How long a call of a plugin waited for a worker.",
);
pub(super) const PLUGIN_MEMORY: Metric = gauge(
    "millrace_plugin_memory_peak_bytes",
    "The peak memory of an instance of a plugin, among the versions that are loaded.",
);
pub(super) const BATCHES: Metric = counter("millrace_batches_total", "Batches of a model, by why they closed.");
pub(super) const BATCH_SIZE: Metric = histogram("millrace_batch_size", "Messages in a batch.");
pub(super) const QUEUE_WAIT: Metric = histogram(
    "millrace_queue_wait_seconds",
    "How long a message waited for the device.",
);
pub(super) const DEVICE_SECONDS: Metric = histogram("millrace_device_seconds", "How long the device ran a batch.");
pub(super) const LOG_LINES_LOST: Metric = counter(
    "millrace_log_lines_lost_total",
    "Lines of the log that were not written: the disk was full, or the reader was gone or too slow.",
);
pub(super) const MEMORY: Metric = gauge("process_resident_memory_bytes", "Memory of the process.");

// Former names, for one release.
pub(super) const TAKEN: Metric = counter("millrace_taken_total", "deprecated: now millrace_received_total");
pub(super) const IN_HAND: Metric = gauge("millrace_in_hand", "deprecated: now millrace_in_flight");
