//! `[broker]`: how the broker is reached.

use std::path::PathBuf;
use std::time::Duration;

use millrace_schema::Form;

use super::check::Checker;
use super::check_values::Expect;
use super::diagnostics::Diagnostic;
use super::keys::PATH;
use super::section::{By, Within, section};
use super::table::{Key, Table};
use super::values::{Bytes, Text};
use super::{BrokerAccess, Secret, broker_url};

section! {
    /// `[broker]`
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct BrokerConfig = BROKER (
        "broker",
        "[broker]",
        "How the broker is reached. Needed as soon as one pipeline has a queue as its source, or an exchange or a reply as \
        a destination."
    );

    /// The broker's URL: `amqp://user:password@host:port/vhost`, or `amqps://..` for TLS. Left out: user and password
    /// `guest`, port 5672 (TLS: 5671), vhost `/`.
    pub amqp ("amqp"): Secret = By<Secret> {
        form: Form::Text("^amqps?://"),
        read: |checker, table| checker.amqp(table),
    }, "\"${AMQP_URL}\"", required(), at_home();

    /// With `amqps`: a PEM file with the authority that signed the broker's certificate; the host then trusts no other.
    pub ca ("ca"): Option<PathBuf> = By<Option<PathBuf>> {
        form: Form::Text(PATH),
        read: |checker, table| checker.ca(table),
    }, "\"ca.pem\"", or("the authorities that the system trusts"), at_home();

    /// The largest message that the broker takes (its `max_message_size`): nothing larger is published, because the
    /// broker would close the channel over it. RabbitMQ 4 takes 16 MiB by default, RabbitMQ 3 took 128 MiB.
    pub max_message_bytes ("max_message"): usize = Within<Bytes> {
        min: Bytes(1),
        // What any RabbitMQ takes at most.
        max: Bytes(512 << 20),
        default: Bytes(16 << 20),
    }, "\"16MiB\"";

    /// How long a publish may wait for its confirm before it counts as failed.
    pub confirm_timeout ("confirm_timeout"): Duration = Within<Duration> {
        min: Duration::from_millis(100),
        // A broker that confirms nothing for ten minutes is as good as gone, and its consumer timeout (30 minutes) is near.
        max: Duration::from_secs(600),
        default: Duration::from_secs(30),
    }, "\"30s\"", at_home();

    /// How long the broker may take to answer anything else: a login, a channel, a declaration. After that the
    /// connection is given up and made again, unless other bytes come meanwhile: then it has thirty times as long.
    pub answer_timeout ("answer_timeout"): Duration = Within<Duration> {
        min: Duration::from_millis(100),
        max: Duration::from_secs(600),
        // A broker that is alive answers within milliseconds, and one in another part of the world within a second or
        // two; ten are for one that is busy.
        default: BrokerAccess::ANSWER_TIMEOUT,
    }, "\"10s\"", at_home();
}

impl Checker<'_, '_> {
    fn amqp(&mut self, table: &mut Table<'_>) -> Secret {
        let key: Key<Text> = table.key("amqp", self.report);
        self.required(&key, "amqp", table.span(), "`amqp = \"${AMQP_URL}\"`");
        let Some(amqp) = key.given() else {
            return Secret::new(String::new());
        };
        let url = &amqp.get_ref().value;
        if let Err(error) = broker_url::check(url) {
            self.report
                .diagnostic(Diagnostic::at(amqp.span(), error.message).hint(error.hint));
        }
        Secret::new(url.clone())
    }

    fn ca(&mut self, table: &mut Table<'_>) -> Option<PathBuf> {
        let key: Key<Text> = table.key("ca", self.report);
        let ca = key.given()?;
        let amqp: Option<Text> = table.peek("amqp", self.report);
        if amqp.is_some_and(|amqp| !amqp.value.is_empty() && !broker_url::is_tls(&amqp.value)) {
            self.refuse(
                &key,
                "`ca` is for a broker that is reached by TLS",
                "write `amqps://` in `amqp`, or leave out `ca`",
            );
            return None;
        }
        self.path(ca, Expect::File)
    }
}
