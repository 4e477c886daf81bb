//! Any bytes as JSON: a picture out of it or a refusal, and no more memory than the body deserves.

use millrace_fuzz::prelude::*;
use millrace_fuzz::{bytes, config, peak_bytes};

use super::*;

/// What the test itself, and the allocator's own rooms, may take.
const SLACK_BYTES: u64 = 512 << 20;

fn bodies() -> Vec<Vec<u8>> {
    let encoded = STANDARD.encode(PICTURE);
    [
        json!({"image": encoded, "camera": {"id": 7}, "type": "image/png"}),
        json!({"image": format!("data:image/png;base64,{encoded}"), "camera": {"id": "a"}}),
        json!({"image": in_lines(&URL_SAFE.encode(PICTURE)), "type": null}),
        json!({"payload": [[[{"image": encoded}]]], "image": [encoded]}),
    ]
    .map(|body| body.to_string().into_bytes())
    .to_vec()
}

/// A plain reading of the same settings, over a tree of all of the JSON.
fn plainly(body: &[u8]) -> Option<Vec<u8>> {
    let json: Value = millrace_plugin::serde_json::from_slice(body).ok()?;
    let text: String = json.pointer("/image")?.as_str()?.split_ascii_whitespace().collect();
    [&STANDARD, &URL_SAFE]
        .iter()
        .find_map(|engine| engine.decode(&text).ok())
}

proptest! {
    #![proptest_config(config(2000))]

    #[test]
    fn a_picture_is_read_or_refused(body in bytes(bodies())) {
        let before = peak_bytes();
        let settings = json!({"content_type": "/type", "headers": {"camera": "/camera/id"}});
        match transform(&settings, &body) {
            Ok(picture) => {
                prop_assert!(!picture.body.is_empty() && picture.body.len() < body.len());
                let texts = picture.headers.iter().map(|header| &header.value).chain(&picture.content_type);
                for text in texts {
                    prop_assert!(!text.chars().any(char::is_control), "{text:?}");
                }
            }
            Err(Refusal::Reject(text)) => prop_assert!(!text.is_empty()),
            Err(other) => prop_assert!(false, "{other:?}"),
        }
        if let (Some(before), Some(after)) = (before, peak_bytes()) {
            prop_assert!(after - before <= SLACK_BYTES, "took {} bytes", after - before);
        }
    }

    #[test]
    fn whatever_is_plainly_a_picture_is_read(body in bytes(bodies())) {
        if let Some(picture) = plainly(&body).filter(|picture| !picture.is_empty() && picture.first() != Some(&0x80)) {
            prop_assert_eq!(transform(&json!({}), &body).map(|picture| picture.body), Ok(picture));
        }
    }
}
