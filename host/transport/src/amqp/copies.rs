//! Copies of a message in the queues of its own pipeline: for another attempt, in quarantine, or put back. Knows what a
//! copy keeps, not when one is made.

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::properties::{ATTEMPT, PERSISTENT, STEERING, integer, plain};
use crate::settle::Purpose;

/// How many hosts crashed with the message in flight; read in quarantine queues alone, where only hosts publish.
pub(super) const CRASH_COUNT: &str = "x-millrace-crash-count";

/// The former name of [`CRASH_COUNT`], which older hosts write.
pub(super) const FORMER_CRASH_COUNT: &str = "x-millrace-suspect";

/// The exchange that a copy's original was published to.
pub(super) const EXCHANGE: &str = "x-millrace-exchange";

/// The routing key that a copy's original was published with.
pub(super) const KEY: &str = "x-millrace-key";

/// The longest name that AMQP has, in bytes.
const NAME_MAX_BYTES: usize = 255;

/// More crashes than any `attempts` allows: a count is read as no more.
const CRASH_COUNT_MAX: u32 = 1_000_000;

/// The properties of a copy: what the message had, without what steers the broker and without the user id, which the
/// broker holds against the connection's. It remembers where the message was first published to.
pub(super) fn copied(delivery: &Delivery, purpose: &Purpose) -> BasicProperties {
    let original = &delivery.properties;
    let mut headers = FieldTable::default();
    for (name, value) in original.headers().iter().flat_map(|headers| headers.inner()) {
        let is_kept = |name: &str| !STEERING.contains(&name) && ![CRASH_COUNT, FORMER_CRASH_COUNT].contains(&name);
        if is_kept(name.as_str()) {
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
        Purpose::Quarantine { crash_count } => drop(headers.insert(CRASH_COUNT.into(), count(*crash_count))),
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

/// How many hosts crashed with a message of a quarantine queue in flight: by the first of these headers that it has. An
/// older host keeps a header of the new name as its publisher sent it, so in its queue only the former name counts.
pub(super) fn crash_count(delivery: &Delivery, names: &[&str]) -> u32 {
    let headers = delivery.properties.headers().as_ref().map(FieldTable::inner);
    let value = |name: &&str| headers.and_then(|headers| headers.get(*name));
    let crash_count = names.iter().find_map(value).and_then(integer);
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
            let mut received = delivery(copy);
            if !matches!(purpose, Purpose::Quarantine { .. }) {
                // A copy is published to its queue by name.
                (received.exchange, received.routing_key) = ("".into(), "images".into());
            }
            copy = copied(&received, &purpose);
            assert_eq!(header(&copy, EXCHANGE).as_deref(), Some("amq.topic"), "{purpose:?}");
            assert_eq!(header(&copy, KEY).as_deref(), Some("pictures.cats"), "{purpose:?}");
        }
        let forged = delivery(with_headers(&[(KEY, AMQPValue::LongString("k".repeat(256).into()))]));
        assert_eq!(published_to(&forged).1, "pictures.cats");
    }

    #[test]
    fn the_crash_count_is_bounded_and_kept_out_of_ordinary_copies_under_both_of_its_names() {
        let both = [CRASH_COUNT, FORMER_CRASH_COUNT];
        for (value, expect) in [(2, 2), (0, 1), (-3, 1), (i64::MAX, 1), (9_999_999, CRASH_COUNT_MAX)] {
            for name in both {
                let quarantined = delivery(with_headers(&[(name, AMQPValue::LongLongInt(value))]));
                assert_eq!(crash_count(&quarantined, &both), expect, "{name}: {value}");
                for purpose in [Purpose::PutBack, Purpose::Retry { attempt: 2 }] {
                    let copy = copied(&quarantined, &purpose);
                    assert_eq!(
                        both.map(|name| header(&copy, name)),
                        [None, None],
                        "{name}: {purpose:?}"
                    );
                }
                let raised = copied(&quarantined, &Purpose::Quarantine { crash_count: 7 });
                let written = both.map(|name| header(&raised, name));
                assert_eq!(written, [Some("7".to_owned()), None], "{name}");
            }
        }
        assert_eq!(crash_count(&delivery(BasicProperties::default()), &both), 1);
    }

    #[test]
    fn of_two_crash_counts_the_one_that_the_queues_own_hosts_write_is_read() {
        let headers = [(CRASH_COUNT, 9), (FORMER_CRASH_COUNT, 2)];
        let forged = delivery(with_headers(
            &headers.map(|(name, n)| (name, AMQPValue::LongLongInt(n))),
        ));
        assert_eq!(crash_count(&forged, &[FORMER_CRASH_COUNT]), 2);
        assert_eq!(crash_count(&forged, &[CRASH_COUNT, FORMER_CRASH_COUNT]), 9);
    }
}
