//! The copy of a message, in an envelope that the host takes whatever the publisher wrote.

use millrace_plugin::json::Classification;
use millrace_plugin::{Message, Outbound, header};

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
        .with_header("message-id", header::escaped(&seen.id, VALUE_MAX_BYTES))
        .with_header("model", header::escaped(&seen.model, VALUE_MAX_BYTES))
        .with_header("label", header::escaped(&seen.best.label, VALUE_MAX_BYTES))
        .with_header("score", seen.best.score.to_string())
        .with_header("why", why);
    sample.content_type = message
        .content_type()
        .filter(|name| name.len() <= NAME_MAX_BYTES && header::is_plain(name));
    sample
}
