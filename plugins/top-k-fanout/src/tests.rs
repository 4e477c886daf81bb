//! The plugin from prediction to results, natively.

use millrace_plugin::serde_json::{self, Value, json};
use millrace_plugin::testing::{self, TestMessage, TestPrediction};

use super::*;

const CLASSES: [(&str, f32); 3] = [("cat", 0.625), ("T-shirt/top", 0.25), ("owl", 0.125)];

fn route(settings: &Value, classes: &[(&str, f32)]) -> Result<Vec<Outbound>, Refusal> {
    let mut plugin: TopKFanout = testing::router(&settings.to_string()).unwrap();
    let message = TestMessage {
        id: "m-1".to_owned(),
        ..TestMessage::default()
    };
    let scores = classes.iter().zip(4..).map(|((label, score), index)| Score {
        index,
        label: (*label).to_owned(),
        score: *score,
    });
    let prediction = TestPrediction {
        model: "things".to_owned(),
        scores: scores.collect(),
        ..TestPrediction::default()
    };
    plugin.route(&message.view(), &prediction.view())
}

#[test]
fn each_of_the_best_classes_has_a_result() {
    #[track_caller]
    fn check(settings: Value, expected: &[(&str, Option<&str>, &str)]) {
        let results = route(&settings, &CLASSES).unwrap();
        let bodies: Vec<Value> = results
            .iter()
            .map(|result| serde_json::from_slice(&result.body).unwrap())
            .collect();
        let found: Vec<_> = results
            .iter()
            .zip(&bodies)
            .map(|(result, body)| {
                (
                    result.destination.as_str(),
                    result.key.as_deref(),
                    body["label"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(found, expected, "{settings}");
    }
    check(
        json!({}),
        &[
            ("results", None, "cat"),
            ("results", None, "T-shirt/top"),
            ("results", None, "owl"),
        ],
    );
    check(json!({"k": 1}), &[("results", None, "cat")]);
    check(
        json!({"k": 8, "min_score": 0.25}),
        &[("results", None, "cat"), ("results", None, "T-shirt/top")],
    );
    check(
        json!({"k": 2, "destination": "class-{label}", "key": "{label}.{index}"}),
        &[
            ("class-cat", Some("cat.4"), "cat"),
            ("class-t-shirt-top", Some("t-shirt-top.5"), "T-shirt/top"),
        ],
    );
    check(json!({"min_score": 0.7}), &[]);
    check(
        json!({"min_score": 0.7, "otherwise": "unsure"}),
        &[("unsure", None, "cat")],
    );
    check(
        json!({"k": 1, "min_score": 0.5, "otherwise": "unsure"}),
        &[("results", None, "cat")],
    );
}

#[test]
fn a_result_says_its_place() {
    let results = route(&json!({"k": 2}), &CLASSES).unwrap();
    assert_eq!(results[1].content_type.as_deref(), Some("application/json"));
    let expected = r#"{"id":"m-1","model":"things","label":"T-shirt/top","index":5,"score":0.25,"rank":2,"of":2}"#;
    assert_eq!(String::from_utf8_lossy(&results[1].body), expected);
    let results = route(&json!({"min_score": 0.7, "otherwise": "unsure"}), &CLASSES).unwrap();
    let expected = r#"{"id":"m-1","model":"things","label":"cat","index":4,"score":0.625,"rank":1,"of":0}"#;
    assert_eq!(String::from_utf8_lossy(&results[0].body), expected);
}

#[test]
fn a_model_without_classes_is_refused() {
    let refusal = route(&json!({}), &[]).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::reject("the model `things` gives no scores: a classifier is needed")
    );
}

#[test]
fn wrong_settings_are_refused() {
    let check = |settings: Value, expected: &str| {
        let error = testing::router::<TopKFanout>(&settings.to_string()).unwrap_err();
        assert!(error.contains(expected), "{settings} gave: {error}");
    };
    check(json!({"k": 0}), "`k` is 0: at least the best class");
    check(
        json!({"k": 9}),
        "`k` is 9: the host takes at most 8 results of one message",
    );
    check(json!({"otherwise": "unsure"}), "`otherwise` needs `min_score`");
    check(json!({"destination": ""}), "`destination`: a name is empty");
    check(
        json!({"key": "{lable}"}),
        "`key`: `{lable}`: there is no `{lable}` here",
    );
    check(
        json!({"min_score": "0.5"}),
        "`min_score`: invalid type: string \"0.5\", expected f32",
    );
}

#[test]
fn the_readme_says_what_is_declared() {
    assert_eq!(testing::readme::<Settings>(include_str!("../README.md")), Ok(()));
}
