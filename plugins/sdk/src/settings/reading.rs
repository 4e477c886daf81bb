//! From the `settings` table to a plugin: every mistake is told, in the words of `plugins.toml`. Knows no plugin's keys.

use serde::de::DeserializeOwned;

use super::Settings;

/// Makes a plugin of the JSON object that the host makes of the `settings` table. All mistakes are told: those of keys whose
/// values cannot be read, and what the plugin says of the others, each wrong value left out as if it were not there.
pub(crate) fn made<S: Settings, P>(json: &str, new: impl FnOnce(S) -> Result<P, String>) -> Result<P, String> {
    let (settings, mut wrong) = match read_once(json) {
        Ok(settings) => return new(settings),
        Err(first) => read_leaving_out(json, first),
    };
    // In the order of the declaration; what is not declared at last.
    let declared = S::declared();
    wrong.sort_by_key(|mistake| {
        let place = declared
            .iter()
            .position(|setting| Some(&setting.name) == mistake.key.as_ref());
        place.unwrap_or(usize::MAX)
    });
    let mut texts: Vec<String> = wrong.iter().map(|mistake| mistake.text.clone()).collect();
    if let Some(Err(text)) = settings.map(new) {
        // What it says of a value that was left out is not the user's mistake.
        let is_told = |mistake: &Mistake| match &mistake.key {
            Some(key) => text.contains(&format!("`{key}`")),
            None => false,
        };
        if !wrong.iter().any(is_told) {
            texts.push(text);
        }
    }
    Err(texts.join("; "))
}

/// What is wrong, in the words of `plugins.toml`.
struct Mistake {
    /// The key of the table that it is about or in.
    key: Option<String>,
    text: String,
}

/// Leaves out one wrong value after the other. There are no settings where there are none without these.
fn read_leaving_out<S: Settings>(json: &str, first: Mistake) -> (Option<S>, Vec<Mistake>) {
    let mut wrong = vec![first];
    let Ok(mut table) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(json) else {
        return (None, wrong);
    };
    // Each turn takes one key away, so that it ends.
    while let Some(Mistake { key: Some(key), .. }) = wrong.last() {
        if table.remove(key).is_none() {
            break;
        }
        match read_once(&serde_json::Value::Object(table.clone()).to_string()) {
            Ok(settings) => return (Some(settings), wrong),
            // One that is missing because it was taken away is told already.
            Err(next) if next.key.is_none() && wrong.iter().any(|mistake| mistake.is_missing_in(&next)) => break,
            Err(next) => wrong.push(next),
        }
    }
    (None, wrong)
}

impl Mistake {
    /// Whether another mistake is that its key is not there.
    fn is_missing_in(&self, other: &Self) -> bool {
        match &self.key {
            Some(key) => other.text == format!("missing field `{key}`"),
            None => false,
        }
    }
}

/// Reads it up to the first mistake.
fn read_once<S: DeserializeOwned>(json: &str) -> Result<S, Mistake> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let settings = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let key = match error.path().iter().next() {
            Some(serde_path_to_error::Segment::Map { key }) => Some(key.clone()),
            _ => None,
        };
        let text = without_position(error.inner());
        // The path of an unknown key ends at the key, which the text names too.
        let text = if path == "." || text.starts_with("unknown field") {
            text
        } else {
            format!("`{path}`: {text}")
        };
        Mistake { key, text }
    })?;
    let end = reader.end().map_err(|error| error.to_string());
    end.map_err(|text| Mistake { key: None, text })?;
    Ok(settings)
}

/// The line and column are those of the JSON, which nobody wrote.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&position).unwrap_or(&text).to_owned()
}
