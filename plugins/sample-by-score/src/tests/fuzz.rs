//! Whatever ids and content types are, the host takes the copy.

use millrace_fuzz::config;
use millrace_fuzz::prelude::*;

use super::*;

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn whatever_ids_and_types_are_the_host_takes_the_copy(id in ".{0,2000}", content_type in ".{0,300}") {
        let message = TestMessage { id, content_type: Some(content_type), ..message() };
        let results = route_message(&json!({"rate_others": 1}), &message, &[0.5]).unwrap();
        let sample = &results[1];
        let values = sample.headers.iter().map(|header| &header.value).chain(&sample.content_type);
        for value in values {
            prop_assert!(value.len() < 2048, "{} bytes", value.len());
            prop_assert!(!value.chars().any(|character| character.is_control() || character == '\u{202e}'), "{value:?}");
        }
        prop_assert!(sample.content_type.as_ref().is_none_or(|name| name.len() <= 255));
    }
}
