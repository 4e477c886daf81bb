//! The counts as Prometheus reads them: `/metrics`.
//!
//! The text is made here and by no library: everything is counted elsewhere already, and a registry would hold a second
//! copy of each number that does not add up with the others at the moment it is read.

use std::fmt::{Arguments, Display, Write};

use super::metric;
use super::view::{PipelineView, View};
use crate::control::ChangeOutcome;
use crate::counters::Calls;
use crate::histogram::Histogram;
use crate::inference::ModelCounts;
use crate::metric::Metric;
use crate::transport::Sample;

/// The type of the text, as Prometheus wants it.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The label of the merged counts of older generations.
const OLDER: &str = "older";

/// All of it.
pub(super) fn text(view: &View) -> String {
    let mut page = Page(String::with_capacity(16 << 10));
    page.changes(view);
    page.messages(&view.pipelines);
    page.calls(&view.pipelines);
    page.plugins(view);
    page.models(view);
    page.connections(view);
    page.sources(&view.pipelines);
    page.begin(&metric::LOG_LINES_LOST);
    page.sample(&metric::LOG_LINES_LOST, "", view.n_log_lines_lost);
    page.begin(&metric::MEMORY);
    if let Some(bytes) = resident_bytes() {
        page.sample(&metric::MEMORY, "", bytes);
    }
    page.0
}

/// Lines of text. Every label's value is a name of `plugins.toml`, a number or a constant: nothing needs to be escaped.
struct Page(String);

impl Page {
    fn line(&mut self, line: Arguments<'_>) {
        // Writing to a string cannot fail; what a display implementation refuses is left out.
        if self.0.write_fmt(line).is_ok() {
            self.0.push('\n');
        }
    }

    fn begin(&mut self, metric: &Metric) {
        let Metric { name, kind, help } = metric;
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn sample(&mut self, metric: &Metric, labels: &str, value: impl Display) {
        let name = metric.name;
        match labels {
            "" => self.line(format_args!("{name} {value}")),
            _ => self.line(format_args!("{name}{{{labels}}} {value}")),
        }
    }

    fn histogram(&mut self, metric: &Metric, labels: &str, values: &Histogram) {
        let (name, n) = (metric.name, values.n());
        for (bound, n_below) in values.cumulative() {
            self.line(format_args!("{name}_bucket{{{labels},le=\"{bound}\"}} {n_below}"));
        }
        self.line(format_args!("{name}_bucket{{{labels},le=\"+Inf\"}} {n}"));
        self.line(format_args!("{name}_sum{{{labels}}} {}", values.sum()));
        self.line(format_args!("{name}_count{{{labels}}} {n}"));
    }

    /// A metric with one number for each pipeline.
    fn per_pipeline(&mut self, metric: &Metric, pipelines: &[PipelineView], value: impl Fn(&PipelineView) -> u64) {
        self.begin(metric);
        for pipeline in pipelines {
            self.sample(metric, &label("pipeline", &pipeline.name), value(pipeline));
        }
    }

    fn changes(&mut self, view: &View) {
        self.begin(&metric::GENERATION);
        if let Some(generation) = view.generation {
            self.sample(&metric::GENERATION, "", generation);
        }
        self.begin(&metric::CHANGES);
        for (outcome, n) in &view.changes {
            self.sample(&metric::CHANGES, &label("outcome", name_of(*outcome)), n);
        }
    }

    fn messages(&mut self, pipelines: &[PipelineView]) {
        for metric in [&metric::RECEIVED, &metric::TAKEN] {
            self.per_pipeline(metric, pipelines, |pipeline| pipeline.counts.n_received);
        }
        self.begin(&metric::SETTLED);
        pipelines.iter().for_each(|pipeline| self.settled(pipeline));
        for metric in [&metric::IN_FLIGHT, &metric::IN_HAND] {
            self.per_pipeline(metric, pipelines, |pipeline| pipeline.counts.n_in_flight);
        }
        self.begin(&metric::MESSAGE_SECONDS);
        for pipeline in pipelines {
            if let Some(messages) = &pipeline.counts.messages {
                self.histogram(&metric::MESSAGE_SECONDS, &label("pipeline", &pipeline.name), messages);
            }
        }
        self.begin(&metric::STAGE_SECONDS);
        for pipeline in pipelines {
            for (stage, times) in &pipeline.counts.stages {
                let labels = format!("pipeline=\"{}\",stage=\"{stage}\"", pipeline.name);
                self.histogram(&metric::STAGE_SECONDS, &labels, times);
            }
        }
        self.per_pipeline(&metric::SOURCE_OPEN, pipelines, |pipeline| u64::from(pipeline.is_open));
        self.per_pipeline(&metric::HELD, pipelines, |pipeline| {
            let n_held = pipeline.holding.as_ref().map(|holding| holding.n_held);
            n_held.map_or(0, |n_held| u64::try_from(n_held).unwrap_or(u64::MAX))
        });
        self.per_pipeline(&metric::BREAKER_OPEN, pipelines, |pipeline| {
            u64::from(pipeline.breaker.is_some())
        });
        self.per_pipeline(&metric::BREAKER_OPENED, pipelines, |pipeline| pipeline.n_opened);
        self.per_pipeline(&metric::STALLED, pipelines, |pipeline| {
            u64::from(pipeline.stalled.is_some())
        });
    }

    fn settled(&mut self, pipeline: &PipelineView) {
        let (name, counts) = (&pipeline.name, &pipeline.counts);
        for (outcome, count) in [
            ("acked", counts.n_acked()),
            ("skipped", counts.n_skipped),
            ("retried", counts.n_retried),
            ("quarantined", counts.n_quarantined),
            ("returned", counts.n_returned),
            ("lost", counts.n_lost),
        ] {
            let labels = format!("pipeline=\"{name}\",outcome=\"{outcome}\",class=\"\"");
            self.sample(&metric::SETTLED, &labels, count);
        }
        for (class, count) in &counts.rejected {
            let labels = format!("pipeline=\"{name}\",outcome=\"rejected\",class=\"{class}\"");
            self.sample(&metric::SETTLED, &labels, count);
        }
    }

    fn calls(&mut self, pipelines: &[PipelineView]) {
        let all = || {
            pipelines.iter().flat_map(|pipeline| {
                let calls = pipeline.counts.calls.iter();
                calls.map(|calls| (labels_of(pipeline, calls), calls))
            })
        };
        self.begin(&metric::PLUGIN_CALLS);
        for (labels, calls) in all() {
            for (outcome, count) in &calls.outcomes {
                let labels = format!("{labels},outcome=\"{outcome}\"");
                self.sample(&metric::PLUGIN_CALLS, &labels, count);
            }
        }
        self.begin(&metric::PLUGIN_CALL_SECONDS);
        for (labels, calls) in all() {
            self.histogram(&metric::PLUGIN_CALL_SECONDS, &labels, &calls.time);
        }
    }

    fn plugins(&mut self, view: &View) {
        let all = || {
            view.plugins
                .iter()
                .map(|plugin| (label("plugin", &plugin.name), plugin))
        };
        self.begin(&metric::PLUGIN_CPU);
        for (labels, plugin) in all() {
            self.sample(&metric::PLUGIN_CPU, &labels, plugin.cpu.as_secs_f64());
        }
        self.begin(&metric::PLUGIN_WAIT);
        for (labels, plugin) in all() {
            self.histogram(&metric::PLUGIN_WAIT, &labels, &plugin.waited);
        }
        self.begin(&metric::PLUGIN_MEMORY);
        for (labels, plugin) in all() {
            self.sample(&metric::PLUGIN_MEMORY, &labels, plugin.memory_peak_bytes);
        }
    }

    fn models(&mut self, view: &View) {
        self.begin(&metric::BATCHES);
        for (name, model) in &view.models {
            for (closed, count) in &model.closed {
                let labels = format!("model=\"{name}\",closed=\"{}\"", closed.as_str());
                self.sample(&metric::BATCHES, &labels, count);
            }
        }
        self.per_model(&metric::BATCH_SIZE, view, |model| &model.sizes);
        self.per_model(&metric::QUEUE_WAIT, view, |model| &model.waited);
        self.per_model(&metric::DEVICE_SECONDS, view, |model| &model.device);
    }

    fn per_model(&mut self, metric: &Metric, view: &View, values: impl Fn(&ModelCounts) -> &Histogram) {
        self.begin(metric);
        for (name, model) in &view.models {
            self.histogram(metric, &label("model", name), values(model));
        }
    }

    /// The samples of connections, metric by metric; of named ones with their names.
    fn connections(&mut self, view: &View) {
        let all = view.connections.iter().flat_map(|(name, connection)| {
            let named = name.0.as_ref().map(|name| label("name", name));
            let labels = move |sample: &Sample| own_label(sample).into_iter().chain(named.clone()).collect();
            connection.samples.iter().map(move |sample| (labels(sample), sample))
        });
        self.samples(&all.collect::<Vec<_>>());
    }

    /// What sources count of themselves.
    fn sources(&mut self, pipelines: &[PipelineView]) {
        let all = pipelines.iter().flat_map(|pipeline| {
            let labels = |sample: &Sample| [label("pipeline", &pipeline.name)].into_iter().chain(own_label(sample));
            pipeline
                .samples
                .iter()
                .map(move |sample| (labels(sample).collect(), sample))
        });
        self.samples(&all.collect::<Vec<_>>());
    }

    /// What a transport counts, metric by metric.
    fn samples(&mut self, all: &[(Vec<String>, &Sample)]) {
        let mut begun: Vec<&str> = Vec::new();
        for (_, Sample { metric, .. }) in all {
            if begun.contains(&metric.name) {
                continue;
            }
            begun.push(metric.name);
            self.begin(metric);
            for (labels, sample) in all.iter().filter(|(_, sample)| sample.metric.name == metric.name) {
                self.sample(metric, &labels.join(","), sample.value);
            }
        }
    }
}

fn own_label(sample: &Sample) -> Option<String> {
    sample.label.map(|(name, value)| label(name, value))
}

fn label(name: &str, value: impl Display) -> String {
    format!("{name}=\"{value}\"")
}

fn labels_of(pipeline: &PipelineView, calls: &Calls) -> String {
    let Calls { plugin, stage, .. } = calls;
    let generation = calls
        .generation
        .map_or(OLDER.to_owned(), |generation| generation.to_string());
    let pipeline = &pipeline.name;
    format!("pipeline=\"{pipeline}\",stage=\"{stage}\",plugin=\"{plugin}\",generation=\"{generation}\"")
}

fn name_of(outcome: ChangeOutcome) -> &'static str {
    match outcome {
        ChangeOutcome::Done => "done",
        ChangeOutcome::Unchanged => "unchanged",
        ChangeOutcome::Refused => "refused",
        ChangeOutcome::Undone => "undone",
    }
}

/// The memory that the process has now, where the system says so.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::view::{HostPhase, PipelineState};
    use super::*;
    use crate::config::Name;
    use crate::counters::{Call, Outcome, PipelineCounters};
    use crate::disposition::{ReasonClass, Stage};
    use crate::histogram::TIMES;
    use crate::inference::{Closed, ModelMeter};
    use crate::metric::{counter, gauge};
    use crate::sandbox::PluginCounts;
    use crate::transport::{ConnectionName, ConnectionStatus};

    const GUIDE: &str = include_str!("../../../docs/operating.md");

    fn crop(generation: u64) -> Call<'static> {
        Call {
            plugin: "crop",
            stage: Stage::Preprocess,
            generation,
        }
    }

    /// Two messages in a full batch.
    fn model() -> ModelCounts {
        let meter = ModelMeter::default();
        meter.closed(Closed::Full, [250, 500].map(Duration::from_millis).into_iter());
        meter.ran(Duration::from_millis(125));
        meter.counts()
    }

    fn plugin() -> PluginCounts {
        PluginCounts {
            name: "crop".to_owned(),
            cpu: Duration::from_millis(1500),
            waited: Histogram::new(&TIMES),
            memory_peak_bytes: 65_536,
        }
    }

    /// The samples of a source.
    fn answers() -> Sample {
        static ANSWERS: Metric = counter("millrace_http_answers_total", "How requests were answered.");
        Sample {
            metric: &ANSWERS,
            label: Some(("status", "202")),
            value: 4,
        }
    }

    /// The samples of a connection.
    fn connection() -> ConnectionStatus {
        static CONNECTED: Metric = gauge("millrace_broker_connected", "Whether it is there.");
        static BLOCKED: Metric = gauge("millrace_broker_blocked", "Whether it takes nothing.");
        let sample = |metric, label| Sample {
            metric,
            label,
            value: 1,
        };
        ConnectionStatus {
            samples: vec![
                sample(&CONNECTED, Some(("connection", "publish"))),
                sample(&BLOCKED, None),
            ],
            ..ConnectionStatus::default()
        }
    }

    #[test]
    fn a_page_has_every_count_in_the_words_of_prometheus() {
        let counters = Arc::new(PipelineCounters::default());
        counters.receive().settle(Outcome::Acked(Some("square \"x\"")));
        counters.receive().settle(Outcome::Rejected(ReasonClass::Trap));
        let _in_flight = counters.receive();
        counters.called(crop(3), "ok", Duration::from_millis(1));
        counters.called(crop(3), "trap", Duration::from_secs(20));
        for generation in 4..=11 {
            counters.called(crop(generation), "ok", Duration::from_millis(1));
        }
        counters.took(Stage::Infer, Duration::from_millis(3));
        let view = View {
            phase: HostPhase::Running,
            doing: None,
            connections: [None, Name::new("plant")]
                .map(|name| (ConnectionName(name), connection()))
                .into(),
            pipelines: vec![PipelineView {
                name: Name::new("images").expect("a name"),
                state: PipelineState::Running,
                connections: Default::default(),
                receives_by: None,
                is_open: true,
                holding: None,
                breaker: None,
                stuck: None,
                attention: None,
                n_opened: 3,
                source: None,
                samples: vec![answers()],
                stalled: None,
                counts: counters.counts(),
            }],
            generation: Some(11),
            changes: vec![(ChangeOutcome::Done, 10), (ChangeOutcome::Refused, 2)],
            models: [("shapes".to_owned(), model())].into(),
            plugins: vec![plugin()],
            n_log_lines_lost: 7,
        };
        let text = text(&view);
        for line in [
            "# TYPE millrace_received_total counter",
            "millrace_received_total{pipeline=\"images\"} 3",
            "millrace_in_flight{pipeline=\"images\"} 1",
            "# HELP millrace_taken_total deprecated: now millrace_received_total",
            "# TYPE millrace_taken_total counter",
            "millrace_taken_total{pipeline=\"images\"} 3",
            "# HELP millrace_in_hand deprecated: now millrace_in_flight",
            "millrace_in_hand{pipeline=\"images\"} 1",
            "millrace_settled_total{pipeline=\"images\",outcome=\"acked\",class=\"\"} 1",
            "millrace_settled_total{pipeline=\"images\",outcome=\"rejected\",class=\"trap\"} 1",
            "millrace_breaker_opened_total{pipeline=\"images\"} 3",
            "millrace_breaker_open{pipeline=\"images\"} 0",
            "millrace_generation 11",
            "millrace_changes_total{outcome=\"done\"} 10",
            "millrace_changes_total{outcome=\"refused\"} 2",
            "# TYPE millrace_message_seconds histogram",
            "millrace_message_seconds_count{pipeline=\"images\"} 2",
            "millrace_stage_seconds_bucket{pipeline=\"images\",stage=\"infer\",le=\"0.0025\"} 0",
            "millrace_stage_seconds_bucket{pipeline=\"images\",stage=\"infer\",le=\"0.005\"} 1",
            "millrace_plugin_calls_total{CROP,generation=\"older\",outcome=\"trap\"} 1",
            "millrace_plugin_calls_total{CROP,generation=\"11\",outcome=\"ok\"} 1",
            "millrace_plugin_call_seconds_bucket{CROP,generation=\"older\",le=\"0.0005\"} 0",
            "millrace_plugin_call_seconds_bucket{CROP,generation=\"older\",le=\"0.001\"} 1",
            "millrace_plugin_call_seconds_bucket{CROP,generation=\"older\",le=\"+Inf\"} 2",
            "millrace_plugin_call_seconds_sum{CROP,generation=\"older\"} 20.001",
            "millrace_plugin_call_seconds_count{CROP,generation=\"older\"} 2",
            "millrace_plugin_cpu_seconds_total{plugin=\"crop\"} 1.5",
            "millrace_plugin_wait_seconds_count{plugin=\"crop\"} 0",
            "millrace_plugin_memory_peak_bytes{plugin=\"crop\"} 65536",
            "millrace_batches_total{model=\"shapes\",closed=\"full\"} 1",
            "millrace_batch_size_bucket{model=\"shapes\",le=\"1\"} 0",
            "millrace_batch_size_bucket{model=\"shapes\",le=\"2\"} 1",
            "millrace_queue_wait_seconds_sum{model=\"shapes\"} 0.75",
            "millrace_device_seconds_sum{model=\"shapes\"} 0.125",
            "millrace_broker_connected{connection=\"publish\"} 1",
            "millrace_broker_connected{connection=\"publish\",name=\"plant\"} 1",
            "millrace_broker_blocked 1",
            "millrace_http_answers_total{pipeline=\"images\",status=\"202\"} 4",
            "millrace_broker_blocked{name=\"plant\"} 1",
        ] {
            let line = line.replace("CROP", "pipeline=\"images\",stage=\"preprocess\",plugin=\"crop\"");
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        let named = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        for (name, _) in named {
            assert!(GUIDE.contains(name), "{name} is not in the guide");
            assert_eq!(text.matches(&format!("# TYPE {name} ")).count(), 1, "{name}");
        }
        assert!(!text.contains("square"), "a label of a model is no label of a metric");
        assert!(resident_bytes().is_none_or(|bytes| bytes > 1 << 20));
    }
}
