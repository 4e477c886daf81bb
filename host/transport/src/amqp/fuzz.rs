//! Any properties and headers that a broker can hand over: as plugins see them, in a copy, and in a dead letter.

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::protocol::basic::gen_properties;
use lapin::types::{AMQPValue, DecimalValue, FieldTable, ShortString};
use millrace_fuzz::config;
use millrace_fuzz::prelude::*;
use millrace_fuzz::proptest::collection::vec;
use millrace_fuzz::proptest::option;
use serde_json::Value;

use super::copies::copied;
use super::dead_letters::Original;
use super::properties::{ATTEMPT, Outgoing, encoded_bytes, message};
use crate::message::Envelope;
use crate::settle::Purpose;

/// The most text of a dead letter's original: what its headers may take, and twelve properties of 255 bytes, each
/// written with six characters at worst.
const ORIGINAL_MAX_BYTES: usize = 32 * 1024 + 14 * 255 * 6 + 1024;
/// More attempts than a pipeline may have.
const ATTEMPTS_MAX: u32 = 1000;

fn short() -> impl Strategy<Value = ShortString> {
    let text = prop_oneof![
        4 => ".{0,16}",
        1 => "[\u{0}-\u{1f}]{0,255}",
        1 => "[a-z]{255}",
    ];
    text.prop_filter_map("too long", |text| ShortString::try_new(text).ok())
}

/// Headers that mean something to us or to the broker.
const KNOWN: [&str; 7] = [
    "CC",
    "BCC",
    ATTEMPT,
    "x-millrace-deadline",
    "x-millrace-original",
    "x-death",
    "x-delivery-count",
];

/// A header's name: anybody's, and those.
fn name() -> impl Strategy<Value = ShortString> {
    prop_oneof![
        2 => short(),
        1 => millrace_fuzz::proptest::sample::select(KNOWN.as_slice()).prop_map(ShortString::from),
    ]
}

fn value() -> impl Strategy<Value = AMQPValue> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(AMQPValue::Boolean),
        any::<i8>().prop_map(AMQPValue::ShortShortInt),
        any::<u8>().prop_map(AMQPValue::ShortShortUInt),
        any::<i16>().prop_map(AMQPValue::ShortInt),
        any::<u16>().prop_map(AMQPValue::ShortUInt),
        any::<i32>().prop_map(AMQPValue::LongInt),
        any::<u32>().prop_map(AMQPValue::LongUInt),
        any::<i64>().prop_map(AMQPValue::LongLongInt),
        any::<u64>().prop_map(AMQPValue::Timestamp),
        any::<u32>().prop_map(|bits| AMQPValue::Float(f32::from_bits(bits))),
        any::<u64>().prop_map(|bits| AMQPValue::Double(f64::from_bits(bits))),
        (any::<u8>(), any::<u32>()).prop_map(|(scale, value)| AMQPValue::DecimalValue(DecimalValue { scale, value })),
        short().prop_map(AMQPValue::ShortString),
        vec(any::<u8>(), 0..300).prop_map(|bytes| AMQPValue::LongString(bytes.into())),
        "[0-9+-]{0,24}".prop_map(|text| AMQPValue::LongString(text.into())),
        vec(any::<u8>(), 0..64).prop_map(|bytes| AMQPValue::ByteArray(bytes.into())),
        Just(AMQPValue::Void),
    ];
    leaf.prop_recursive(12, 48, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|values| AMQPValue::FieldArray(values.into())),
            vec((name(), inner), 0..4).prop_map(|entries| AMQPValue::FieldTable(table(entries))),
        ]
    })
}

fn table(entries: Vec<(ShortString, AMQPValue)>) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert(name, value);
    }
    table
}

fn properties() -> impl Strategy<Value = BasicProperties> {
    type With = fn(BasicProperties, ShortString) -> BasicProperties;
    let texts: [With; 9] = [
        BasicProperties::with_content_type,
        BasicProperties::with_content_encoding,
        BasicProperties::with_correlation_id,
        BasicProperties::with_reply_to,
        BasicProperties::with_expiration,
        BasicProperties::with_message_id,
        BasicProperties::with_type,
        BasicProperties::with_user_id,
        BasicProperties::with_app_id,
    ];
    let headers = prop_oneof![
        9 => vec((name(), value()), 0..12),
        // Many names that grow when they are written as text.
        1 => vec(("[\u{1}-\u{1f}]{200}".prop_map(ShortString::from), Just(AMQPValue::Void)), 0..250),
    ];
    let numbers = (
        option::of(any::<u8>()),
        option::of(any::<u8>()),
        option::of(any::<u64>()),
    );
    (vec(option::of(short()), texts.len()), numbers, option::of(headers)).prop_map(
        move |(values, (mode, priority, timestamp), headers)| {
            let mut properties = BasicProperties::default();
            for (with, value) in texts.iter().zip(values) {
                if let Some(value) = value {
                    properties = with(properties, value);
                }
            }
            properties = mode.into_iter().fold(properties, BasicProperties::with_delivery_mode);
            properties = priority.into_iter().fold(properties, BasicProperties::with_priority);
            properties = timestamp.into_iter().fold(properties, BasicProperties::with_timestamp);
            headers
                .map(table)
                .into_iter()
                .fold(properties, BasicProperties::with_headers)
        },
    )
}

fn delivery(properties: BasicProperties) -> Delivery {
    let mut delivery = Delivery::mock(1, "".into(), "key".into(), false, b"body".to_vec());
    delivery.properties = properties;
    delivery
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn any_properties_become_a_message(properties in properties()) {
        let n_headers = properties.headers().as_ref().map_or(0, |headers| headers.inner().len());
        let message = message("queue", &mut delivery(properties));
        prop_assert!(message.attempt >= 1);
        prop_assert!(!message.id.is_empty());
        prop_assert!(message.headers.len() <= n_headers);
        prop_assert_eq!(message.body.as_slice(), b"body");
    }

    #[test]
    fn the_size_of_any_properties_is_that_of_the_wire(properties in properties()) {
        let written = gen_properties(&properties)(Vec::new().into());
        let (written, _) = written.map_err(|error| TestCaseError::fail(error.to_string()))?.into_inner();
        prop_assert_eq!(encoded_bytes(&properties), written.len());
    }

    #[test]
    fn a_copy_for_another_attempt_is_counted_and_steers_nothing(properties in properties(), attempt in 1..ATTEMPTS_MAX) {
        let copy = copied(&delivery(properties.clone()), &Purpose::Retry { attempt: attempt + 1 });
        prop_assert_eq!(copy.user_id(), &None);
        prop_assert_eq!(copy.delivery_mode(), &Some(2));
        prop_assert_eq!(copy.correlation_id(), properties.correlation_id());
        let headers = copy.headers().clone().unwrap_or_default();
        prop_assert!(!headers.contains_key("CC") && !headers.contains_key("BCC"));
        let given = message("queue", &mut delivery(properties));
        let again = message("queue", &mut delivery(copy));
        prop_assert_eq!(again.attempt, attempt + 1);
        prop_assert_eq!(again.id, given.id);
    }

    #[test]
    fn the_original_of_a_dead_letter_is_json_and_fits_into_a_header(properties in properties(), key in short()) {
        let mut delivery = delivery(properties);
        delivery.routing_key = key;
        let text = Original::of(&delivery).to_json();
        prop_assert!(text.len() <= ORIGINAL_MAX_BYTES, "{} bytes", text.len());
        let original: Value = serde_json::from_str(&text).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert!(original.is_object());
        prop_assert!(Original::parse(&text).is_ok());
    }

    #[test]
    fn an_envelope_is_published_or_refused(id in ".{0,300}", correlation in ".{0,300}", name in ".{0,300}", content in option::of(".{0,300}")) {
        let envelope = Envelope {
            message_id: id.clone(),
            correlation_id: correlation.clone(),
            content_type: content.clone(),
            headers: [(name.clone().into(), "value".to_owned())].into(),
        };
        let fits = [Some(&id), Some(&correlation), Some(&name), content.as_ref()].into_iter().flatten().all(|text| text.len() <= 255);
        prop_assert_eq!(Outgoing::of(envelope).is_ok(), fits);
    }
}
