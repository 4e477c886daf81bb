//! The plugin from prediction to result and copy, natively.

mod fuzz;

use millrace_plugin::serde_json::{Value, json};
use millrace_plugin::testing::{self, TestMessage, TestPrediction};
use millrace_plugin::{Property, Score};

use super::*;

fn message() -> TestMessage {
    TestMessage {
        id: "m-1".to_owned(),
        content_type: Some("image/png".to_owned()),
        body: b"a picture".to_vec(),
        headers: vec![Property {
            name: "x-secret".to_owned(),
            value: "1".to_owned(),
        }],
        ..TestMessage::default()
    }
}

fn route_message(settings: &Value, message: &TestMessage, scores: &[f32]) -> Result<Vec<Outbound>, Refusal> {
    let mut plugin: SampleByScore = testing::router(&settings.to_string()).unwrap();
    let scores = scores.iter().zip(0..).map(|(score, index)| Score {
        index,
        label: ["cat", "dog", "owl"][index as usize].to_owned(),
        score: *score,
    });
    let prediction = TestPrediction {
        model: "pets".to_owned(),
        scores: scores.collect(),
        ..TestPrediction::default()
    };
    plugin.route(&message.view(), &prediction.view())
}

#[test]
fn what_is_unsure_is_copied() {
    #[track_caller]
    fn check(settings: Value, scores: &[f32], why: Option<&str>) {
        let results = route_message(&settings, &message(), scores).unwrap();
        let found = results.get(1).map(|sample| {
            let header = sample.headers.iter().find(|header| header.name == "why").unwrap();
            header.value.as_str()
        });
        assert_eq!(found, why, "{settings} of {scores:?}");
    }
    let between = json!({"between": [0.25, 0.5]});
    check(between.clone(), &[0.25, 0.2], Some("between"));
    check(between.clone(), &[0.49, 0.2], Some("between"));
    check(between.clone(), &[0.5, 0.2], None);
    check(between, &[0.24, 0.2], None);
    let margin = json!({"margin_below": 0.125, "top_k": 1});
    check(margin.clone(), &[0.5, 0.4375], Some("margin"));
    check(margin.clone(), &[0.5, 0.375], None);
    check(margin, &[0.5], None);
    check(json!({"rate_others": 1.0}), &[0.9, 0.1], Some("chance"));
    check(
        json!({"rate_others": 1.0, "rate": 0.0, "margin_below": 0.5}),
        &[0.5, 0.4],
        None,
    );
    check(
        json!({"between": [0.0, 1.0], "margin_below": 1.0}),
        &[0.5, 0.4],
        Some("between"),
    );
}

#[test]
fn the_result_says_what_was_seen_and_the_copy_is_the_message() {
    let results = route_message(&json!({"margin_below": 0.5, "top_k": 1}), &message(), &[0.5, 0.25]).unwrap();
    let class = r#""label":"cat","index":0,"score":0.5"#;
    let expected = format!(r#"{{"id":"m-1","model":"pets",{class},"unsure":true,"top":[{{{class}}}]}}"#);
    assert_eq!(results[0].destination, "results");
    assert_eq!(String::from_utf8_lossy(&results[0].body), expected);

    let headers = [
        ("message-id", "m-1"),
        ("model", "pets"),
        ("label", "cat"),
        ("score", "0.5"),
        ("why", "margin"),
    ];
    let mut expected = Outbound::new("samples", message().body).with_content_type("image/png");
    for (name, value) in headers {
        expected = expected.with_header(name, value);
    }
    assert_eq!(results[1], expected);
}

#[test]
fn what_is_sure_is_said_to_be() {
    let results = route_message(
        &json!({"margin_below": 0.125, "rate_others": 1}),
        &message(),
        &[0.5, 0.25],
    )
    .unwrap();
    let body: Value = millrace_plugin::serde_json::from_slice(&results[0].body).unwrap();
    assert_eq!((body["unsure"].as_bool(), results.len()), (Some(false), 2));
}

#[test]
fn a_message_too_large_to_copy_still_has_its_result() {
    let settings = json!({"between": [0.0, 1.0]});
    for (n_bytes, n_results) in [(BODIES_MAX_BYTES - 4096, 2), (BODIES_MAX_BYTES, 1)] {
        let message = TestMessage {
            body: vec![0; n_bytes],
            ..message()
        };
        assert_eq!(
            route_message(&settings, &message, &[0.5]).unwrap().len(),
            n_results,
            "{n_bytes}"
        );
    }
}

#[test]
fn wrong_settings_are_refused() {
    let check = |settings: Value, expected: &str| {
        let error = testing::router::<SampleByScore>(&settings.to_string()).unwrap_err();
        assert!(error.contains(expected), "{settings} gave: {error}");
    };
    check(
        json!({}),
        "nothing is sampled: set `between`, `margin_below` or `rate_others`",
    );
    check(
        json!({"between": [0.5, 0.5]}),
        "`between` is [0.5, 0.5]: nothing is between them",
    );
    check(json!({"between": [0.5]}), "`between");
    check(json!({"margin_below": 0}), "`margin_below` is not above 0");
    check(
        json!({"rate_others": 1.5}),
        "`rate_others` is 1.5: a share is from 0 to 1",
    );
    check(json!({"rate_others": 1, "rate": -0.1}), "`rate` is -0.1");
    check(json!({"rate_others": 1, "top_k": 0}), "`top_k` is 0");
    check(json!({"rate_others": 1, "samples": ""}), "a destination is empty");
}

#[test]
fn a_model_without_classes_is_refused() {
    let refusal = route_message(&json!({"rate_others": 1}), &message(), &[]).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::reject("the model `pets` gives no scores: a classifier is needed")
    );
}

#[test]
fn the_readme_says_what_is_declared() {
    assert_eq!(testing::readme::<Settings>(include_str!("../../README.md")), Ok(()));
}
