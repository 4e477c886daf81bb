//! The memory bound of the process: one formula over the file and the models that it names, checked before anything is
//! taken. Puts together what the modules promise to bound; knows nothing of how they do it.

use std::collections::BTreeMap;

use millrace_models::Model;

use crate::config::{Config, Diagnostic, Name, PipelineConfig};
use crate::message::{Element, TensorType};
use crate::sandbox::{TransformOf, handovers_bytes, instances_bytes, results_bytes};

/// The memory of a message besides its body: a block of headers fills one frame of 128 KiB at the most, and is held
/// once as it came and once as plugins see it.
const ENVELOPE_BYTES: u64 = 256 << 10;

/// The process itself: code, threads, the compiler while it loads, and what the allocator keeps for later. Measured:
/// 64 MiB at its height with four plugins and a small model; the rest is for larger ones.
const BASE_BYTES: u64 = 256 << 20;

/// Pipelines and models of which the arithmetic is shown; more make no line.
const WORKINGS_MAX: usize = 3;

/// A small message: pictures of cameras are larger, those of networks smaller.
pub const SMALL_MESSAGE_BYTES: usize = 1 << 20;

/// Small results: JSON with the scores of a thousand classes is smaller.
pub const SMALL_RESULTS_BYTES: usize = 256 << 10;

/// Models as they were read, by the names that the file gives them.
pub type Models = BTreeMap<Name, Model>;

/// The most that the process may take by its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryBound {
    /// Messages in flight, each as large as its source lets through. A body is there once, whatever becomes of it; and
    /// once more where a transformer makes another one of it.
    pub messages: u64,
    /// A tensor, or the prediction that it became, of each message in flight.
    pub tensors: u64,
    /// Results of each message in flight that are not confirmed yet.
    pub results: u64,
    /// Copies that are being written to the broker.
    pub publishing: u64,
    /// Plugin instances of all workers.
    pub plugins: u64,
    /// The values that plugins hand over, before they are checked.
    pub handovers: u64,
    /// Weights, and a full batch on its way through each model; of two versions, while one replaces the other.
    pub models: u64,
    /// The process itself.
    pub base: u64,
}

/// One term of the bound, in words.
#[derive(Debug, Clone, Copy)]
pub struct Term {
    pub name: &'static str,
    pub bytes: u64,
    /// Its source.
    pub from: &'static str,
    /// Keys that lower it.
    pub lowered_by: &'static str,
}

impl MemoryBound {
    /// The formula.
    pub fn of(config: &Config, read: &Models) -> Self {
        let pipelines = || config.pipelines.values();
        let sum = |bytes: &dyn Fn(&PipelineConfig) -> u64| {
            let each = pipelines().map(|pipeline| n_in_flight(pipeline).saturating_mul(bytes(pipeline)));
            each.fold(0, u64::saturating_add)
        };
        let used_plugins = config
            .plugins
            .values()
            .filter(|plugin| pipelines().any(|used| used.plugins.iter().any(|name| *name == plugin.name)));
        let used_models = || {
            let used = |name: &Name| pipelines().any(|pipeline| pipeline.model == *name);
            let models = config.models.iter().filter(move |(name, _)| used(name));
            models.filter_map(|(name, settings)| Some((read.get(name)?, settings)))
        };
        let models = used_models()
            .map(|(model, settings)| millrace_models::memory_bytes(model, &settings.placement(), settings.max_batch));
        // While one is warmed up, its weights are on the CPU too, to compare.
        let reference = used_models()
            .map(|(model, _)| model.weight_bytes())
            .max()
            .unwrap_or_default();
        let workers = config.host.workers;
        let transforms = pipelines().filter(|pipeline| !pipeline.plugins.before.is_empty());
        let transforms = transforms.map(|pipeline| TransformOf::Message {
            max_bytes: pipeline.max_message_bytes,
        });
        Self {
            messages: sum(&|pipeline| {
                let transformed = match pipeline.plugins.before.is_empty() {
                    true => 0,
                    // The message for the next plugin is kept beside the message as it came.
                    false => (pipeline.max_message_bytes as u64).saturating_add(ENVELOPE_BYTES),
                };
                let message = message_bytes(config, pipeline).saturating_add(ENVELOPE_BYTES);
                message.saturating_add(transformed)
            }),
            tensors: sum(&|pipeline| {
                let model = read.get(&pipeline.model);
                model.map_or(0, |model| {
                    // A classifier's scores lie beside its outputs.
                    let outputs = model.outputs().iter().map(tensor_bytes);
                    let prediction = outputs.fold(0, u64::saturating_add).saturating_mul(2);
                    tensor_bytes(model.input()).max(prediction)
                })
            }),
            results: sum(&|pipeline| {
                let are_transformed = !pipeline.plugins.after.is_empty();
                results_bytes(pipeline.max_results_bytes, are_transformed)
            }),
            publishing: {
                let connections = config.connections.values();
                let publishing = connections.map(|connection| connection.publishing_bytes());
                publishing.fold(0, u64::saturating_add)
            },
            plugins: instances_bytes(workers, used_plugins),
            handovers: handovers_bytes(workers, used_models().map(|(model, _)| model.input()), transforms),
            // A new version is warmed up beside the one that it is to replace.
            models: models
                .fold(0, u64::saturating_add)
                .saturating_mul(2)
                .saturating_add(reference),
            base: BASE_BYTES,
        }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.terms().iter().fold(0, |sum, term| sum.saturating_add(term.bytes))
    }

    /// Its terms, in the order of a message's life.
    pub fn terms(&self) -> [Term; 8] {
        let term = |name, bytes, from, lowered_by| Term {
            name,
            bytes,
            from,
            lowered_by,
        };
        [
            term(
                "messages",
                self.messages,
                "prefetch x the largest message and its headers",
                "`prefetch` of a source, or `max_message` of `[broker]`",
            ),
            term(
                "tensors",
                self.tensors,
                "prefetch x the model's input or output",
                "`prefetch` of a source",
            ),
            term(
                "results",
                self.results,
                "prefetch x what a router may return",
                "`max_results` of a pipeline, or `prefetch` of a source",
            ),
            term(
                "publishing",
                self.publishing,
                "copies on their way to the broker",
                "`max_message` of `[broker]`",
            ),
            term(
                "plugins",
                self.plugins,
                "workers x plugin memory",
                "`memory` of a plugin, or `workers` of `[host]`",
            ),
            term(
                "handovers",
                self.handovers,
                "workers x what a plugin may hand over",
                "`workers` of `[host]`",
            ),
            term(
                "models",
                self.models,
                "weights and a full batch, of two versions in a swap",
                "`max_batch` of a model",
            ),
            term("base", self.base, "the process itself", "nothing"),
        ]
    }

    /// How each term comes about, in the order of [`Self::terms`]: what is multiplied with what, pipeline by pipeline.
    pub fn workings(config: &Config, read: &Models) -> [String; 8] {
        // A part of the file by itself: every term is a sum over pipelines, but for what they share.
        let each = |term: &dyn Fn(&Self) -> u64| {
            let parts = config.pipelines.iter().map(|(name, pipeline)| {
                let mut alone = config.clone();
                alone.pipelines.retain(|other, _| other == name);
                let bytes = term(&Self::of(&alone, read));
                let n_messages = n_in_flight(pipeline).max(1);
                format!("{n_messages} x {}", shown(bytes.div_ceil(n_messages)))
            });
            let parts: Vec<String> = parts.collect();
            match parts.get(WORKINGS_MAX..) {
                Some([_, ..]) => String::new(),
                _ => parts.join(" + "),
            }
        };
        let workers = config.host.workers;
        let bound = Self::of(config, read);
        let by_worker = |bytes: u64| format!("{workers} x {}", shown(bytes.div_ceil(workers.max(1) as u64)));
        let models = config.models.iter().filter_map(|(name, settings)| {
            let model = read
                .get(name)
                .filter(|_| config.pipelines.values().any(|used| used.model == *name))?;
            let one = millrace_models::memory_bytes(model, &settings.placement(), settings.max_batch);
            let batch = millrace_models::batch_items(model, &settings.placement(), settings.max_batch);
            Some(format!("2 x {} ({batch} at a time)", shown(one)))
        });
        let models: Vec<String> = models.take(WORKINGS_MAX).collect();
        [
            each(&|bound| bound.messages),
            each(&|bound| bound.tensors),
            each(&|bound| bound.results),
            String::new(),
            by_worker(bound.plugins),
            by_worker(bound.handovers),
            models.join(" + "),
            String::new(),
        ]
    }

    /// What the sum would be with messages of at most [`SMALL_MESSAGE_BYTES`] and results of [`SMALL_RESULTS_BYTES`]: said
    /// where these are most of it.
    pub fn with_small_messages(config: &Config, read: &Models) -> Option<u64> {
        let mut smaller = config.clone();
        for connection in smaller.connections.values_mut() {
            let bytes = connection.body_bytes_max().min(SMALL_MESSAGE_BYTES);
            *connection = connection.with_body_bytes_max(bytes);
        }
        for pipeline in smaller.pipelines.values_mut() {
            pipeline.max_message_bytes = pipeline.max_message_bytes.min(SMALL_MESSAGE_BYTES);
            pipeline.max_results_bytes = pipeline.max_results_bytes.min(SMALL_RESULTS_BYTES);
        }
        let (bound, smaller) = (Self::of(config, read), Self::of(&smaller, read));
        let in_flight = bound.messages.saturating_add(bound.results);
        (in_flight > bound.total() / 2 && smaller.total() < bound.total()).then(|| smaller.total())
    }

    /// The diagnostic for a bound above the allowed one: `None` below it.
    pub fn judge(&self, allowed: u64, by: &str) -> Option<Diagnostic> {
        let total = self.total();
        if total <= allowed {
            return None;
        }
        let mut terms = self.terms();
        terms.sort_by_key(|term| std::cmp::Reverse(term.bytes));
        let parts: Vec<String> = terms
            .iter()
            .filter(|term| term.bytes > 0)
            .map(|term| format!("{} {}", term.name, shown(term.bytes)))
            .collect();
        let (total, allowed) = (shown(total), shown(allowed));
        let lower = terms.first().map_or("", |term| term.lowered_by);
        let message = format!("with this file the host may take {total} of memory, but {by} {allowed}");
        Some(Diagnostic::at(None, message).hint(format!("lower {lower}: {}", parts.join(", "))))
    }
}

fn n_in_flight(pipeline: &PipelineConfig) -> u64 {
    pipeline.source.prefetch().into()
}

/// Bytes of the largest body that the source hands over.
fn message_bytes(config: &Config, pipeline: &PipelineConfig) -> u64 {
    let connection = pipeline.source.connection();
    let connection = connection.and_then(|name| config.connections.get(name));
    let connection = connection.map(|connection| connection.as_ref());
    pipeline.source.body_bytes_max(pipeline.max_message_bytes, connection) as u64
}

fn tensor_bytes(tensor: &TensorType) -> u64 {
    let element = match tensor.element {
        Element::Byte => size_of::<u8>(),
        Element::Float => size_of::<f32>(),
    };
    tensor.elements().saturating_mul(element as u64)
}

/// Bytes in a readable unit.
pub fn shown(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..0x10_0000 => (1_u64 << 10, "KiB"),
        0x10_0000..0x4000_0000 => (1 << 20, "MiB"),
        _ => (1 << 30, "GiB"),
    };
    // Rounded up: what is promised not to be exceeded is not made smaller on paper.
    let tenths = bytes.saturating_mul(10).div_ceil(unit);
    match tenths % 10 {
        0 => format!("{} {name}", tenths / 10),
        tenth => format!("{}.{tenth} {name}", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: MemoryBound = MemoryBound {
        messages: 4 << 30,
        tensors: 1 << 20,
        results: 2 << 30,
        publishing: 64 << 20,
        plugins: 512 << 20,
        handovers: 18 << 20,
        models: 1 << 20,
        base: 256 << 20,
    };

    #[test]
    fn a_bound_is_the_sum_of_its_terms() {
        let sum = (4 << 30) + (2 << 30) + ((1 + 64 + 512 + 18 + 1 + 256) << 20);
        assert_eq!(BOUND.total(), sum);
        let huge = MemoryBound {
            messages: u64::MAX,
            ..BOUND
        };
        assert_eq!(huge.total(), u64::MAX);
    }

    #[test]
    fn what_exceeds_is_told_with_its_terms_and_the_key_to_lower() {
        assert_eq!(BOUND.judge(BOUND.total(), "`memory` allows"), None);
        let diagnostic = BOUND.judge(4 << 30, "`memory` allows").unwrap();
        assert_eq!(
            diagnostic.message,
            "with this file the host may take 6.9 GiB of memory, but `memory` allows 4 GiB"
        );
        let hint = diagnostic.hint.unwrap();
        assert!(
            hint.starts_with(
                "lower `prefetch` of a source, or `max_message` of `[broker]`: messages 4 GiB, results 2 GiB, plugins 512 MiB"
            ),
            "{hint}"
        );
    }

    #[test]
    fn sizes_are_rounded_up() {
        #[track_caller]
        fn check(bytes: u64, expected: &str) {
            assert_eq!(shown(bytes), expected);
        }
        check(0, "0 KiB");
        check(1 << 20, "1 MiB");
        check((1 << 20) + 1, "1.1 MiB");
        check(3 << 29, "1.5 GiB");
    }
}
