//! The meaning of a broker's refusal: by its words as well as by its code, because one code stands both for a state that
//! passes by itself and for one that a person must change. Knows no connection.

use lapin::ErrorKind;

/// A refusal, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BrokerRefusal {
    pub(super) meaning: Meaning,
    /// The broker's words.
    pub(super) words: String,
    /// The advice; empty where there is none.
    pub(super) advice: &'static str,
}

/// The meaning of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It passes by itself, or by a change at the broker: wait, and report it.
    Passes,
    /// The user lacks a permission.
    Denied,
    /// The queue or exchange does not exist.
    Missing,
    /// It exists with other properties.
    Inequivalent,
    /// Waiting does not help: the file or the broker must be changed.
    Stands,
}

/// One row: a code (0 stands for every one), a part of the text, their meaning and the advice. The first that fits counts.
struct Row(u16, &'static str, Meaning, &'static str);

const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const RESOURCE_LOCKED: u16 = 405;
const PRECONDITION_FAILED: u16 = 406;
const NOT_ALLOWED: u16 = 530;
const NOT_IMPLEMENTED: u16 = 540;

/// The words of RabbitMQ, each as 3.10 writes it; those of 3.8 to 4.1 differ around these parts.
const ROWS: &[Row] = &[
    Row(
        ACCESS_REFUSED,
        "in exclusive use",
        Meaning::Passes,
        "another consumer has the queue to itself: waiting until that one leaves",
    ),
    Row(
        ACCESS_REFUSED,
        "Login was refused",
        Meaning::Stands,
        "check user and password in the `amqp` of this connection",
    ),
    Row(
        ACCESS_REFUSED,
        "reserved prefix",
        Meaning::Stands,
        "names that begin with `amq.` are reserved for the broker: choose another name",
    ),
    Row(ACCESS_REFUSED, "", Meaning::Denied, ""),
    Row(
        NOT_FOUND,
        "is down or inaccessible",
        Meaning::Passes,
        "the node of the cluster that holds the queue is down: waiting for it",
    ),
    Row(
        NOT_FOUND,
        "is stopped by supervisor",
        Meaning::Passes,
        "the broker has stopped the queue after an error of its own: its log says why",
    ),
    Row(NOT_FOUND, "", Meaning::Missing, ""),
    Row(
        RESOURCE_LOCKED,
        "",
        Meaning::Passes,
        "the queue is exclusive to another connection: waiting until that one ends, and the queue with it",
    ),
    Row(
        PRECONDITION_FAILED,
        "queue limit",
        Meaning::Passes,
        "delete unused queues, or raise `max-queues` by `rabbitmqctl set_vhost_limits`: waiting",
    ),
    Row(PRECONDITION_FAILED, "inequivalent arg", Meaning::Inequivalent, ""),
    Row(PRECONDITION_FAILED, "", Meaning::Stands, ""),
    Row(
        NOT_ALLOWED,
        "user connection limit",
        Meaning::Passes,
        "end other connections of this user, or raise `max-connections` by `rabbitmqctl set_user_limits`: waiting",
    ),
    Row(
        NOT_ALLOWED,
        "connection limit",
        Meaning::Passes,
        "end other connections, or raise `max-connections` by `rabbitmqctl set_vhost_limits`: waiting",
    ),
    Row(
        NOT_ALLOWED,
        "number of channels opened",
        Meaning::Passes,
        "end other connections of this user, or raise `max-channels` by `rabbitmqctl set_user_limits`: waiting",
    ),
    Row(
        NOT_ALLOWED,
        "is down",
        Meaning::Passes,
        "the broker has stopped the vhost after an error of its own: its log says why",
    ),
    Row(
        NOT_ALLOWED,
        "not found",
        Meaning::Stands,
        "correct the vhost in the `amqp` of this connection, or add it by `rabbitmqctl add_vhost`",
    ),
    Row(
        NOT_ALLOWED,
        "access to vhost",
        Meaning::Stands,
        "grant the AMQP user access to the vhost by `rabbitmqctl set_permissions`",
    ),
    Row(NOT_ALLOWED, "", Meaning::Stands, ""),
    Row(NOT_IMPLEMENTED, "", Meaning::Stands, ""),
    // A forced closure, an internal error, a lack of resources, a broken frame: another try may succeed.
    Row(0, "", Meaning::Passes, ""),
];

impl BrokerRefusal {
    /// Whether the broker failed over a frame that it was sent.
    pub(super) fn is_breakdown(&self) -> bool {
        self.words.starts_with("INTERNAL_ERROR")
    }

    /// Reads the broker's refusal; none where it sent none, because the connection is gone.
    pub(super) fn of(error: &lapin::Error) -> Option<Self> {
        let ErrorKind::ProtocolError(error) = error.kind() else {
            return match error.kind() {
                ErrorKind::ChannelsLimitReached => Some(Self {
                    meaning: Meaning::Passes,
                    words: error.to_string(),
                    advice: "raise `channel_max` of the broker, or have fewer exchanges as destinations",
                }),
                _ => None,
            };
        };
        let text = error.get_message().as_str();
        let words = match text.is_empty() {
            true => error.to_string(),
            false => text.to_owned(),
        };
        Some(Self::read(error.get_id(), &words))
    }

    fn read(code: u16, words: &str) -> Self {
        let fits = |row: &&Row| (row.0 == 0 || row.0 == code) && words.contains(row.1);
        let (meaning, advice) = ROWS
            .iter()
            .find(fits)
            .map_or((Meaning::Passes, ""), |row| (row.2, row.3));
        Self {
            meaning,
            words: words.to_owned(),
            advice,
        }
    }

    /// The broker's words, and the advice.
    pub(super) fn described(&self) -> String {
        match self.advice {
            "" => self.words.clone(),
            advice => format!("{}; {advice}", self.words),
        }
    }
}

/// The property that a refused declaration names, and what it is: `inequivalent arg 'x-queue-type' for queue 'a' in
/// vhost '/': received 'none' but current is 'stream'`.
pub(super) fn inequivalent(words: &str) -> Option<(&str, &str)> {
    let (_, rest) = words.split_once("inequivalent arg '")?;
    let (property, rest) = rest.split_once('\'')?;
    // The queue's name may hold anything; the last match is the broker's.
    let (_, current) = rest.rsplit_once("but current is ")?;
    let value = match current.split_once('\'') {
        Some((_, quoted)) => quoted.rsplit_once('\'').map_or(quoted, |(value, after)| {
            // the value '5' of type 'signedint'
            match after.is_empty() && value.contains("' of type '") {
                true => value.split_once("' of type '").map_or(value, |(value, _)| value),
                false => value,
            }
        }),
        None => current,
    };
    Some((property, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_of_a_broker_has_its_meaning_and_its_advice() {
        use Meaning::{Denied, Inequivalent, Missing, Passes, Stands};
        // Each as RabbitMQ 3.10.8 says it, but for the two of a cluster and the one of a vhost that is down, which are
        // from its source.
        let rows = [
            (
                403,
                "ACCESS_REFUSED - queue 'a' in vhost '/' in exclusive use",
                Passes,
                "until that one leaves",
            ),
            (
                403,
                "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile.",
                Stands,
                "user and password",
            ),
            (
                403,
                "ACCESS_REFUSED - queue name 'amq.a' contains reserved prefix 'amq.*'",
                Stands,
                "another name",
            ),
            (
                403,
                "ACCESS_REFUSED - access to queue 'a' in vhost '/' refused for user 'u'",
                Denied,
                "",
            ),
            (404, "NOT_FOUND - no queue 'a' in vhost '/'", Missing, ""),
            (404, "NOT_FOUND - no exchange 'a' in vhost '/'", Missing, ""),
            (
                404,
                "NOT_FOUND - home node 'rabbit@b' of durable queue 'a' in vhost '/' is down or inaccessible",
                Passes,
                "waiting",
            ),
            (
                404,
                "NOT_FOUND - queue 'a' in vhost '/' process is stopped by supervisor",
                Passes,
                "its log",
            ),
            (
                405,
                "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'a' in vhost '/'. It could be originally \
                 declared on another connection or the exclusive property value does not match that of the original \
                 declaration.",
                Passes,
                "exclusive to another connection",
            ),
            (
                406,
                "PRECONDITION_FAILED - cannot declare queue 'a': queue limit in vhost 'v' (1) is reached",
                Passes,
                "max-queues",
            ),
            (
                406,
                "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'a' in vhost '/': received 'true' but current \
                 is 'false'",
                Inequivalent,
                "",
            ),
            (
                406,
                "PRECONDITION_FAILED - invalid arg 'x-queue-type' for queue 'a' in vhost '/': \"unsupported queue type\"",
                Stands,
                "",
            ),
            (530, "NOT_ALLOWED - vhost v not found", Stands, "add_vhost"),
            (
                530,
                "NOT_ALLOWED - access to vhost '/' refused for user 'u'",
                Stands,
                "set_permissions",
            ),
            (
                530,
                "NOT_ALLOWED - access to vhost 'v' refused for user 'u': connection limit (1) is reached",
                Passes,
                "set_vhost_limits",
            ),
            (
                530,
                "NOT_ALLOWED - connection refused for user 'u': user connection limit (1) is reached",
                Passes,
                "set_user_limits",
            ),
            (
                530,
                "NOT_ALLOWED - number of channels opened for user 'u' has reached the maximum allowed user limit of (2)",
                Passes,
                "max-channels",
            ),
            (
                530,
                "NOT_ALLOWED - access to vhost 'v' refused for user 'u': vhost 'v' is down",
                Passes,
                "its log",
            ),
            (
                540,
                "NOT_IMPLEMENTED - basic.get not supported by stream queues queue 'a' in vhost '/'",
                Stands,
                "",
            ),
            (
                320,
                "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'",
                Passes,
                "",
            ),
            (541, "INTERNAL_ERROR", Passes, ""),
        ];
        for (code, words, meaning, advice) in rows {
            let refusal = BrokerRefusal::read(code, words);
            assert_eq!(refusal.meaning, meaning, "{words}");
            assert!(refusal.advice.contains(advice), "{words}: {}", refusal.advice);
            assert_eq!(
                refusal.advice.is_empty(),
                advice.is_empty(),
                "{words}: {}",
                refusal.advice
            );
            assert!(refusal.described().starts_with(words));
        }
    }

    #[test]
    fn a_refused_declaration_says_how_the_queue_was_declared() {
        let of = |rest: &str| format!("PRECONDITION_FAILED - inequivalent arg {rest}");
        let rows = [
            (
                "'x-queue-type' for queue 'a' in vhost '/': received 'none' but current is 'stream'",
                Some(("x-queue-type", "stream")),
            ),
            (
                "'x-queue-type' for queue 'a' in vhost '/': received the value 'none' of type 'longstr' but current is none",
                Some(("x-queue-type", "none")),
            ),
            (
                "'auto_delete' for queue 'but current is 'x'' in vhost '/': received 'false' but current is 'true'",
                Some(("auto_delete", "true")),
            ),
            (
                "'x-expires' for queue 'a' in vhost '/': received none but current is the value '600000' of type 'signedint'",
                Some(("x-expires", "600000")),
            ),
            ("'x-expires", None),
        ];
        for (rest, expected) in rows {
            let words = of(rest);
            assert_eq!(inequivalent(&words), expected, "{rest}");
        }
        assert_eq!(inequivalent("NOT_FOUND - no queue 'a' in vhost '/'"), None);
    }
}
