//! The copy of a message, in an envelope that the host takes whatever the publisher wrote.

use millrace_plugin::json::Classification;
use millrace_plugin::{Message, Outbound};

/// Why a message is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Its best score is between the two bounds.
    Between,
    /// The second best score is near.
    Margin,
    /// It is not unsure; a share of all is wanted.
    Chance,
}

/// What names at the broker hold; a content type is one.
const NAME_MAX_BYTES: usize = 255;
/// Ids are short; what is longer is cut.
const VALUE_MAX_BYTES: usize = 1 << 10;

/// The copy.
pub(crate) fn sample(message: &Message, seen: &Classification, why: Why, destination: &str) -> Outbound {
    let why = match why {
        Why::Between => "between",
        Why::Margin => "margin",
        Why::Chance => "chance",
    };
    let mut sample = Outbound::new(destination, message.body())
        .with_header("message-id", header_value(&seen.id))
        .with_header("model", header_value(&seen.model))
        .with_header("label", header_value(&seen.best.label))
        .with_header("score", seen.best.score.to_string())
        .with_header("why", why);
    sample.content_type = message
        .content_type()
        .filter(|name| name.len() <= NAME_MAX_BYTES && !name.chars().any(is_unsafe));
    sample
}

/// A text that a publisher chose, as a header's value: what the host would refuse is escaped, what is too long is cut.
fn header_value(text: &str) -> String {
    let mut value = String::new();
    for character in text.chars() {
        if value.len() >= VALUE_MAX_BYTES {
            break;
        }
        if is_unsafe(character) {
            value.extend(character.escape_default());
        } else {
            value.push(character);
        }
    }
    value
}

/// What the host lets into no header: control characters, and those that turn the direction of text.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
