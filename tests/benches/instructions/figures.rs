//! What was counted, the baseline that the repository keeps of it, and how the two are compared. Knows nothing of how it is
//! counted.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, bail};
use toml::{Table, Value};

/// How much of a figure it may rise without a word: ten times what a repeated run differs by.
const RISE_MAX: f64 = 0.03;

/// The key of what it was counted with.
const TOOLS: &str = "tools";

/// The first lines of the file.
const HEAD: &str = "\
# What one message costs, and one call of each shipped plugin. `cargo xtask test` fails where a figure rises above the one here by
# more than 3 %. `cargo xtask instructions --update --because \"WHY\"` writes what rose, with the reason, and what fell.
";

/// What one message or call costs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Figure {
    /// Of what, such as `plugin decode-image/star`.
    pub(crate) subject: String,
    /// What is counted.
    pub(crate) unit: Unit,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unit {
    Instructions,
    Allocations,
    Bytes,
}

/// Every figure.
pub(crate) type Figures = BTreeMap<Figure, u64>;

/// What the repository keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Baseline {
    /// The tools that the instructions depend on; others count others.
    tools: String,
    figures: Figures,
    /// Why figures of a subject are higher than they were.
    because: BTreeMap<String, String>,
}

/// A figure that is not as it was.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    figure: Figure,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// Before and now.
    Rose(u64, u64),
    /// The same.
    Fell(u64, u64),
    /// There was none.
    New(u64),
    /// There is none any more.
    Gone,
}

impl Unit {
    const ALL: [Self; 3] = [Self::Instructions, Self::Allocations, Self::Bytes];

    fn key(self) -> &'static str {
        match self {
            Self::Instructions => "instructions",
            Self::Allocations => "allocations",
            Self::Bytes => "bytes",
        }
    }
}

impl Baseline {
    /// Reads it.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let table: Table = text.parse()?;
        let mut baseline = Self::default();
        for (subject, value) in table {
            if let (TOOLS, Value::String(tools)) = (subject.as_str(), &value) {
                baseline.tools.clone_from(tools);
                continue;
            }
            for (key, value) in value.as_table().with_context(|| format!("`{subject}` is no table"))? {
                let unit = Unit::ALL.into_iter().find(|unit| unit.key() == key);
                match (unit, value) {
                    (Some(unit), Value::Integer(count)) => {
                        let subject = subject.clone();
                        baseline
                            .figures
                            .insert(Figure { subject, unit }, u64::try_from(*count)?);
                    }
                    (None, Value::String(why)) if key == "because" => {
                        baseline.because.insert(subject.clone(), why.clone());
                    }
                    _ => bail!("`{key}` of `{subject}`"),
                }
            }
        }
        Ok(baseline)
    }

    /// Whether the instructions were counted with the same tools; where not, they say nothing about each other.
    pub(crate) fn is_of(&self, tools: &str) -> bool {
        self.tools == tools
    }

    /// The tools that it was made with.
    pub(crate) fn tools(&self) -> &str {
        &self.tools
    }

    /// What is not as it was.
    pub(crate) fn changes(&self, counted: &Figures) -> Vec<Change> {
        let gone = self.figures.keys().filter(|figure| !counted.contains_key(figure));
        let gone = gone.map(|figure| (figure, Kind::Gone));
        let others = counted.iter().filter_map(|(figure, now)| {
            let kind = match self.figures.get(figure) {
                None => Kind::New(*now),
                Some(before) if is_above(*now, *before) => Kind::Rose(*before, *now),
                Some(before) if is_above(*before, *now) => Kind::Fell(*before, *now),
                Some(_) => return None,
            };
            Some((figure, kind))
        });
        let all = gone.chain(others).map(|(figure, kind)| (figure.clone(), kind));
        all.map(|(figure, kind)| Change { figure, kind }).collect()
    }

    /// The baseline after what was counted. A figure that is as it was keeps its value, so that many small rises do not
    /// become a large one unseen; with other tools all are new.
    ///
    /// # Errors
    /// The rises, where no reason is given for them.
    pub(crate) fn updated(&self, tools: &str, counted: &Figures, why: Option<&str>) -> Result<Self, Vec<Change>> {
        let changes = self.changes(counted);
        let rises: Vec<Change> = changes.iter().filter(|change| change.is_rise()).cloned().collect();
        if why.is_none() && !rises.is_empty() {
            return Err(rises);
        }
        let mut updated = Self {
            tools: tools.to_owned(),
            ..self.clone()
        };
        if !self.is_of(tools) {
            updated.figures.clone_from(counted);
        }
        for Change { figure, .. } in changes.iter().filter(|change| change.is_fall()) {
            updated.because.remove(&figure.subject);
        }
        for Change { figure, kind } in changes {
            match kind {
                Kind::Gone => drop(updated.figures.remove(&figure)),
                Kind::New(now) | Kind::Fell(_, now) => drop(updated.figures.insert(figure, now)),
                Kind::Rose(_, now) => {
                    let why = why.unwrap_or_default().to_owned();
                    updated.because.insert(figure.subject.clone(), why);
                    updated.figures.insert(figure, now);
                }
            }
        }
        let is_there = |subject: &String| updated.figures.keys().any(|figure| figure.subject == *subject);
        updated.because.retain(|subject, _| is_there(subject));
        Ok(updated)
    }

    /// A line for each figure: now, before, and by how much of it it differs.
    pub(crate) fn shown(&self, counted: &Figures) -> String {
        let mut lines = String::new();
        for (Figure { subject, unit }, now) in counted {
            let key = Figure {
                subject: subject.clone(),
                unit: *unit,
            };
            let before = self.figures.get(&key);
            let than = before.map_or_else(String::new, |before| format!("{:+7.2} %", percent(*before, *now)));
            lines += &format!("{now:>12} {:<13}{than:>10}  {subject}\n", unit.key());
        }
        lines
    }
}

impl Change {
    /// Whether it is more than before.
    pub(crate) fn is_rise(&self) -> bool {
        matches!(self.kind, Kind::Rose(..))
    }

    /// Whether it is less than before.
    pub(crate) fn is_fall(&self) -> bool {
        matches!(self.kind, Kind::Fell(..))
    }

    /// Whether it depends on the tools, and says nothing where they are others.
    pub(crate) fn depends_on_tools(&self) -> bool {
        self.figure.unit == Unit::Instructions && (self.is_rise() || self.is_fall())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (subject, unit) = (&self.figure.subject, self.figure.unit.key());
        match self.kind {
            Kind::Rose(0, now) => write!(f, "{subject}: {now} {unit}, none before"),
            Kind::Rose(before, now) | Kind::Fell(before, now) => {
                let percent = percent(before, now);
                write!(f, "{subject}: {now} {unit}, {before} before: {percent:+.1} %")
            }
            Kind::New(now) => write!(f, "{subject}: {now} {unit}, which the baseline has not"),
            Kind::Gone => write!(f, "{subject}: no {unit} any more, which the baseline has"),
        }
    }
}

/// The file: one line a subject.
impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| Value::String(text.to_owned()).to_string();
        writeln!(f, "{HEAD}{TOOLS} = {}\n", quoted(&self.tools))?;
        let mut lines = BTreeMap::<&str, Vec<String>>::new();
        for (Figure { subject, unit }, count) in &self.figures {
            lines
                .entry(subject)
                .or_default()
                .push(format!("{} = {count}", unit.key()));
        }
        for (subject, mut words) in lines {
            words.extend(
                self.because
                    .get(subject)
                    .map(|why| format!("because = {}", quoted(why))),
            );
            writeln!(f, "{} = {{ {} }}", quoted(subject), words.join(", "))?;
        }
        Ok(())
    }
}

/// Keeps the lower of two counts: what chance adds to one, such as a timer, it does not add to the other.
pub(crate) fn lower(counted: &mut Figures, again: &Figures) {
    for (figure, count) in counted {
        *count = again.get(figure).map_or(*count, |again| *again.min(count));
    }
}

/// Rounded figures of a few hundred at most are exact; one of them more counts.
fn is_above(now: u64, before: u64) -> bool {
    now as f64 > before as f64 * (1.0 + RISE_MAX)
}

fn percent(before: u64, now: u64) -> f64 {
    (now as f64 / before as f64 - 1.0) * 100.0
}
