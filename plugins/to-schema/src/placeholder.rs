//! What may stand between braces.

use millrace_plugin::json::Pointer;

/// What a placeholder stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Placeholder {
    Id,
    CorrelationId,
    ReplyTo,
    Source,
    Key,
    Attempt,
    Redelivered,
    ContentType,
    Header(String),
    Body(Pointer),
    Model,
    Label,
    Index,
    Score,
    ScoreOf(String),
    Margin,
    Top(Option<u32>),
    Output(u32),
}

/// For errors, in the order of the README.
const KNOWN: &str = "`{id}`, `{correlation-id}`, `{reply-to}`, `{source}`, `{key}`, `{attempt}`, `{redelivered}`, `{content-type}`, \
    `{header:NAME}`, `{body:/POINTER}`, `{model}`, `{label}`, `{index}`, `{score}`, `{score:LABEL}`, `{margin}`, `{top}`, `{top:N}`, \
    `{output:N}`";

impl Placeholder {
    /// Reads what is between the braces.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let (name, argument) = match text.split_once(':') {
            Some((name, argument)) => (name, Some(argument)),
            None => (text, None),
        };
        let number = |argument: &str| {
            argument
                .parse::<u32>()
                .map_err(|_| format!("`{{{text}}}`: `{argument}` is no number"))
        };
        match (name, argument) {
            ("id", None) => Ok(Self::Id),
            ("correlation-id", None) => Ok(Self::CorrelationId),
            ("reply-to", None) => Ok(Self::ReplyTo),
            ("source", None) => Ok(Self::Source),
            ("key", None) => Ok(Self::Key),
            ("attempt", None) => Ok(Self::Attempt),
            ("redelivered", None) => Ok(Self::Redelivered),
            ("content-type", None) => Ok(Self::ContentType),
            ("header", Some(name)) if !name.is_empty() => Ok(Self::Header(name.to_owned())),
            ("body", Some(place)) => Pointer::new(place).map(Self::Body),
            ("model", None) => Ok(Self::Model),
            ("label", None) => Ok(Self::Label),
            ("index", None) => Ok(Self::Index),
            ("score", None) => Ok(Self::Score),
            ("score", Some(label)) if !label.is_empty() => Ok(Self::ScoreOf(label.to_owned())),
            ("margin", None) => Ok(Self::Margin),
            ("top", None) => Ok(Self::Top(None)),
            ("top", Some(k)) => match number(k)? {
                0 => Err("`{top:0}` lists nothing".to_owned()),
                k => Ok(Self::Top(Some(k))),
            },
            ("output", Some(index)) => number(index).map(Self::Output),
            ("time" | "date" | "now" | "timestamp", _) => Err(format!(
                "there is no `{{{text}}}`: a plugin has no clock; the host says the time in headers of its own"
            )),
            _ => Err(format!("there is no `{{{text}}}`, but {KNOWN}")),
        }
    }

    /// Where in the body it looks.
    pub(crate) fn place(&self) -> Option<&Pointer> {
        match self {
            Self::Body(place) => Some(place),
            _ => None,
        }
    }
}
