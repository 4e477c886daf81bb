//! Sends each result, as JSON, to the destination that its label asks for.

use std::collections::BTreeMap;

use millrace_plugin::json::Classification;
use millrace_plugin::{Destination, Message, Outbound, Prediction, Refusal, Router, Score};

/// The plugin.
#[derive(Debug)]
pub struct ByLabel {
    settings: Settings,
}

millrace_plugin::settings! {
    /// The `settings` table in `plugins.toml`.
    pub struct Settings {
        /// Destinations by label: a table from label to the name of a destination of the pipeline.
        pub labels: Destination<BTreeMap<String, String>> = Destination(BTreeMap::new()),
        /// The destination of every label that `labels` does not name.
        pub default: Destination = Destination(DEFAULT_DESTINATION.to_owned()),
        /// The destination of a prediction whose best score is below `unsure_below`, whatever its label.
        pub unsure: Option<Destination>,
        /// The least score that a prediction needs to be routed by its label; set both or neither.
        pub unsure_below: Option<f32>,
        /// How many of the best classes the result lists, at least 1.
        pub top_k: u32 = DEFAULT_TOP_K,
    }
}

/// The destination of an unconfigured plugin, and the name that examples of `plugins.toml` use.
const DEFAULT_DESTINATION: &str = "results";
/// Enough to see what the model hesitated between.
const DEFAULT_TOP_K: u32 = 3;

impl Router for ByLabel {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, String> {
        match (&settings.unsure, settings.unsure_below) {
            (Some(_), None) => return Err("`unsure` needs `unsure_below`: the score below which it is used".to_owned()),
            (None, Some(_)) => return Err("`unsure_below` needs `unsure`: the destination to use".to_owned()),
            _ => {}
        }
        if settings.top_k == 0 {
            return Err("`top_k` is 0: the result lists at least the best class".to_owned());
        }
        if settings
            .labels
            .values()
            .chain(settings.unsure.as_deref())
            .chain([&*settings.default])
            .any(String::is_empty)
        {
            return Err("a destination is empty".to_owned());
        }
        Ok(Self { settings })
    }

    fn route(&mut self, message: &Message, prediction: &Prediction) -> Result<Vec<Outbound>, Refusal> {
        let mut body = Classification::new(message, prediction, self.settings.top_k)?;
        body.unsure = Some(self.is_unsure(&body.best));
        let outbound = Outbound::json(self.destination(&body.best), &body)
            .map_err(|error| Refusal::reject(format!("the result cannot be written as JSON: {error}")))?;
        Ok(vec![outbound])
    }
}

impl ByLabel {
    fn destination(&self, best: &Score) -> &str {
        match &self.settings.unsure {
            Some(unsure) if self.is_unsure(best) => unsure.as_str(),
            _ => self.settings.labels.get(&best.label).unwrap_or(&self.settings.default),
        }
    }

    fn is_unsure(&self, best: &Score) -> bool {
        self.settings.unsure_below.is_some_and(|least| best.score < least)
    }
}

millrace_plugin::export_router!(ByLabel);

#[cfg(test)]
mod tests {
    use millrace_plugin::serde_json::{Value, json};
    use millrace_plugin::testing::{self, TestMessage, TestPrediction};

    use super::*;

    fn prediction(classes: &[(&str, f32)]) -> TestPrediction {
        let scores = classes.iter().zip(4..).map(|((label, score), index)| Score {
            index,
            label: (*label).to_owned(),
            score: *score,
        });
        TestPrediction {
            model: "shapes".to_owned(),
            scores: scores.collect(),
            ..TestPrediction::default()
        }
    }

    fn route(settings: &Value, classes: &[(&str, f32)]) -> Result<Vec<Outbound>, Refusal> {
        let mut plugin: ByLabel = testing::router(&settings.to_string()).unwrap();
        let message = TestMessage {
            id: "m-1".to_owned(),
            ..TestMessage::default()
        };
        plugin.route(&message.view(), &prediction(classes).view())
    }

    #[test]
    fn a_label_chooses_its_destination() {
        let table = json!({
            "labels": {"cat": "cats", "dog": "dogs"}, "default": "others", "unsure": "unsure", "unsure_below": 0.5,
        });
        let check = |settings: &Value, label: &str, score: f32, expected: &str| {
            let results = route(settings, &[(label, score)]).unwrap();
            let destinations: Vec<_> = results.iter().map(|result| result.destination.as_str()).collect();
            assert_eq!(destinations, [expected], "{label} with {score}");
        };
        check(&table, "cat", 0.9, "cats");
        check(&table, "dog", 0.9, "dogs");
        check(&table, "owl", 0.9, "others");
        check(&table, "cat", 0.5, "cats");
        check(&table, "cat", 0.49, "unsure");
        check(&table, "owl", 0.1, "unsure");
        check(&json!({}), "cat", 0.1, "results");
    }

    #[test]
    fn the_result_says_what_was_seen() {
        let settings = json!({"top_k": 2, "unsure": "unsure", "unsure_below": 0.7});
        let results = route(&settings, &[("cat", 0.625), ("dog", 0.25), ("owl", 0.125)]).unwrap();
        assert_eq!(results[0].content_type.as_deref(), Some("application/json"));
        let body: Value = millrace_plugin::serde_json::from_slice(&results[0].body).unwrap();
        let expected = json!({
            "id": "m-1", "model": "shapes", "label": "cat", "index": 4, "score": 0.625, "unsure": true,
            "top": [{"label": "cat", "index": 4, "score": 0.625}, {"label": "dog", "index": 5, "score": 0.25}],
        });
        assert_eq!(body, expected);
        // Consumers compare and sign bodies: the order of the fields is kept.
        let class = r#""label":"cat","index":4,"score":0.625"#;
        let second = r#""label":"dog","index":5,"score":0.25"#;
        let whole =
            format!(r#"{{"id":"m-1","model":"shapes",{class},"unsure":true,"top":[{{{class}}},{{{second}}}]}}"#);
        assert_eq!(results[0].body, whole.as_bytes());
    }

    #[test]
    fn the_readme_says_what_is_declared() {
        assert_eq!(testing::readme::<Settings>(include_str!("../README.md")), Ok(()));
    }

    #[test]
    fn a_model_without_classes_is_refused() {
        let refusal = route(&json!({}), &[]).unwrap_err();
        let text = "the model `shapes` gives no scores: a classifier is needed";
        assert_eq!(refusal, Refusal::reject(text));
    }

    #[test]
    fn wrong_settings_are_refused() {
        let check = |settings: Value, expected: &str| {
            let error = testing::router::<ByLabel>(&settings.to_string()).unwrap_err();
            assert!(error.contains(expected), "{settings} gave: {error}");
        };
        check(json!({"unsure": "unsure"}), "`unsure` needs `unsure_below`");
        check(json!({"unsure_below": 0.5}), "`unsure_below` needs `unsure`");
        check(json!({"top_k": 0}), "`top_k` is 0");
        check(
            json!({"top_k": -1}),
            "`top_k`: invalid value: integer `-1`, expected u32",
        );
        check(json!({"labels": {"cat": ""}}), "a destination is empty");
        check(
            json!({"labels": {"cat": 3}}),
            "`labels.cat`: invalid type: integer `3`, expected a string",
        );
        check(
            json!({"lables": {}}),
            "unknown field `lables`, expected one of `labels`, `default`",
        );
    }
}
