//! Copies that a message leaves in the queues of its own pipeline: for another attempt, set apart, or put back. Knows
//! what a copy keeps, not when one is made.

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::properties::{ATTEMPT, PERSISTENT, STEERING, integer, plain};
use crate::transport::settle::Purpose;

/// How many hosts ended with a suspect in hand; believed of messages in the queue of suspects alone.
pub(super) const SUSPECT: &str = "x-millrace-suspect";

/// The exchange that a copy's original was published to.
pub(super) const EXCHANGE: &str = "x-millrace-exchange";

/// The routing key that a copy's original was published with.
pub(super) const KEY: &str = "x-millrace-key";

/// The longest name that AMQP has, in bytes.
const NAME_MAX_BYTES: usize = 255;

/// More deaths than any `attempts` allows: a count is read as no more.
const CRASH_COUNT_MAX: u32 = 1_000_000;

/// The properties of a copy: what the message had, without what steers the broker and without the user id, which the
/// broker holds against the connection's. It remembers where the message was first published to.
pub(super) fn copied(delivery: &Delivery, purpose: &Purpose) -> BasicProperties {
    let original = &delivery.properties;
    let mut headers = FieldTable::default();
    for (name, value) in original.headers().iter().flat_map(|headers| headers.inner()) {
        if !STEERING.contains(&name.as_str()) && name.as_str() != SUSPECT {
            headers.insert(name.clone(), value.clone());
        }
    }
    let (exchange, key) = published_to(delivery);
    for (name, value) in [(EXCHANGE, exchange), (KEY, key)] {
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
    }
    let count = |count: u32| AMQPValue::LongLongInt(i64::from(count));
    match purpose {
        Purpose::Retry { attempt } => drop(headers.insert(ATTEMPT.into(), count(*attempt))),
        Purpose::Quarantine { crash_count } => drop(headers.insert(SUSPECT.into(), count(*crash_count))),
        Purpose::PutBack | Purpose::DeadLetter(_) => {}
    }
    let mut copy = BasicProperties::default()
        .with_headers(headers)
        .with_delivery_mode(PERSISTENT);
    let set = |copy: BasicProperties,
               value: &Option<ShortString>,
               with: fn(BasicProperties, ShortString) -> BasicProperties| {
        match value {
            Some(value) => with(copy, value.clone()),
            None => copy,
        }
    };
    copy = set(copy, original.content_type(), BasicProperties::with_content_type);
    copy = set(
        copy,
        original.content_encoding(),
        BasicProperties::with_content_encoding,
    );
    copy = set(copy, original.correlation_id(), BasicProperties::with_correlation_id);
    copy = set(copy, original.reply_to(), BasicProperties::with_reply_to);
    copy = set(copy, original.expiration(), BasicProperties::with_expiration);
    copy = set(copy, original.message_id(), BasicProperties::with_message_id);
    copy = set(copy, original.kind(), BasicProperties::with_type);
    copy = set(copy, original.app_id(), BasicProperties::with_app_id);
    if let Some(priority) = original.priority() {
        copy = copy.with_priority(*priority);
    }
    if let Some(timestamp) = original.timestamp() {
        copy = copy.with_timestamp(*timestamp);
    }
    copy
}

/// The exchange and the routing key that a message was published with; of a copy, those of its original.
pub(super) fn published_to(delivery: &Delivery) -> (String, String) {
    let headers = delivery.properties.headers().as_ref().map(FieldTable::inner);
    let kept = |name: &str, own: &ShortString| {
        let kept = headers.and_then(|headers| headers.get(name)).and_then(plain);
        // Anybody may set the header; a text that was a name once fits where names do.
        kept.filter(|kept| kept.len() <= NAME_MAX_BYTES)
            .unwrap_or_else(|| own.to_string())
    };
    (kept(EXCHANGE, &delivery.exchange), kept(KEY, &delivery.routing_key))
}

/// How many hosts ended with a message of the queue of suspects in hand, as its header says.
pub(super) fn crash_count(delivery: &Delivery) -> u32 {
    let headers = delivery.properties.headers().as_ref().map(FieldTable::inner);
    let crash_count = headers.and_then(|headers| headers.get(SUSPECT)).and_then(integer);
    u32::try_from(crash_count.unwrap_or(1))
        .unwrap_or(1)
        .clamp(1, CRASH_COUNT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(properties: BasicProperties) -> Delivery {
        let mut delivery = Delivery::mock(1, "amq.topic".into(), "pictures.cats".into(), true, Vec::new());
        delivery.properties = properties;
        delivery
    }

    fn with_headers(headers: &[(&str, AMQPValue)]) -> BasicProperties {
        let mut table = FieldTable::default();
        for (name, value) in headers {
            table.insert((*name).into(), value.clone());
        }
        BasicProperties::default().with_headers(table)
    }

    fn header(properties: &BasicProperties, name: &str) -> Option<String> {
        plain(properties.headers().as_ref()?.inner().get(name)?)
    }

    #[test]
    fn a_retried_copy_keeps_what_it_had_and_drops_what_steers_the_broker() {
        let original = with_headers(&[
            (
                "CC",
                AMQPValue::FieldArray(vec![AMQPValue::LongString("other".into())].into()),
            ),
            ("colour", AMQPValue::LongString("red".into())),
        ])
        .with_user_id("guest".into())
        .with_correlation_id("c-1".into())
        .with_priority(3);
        let copy = copied(&delivery(original.clone()), &Purpose::Retry { attempt: 2 });
        assert_eq!(copy.correlation_id(), original.correlation_id());
        assert_eq!(copy.priority(), &Some(3));
        assert_eq!(copy.user_id(), &None);
        let headers = copy.headers().clone().unwrap();
        assert!(!headers.contains_key("CC"));
        assert!(headers.contains_key("colour"));
        assert_eq!(headers.inner().get(ATTEMPT).and_then(integer), Some(2));
    }

    #[test]
    fn every_copy_remembers_where_the_message_was_published_to() {
        let mut copy = BasicProperties::default();
        for purpose in [
            Purpose::Quarantine { crash_count: 1 },
            Purpose::PutBack,
            Purpose::Retry { attempt: 2 },
        ] {
            let mut taken = delivery(copy);
            if !matches!(purpose, Purpose::Quarantine { .. }) {
                // A copy is published to its queue by name.
                (taken.exchange, taken.routing_key) = ("".into(), "images".into());
            }
            copy = copied(&taken, &purpose);
            assert_eq!(header(&copy, EXCHANGE).as_deref(), Some("amq.topic"), "{purpose:?}");
            assert_eq!(header(&copy, KEY).as_deref(), Some("pictures.cats"), "{purpose:?}");
        }
        let forged = delivery(with_headers(&[(KEY, AMQPValue::LongString("k".repeat(256).into()))]));
        assert_eq!(published_to(&forged).1, "pictures.cats");
    }

    #[test]
    fn the_count_of_deaths_is_bounded_and_kept_out_of_ordinary_copies() {
        for (value, expect) in [(2, 2), (0, 1), (-3, 1), (i64::MAX, 1), (9_999_999, CRASH_COUNT_MAX)] {
            let quarantined = delivery(with_headers(&[(SUSPECT, AMQPValue::LongLongInt(value))]));
            assert_eq!(crash_count(&quarantined), expect, "{value}");
            for purpose in [Purpose::PutBack, Purpose::Retry { attempt: 2 }] {
                assert_eq!(header(&copied(&quarantined, &purpose), SUSPECT), None, "{purpose:?}");
            }
            let raised = copied(&quarantined, &Purpose::Quarantine { crash_count: 7 });
            assert_eq!(header(&raised, SUSPECT).as_deref(), Some("7"));
        }
        assert_eq!(crash_count(&delivery(BasicProperties::default())), 1);
    }
}
