//! The plugin from message to message, natively.

mod fuzz;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use millrace_plugin::serde_json::{Value, json};
use millrace_plugin::testing::{self, TestMessage};

use super::*;

/// It begins like a PNG, and its base64 has all the characters in which the alphabets differ.
const PICTURE: &[u8] = b"\x89PNG\r\n\x1a\n\xfb\xff\xbf\xfb\xff\xbf>>>???\0";

fn transform(settings: &Value, body: &[u8]) -> Result<Transformed, Refusal> {
    let mut plugin: JsonImage = testing::transformer(&settings.to_string()).unwrap();
    let header = |name: &str, value: &str| Property {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let message = TestMessage {
        content_type: Some("application/json".to_owned()),
        body: body.to_vec(),
        headers: vec![header("camera", "forged"), header("trace", "t-1")],
        ..TestMessage::default()
    };
    plugin.transform(&message.view())
}

#[track_caller]
fn refused(settings: Value, body: &[u8], expected: &str) {
    match transform(&settings, body) {
        Err(Refusal::Reject(text)) => assert!(text.contains(expected), "{text}"),
        other => panic!("{other:?}"),
    }
}

fn in_lines(text: &str) -> String {
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(8)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    lines.join("\r\n")
}

#[test]
fn base64_is_read_as_people_send_it() {
    let standard = STANDARD.encode(PICTURE);
    let rows = [
        json!({ "image": standard }).to_string(),
        json!({ "image": STANDARD_NO_PAD.encode(PICTURE) }).to_string(),
        json!({ "image": URL_SAFE.encode(PICTURE) }).to_string(),
        json!({ "image": URL_SAFE_NO_PAD.encode(PICTURE) }).to_string(),
        json!({ "image": in_lines(&standard) }).to_string(),
        json!({ "image": format!("data:image/png;base64,{standard}") }).to_string(),
        json!({ "image": format!("Data:;BASE64,{standard}") }).to_string(),
        // As PHP escapes it, behind a byte order mark.
        format!(
            "\u{feff}{}",
            json!({ "image": standard }).to_string().replace('/', "\\/")
        ),
    ];
    for body in rows {
        let picture = transform(&json!({}), body.as_bytes()).unwrap();
        assert_eq!(picture.body, PICTURE, "{body}");
        assert_eq!(picture.content_type.as_deref(), Some("image/png"), "{body}");
    }
}

#[test]
fn pointers_say_where_things_are() {
    let body = json!({"payload": [{"data": STANDARD.encode(PICTURE), "type": "image/x-rgb"}]}).to_string();
    let settings = json!({"image": "/payload/0/data", "content_type": "/payload/0/type"});
    let picture = transform(&settings, body.as_bytes()).unwrap();
    assert_eq!(
        (picture.body.as_slice(), picture.content_type.as_deref()),
        (PICTURE, Some("image/x-rgb"))
    );
    let whole = json!(STANDARD.encode(PICTURE)).to_string();
    assert_eq!(
        transform(&json!({"image": ""}), whole.as_bytes()).unwrap().body,
        PICTURE
    );
}

#[test]
fn a_content_type_is_told_or_seen() {
    #[track_caller]
    fn check(head: &str, picture: &[u8], told: Option<&str>, expected: Option<&str>) {
        let body = json!({"image": format!("{head}{}", STANDARD.encode(picture)), "type": told}).to_string();
        let picture = transform(&json!({"content_type": "/type"}), body.as_bytes()).unwrap();
        assert_eq!(picture.content_type.as_deref(), expected);
    }
    check("", b"\xff\xd8\xff\xe0", None, Some("image/jpeg"));
    check("", b"RIFF\0\0\0\0WEBPVP8 ", None, Some("image/webp"));
    check("", b"GIF89a", None, Some("image/gif"));
    check("", b"plain", None, None);
    check(
        "data:image/svg+xml;charset=utf-8;base64,",
        b"<svg",
        None,
        Some("image/svg+xml;charset=utf-8"),
    );
    check(
        "data:image/webp;base64,",
        b"plain",
        Some("image/x-rgb"),
        Some("image/x-rgb"),
    );
}

#[test]
fn other_fields_become_headers() {
    let body = json!({
        "image": STANDARD.encode(PICTURE),
        "camera": {"id": "front", "number": 7, "lit": true, "gain": 1.5, "none": null},
    });
    let settings = json!({"headers": {
        "camera": "/camera/id", "number": "/camera/number", "lit": "/camera/lit", "gain": "/camera/gain",
        "none": "/camera/none", "missing": "/camera/missing",
    }});
    let picture = transform(&settings, body.to_string().as_bytes()).unwrap();
    let headers: Vec<_> = picture
        .headers
        .iter()
        .map(|header| (header.name.as_str(), header.value.as_str()))
        .collect();
    // The message's own `camera` does not stand beside it.
    let expected = [
        ("trace", "t-1"),
        ("camera", "front"),
        ("gain", "1.5"),
        ("lit", "true"),
        ("number", "7"),
    ];
    assert_eq!(headers, expected);
    let body = json!({ "image": STANDARD.encode(PICTURE) }).to_string();
    let picture = transform(&json!({"headers": {"camera": "/camera/id"}}), body.as_bytes()).unwrap();
    assert_eq!(picture.headers.len(), 1, "{:?}", picture.headers);
}

#[test]
fn what_has_no_picture_is_refused_in_words() {
    let picture = |text: &str| json!({ "image": text }).to_string();
    refused(json!({}), b"", "the body is not JSON: EOF while parsing a value");
    refused(json!({}), b"{\"image\": \"x\"", "the body is not JSON: EOF");
    refused(json!({}), b"[]", "there is no `/image` in the JSON");
    refused(json!({}), b"{\"Image\": \"\"}", "there is no `/image` in the JSON");
    refused(
        json!({}),
        b"{\"image\": [1, 2]}",
        "`/image` is a list, not a text in base64",
    );
    refused(
        json!({}),
        b"{\"image\": null}",
        "`/image` is null, not a text in base64",
    );
    refused(json!({}), picture("").as_bytes(), "the picture at `/image` is empty");
    refused(
        json!({}),
        picture("iVBORw0K*Ggo").as_bytes(),
        "is not base64: it has the character `*`",
    );
    refused(
        json!({}),
        picture("größe").as_bytes(),
        "is not base64: it has the byte 0xc3",
    );
    refused(
        json!({}),
        picture("iVBOR").as_bytes(),
        "is not base64: it ends in the middle of a byte",
    );
    refused(
        json!({}),
        picture("iVBO=iVBO").as_bytes(),
        "is not base64: it goes on after its padding",
    );
    refused(json!({}), picture("iV").as_bytes(), "is not base64: its end is damaged");
    refused(
        json!({}),
        picture("b'iVBORw0KGgo='").as_bytes(),
        "it is Python's `str(bytes)`: send `base64.b64encode(picture).decode()`",
    );
    refused(
        json!({}),
        picture("data:image/png,%89PNG").as_bytes(),
        "the `data:` URL at `/image` is not in base64",
    );
    refused(
        json!({}),
        picture("data:image/png;base64").as_bytes(),
        "the `data:` URL at `/image` is not in base64",
    );
    refused(
        json!({}),
        PICTURE,
        "the body is not JSON: it is a PNG itself, which needs no json-image",
    );
    refused(json!({}), b"iVBORw0KGgo=", "the body is not JSON: it is base64 alone");
    let body =
        json!({"image": STANDARD.encode(PICTURE), "camera": {"id": [1]}, "note": "a\nb", "long": "x".repeat(5000)});
    let body = body.to_string();
    refused(
        json!({"headers": {"c": "/camera/id"}}),
        body.as_bytes(),
        "`/camera/id` is a list, a header is a text",
    );
    refused(
        json!({"headers": {"c": "/camera"}}),
        body.as_bytes(),
        "`/camera` is a table, a header is a text",
    );
    refused(
        json!({"headers": {"c": "/note"}}),
        body.as_bytes(),
        "the text at `/note` has control characters",
    );
    refused(
        json!({"headers": {"c": "/long"}}),
        body.as_bytes(),
        "the text at `/long` has 5000 bytes, the limit is 4096",
    );
    refused(
        json!({"content_type": "/long"}),
        body.as_bytes(),
        "the text at `/long` has 5000 bytes, the limit is 255",
    );
}

#[test]
fn a_pickle_is_refused_by_its_name() {
    // `pickle.dumps({"image": 1}, protocol)` of Python, for each protocol.
    let pickles: [&[u8]; 4] = [
        b"\x80\x02}q\0X\x05\0\0\0imageq\x01K\x01s.",
        b"\x80\x03}q\0X\x05\0\0\0imageq\x01K\x01s.",
        b"\x80\x04\x95\x0e\0\0\0\0\0\0\0}\x94\x8c\x05image\x94K\x01s.",
        b"\x80\x05\x95\x0e\0\0\0\0\0\0\0}\x94\x8c\x05image\x94K\x01s.",
    ];
    let expected = "begins with a pickle";
    let reason = "which this host does not read: it can run code";
    for (pickle, protocol) in pickles.into_iter().zip(2..) {
        let by_number = format!("{expected} (protocol {protocol}), {reason}");
        refused(json!({}), pickle, &format!("the body is not JSON: it {by_number}"));
        let encoded = STANDARD.encode(pickle);
        refused(
            json!({}),
            encoded.as_bytes(),
            &format!("in base64, it {expected}, {reason}"),
        );
        let body = json!({ "image": encoded }).to_string();
        refused(json!({}), body.as_bytes(), &format!("what is at `/image` {by_number}"));
    }
    refused(
        json!({}),
        b"(dp0\nVimage\np1\nI1\ns.",
        &format!("it {expected}, {reason}"),
    );
}

#[test]
fn wrong_settings_are_refused() {
    let check = |settings: Value, expected: &str| {
        let error = testing::transformer::<JsonImage>(&settings.to_string()).unwrap_err();
        assert!(error.contains(expected), "{settings} gave: {error}");
    };
    check(
        json!({"image": "image"}),
        "`image`: `image` is no JSON pointer: it begins with `/`, as in `/image`",
    );
    check(
        json!({"headers": {"camera": "id"}}),
        "`headers.camera`: `id` is no JSON pointer",
    );
    check(json!({"headers": {"": "/id"}}), "`headers`: `` is no name of a header");
    check(
        json!({"headers": {"a\nb": "/id"}}),
        "`headers`: `a\\nb` is no name of a header",
    );
    check(json!({"picture": "/image"}), "unknown field `picture`");
}

#[test]
fn the_readme_says_what_is_declared() {
    assert_eq!(testing::readme::<Settings>(include_str!("../../README.md")), Ok(()));
}
