//! Every type of header through JSON and back; headers that do not fit; texts that no host wrote.

use std::collections::BTreeMap;

use super::*;

/// A small generator (SplitMix64), so that a failure is repeated by its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = self.below(24);
        (0..length).map(|_| self.next() as u8).collect()
    }

    fn name(&mut self) -> ShortString {
        let length = self.below(12);
        let name: String = (0..length)
            .map(|_| char::from_u32(self.below(0x500) as u32).unwrap_or('?'))
            .collect();
        ShortString::try_new(name).unwrap()
    }

    fn value(&mut self, depth: usize) -> AMQPValue {
        let bits = self.next();
        match self.below(if depth == 0 { 16 } else { 18 }) {
            0 => AMQPValue::Boolean(bits & 1 == 1),
            1 => AMQPValue::ShortShortInt(bits as i8),
            2 => AMQPValue::ShortShortUInt(bits as u8),
            3 => AMQPValue::ShortInt(bits as i16),
            4 => AMQPValue::ShortUInt(bits as u16),
            5 => AMQPValue::LongInt(bits as i32),
            6 => AMQPValue::LongUInt(bits as u32),
            7 => AMQPValue::LongLongInt(bits as i64),
            8 => AMQPValue::Float(f32::from_bits(bits as u32)),
            9 => AMQPValue::Double(f64::from_bits(bits)),
            10 => AMQPValue::DecimalValue(DecimalValue {
                scale: bits as u8,
                value: (bits >> 8) as u32,
            }),
            11 => AMQPValue::LongString(self.bytes().into()),
            12 => AMQPValue::LongString(self.name().as_str().into()),
            13 => AMQPValue::Timestamp(bits),
            14 => AMQPValue::ByteArray(self.bytes().into()),
            15 => AMQPValue::Void,
            16 => {
                let length = self.below(4);
                AMQPValue::FieldArray((0..length).map(|_| self.value(depth - 1)).collect::<Vec<_>>().into())
            }
            _ => AMQPValue::FieldTable(self.table(depth - 1)),
        }
    }

    fn table(&mut self, depth: usize) -> FieldTable {
        let length = self.below(4);
        let entries = (0..length).map(|_| (self.name(), self.value(depth)));
        entries.collect::<BTreeMap<_, _>>().into()
    }
}

/// Two values are equal on the wire where these texts are: NaN is not equal to itself, and -0.0 is to 0.0.
fn shown(original: &Original) -> String {
    let headers = original.properties.headers().clone().unwrap_or_default();
    let headers: Vec<String> = headers
        .inner()
        .iter()
        .map(|(name, value)| format!("{name:?} {}", bits(value)))
        .collect();
    let rest = original.properties.clone().with_headers(FieldTable::default());
    format!(
        "{} {} {rest:?} {headers:?} {}",
        original.exchange, original.routing_key, original.n_cut
    )
}

fn bits(value: &AMQPValue) -> String {
    match value {
        AMQPValue::Float(value) => format!("f32 {:x}", value.to_bits()),
        AMQPValue::Double(value) => format!("f64 {:x}", value.to_bits()),
        AMQPValue::FieldArray(array) => format!("{:?}", array.as_slice().iter().map(bits).collect::<Vec<_>>()),
        AMQPValue::FieldTable(table) => {
            let entries = table.inner().iter();
            format!(
                "{:?}",
                entries.map(|(name, value)| (name, bits(value))).collect::<Vec<_>>()
            )
        }
        other => format!("{other:?}"),
    }
}

fn with_headers(headers: &[(&str, AMQPValue)]) -> BasicProperties {
    let mut table = FieldTable::default();
    for (name, value) in headers {
        table.insert((*name).into(), value.clone());
    }
    BasicProperties::default().with_headers(table)
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn of(exchange: &str, routing_key: &str, properties: &BasicProperties) -> Original {
    let mut delivery = Delivery::mock(1, exchange.into(), routing_key.into(), false, Vec::new());
    delivery.properties = properties.clone();
    Original::of(&delivery)
}

#[test]
fn whatever_a_message_had_is_read_back_as_it_was() {
    for seed in 0..5_000 {
        let mut random = Random(seed);
        let mut properties = BasicProperties::default();
        for (_, _, with) in TEXTS {
            if random.below(2) == 0 {
                properties = with(properties, random.name());
            }
        }
        if random.below(2) == 0 {
            properties = properties
                .with_delivery_mode(random.next() as u8)
                .with_priority(random.next() as u8)
                .with_timestamp(random.next());
        }
        if random.below(8) > 0 {
            properties = properties.with_headers(random.table(4));
        }
        let (exchange, key) = (random.name(), random.name());
        let original = of(exchange.as_str(), key.as_str(), &properties);
        let json = original.to_json();
        let read = Original::parse(&json).unwrap_or_else(|error| panic!("seed {seed}: {error}: {json}"));
        assert_eq!(shown(&read), shown(&original), "seed {seed}: {json}");
        assert_eq!(
            read.properties.headers().is_some(),
            properties.headers().is_some(),
            "seed {seed}"
        );
    }
}

#[test]
fn each_type_has_its_own_notation_and_text_is_plain() {
    let rows = [
        (text("red"), r#""red""#),
        (AMQPValue::Boolean(true), "true"),
        (AMQPValue::Void, "null"),
        (AMQPValue::ShortShortInt(-5), r#"{"i8":-5}"#),
        (AMQPValue::ShortShortUInt(5), r#"{"u8":5}"#),
        (AMQPValue::ShortInt(-5), r#"{"i16":-5}"#),
        (AMQPValue::ShortUInt(5), r#"{"u16":5}"#),
        (AMQPValue::LongInt(5), r#"{"i32":5}"#),
        (AMQPValue::LongUInt(5), r#"{"u32":5}"#),
        (AMQPValue::LongLongInt(i64::MIN), r#"{"i64":-9223372036854775808}"#),
        (AMQPValue::Float(0.1), r#"{"f32":"0.1"}"#),
        (AMQPValue::Double(f64::NEG_INFINITY), r#"{"f64":"-inf"}"#),
        (AMQPValue::Double(f64::NAN), r#"{"f64":"0x7ff8000000000000"}"#),
        (AMQPValue::Timestamp(5), r#"{"timestamp":5}"#),
        (AMQPValue::ByteArray(vec![0, 255].into()), r#"{"bytes":"00ff"}"#),
        (AMQPValue::LongString(vec![0xff].into()), r#"{"string":"ff"}"#),
        (
            AMQPValue::DecimalValue(DecimalValue { scale: 2, value: 314 }),
            r#"{"decimal":{"scale":2,"value":314}}"#,
        ),
        (
            AMQPValue::FieldArray(vec![text("a"), AMQPValue::Void].into()),
            r#"["a",null]"#,
        ),
        (
            AMQPValue::FieldTable(with_headers(&[("a", text("b"))]).headers().clone().unwrap()),
            r#"{"table":{"a":"b"}}"#,
        ),
        (
            AMQPValue::ShortString("never on the wire".into()),
            r#""never on the wire""#,
        ),
    ];
    for (value, expected) in rows {
        assert_eq!(to_tree(&value, DEPTH_MAX).unwrap().to_string(), expected);
    }
}

#[test]
fn headers_that_are_too_large_or_too_deep_are_left_out_whole_and_counted() {
    let nested = |depth| (0..depth).fold(AMQPValue::Void, |inner, _| AMQPValue::FieldArray(vec![inner].into()));
    let properties = with_headers(&[
        ("a-small", text("kept")),
        ("b-big", text(&"x".repeat(40_000))),
        ("c-deep", nested(DEPTH_MAX + 1)),
        ("d-just", nested(DEPTH_MAX)),
        ("e-controls", text(&"\u{1}".repeat(8_000))),
        ("f-small", text("kept, too")),
    ]);
    let json = of("", "images", &properties).to_json();
    assert!(json.len() < HEADERS_MAX_BYTES, "{}", json.len());
    let read = Original::parse(&json).unwrap();
    let headers = read.properties.headers().clone().unwrap();
    let names: Vec<&str> = headers.inner().keys().map(ShortString::as_str).collect();
    assert_eq!((names, read.n_cut), (vec!["a-small", "d-just", "f-small"], 3));
    assert_eq!(read.cut_names, ["b-big", "c-deep", "e-controls"]);
    // The count of cut headers stays.
    assert_eq!(Original::parse(&read.to_json()).unwrap().n_cut, 3);
}

#[test]
fn the_largest_original_can_be_read_back() {
    let worst = "\u{1}".repeat(255);
    let mut properties = with_headers(&[("a", text(&"x".repeat(HEADERS_MAX_BYTES - 16)))]);
    for (_, _, with) in TEXTS {
        properties = with(properties, worst.as_str().into());
    }
    let original = of(&worst, &worst, &properties);
    assert_eq!(Original::parse(&original.to_json()).unwrap(), original);
}

#[test]
fn a_copy_says_where_the_message_was_published_first() {
    let properties = with_headers(&[
        (EXCHANGE, text("pictures")),
        (KEY, text("cats.black")),
        (ATTEMPT, AMQPValue::LongLongInt(2)),
        (CRASH_COUNT, AMQPValue::LongLongInt(1)),
        (FORMER_CRASH_COUNT, AMQPValue::LongLongInt(1)),
        (NONCE, text("n")),
        ("x-delivery-count", AMQPValue::LongLongInt(1)),
        ("colour", text("red")),
    ]);
    let original = of("", "image_queue", &properties);
    assert_eq!(
        (original.exchange.as_str(), original.routing_key.as_str()),
        ("pictures", "cats.black")
    );
    assert_eq!(original.properties, with_headers(&[("colour", text("red"))]));
    let back = original.put_back("image_queue").headers().clone().unwrap();
    assert_eq!(back.inner().get(EXCHANGE), Some(&text("pictures")));
    assert_eq!(back.inner().get(KEY), Some(&text("cats.black")));
    assert!(!back.contains_key(ATTEMPT), "{back:?}");
}

#[test]
fn what_is_put_back_has_everything_but_what_steers_the_broker() {
    let mut properties = with_headers(&[
        ("n", AMQPValue::ShortInt(5)),
        ("CC", AMQPValue::FieldArray(vec![text("q")].into())),
    ]);
    for (name, _, with) in TEXTS {
        properties = with(properties, if name == "expiration" { "60000" } else { name }.into());
    }
    properties = properties.with_delivery_mode(1).with_priority(7).with_timestamp(1);
    let back = of("", "images", &properties).put_back("images");
    for (name, get, _) in TEXTS {
        assert_eq!(get(&back).is_some(), name != "user_id", "{name}");
    }
    assert_eq!(back.headers(), with_headers(&[("n", AMQPValue::ShortInt(5))]).headers());
    assert_eq!(
        (back.delivery_mode(), back.priority(), back.timestamp()),
        (&Some(1), &Some(7), &Some(1))
    );
}

#[test]
fn what_would_close_the_channel_is_not_put_back() {
    let properties = BasicProperties::default()
        .with_expiration("soon".into())
        .with_reply_to(DIRECT_REPLY.into());
    assert_eq!(of("", "q", &properties).put_back("q"), BasicProperties::default());
}

#[test]
fn headers_that_the_broker_wrote_when_it_dead_lettered_are_removed() {
    let properties = with_headers(&[
        ("x-death", AMQPValue::Void),
        ("x-first-death-queue", text("q")),
        ("a", text("b")),
    ]);
    let original = of("", "q", &properties).without_broker_headers();
    assert_eq!(original.properties, with_headers(&[("a", text("b"))]));
}

#[test]
fn what_we_would_not_have_written_is_an_error() {
    let with = |headers: &str| format!(r#"{{"exchange":"","routing_key":"","properties":{{}},"headers":{headers}}}"#);
    let rows = [
        String::new(),
        "[]".to_owned(),
        "{}".to_owned(),
        r#"{"exchange":"","routing_key":"","properties":{"priority":256}}"#.to_owned(),
        r#"{"exchange":"","routing_key":"","properties":{"colour":"red"}}"#.to_owned(),
        format!(
            r#"{{"exchange":"{}","routing_key":"","properties":{{}}}}"#,
            "x".repeat(256)
        ),
        with("5"),
        with(r#"{"a": 5}"#),
        with(r#"{"a": {"i8": 128}}"#),
        with(r#"{"a": {"i8": 1, "i16": 1}}"#),
        with(r#"{"a": {"bytes": "0"}}"#),
        with(r#"{"a": {"bytes": "+f"}}"#),
        with(&format!(r#"{{"{}": 1}}"#, "n".repeat(256))),
        with(&format!("{}{}", r#"{"a":"#.repeat(60), "}".repeat(60))),
        with(&format!(r#"{{"a": "{}"}}"#, "x".repeat(TEXT_MAX_BYTES))),
        "[".repeat(60_000),
    ];
    for row in rows {
        assert!(Original::parse(&row).is_err(), "{row:.200}");
    }
}
