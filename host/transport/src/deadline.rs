//! Deadlines as publishers write them. Knows no message and no clock.

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The header that says when a message's answer is of no use any more.
pub const HEADER: &str = "x-millrace-deadline";

/// The accepted forms, for the error about another.
pub const FORMS: &str = "RFC 3339 text such as 2030-01-31T12:00:00Z, milliseconds since 1970, or an AMQP timestamp";

/// A deadline in words: RFC 3339 with its offset, or milliseconds in digits.
pub fn text(text: &str) -> Option<SystemTime> {
    match text.parse() {
        Ok(milliseconds) => self::milliseconds(milliseconds),
        Err(_) => rfc3339(text),
    }
}

/// A deadline in milliseconds since 1970; one before that has passed, whatever it is.
pub fn milliseconds(since_epoch: i64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(since_epoch).unwrap_or(0)))
}

/// A deadline in seconds since 1970.
pub fn seconds(since_epoch: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(since_epoch))
}

/// Seconds since 1970 of the years 2001 to 2286. As milliseconds they are days of 1970.
const LIKE_SECONDS: RangeInclusive<u128> = 1_000_000_000..=9_999_999_999;

/// A hint for the publisher of a deadline that has passed, where it looks like seconds read as milliseconds.
pub fn hint(deadline: SystemTime) -> Option<&'static str> {
    let since_epoch = deadline.duration_since(UNIX_EPOCH).ok()?;
    LIKE_SECONDS
        .contains(&since_epoch.as_millis())
        .then_some("it is in the year 1970: was it meant in seconds? An integer in the header is in milliseconds")
}

/// `humantime` reads UTC alone.
fn rfc3339(text: &str) -> Option<SystemTime> {
    let text = text.to_ascii_uppercase();
    if let Some(local) = text.strip_suffix('Z') {
        return utc(local);
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub("+00:00".len())?)?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let digits = |text: &str, below: u64| {
        let is_plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u64>().ok().filter(|number| is_plain && *number < below)
    };
    let offset_s = digits(hours, 24)? * 3600 + digits(minutes, 60)? * 60;
    let (local, offset_s) = (utc(local)?, Duration::from_secs(offset_s));
    match offset.chars().next() {
        Some('+') => local.checked_sub(offset_s),
        Some('-') => local.checked_add(offset_s),
        _ => None,
    }
}

fn utc(local: &str) -> Option<SystemTime> {
    humantime::parse_rfc3339(&format!("{local}Z")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_read_in_every_form_and_nothing_else_is() {
        let noon = UNIX_EPOCH + Duration::from_secs(1_900_411_200); // 2030-03-22T12:00:00Z
        for text in [
            "2030-03-22T12:00:00Z",
            "2030-03-22t12:00:00.000z",
            "2030-03-22T14:30:00+02:30",
            "2030-03-22T04:00:00-08:00",
            "1900411200000",
        ] {
            assert_eq!(super::text(text), Some(noon), "{text}");
        }
        assert_eq!(
            (milliseconds(1_900_411_200_000), seconds(1_900_411_200)),
            (Some(noon), Some(noon))
        );
        assert_eq!(milliseconds(-1), Some(UNIX_EPOCH));
        for text in [
            "",
            "Z",
            "+02:00",
            "soon",
            "2030-03-22",
            "2030-03-22T12:00:00",
            "2030-03-22T12:00:00+2:00",
            "2030-03-22T12:00:00+99:00",
            "2030-03-22T12:00:00é02:00",
            "1e3",
            "99999999999999999999",
        ] {
            assert_eq!(super::text(text), None, "{text}");
        }
        assert_eq!(seconds(u64::MAX), None);
    }

    #[test]
    fn a_deadline_in_seconds_is_told_as_one() {
        for (text, is_reported) in [
            ("1900411200", true),
            ("1000000000", true),
            ("9999999999", true),
            ("1900411200000", false),
            ("999999999", false),
            ("0", false),
            ("2020-01-01T00:00:00Z", false),
        ] {
            assert_eq!(super::text(text).and_then(hint).is_some(), is_reported, "{text}");
        }
    }
}
