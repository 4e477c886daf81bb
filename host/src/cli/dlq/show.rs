//! `millrace dlq show`: everything that is known of a dead letter, for people.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::PlaceArguments;
use super::output::{harmless, plain, print};
use super::place::{self, find, head};
use crate::dead_letter::{DeadLetter, ORIGINAL, Sender};
use crate::transport::{DeadLetterStore, HeldDeadLetter};

/// The most of one header's value.
const VALUE_CHARS: usize = 2000;

/// Headers are printed until there is so much: who sends more wants the screen and not the reader.
const SHOWN_BYTES: usize = 32 * 1024;

/// How much of a body is looked at.
const HEAD_BYTES: u64 = 1024;

/// How much of a binary body is printed.
const DUMP_BYTES: usize = 64;

/// `millrace dlq show`
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The id of the message or of the dead letter, or a prefix of it; in a folder also the file's name
    id: String,
    #[command(flatten)]
    place: PlaceArguments,
}

/// The kind of a body, by its first bytes.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) extension: &'static str,
    is_text: bool,
}

pub(super) async fn show(options: Options) -> anyhow::Result<ExitCode> {
    let place = match options.place.place()? {
        Ok(place) => place,
        Err(code) => return Ok(code),
    };
    for (n, held) in find(place.as_ref(), &options.id).await?.iter().enumerate() {
        if n > 0 {
            print("\nanother dead letter with this id\n")?;
        }
        print(shown(held.as_ref(), place.as_ref())?.trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(held: &dyn HeldDeadLetter, place: &dyn DeadLetterStore) -> anyhow::Result<String> {
    let dead_letter = held.dead_letter();
    let mut text = String::new();
    let mut line = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            text += &format!("{name:<16} {}\n", plain(value, VALUE_CHARS));
        }
    };
    line("message", Some(dead_letter.message_id()));
    line("dead letter", Some(&dead_letter.id));
    line("lies in", Some(&place::shown(place)));
    line("file", dead_letter.file.as_deref());
    line("came from", dead_letter.queue());
    match dead_letter.sender() {
        Sender::Millrace => {
            let stage = dead_letter.fact("stage").unwrap_or("unknown");
            line(
                "reason",
                Some(&format!(
                    "{} in stage {stage}: {}",
                    dead_letter.class(),
                    dead_letter.text()
                )),
            );
        }
        Sender::Broker => line(
            "reason",
            Some(&format!("the broker dead-lettered it: {}", dead_letter.text())),
        ),
        Sender::Stranger => line("reason", Some(dead_letter.text())),
    }
    for (name, fact) in [
        ("when", "time"),
        ("pipeline", "pipeline"),
        ("attempt", "attempt"),
        ("generation", "generation"),
    ] {
        line(name, dead_letter.fact(fact));
    }
    line("plugin", dead_letter.plugin().as_deref());
    line("model", dead_letter.fact("model"));
    line("correlation id", dead_letter.correlation_id.as_deref());
    text += "\nheaders\n";
    headers(&mut text, dead_letter);
    if let Some(original) = &dead_letter.original {
        text += "\nthe message had\n";
        tree(&mut text, original, 1);
    }
    body(&mut text, held)?;
    Ok(text)
}

fn headers(text: &mut String, dead_letter: &DeadLetter) {
    let is_shown = |name: &str| name != ORIGINAL || dead_letter.original.is_none();
    for (name, value) in dead_letter.headers.iter().filter(|(name, _)| is_shown(name)) {
        if is_enough(text) {
            return;
        }
        *text += &format!("  {}: {}\n", plain(name, VALUE_CHARS), plain(value, VALUE_CHARS));
    }
}

/// Marks a text that was cut.
fn is_enough(text: &mut String) -> bool {
    const MORE: &str = "  and more\n";
    if text.len() > SHOWN_BYTES && !text.ends_with(MORE) {
        *text += MORE;
    }
    text.len() > SHOWN_BYTES
}

/// Objects of the second level line by line; deeper ones as JSON.
fn tree(text: &mut String, value: &Value, level: usize) {
    let indent = "  ".repeat(level);
    for (name, value) in value.as_object().into_iter().flatten() {
        if is_enough(text) {
            return;
        }
        let name = plain(name, VALUE_CHARS);
        match value {
            Value::Object(_) if level == 1 => {
                *text += &format!("{indent}{name}\n");
                tree(text, value, level + 1);
            }
            value => {
                let json = harmless(&value.to_string());
                let cut: String = json.chars().take(VALUE_CHARS).collect();
                let more = if cut.len() < json.len() { "…" } else { "" };
                *text += &format!("{indent}{name}: {cut}{more}\n");
            }
        }
    }
}

fn body(text: &mut String, held: &dyn HeldDeadLetter) -> anyhow::Result<()> {
    let head = head(held, HEAD_BYTES)?;
    let dead_letter = held.dead_letter();
    let kind = Kind::of(&head);
    let claimed = dead_letter
        .content_type
        .as_deref()
        .map(|it| format!(", called {}", plain(it, 255)));
    *text += &format!(
        "\nbody: {} bytes, {}{}\n",
        dead_letter.n_bytes,
        kind.name,
        claimed.unwrap_or_default()
    );
    if kind.is_text {
        for line in String::from_utf8_lossy(&head).lines() {
            *text += &format!("  {}\n", plain(line, VALUE_CHARS));
        }
    } else {
        for row in head.get(..DUMP_BYTES).unwrap_or(&head).chunks(16) {
            text.push(' ');
            for byte in row {
                // Writing to a string cannot fail.
                write!(text, " {byte:02x}")?;
            }
            text.push('\n');
        }
    }
    Ok(())
}

impl Kind {
    pub(super) fn of(head: &[u8]) -> Self {
        const MAGIC: [(&[u8], &str, &str); 5] = [
            (b"\x89PNG\r\n\x1a\n", "a PNG picture", "png"),
            (b"\xff\xd8\xff", "a JPEG picture", "jpg"),
            (b"GIF8", "a GIF picture", "gif"),
            (b"%PDF-", "a PDF document", "pdf"),
            (b"PK\x03\x04", "a ZIP archive", "zip"),
        ];
        let of = |name, extension, is_text| Self {
            name,
            extension,
            is_text,
        };
        if let Some((_, name, extension)) = MAGIC.iter().find(|(magic, ..)| head.starts_with(magic)) {
            return of(name, extension, false);
        }
        if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
            return of("a WebP picture", "webp", false);
        }
        // The head may end within a character.
        let is_utf8 = match std::str::from_utf8(head) {
            Ok(_) => true,
            Err(error) => error.error_len().is_none() && error.valid_up_to() > 0,
        };
        match (is_utf8, head.trim_ascii_start().first()) {
            (_, _) if head.is_empty() => of("nothing", "bin", false),
            (true, Some(b'{' | b'[')) => of("text that may be JSON", "json", true),
            (true, _) if !head.contains(&0) => of("text", "txt", true),
            _ => of("bytes", "bin", false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_told_by_its_first_bytes() {
        let rows: [(&[u8], &str); 8] = [
            (b"\x89PNG\r\n\x1a\n....", "png"),
            (b"\xff\xd8\xff\xe0", "jpg"),
            (b"RIFF....WEBPVP8 ", "webp"),
            (b" {\"a\": 1}", "json"),
            ("caf\u{e9}".as_bytes(), "txt"),
            (b"caf\xc3", "txt"),
            (b"\0\0\0", "bin"),
            (b"", "bin"),
        ];
        for (head, expected) in rows {
            assert_eq!(Kind::of(head).extension, expected, "{head:?}");
        }
    }
}
