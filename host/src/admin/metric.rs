//! The names of what is counted, and what each means. Knows no number.

use crate::metric::{Metric, counter, gauge, histogram};

pub(super) const GENERATION: Metric = gauge("millrace_generation", "The generation that serves.");
pub(super) const CHANGES: Metric = counter(
    "millrace_changes_total",
    "Changes of what serves, by what came of them.",
);
pub(super) const TAKEN: Metric = counter("millrace_taken_total", "Messages taken from the source.");
pub(super) const SETTLED: Metric = counter(
    "millrace_settled_total",
    "Messages settled, by outcome; of what is rejected, the class of the reason. With what is in hand they are what was taken.",
);
pub(super) const IN_HAND: Metric = gauge("millrace_in_hand", "Messages taken and not yet settled.");
pub(super) const MESSAGE_SECONDS: Metric = histogram(
    "millrace_message_seconds",
    "From when a message was taken until it was settled.",
);
pub(super) const STAGE_SECONDS: Metric = histogram(
    "millrace_stage_seconds",
    "Time of a stage of a message, with what it waited for there.",
);
pub(super) const SOURCE_OPEN: Metric = gauge("millrace_source_open", "Whether the source hands out messages.");
pub(super) const HELD: Metric = gauge("millrace_held", "Messages that wait for a destination.");
pub(super) const BREAKER_OPEN: Metric = gauge(
    "millrace_breaker_open",
    "Whether nothing is taken because a plugin or the model fails for everything.",
);
pub(super) const BREAKER_OPENED: Metric = counter("millrace_breaker_opened_total", "How often the breaker opened.");
pub(super) const STALLED: Metric = gauge(
    "millrace_stalled",
    "Whether messages are in hand and nothing has moved for longer than every limit explains.",
);
pub(super) const PLUGIN_CALLS: Metric = counter(
    "millrace_plugin_calls_total",
    "Calls of a plugin, by what came of them; a message whose call faults is tried once more.",
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
    "The most memory that an instance of a plugin had, of the versions that are loaded.",
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
    "Lines of the log that were not written: its disk was full, or its reader left or did not read.",
);
pub(super) const MEMORY: Metric = gauge("process_resident_memory_bytes", "Memory of the process.");
