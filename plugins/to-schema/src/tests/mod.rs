//! The plugin from prediction to result, natively.

mod fuzz;

use millrace_plugin::serde_json::json;
use millrace_plugin::testing::{self, TestMessage, TestPrediction};
use millrace_plugin::{Property, Score, Tensor};

use super::*;

fn message() -> TestMessage {
    TestMessage {
        id: "m-1".to_owned(),
        key: "front.png".to_owned(),
        source: "image_queue".to_owned(),
        attempt: 2,
        content_type: Some("application/json".to_owned()),
        body: br#"{"camera": {"id": 7, "lit": true, "name": "front"}, "tags": ["a"], "none": null}"#.to_vec(),
        headers: vec![Property {
            name: "camera".to_owned(),
            value: "a\n\"b\"".to_owned(),
        }],
        ..TestMessage::default()
    }
}

fn prediction(scores: &[(&str, f32)]) -> TestPrediction {
    let scores = scores.iter().zip(4..).map(|((label, score), index)| Score {
        index,
        label: (*label).to_owned(),
        score: *score,
    });
    TestPrediction {
        model: "pets".to_owned(),
        scores: scores.collect(),
        outputs: vec![Tensor::floats([2], vec![1.5, -0.1]).unwrap()],
    }
}

const CLASSES: [(&str, f32); 3] = [("cat", 0.7), ("Maine Coon", 0.2), ("owl", 0.1)];

fn route_of(settings: &Value, message: &TestMessage, classes: &[(&str, f32)]) -> Result<Outbound, Refusal> {
    let mut plugin: ToSchema = testing::router(&settings.to_string()).unwrap();
    let mut results = plugin.route(&message.view(), &prediction(classes).view())?;
    assert_eq!(results.len(), 1);
    Ok(results.remove(0))
}

#[track_caller]
fn body(settings: &Value) -> String {
    let result = route_of(settings, &message(), &CLASSES).unwrap();
    String::from_utf8(result.body).unwrap()
}

#[test]
fn a_placeholder_keeps_its_type_where_it_is_all_of_a_text() {
    #[track_caller]
    fn check(value: &str, alone: &str, in_text: &str) {
        assert_eq!(
            body(&json!({"template": {"x": value}})),
            format!(r#"{{"x":{alone}}}"#),
            "{value}"
        );
        let expected = json!({"x": format!("<{in_text}>")}).to_string();
        assert_eq!(
            body(&json!({"template": {"x": format!("<{value}>")}})),
            expected,
            "{value}"
        );
    }
    check("{id}", r#""m-1""#, "m-1");
    check("{key}", r#""front.png""#, "front.png");
    check("{source}", r#""image_queue""#, "image_queue");
    check("{attempt}", "2", "2");
    check("{redelivered}", "false", "false");
    check("{content-type}", r#""application/json""#, "application/json");
    check("{correlation-id}", "null", "");
    check("{reply-to}", "null", "");
    check("{header:camera}", r#""a\n\"b\"""#, "a\n\"b\"");
    check("{header:none}", "null", "");
    check("{body:/camera/id}", "7", "7");
    check("{body:/camera/lit}", "true", "true");
    check("{body:/camera/name}", r#""front""#, "front");
    check("{body:/none}", "null", "");
    check("{body:/missing}", "null", "");
    check("{model}", r#""pets""#, "pets");
    check("{label}", r#""cat""#, "cat");
    check("{index}", "4", "4");
    check("{score}", "0.7", "0.7");
    check("{score:owl}", "0.1", "0.1");
    check("{score:Maine Coon}", "0.2", "0.2");
    let cat = r#"{"label":"cat","index":4,"score":0.7}"#;
    check("{top:1}", &format!("[{cat}]"), &format!("[{cat}]"));
    check("{output:0}", "[1.5,-0.1]", "[1.5,-0.1]");
    assert_eq!(body(&json!({"text": "{margin}"})), "0.5");
    assert_eq!(
        body(&json!({"template": {"x": "{top}"}, "top_k": 2}))
            .matches("label")
            .count(),
        2
    );
}

#[test]
fn a_template_is_written_as_it_is() {
    let template = json!({
        "event": "classified", "version": 2, "live": true, "gain": 0.5, "braces": "{{label}}",
        "result": {"what": "{label}", "of": ["{score}", "a {label}, {score}", [1, {}]]},
    });
    let expected = json!({
        "event": "classified", "version": 2, "live": true, "gain": 0.5, "braces": "{label}",
        "result": {"what": "cat", "of": [0.7, "a cat, 0.7", [1, {}]]},
    });
    let found = body(&json!({ "template": template }));
    // The one number that is a 32-bit float is written as short as it is.
    assert_eq!(found, expected.to_string());
}

#[test]
fn text_stays_in_its_line() {
    let settings = json!({"text": "{id};{header:camera};{label}\n"});
    let result = route_of(&settings, &message(), &CLASSES).unwrap();
    assert_eq!(String::from_utf8_lossy(&result.body), "m-1;a\\n\"b\";cat\n");
    assert_eq!(result.content_type.as_deref(), Some("text/plain; charset=utf-8"));
}

#[test]
fn the_envelope_is_made_by_the_settings() {
    let settings = json!({
        "template": {"x": 1}, "destination": "breed-{label}", "key": "{source}.{label}",
        "headers": {"camera": "{header:camera}", "kind": "{label}"}, "content_type": "application/vnd.example+json",
    });
    let result = route_of(&settings, &message(), &[("Maine Coon", 0.9)]).unwrap();
    assert_eq!(result.destination, "breed-maine-coon");
    assert_eq!(result.key.as_deref(), Some("image_queue.Maine Coon"));
    assert_eq!(result.content_type.as_deref(), Some("application/vnd.example+json"));
    let headers: Vec<_> = result
        .headers
        .iter()
        .map(|header| (header.name.as_str(), header.value.as_str()))
        .collect();
    assert_eq!(headers, [("camera", "a\\n\"b\""), ("kind", "Maine Coon")]);
    let result = route_of(&json!({"template": {"x": 1}}), &message(), &CLASSES).unwrap();
    assert_eq!(
        (result.destination.as_str(), result.key, result.headers.len()),
        ("results", None, 0)
    );
    assert_eq!(result.content_type.as_deref(), Some("application/json"));
}

#[test]
fn a_model_without_classes_serves_templates_that_ask_for_none() {
    let settings = json!({"template": {"embedding": "{output:0}", "id": "{id}"}});
    let result = route_of(&settings, &message(), &[]).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&result.body),
        r#"{"embedding":[1.5,-0.1],"id":"m-1"}"#
    );
}

#[test]
fn what_a_template_cannot_have_is_refused() {
    #[track_caller]
    fn check(settings: Value, message: &TestMessage, classes: &[(&str, f32)], expected: &str) {
        let refusal = route_of(&settings, message, classes).unwrap_err();
        assert_eq!(refusal, Refusal::reject(expected), "{settings}");
    }
    let no_scores = "the model `pets` gives no scores: the template asks for classes";
    check(json!({"text": "{label}"}), &message(), &[], no_scores);
    check(
        json!({"text": "x", "destination": "{label}"}),
        &message(),
        &[],
        no_scores,
    );
    check(
        json!({"text": "{score:dog}"}),
        &message(),
        &CLASSES,
        "the model has no class `dog`, which the template asks for",
    );
    check(
        json!({"text": "{output:1}"}),
        &message(),
        &CLASSES,
        "the model `pets` has no output 1, which the template asks for",
    );
    let text = "`/tags` of the body is a list or table; a template takes a text, number or boolean";
    check(json!({"text": "{body:/tags}"}), &message(), &CLASSES, text);
    let picture = TestMessage {
        body: b"\x89PNG".to_vec(),
        ..message()
    };
    let text = "the body is not JSON: expected value at line 1 column 1";
    check(json!({"text": "{body:/tags}"}), &picture, &CLASSES, text);
    assert!(route_of(&json!({"text": "{label}"}), &picture, &CLASSES).is_ok());
}

#[test]
fn a_mistake_is_told_with_its_place() {
    #[track_caller]
    fn check(settings: Value, expected: &str) {
        let error = testing::router::<ToSchema>(&settings.to_string()).unwrap_err();
        assert!(error.starts_with(expected), "{settings} gave: {error}");
    }
    check(json!({}), "neither `template` nor `text` is given");
    check(
        json!({"text": "x", "template": {"x": 1}}),
        "`template` and `text` are both given",
    );
    check(
        json!({"template": {"a": {"b": ["x", "größe {lable}"]}}}),
        "`template.a.b[1]`, character 7: there is no `{lable}`, but `{id}`, ",
    );
    check(
        json!({"template": {"a": "{label"}}),
        "`template.a`, character 1: a `{` without a `}`; a brace itself is written `{{`",
    );
    check(
        json!({"text": "a } b"}),
        "`text`, character 3: a `}` without a `{`; a brace itself is written `}}`",
    );
    check(
        json!({"text": "{time}"}),
        "`text`, character 1: there is no `{time}`: a plugin has no clock",
    );
    check(
        json!({"text": "{top:x}"}),
        "`text`, character 1: `{top:x}`: `x` is no number",
    );
    check(
        json!({"text": "{top:0}"}),
        "`text`, character 1: `{top:0}` lists nothing",
    );
    check(
        json!({"text": "{body:camera}"}),
        "`text`, character 1: `camera` is no JSON pointer",
    );
    check(
        json!({"text": "{header:}"}),
        "`text`, character 1: there is no `{header:}`",
    );
    check(
        json!({"template": {"{label}": 1}}),
        "`template.{label}`: placeholders stand in values, not in keys",
    );
    check(
        json!({"text": "x", "key": "{lable}"}),
        "`key`, character 1: there is no `{lable}`",
    );
    check(
        json!({"text": "x", "headers": {"camera": "{lable}"}}),
        "`headers.camera`, character 1: ",
    );
    check(
        json!({"text": "x", "headers": {"X-Camera": "y"}}),
        "`headers`: `X-Camera` is the host's or steers the broker",
    );
    check(
        json!({"text": "x", "headers": {"bcc": "y"}}),
        "`headers`: `bcc` is the host's or steers the broker",
    );
    check(
        json!({"text": "x", "headers": {"": "y"}}),
        "`headers`: `` is no name of a header",
    );
    check(
        json!({"text": "x", "content_type": "a\nb"}),
        "`content_type`: `a\\nb` is no content type",
    );
    check(
        json!({"text": "x", "destination": "{id}"}),
        "`destination`: `{id}`: there is no `{id}` here",
    );
    check(json!({"text": "x", "top_k": 0}), "`top_k` is 0");
}

#[test]
fn the_readme_says_what_is_declared() {
    let readme = include_str!("../../README.md");
    assert_eq!(testing::readme::<Settings>(readme), Ok(()));
    let error = testing::router::<ToSchema>(r#"{"text": "{}"}"#).unwrap_err();
    let known = error.split_once("but ").unwrap().1;
    for placeholder in known.split(", ") {
        assert!(readme.contains(placeholder), "no {placeholder} in the README");
    }
}
