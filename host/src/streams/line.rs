//! How a diagnostic becomes a line: text for people, or one JSON object. Knows no stream.

use std::time::SystemTime;

use serde::Serialize;

/// How diagnostics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line, whatever it is.
    Json,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Nothing was done.
    Error,
    /// It can be done, and is hardly meant.
    Warning,
    /// Good to know.
    Note,
}

/// How diagnostics of this process look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) format: Format,
    pub(super) is_coloured: bool,
}

impl Severity {
    /// As the log names it.
    fn level(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Warning => "WARN",
            Self::Note => "INFO",
        }
    }
}

impl Style {
    /// A text as it is.
    pub(super) fn said(self, severity: Severity, text: &str) -> Vec<u8> {
        match self.format {
            Format::Text if self.is_coloured => format!("{text}\n").into_bytes(),
            Format::Text => format!("{}\n", anstream::adapter::strip_str(text)).into_bytes(),
            Format::Json => {
                let text = anstream::adapter::strip_str(text).to_string();
                // Its level says that it is an error.
                let message = text.strip_prefix("error: ").unwrap_or(&text);
                json(severity, message.trim_end(), None)
            }
        }
    }

    /// An error of ours; in JSON its level says that it is one.
    pub(super) fn error(self, text: &str) -> Vec<u8> {
        let red = anstyle::AnsiColor::Red.on_default().bold();
        match self.format {
            Format::Text => self.said(Severity::Error, &format!("{red}error{red:#}: {text}")),
            Format::Json => self.said(Severity::Error, text),
        }
    }

    /// The line about lines that were not written, in the form of the log.
    pub(super) fn lost(self, n_lines: u64, why: &str) -> Vec<u8> {
        const MESSAGE: &str = "log lines were lost";
        match self.format {
            Format::Text => format!("{}  WARN {MESSAGE} lines={n_lines} why={why:?}\n", now()).into_bytes(),
            Format::Json => json(Severity::Warning, MESSAGE, Some((n_lines, why))),
        }
    }
}

/// A line in the order in which the log has its fields.
#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    level: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    target: &'static str,
}

fn json(severity: Severity, message: &str, lost: Option<(u64, &str)>) -> Vec<u8> {
    let line = Line {
        timestamp: now(),
        level: severity.level(),
        message,
        lines: lost.map(|(n_lines, _)| n_lines),
        why: lost.map(|(_, why)| why),
        target: "millrace",
    };
    // Strings and numbers can always be written.
    let mut line = serde_json::to_vec(&line).unwrap_or_default();
    line.push(b'\n');
    line
}

/// The time as the log has it.
fn now() -> String {
    humantime::format_rfc3339_micros(SystemTime::now()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn style(format: Format, is_coloured: bool) -> Style {
        Style { format, is_coloured }
    }

    #[test]
    fn a_line_of_json_is_one_object_without_escapes_for_terminals() {
        let json = style(Format::Json, false);
        let check = |line: Vec<u8>, level: &str, message: &str| {
            let text = String::from_utf8(line).unwrap();
            assert_eq!(text.matches('\n').count(), 1, "{text}");
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(
                (value["level"].as_str(), value["message"].as_str()),
                (Some(level), Some(message))
            );
            assert!(value["timestamp"].as_str().unwrap().ends_with('Z'), "{text}");
        };
        check(json.error("no \u{1b}[1mhost\u{1b}[0m\nhere"), "ERROR", "no host\nhere");
        check(
            json.said(Severity::Warning, "warning: a\n  b\n"),
            "WARN",
            "warning: a\n  b",
        );
        check(json.lost(7, "a full disk"), "WARN", "log lines were lost");
    }

    #[test]
    fn text_is_coloured_where_it_may_be() {
        let plain = style(Format::Text, false);
        assert_eq!(plain.error("no"), b"error: no\n");
        let coloured = String::from_utf8(style(Format::Text, true).error("no")).unwrap();
        assert!(
            coloured.starts_with('\u{1b}') && coloured.ends_with(": no\n"),
            "{coloured:?}"
        );
        let lost = String::from_utf8(plain.lost(7, "a full disk")).unwrap();
        assert!(
            lost.ends_with("Z  WARN log lines were lost lines=7 why=\"a full disk\"\n"),
            "{lost}"
        );
    }
}
