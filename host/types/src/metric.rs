//! The form of something that is counted. Knows no number.

/// Something that is counted.
#[derive(Debug)]
pub struct Metric {
    /// By the conventions of Prometheus: what, in which unit, and `total` where it only grows.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// For people.
    pub help: &'static str,
}

impl Metric {
    /// The kind of what only grows.
    pub const COUNTER: &str = "counter";
}

/// A number that only grows.
pub const fn counter(name: &'static str, help: &'static str) -> Metric {
    let kind = Metric::COUNTER;
    Metric { name, kind, help }
}

/// A number that grows and shrinks.
pub const fn gauge(name: &'static str, help: &'static str) -> Metric {
    let kind = "gauge";
    Metric { name, kind, help }
}

/// Values by range.
pub const fn histogram(name: &'static str, help: &'static str) -> Metric {
    let kind = "histogram";
    Metric { name, kind, help }
}
