//! The counts as Prometheus reads them: `/metrics`.
//!
//! The text is made here and by no library: everything is counted elsewhere already, and a registry would hold a second
//! copy of each number that does not add up with the others at the moment it is read.

use std::fmt::{Arguments, Write};

use super::view::{PipelineView, View};
use crate::connect::amqp::Publishing;
use crate::tally::{CALL_BOUNDS_S, Calls, Counts};

/// The type of the text, as Prometheus wants it.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Every metric that there is.
#[derive(Debug, Clone, Copy)]
enum Metric {
    Taken,
    Settled,
    InHand,
    Ready,
    Held,
    BreakerOpen,
    BreakerOpened,
    PluginCalls,
    PluginSeconds,
    BrokerConnected,
    BrokerBlocked,
    BrokerConnections,
    Memory,
}

impl Metric {
    const ALL: [Self; 13] = [
        Self::Taken,
        Self::Settled,
        Self::InHand,
        Self::Ready,
        Self::Held,
        Self::BreakerOpen,
        Self::BreakerOpened,
        Self::PluginCalls,
        Self::PluginSeconds,
        Self::BrokerConnected,
        Self::BrokerBlocked,
        Self::BrokerConnections,
        Self::Memory,
    ];

    /// Name, type, help.
    fn about(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Taken => ("millrace_taken_total", "counter", "Messages taken from the source."),
            Self::Settled => (
                "millrace_settled_total",
                "counter",
                "Messages settled, by outcome; of what is rejected, the class of the reason. With what is in hand they are what was taken.",
            ),
            Self::InHand => ("millrace_in_hand", "gauge", "Messages taken and not yet settled."),
            Self::Ready => (
                "millrace_source_open",
                "gauge",
                "Whether the source hands out messages.",
            ),
            Self::Held => ("millrace_held", "gauge", "Messages that wait for a destination."),
            Self::BreakerOpen => (
                "millrace_breaker_open",
                "gauge",
                "Whether nothing is taken because a plugin or the model fails for everything.",
            ),
            Self::BreakerOpened => (
                "millrace_breaker_opened_total",
                "counter",
                "How often the breaker opened.",
            ),
            Self::PluginCalls => (
                "millrace_plugin_calls_total",
                "counter",
                "Calls of a plugin, by what came of them; a message whose call faults is tried once more.",
            ),
            Self::PluginSeconds => (
                "millrace_plugin_call_seconds",
                "histogram",
                "Time of a call of a plugin, waiting for a worker included.",
            ),
            Self::BrokerConnected => ("millrace_broker_connected", "gauge", "Whether a connection is there."),
            Self::BrokerBlocked => (
                "millrace_broker_blocked",
                "gauge",
                "Whether the broker takes no publishes because it is short of memory or disk.",
            ),
            Self::BrokerConnections => (
                "millrace_broker_connections_total",
                "counter",
                "How often a connection was made: once, and once more after each loss.",
            ),
            Self::Memory => ("process_resident_memory_bytes", "gauge", "Memory of the process."),
        }
    }
}

/// All of it.
pub(super) fn text(view: &View) -> String {
    let mut page = Page(String::with_capacity(4096));
    for metric in Metric::ALL {
        let (name, kind, help) = metric.about();
        page.line(format_args!("# HELP {name} {help}"));
        page.line(format_args!("# TYPE {name} {kind}"));
        match metric {
            Metric::BrokerConnected | Metric::BrokerBlocked | Metric::BrokerConnections => page.broker(metric, view),
            Metric::Memory => {
                if let Some(bytes) = resident_bytes() {
                    page.line(format_args!("{name} {bytes}"));
                }
            }
            _ => {
                for pipeline in &view.pipelines {
                    page.pipeline(metric, pipeline);
                }
            }
        }
    }
    page.0
}

/// Lines of text. Every label's value is a name of `plugins.toml` or a constant: nothing needs to be escaped.
struct Page(String);

impl Page {
    fn line(&mut self, line: Arguments<'_>) {
        // Writing to a string cannot fail; what a display implementation refuses is left out.
        if self.0.write_fmt(line).is_ok() {
            self.0.push('\n');
        }
    }

    fn broker(&mut self, metric: Metric, view: &View) {
        let Some(broker) = &view.broker else { return };
        let (name, ..) = metric.about();
        let is_publishing = broker.publishing != Publishing::Connecting;
        let (consume, publish) = match metric {
            Metric::BrokerConnected => (u64::from(broker.is_consuming), u64::from(is_publishing)),
            Metric::BrokerConnections => (broker.n_consuming_made, broker.n_publishing_made),
            _ => {
                let is_blocked = broker.publishing == Publishing::Blocked;
                return self.line(format_args!("{name} {}", u8::from(is_blocked)));
            }
        };
        self.line(format_args!("{name}{{connection=\"consume\"}} {consume}"));
        self.line(format_args!("{name}{{connection=\"publish\"}} {publish}"));
    }

    fn pipeline(&mut self, metric: Metric, pipeline: &PipelineView) {
        let PipelineView { counts, .. } = pipeline;
        let value = match metric {
            Metric::Taken => counts.n_taken,
            Metric::InHand => counts.n_in_hand,
            Metric::Ready => u64::from(pipeline.is_open),
            Metric::Held => pipeline
                .holding
                .as_ref()
                .map_or(0, |holding| u64::try_from(holding.n_held).unwrap_or(u64::MAX)),
            Metric::BreakerOpen => u64::from(pipeline.breaker.is_some()),
            Metric::BreakerOpened => pipeline.n_opened,
            Metric::Settled => return self.settled(pipeline),
            _ => return self.calls(metric, pipeline),
        };
        let (name, ..) = metric.about();
        self.line(format_args!("{name}{{pipeline=\"{}\"}} {value}", pipeline.name));
    }

    fn settled(&mut self, pipeline: &PipelineView) {
        let (name, ..) = Metric::Settled.about();
        let Counts { rejected, .. } = &pipeline.counts;
        let pipeline_name = &pipeline.name;
        for (outcome, count) in [
            ("acked", pipeline.counts.n_acked()),
            ("skipped", pipeline.counts.n_skipped),
            ("retried", pipeline.counts.n_retried),
            ("quarantined", pipeline.counts.n_quarantined),
            ("returned", pipeline.counts.n_returned),
            ("lost", pipeline.counts.n_lost),
        ] {
            self.line(format_args!(
                "{name}{{pipeline=\"{pipeline_name}\",outcome=\"{outcome}\",class=\"\"}} {count}"
            ));
        }
        for (class, count) in rejected {
            self.line(format_args!(
                "{name}{{pipeline=\"{pipeline_name}\",outcome=\"rejected\",class=\"{class}\"}} {count}"
            ));
        }
    }

    fn calls(&mut self, metric: Metric, pipeline: &PipelineView) {
        let (name, ..) = metric.about();
        for (plugin, calls) in &pipeline.counts.calls {
            let labels = format!("pipeline=\"{}\",plugin=\"{plugin}\"", pipeline.name);
            if let Metric::PluginSeconds = metric {
                self.histogram(name, &labels, calls);
                continue;
            }
            for (outcome, count) in &calls.outcomes {
                self.line(format_args!("{name}{{{labels},outcome=\"{outcome}\"}} {count}"));
            }
        }
    }

    fn histogram(&mut self, name: &str, labels: &str, calls: &Calls) {
        let (mut n_below, n_all) = (0, calls.outcomes.values().sum::<u64>());
        for (bound, count) in CALL_BOUNDS_S.iter().zip(calls.by_time) {
            n_below += count;
            self.line(format_args!("{name}_bucket{{{labels},le=\"{bound}\"}} {n_below}"));
        }
        self.line(format_args!("{name}_bucket{{{labels},le=\"+Inf\"}} {n_all}"));
        self.line(format_args!("{name}_sum{{{labels}}} {}", calls.seconds));
        self.line(format_args!("{name}_count{{{labels}}} {n_all}"));
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

    use super::super::view::{Phase, PipelineState};
    use super::*;
    use crate::config::Name;
    use crate::connect::amqp::Status;
    use crate::disposition::ReasonClass;
    use crate::tally::{Outcome, Tally};

    #[test]
    fn a_page_has_every_count_in_the_words_of_prometheus() {
        let tally = Arc::new(Tally::default());
        tally.take().settle(Outcome::Acked(Some("square \"x\"")));
        tally.take().settle(Outcome::Rejected(ReasonClass::Trap));
        let _in_hand = tally.take();
        tally.called("crop", "ok", Duration::from_millis(1));
        tally.called("crop", "trap", Duration::from_secs(20));
        let view = View {
            phase: Phase::Running,
            broker: Some(Status {
                is_consuming: true,
                publishing: Publishing::Blocked,
                n_consuming_made: 2,
                n_publishing_made: 1,
            }),
            pipelines: vec![PipelineView {
                name: Name::new("images").expect("a name"),
                state: PipelineState::Running,
                uses_broker: true,
                is_open: true,
                holding: None,
                breaker: None,
                n_opened: 3,
                counts: tally.counts(),
            }],
        };
        let text = text(&view);
        for line in [
            "# TYPE millrace_taken_total counter",
            "millrace_taken_total{pipeline=\"images\"} 3",
            "millrace_in_hand{pipeline=\"images\"} 1",
            "millrace_settled_total{pipeline=\"images\",outcome=\"acked\",class=\"\"} 1",
            "millrace_settled_total{pipeline=\"images\",outcome=\"rejected\",class=\"trap\"} 1",
            "millrace_breaker_opened_total{pipeline=\"images\"} 3",
            "millrace_breaker_open{pipeline=\"images\"} 0",
            "millrace_plugin_calls_total{pipeline=\"images\",plugin=\"crop\",outcome=\"trap\"} 1",
            "millrace_plugin_call_seconds_bucket{pipeline=\"images\",plugin=\"crop\",le=\"0.0005\"} 0",
            "millrace_plugin_call_seconds_bucket{pipeline=\"images\",plugin=\"crop\",le=\"0.001\"} 1",
            "millrace_plugin_call_seconds_bucket{pipeline=\"images\",plugin=\"crop\",le=\"10\"} 1",
            "millrace_plugin_call_seconds_bucket{pipeline=\"images\",plugin=\"crop\",le=\"+Inf\"} 2",
            "millrace_plugin_call_seconds_sum{pipeline=\"images\",plugin=\"crop\"} 20.001",
            "millrace_plugin_call_seconds_count{pipeline=\"images\",plugin=\"crop\"} 2",
            "millrace_broker_connected{connection=\"publish\"} 1",
            "millrace_broker_blocked 1",
            "millrace_broker_connections_total{connection=\"consume\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("square"), "a label of a model is no label of a metric");
        assert!(resident_bytes().is_none_or(|bytes| bytes > 1 << 20));
    }
}
