//! Whatever strangers write, results are whole; whatever is written as a template, it is one or a mistake with a place.

use millrace_fuzz::prelude::*;
use millrace_fuzz::{config, text as changed};

use super::*;

proptest! {
    #![proptest_config(config(1000))]

    /// Whatever stands in a message, a result is JSON, and text stays within its line.
    #[test]
    fn strangers_break_no_result(
        id in ".{0,100}",
        header in changed(vec!["front".to_owned()], &["\n", "\"", "{label}", "\\"]),
        json in changed(
            vec![r#"{"camera": {"id": 7, "name": "front"}}"#.to_owned()], &["\"", "[", "{", "\\u0000", "{label}", "1e999"],
        ),
    ) {
        let headers = vec![Property { name: "camera".to_owned(), value: header.clone() }];
        let message = TestMessage { id: id.clone(), headers, body: json.into_bytes(), ..message() };
        let template = json!({"id": "{id}", "camera": "<{header:camera}>", "name": "{body:/camera/name}", "label": "{label}"});
        match route_of(&json!({ "template": template }), &message, &CLASSES) {
            Ok(result) => {
                let result: Value = serde_json::from_slice(&result.body).unwrap();
                prop_assert_eq!(&result["id"], &json!(id));
                prop_assert_eq!(&result["camera"], &json!(format!("<{header}>")));
                prop_assert_eq!(&result["label"], &json!("cat"));
            }
            Err(Refusal::Reject(text)) => prop_assert!(text.contains("body"), "{text}"),
            Err(other) => prop_assert!(false, "{other:?}"),
        }
        let settings = json!({"text": "{id} {header:camera} {label}\n", "headers": {"camera": "{header:camera}"}});
        let result = route_of(&settings, &message, &CLASSES).unwrap();
        prop_assert_eq!(result.body.iter().filter(|byte| **byte == b'\n').count(), 1);
        prop_assert!(header::is_plain(&result.headers[0].value));
    }

    /// Whatever is written as a template, it is a template or a mistake with a place.
    #[test]
    fn any_text_is_a_template_or_a_mistake(
        text in changed(vec!["{id}: {label} {score:cat}".to_owned(), "{{}}".to_owned()], &["{", "}", "{top:", ":", "{body:/"]),
    ) {
        if let Err(error) = testing::router::<ToSchema>(&json!({ "text": text }).to_string()) {
            prop_assert!(error.starts_with("`text`, character "), "{error}");
        }
    }
}
