//! The state of the connections, for health, status and metrics. Changes nothing.

use std::sync::Arc;

use tokio::sync::watch;

use super::link::Link;
use super::publisher::Publishing;
use crate::metric::{Metric, counter, gauge};
use crate::{ConnectionStatus, ConnectionWatch, Sample, Waiting};

static CONNECTED: Metric = gauge("millrace_broker_connected", "Whether the connection is open.");
static BLOCKED: Metric = gauge(
    "millrace_broker_blocked",
    "Whether the broker blocks publishes because it is short of memory or disk.",
);
static CONNECTIONS: Metric = counter(
    "millrace_broker_connections_total",
    "How often the host connected: once, and again after each loss.",
);
/// All of them.
pub(super) static METRICS: [&Metric; 3] = [&CONNECTED, &BLOCKED, &CONNECTIONS];

/// A view of the connections while the host runs, which keeps none of them open.
#[derive(Debug)]
pub(super) struct ConnectionMonitor {
    pub(super) consuming: Arc<Link>,
    pub(super) publishing: Arc<Link>,
    pub(super) state: watch::Receiver<Publishing>,
}

/// The connections at one moment.
#[derive(Debug, Clone)]
struct Seen {
    /// Whether the consuming connection is up.
    is_consuming: bool,
    /// The publishing connection.
    publishing: Publishing,
    /// The wait of the consuming connection.
    consuming_waits: Option<Waiting>,
    /// The wait of the publishing connection.
    publishing_waits: Option<Waiting>,
    /// How often the consuming connection was made.
    n_consuming_made: u64,
    /// How often the publishing connection was made.
    n_publishing_made: u64,
}

impl ConnectionWatch for ConnectionMonitor {
    fn status(&self) -> ConnectionStatus {
        Seen {
            is_consuming: self.consuming.is_connected(),
            publishing: *self.state.borrow(),
            consuming_waits: self.consuming.waiting(),
            publishing_waits: self.publishing.waiting(),
            n_consuming_made: self.consuming.n_made(),
            n_publishing_made: self.publishing.n_made(),
        }
        .into()
    }

    fn cut(&self) {
        self.consuming.cut();
        self.publishing.cut();
    }
}

impl From<Seen> for ConnectionStatus {
    fn from(seen: Seen) -> Self {
        Self {
            is_receiving: seen.is_consuming,
            explains_a_stall: seen.publishing != Publishing::Open || seen.consuming_waits.is_some(),
            why: seen.why(),
            samples: seen.samples(),
            waits: seen.consuming_waits.or(seen.publishing_waits),
        }
    }
}

impl Seen {
    fn why(&self) -> Vec<String> {
        match self.publishing {
            Publishing::Connecting => vec![match &self.publishing_waits {
                Some(waiting) => waiting.to_string(),
                None => "waiting for the broker".to_owned(),
            }],
            Publishing::Blocked => vec!["the broker blocks publishes: it is short of memory or disk".to_owned()],
            Publishing::Open => {
                let waits = self.publishing_waits.iter().chain(&self.consuming_waits);
                waits.map(ToString::to_string).collect()
            }
        }
    }

    fn samples(&self) -> Vec<Sample> {
        let is_publishing = self.publishing != Publishing::Connecting;
        let is_blocked = self.publishing == Publishing::Blocked;
        let sample = |metric, connection, value| Sample {
            metric,
            label: Some(("connection", connection)),
            value,
        };
        vec![
            sample(&CONNECTED, "consume", u64::from(self.is_consuming)),
            sample(&CONNECTED, "publish", u64::from(is_publishing)),
            Sample {
                metric: &BLOCKED,
                label: None,
                value: u64::from(is_blocked),
            },
            sample(&CONNECTIONS, "consume", self.n_consuming_made),
            sample(&CONNECTIONS, "publish", self.n_publishing_made),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn seen() -> Seen {
        Seen {
            is_consuming: true,
            publishing: Publishing::Open,
            consuming_waits: None,
            publishing_waits: None,
            n_consuming_made: 2,
            n_publishing_made: 1,
        }
    }

    fn waiting(what: &str) -> Option<Waiting> {
        Some(Waiting {
            what: what.to_owned(),
            lasts: Some(Duration::from_secs(7)),
        })
    }

    #[test]
    fn what_keeps_pipelines_from_taking_is_said() {
        let away = "waiting for the broker to answer";
        let blocked = "the broker blocks publishes: it is short of memory or disk";
        let rows = [
            (Publishing::Open, None, None, vec![]),
            (Publishing::Connecting, None, None, vec!["waiting for the broker"]),
            (
                Publishing::Connecting,
                None,
                waiting(away),
                vec!["waiting for the broker to answer for 7 s"],
            ),
            (
                Publishing::Open,
                None,
                waiting(away),
                vec!["waiting for the broker to answer for 7 s"],
            ),
            (
                Publishing::Open,
                waiting(away),
                None,
                vec!["waiting for the broker to answer for 7 s"],
            ),
            (Publishing::Blocked, None, None, vec![blocked]),
        ];
        for (publishing, consuming_waits, publishing_waits, expected) in rows {
            let explains_a_stall = publishing != Publishing::Open || consuming_waits.is_some();
            let status = ConnectionStatus::from(Seen {
                publishing,
                consuming_waits,
                publishing_waits,
                ..seen()
            });
            assert_eq!(status.why, expected);
            assert_eq!(status.explains_a_stall, explains_a_stall);
        }
    }

    #[test]
    fn each_connection_is_counted() {
        let status = ConnectionStatus::from(Seen {
            publishing: Publishing::Blocked,
            ..seen()
        });
        let samples = status.samples.iter();
        let samples: Vec<_> = samples
            .map(|it| (it.metric.name, it.label.map(|(_, value)| value), it.value))
            .collect();
        assert_eq!(
            samples,
            [
                ("millrace_broker_connected", Some("consume"), 1),
                ("millrace_broker_connected", Some("publish"), 1),
                ("millrace_broker_blocked", None, 1),
                ("millrace_broker_connections_total", Some("consume"), 2),
                ("millrace_broker_connections_total", Some("publish"), 1),
            ]
        );
    }
}
