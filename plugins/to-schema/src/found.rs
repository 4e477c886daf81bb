//! What a placeholder stands for, with its type.

use millrace_plugin::serde::Serialize;
use millrace_plugin::serde_json::{self, Number};
use millrace_plugin::{Score, TensorData};

/// What a placeholder stands for.
#[derive(Debug, Serialize)]
#[serde(crate = "millrace_plugin::serde", untagged)]
pub(crate) enum Found {
    /// Nothing: `null`, in a text nothing at all.
    Nothing,
    Boolean(bool),
    Count(u32),
    Number(Number),
    Score(f32),
    Text(String),
    Classes(Vec<Score>),
    Floats(Vec<f32>),
    Bytes(Vec<u8>),
}

impl Found {
    /// As a part of a text.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Text(text) => text.clone(),
            // A number, boolean or list is always JSON.
            other => serde_json::to_string(other).unwrap_or_default(),
        }
    }
}

impl From<Option<String>> for Found {
    fn from(text: Option<String>) -> Self {
        text.map_or(Self::Nothing, Self::Text)
    }
}

impl From<TensorData> for Found {
    fn from(data: TensorData) -> Self {
        match data {
            TensorData::Bytes(bytes) => Self::Bytes(bytes),
            TensorData::Floats(floats) => Self::Floats(floats),
        }
    }
}
