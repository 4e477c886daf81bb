//! Reads a plugin's settings so that a mistake is told in the words of `plugins.toml`.

use serde::de::DeserializeOwned;

/// Reads the JSON object that the host makes of the `settings` table.
pub(crate) fn read<S: DeserializeOwned>(json: &str) -> Result<S, String> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let settings = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let text = without_position(error.inner());
        // The path of an unknown key ends at the key, which the text names too.
        if path == "." || text.starts_with("unknown field") {
            text
        } else {
            format!("`{path}`: {text}")
        }
    })?;
    reader.end().map_err(|error| error.to_string())?;
    Ok(settings)
}

/// The line and column are those of the JSON, which nobody wrote.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&position).unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "read by `Debug` alone")]
    struct Settings {
        #[serde(default)]
        width: u32,
        #[serde(default)]
        labels: BTreeMap<String, String>,
    }

    fn check(json: &str, expected: &str) {
        let read: Result<Settings, String> = super::read(json);
        assert_eq!(read.unwrap_err(), expected, "{json}");
    }

    #[test]
    fn mistakes_name_their_key() {
        check(r#"{"wdith": 3}"#, "unknown field `wdith`, expected `width` or `labels`");
        check(
            r#"{"width": "x"}"#,
            r#"`width`: invalid type: string "x", expected u32"#,
        );
        check(
            r#"{"labels": {"cat": 1}}"#,
            "`labels.cat`: invalid type: integer `1`, expected a string",
        );
        check("{} {}", "trailing characters at line 1 column 4");
    }
}
