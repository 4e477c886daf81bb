//! The last lines of this process's log about each plugin, for a client that follows one: its own lines, how it fails
//! and what it refuses. Belongs to the log, of which a process has one; knows no plugin but by its name in a line.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Lines about one plugin that are kept; the oldest makes room.
const LINES_MAX: usize = 256;

/// Plugins whose lines are kept; the one that was silent for longest makes room.
const PLUGINS_MAX: usize = 64;

/// Bytes of a line's text.
const TEXT_MAX_BYTES: usize = 2 << 10;

/// Bytes of a message's id.
const ID_MAX_BYTES: usize = 255;

/// The parts of a line about a plugin.
const PLUGIN: &str = "plugin";

/// The span of a message.
const MESSAGE: &str = "message";

/// A plugin's own log.
const SAID: &str = "plugin log";

static JOURNAL: Journal = Journal {
    plugins: Mutex::new(BTreeMap::new()),
};

/// Some lines about a plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lines {
    /// The number of the last line that there was: what comes later is asked for by it.
    pub last: u64,
    /// Lines that were asked for and are not kept any more.
    pub missed: u64,
    /// The oldest first.
    pub lines: Vec<Line>,
}

/// A line about a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Counts the lines about this plugin, from 1.
    pub number: u64,
    /// When: RFC 3339, UTC, milliseconds.
    pub at: String,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// The message that it is about.
    pub message_id: Option<String>,
    /// The plugin's text, or the host's.
    pub text: String,
}

struct Journal {
    // std Mutex: held for a moment.
    plugins: Mutex<BTreeMap<String, Kept>>,
}

#[derive(Default)]
struct Kept {
    last: u64,
    said_at: Option<SystemTime>,
    lines: VecDeque<Line>,
}

/// Keeps lines; what the log does not let through is not kept either.
#[derive(Debug, Clone, Copy)]
pub struct Keeper;

/// The lines about a plugin that came after the one with this number.
pub fn about(plugin: &str, after: u64) -> Lines {
    JOURNAL.about(plugin, after)
}

impl Journal {
    fn about(&self, plugin: &str, after: u64) -> Lines {
        let plugins = self.lock();
        let Some(kept) = plugins.get(plugin) else {
            return Lines::default();
        };
        let first = kept.lines.front().map_or(kept.last, |line| line.number);
        Lines {
            last: kept.last,
            missed: first.saturating_sub(after.saturating_add(1)),
            lines: kept.lines.iter().filter(|line| line.number > after).cloned().collect(),
        }
    }

    fn add(&self, plugin: &str, level: tracing::Level, message_id: Option<String>, text: String) {
        let now = SystemTime::now();
        let mut plugins = self.lock();
        if plugins.len() >= PLUGINS_MAX && !plugins.contains_key(plugin) {
            let silent = plugins.iter().min_by_key(|(_, kept)| kept.said_at);
            if let Some(silent) = silent.map(|(name, _)| name.clone()) {
                plugins.remove(&silent);
            }
        }
        let kept = plugins.entry(plugin.to_owned()).or_default();
        kept.last += 1;
        kept.said_at = Some(now);
        if kept.lines.len() == LINES_MAX {
            kept.lines.pop_front();
        }
        kept.lines.push_back(Line {
            number: kept.last,
            at: humantime::format_rfc3339_millis(now).to_string(),
            level: level.as_str().to_ascii_lowercase(),
            message_id,
            text,
        });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Kept>> {
        self.plugins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Keeper {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() != MESSAGE {
            return;
        }
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let (Some(span), Some(id)) = (context.span(id), fields.id) {
            span.extensions_mut().insert(MessageId(id));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if event.metadata().fields().field(PLUGIN).is_none() {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Some(plugin) = fields.plugin.take() else { return };
        let of_span = || {
            let mut spans = context.event_scope(event)?;
            spans.find_map(|span| span.extensions().get::<MessageId>().map(|id| id.0.clone()))
        };
        let message_id = fields.message_id.take().filter(|id| !id.is_empty()).or_else(of_span);
        JOURNAL.add(&plugin, *event.metadata().level(), message_id, fields.told());
    }
}

/// The id of the message whose span it is.
struct MessageId(String);

/// The fields of a line that count here.
#[derive(Default)]
struct Fields {
    plugin: Option<String>,
    id: Option<String>,
    message_id: Option<String>,
    message: String,
    class: Option<String>,
    text: Option<String>,
}

impl Fields {
    /// A plugin's own text, as it is; else the host's.
    fn told(self) -> String {
        let text = self.text.unwrap_or_default();
        if self.message == SAID {
            return text;
        }
        let class = self.class.map(|class| format!(" ({class})")).unwrap_or_default();
        match text.is_empty() {
            true => format!("{}{class}", self.message),
            false => format!("{}{class}: {text}", self.message),
        }
    }

    fn set(&mut self, field: &Field, value: &dyn fmt::Display) {
        let place = match field.name() {
            PLUGIN => &mut self.plugin,
            "id" => &mut self.id,
            "message_id" => &mut self.message_id,
            "class" => &mut self.class,
            "text" | "reason" | "panic" => &mut self.text,
            "message" => {
                self.message = bounded(value, TEXT_MAX_BYTES);
                return;
            }
            _ => return,
        };
        let max_bytes = if field.name().ends_with("id") {
            ID_MAX_BYTES
        } else {
            TEXT_MAX_BYTES
        };
        *place = Some(bounded(value, max_bytes));
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, &format_args!("{value:?}"));
    }
}

fn bounded(value: &dyn fmt::Display, max_bytes: usize) -> String {
    let mut text = String::new();
    write!(text, "{value}").unwrap_or_default();
    text.truncate(text.floor_char_boundary(max_bytes));
    text
}

#[cfg(test)]
mod tests {
    use tracing::{info, info_span, warn};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Lines about plugins that no other test has.
    fn kept(test: impl FnOnce()) {
        let subscriber = tracing_subscriber::fmt()
            .with_writer(std::io::sink)
            .finish()
            .with(Keeper);
        tracing::subscriber::with_default(subscriber, test);
    }

    #[test]
    fn what_a_plugin_says_and_what_is_said_of_it_is_kept_and_nothing_else() {
        kept(|| {
            info!("about nobody");
            info!(plugin = "journal-a", message_id = "m-1", text = "hello", "plugin log");
            let class = ["tr", "ap"].concat();
            info_span!("message", pipeline = "p", id = %"m-2").in_scope(|| {
                warn!(plugin = "journal-a", %class, text = "boom", "a plugin failed: calling it once more");
                warn!(plugin = None::<&str>, reason = "nobody's", "becomes a dead letter");
                warn!(
                    plugin = Some("journal-a"),
                    class = "refused",
                    reason = "no",
                    "becomes a dead letter"
                );
            });
        });
        let found = about("journal-a", 0);
        let lines: Vec<_> = found
            .lines
            .iter()
            .map(|line| (line.level.as_str(), line.message_id.as_deref(), line.text.as_str()))
            .collect();
        assert_eq!(
            lines,
            [
                ("info", Some("m-1"), "hello"),
                (
                    "warn",
                    Some("m-2"),
                    "a plugin failed: calling it once more (trap): boom"
                ),
                ("warn", Some("m-2"), "becomes a dead letter (refused): no"),
            ]
        );
        assert_eq!((found.last, found.missed), (3, 0));
        assert_eq!(about("journal-a", 2).lines.len(), 1);
        assert_eq!(about("journal-a", 3).lines.len(), 0);
        assert_eq!(about("journal-nobody", 0), Lines::default());
    }

    #[test]
    fn the_last_lines_are_kept_and_the_others_counted() {
        let journal = Journal {
            plugins: Mutex::default(),
        };
        for n in 0..1000 {
            journal.add("b", tracing::Level::INFO, None, n.to_string());
        }
        let found = journal.about("b", 0);
        assert_eq!((found.last, found.missed, found.lines.len()), (1000, 744, LINES_MAX));
        assert_eq!(journal.about("b", 900).missed, 0);
        for n in 0..200 {
            journal.add(&format!("p{n}"), tracing::Level::INFO, None, String::new());
        }
        assert_eq!(journal.lock().len(), PLUGINS_MAX);
        assert_eq!(journal.about("b", 0), Lines::default());
    }
}
