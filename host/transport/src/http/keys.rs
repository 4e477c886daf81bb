//! The keys of HTTP: declared, read and checked. Listens nowhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use millrace_schema::{Declared, Form};
use toml::Spanned;

use super::config::{AnswerConfig, HTTP, HttpSourceConfig};
use crate::config::reading::{
    Checker, DURATION, Diagnostic, EndpointRole, Key, Limits, LinkedEndpoint, PREFETCH, Report, Table, Text,
};
use crate::config::{DestinationKind, PipelineTables, ReadDestination, ReadSource, SecretKey, SourceKind, Transport};
use crate::{DestinationConfig, SourceConfig};

/// HTTP.
pub(crate) static TRANSPORT: Transport = Transport {
    name: "http",
    sources: &[SourceKind {
        key: KEY,
        place: "for HTTP",
        example: "{ http = \"127.0.0.1:8080\" }",
        keys: SOURCE,
        no_dead_letter_queue: Some(
            "an HTTP source keeps no dead letters: the answer to the client says why a message was rejected",
        ),
        secrets: &[SecretKey {
            key: "token",
            stand_in: "no-token-is-needed-here",
        }],
        capabilities: &HTTP,
        read: RawHttpSource::read,
    }],
    destinations: &[DestinationKind {
        key: "answer",
        example: "`answer = true`",
        keys: DESTINATION,
        misplaced: &[],
        read: RawAnswer::read,
    }],
    connections: &[],
};

const KEY: &str = "http";

// Each is a client that waits, with a connection: a client that has thousands of pictures has a queue.
const HTTP_PREFETCH: Limits<i128> = Limits {
    max: 1_024,
    default: 64,
    ..PREFETCH
};

// Proxies and clients give up after a minute, or half of one. A message is held for ten minutes at the most.
const ANSWER_WITHIN: Limits<Duration> = Limits {
    key: "answer_within",
    min: Duration::from_millis(100),
    max: Duration::from_secs(600),
    default: Duration::from_secs(30),
};

/// Paths that every client can write.
const PATH_FORM: &str = "^/[!-\"$-%'->@-~]{0,254}$";
const PATH_CHARS_MAX: usize = 255;
/// The path where the file names none.
const ROOT: &str = "/";

const SOURCE: &[Declared] = &[
    Declared::new(
        KEY,
        Form::Text(":[0-9]+$"),
        "\"127.0.0.1:8080\"",
        "The address to listen at: one of this machine alone (`127.0.0.1`, `[::1]`), or with `public` any. Pipelines with \
        different paths may share one. Port `0` takes a free one, which the log names.",
    ),
    Declared::new(
        "path",
        Form::Text(PATH_FORM),
        "\"/classify\"",
        "The path that takes messages.",
    )
    .or("`\"/\"`")
    .with(&[KEY]),
    Declared::new(
        "prefetch",
        Form::Integer(&HTTP_PREFETCH),
        "64",
        "Messages in flight: one request more is answered with 429.",
    )
    .with(&[KEY]),
    Declared::new(
        "token",
        Form::Text("^[!-~]{16,512}$"),
        "\"${HTTP_TOKEN}\"",
        "What a client must send as `Authorization: Bearer TOKEN`: 16 to 512 letters, digits and punctuation.",
    )
    .or("none")
    .with(&[KEY])
    .why("it says which clients of an HTTP source may send messages")
    .at_home(),
    Declared::new(
        "public",
        Form::Flag(false),
        "true",
        "Whether the address may be one that other machines reach. The connection is not encrypted: TLS is a proxy's work.",
    )
    .with(&[KEY])
    .why("it says that other machines may reach an HTTP source"),
    Declared::new(
        "answer_within",
        Form::Quantity(&DURATION, &ANSWER_WITHIN),
        "\"30s\"",
        "How long a client waits for its answer, from the head of its request on; then it is 504.",
    )
    .with(&[KEY])
    .why("it says how long a client of an HTTP source waits for its answer")
    .at_home(),
];

const DESTINATION: &[Declared] = &[Declared::new(
    "answer",
    Form::Flag(true),
    "true",
    "The result is the body of the answer to the request that the message came by.",
)];

/// `source = { http = "127.0.0.1:8080" }`
struct RawHttpSource {
    /// Where it listens: `http = "127.0.0.1:8080"`.
    http: Key<Text>,
    /// The path that takes messages: `path = "/classify"`.
    path: Key<Text>,
    /// Messages in flight: `prefetch = 64`.
    prefetch: Key<i128>,
    /// What clients must show: `token = "${HTTP_TOKEN}"`.
    token: Key<Text>,
    /// Whether other machines may reach it: `public = true`.
    public: Key<bool>,
    /// How long a client waits: `answer_within = "30s"`.
    answer_within: Key<Duration>,
}

/// A destination with `answer = true`.
struct RawAnswer {
    answer: Key<bool>,
}

impl RawHttpSource {
    fn read(table: &mut Table<'_>, report: &mut Report<'_>) -> Box<dyn ReadSource> {
        Box::new(Self {
            http: table.key(KEY, report),
            path: table.key("path", report),
            prefetch: table.key("prefetch", report),
            token: table.key("token", report),
            public: table.key("public", report),
            answer_within: table.key("answer_within", report),
        })
    }

    fn address(&self, checker: &mut Checker<'_, '_>, given: &Spanned<Text>) -> Option<SocketAddr> {
        let is_public = self.public.given().is_some_and(|public| *public.get_ref());
        let written = given.get_ref();
        let (message, hint) = match written.value.parse::<SocketAddr>() {
            Ok(address) if is_public => {
                if self.token.is_absent() {
                    let message = "everybody who reaches this address can send messages";
                    let hint = "add `token = \"${HTTP_TOKEN}\"`, or let a proxy ask for one";
                    checker.warning(Diagnostic::at(given.span(), message).hint(hint));
                }
                return Some(address);
            }
            Ok(address) if address.ip().to_canonical().is_loopback() => return Some(address),
            Ok(_) => (
                format!("{} can be reached from other machines", written.quoted()),
                "use \"127.0.0.1:8080\" behind a proxy with TLS, or set `public = true`",
            ),
            Err(_) => (
                format!("{} is not an address with a port", written.quoted()),
                "such as \"127.0.0.1:8080\" or \"[::1]:8080\"; port 0 takes one that is free",
            ),
        };
        checker.diagnostic(Diagnostic::at(given.span(), message).hint(hint));
        None
    }

    fn path(&self, checker: &mut Checker<'_, '_>) -> Option<String> {
        let Some(given) = self.path.given() else {
            return self.path.is_absent().then(|| ROOT.to_owned());
        };
        let text = given.get_ref();
        let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#');
        if text.value.starts_with('/') && text.value.len() <= PATH_CHARS_MAX && text.value.chars().all(is_plain) {
            return Some(text.value.clone());
        }
        let message = format!("{} is not the path of a request", text.quoted());
        let hint = "it begins with `/`, and has at most 255 letters, digits and punctuation without `?` and `#`";
        checker.diagnostic(Diagnostic::at(given.span(), message).hint(hint));
        None
    }
}

impl ReadSource for RawHttpSource {
    fn check(&self, checker: &mut Checker<'_, '_>, tables: &PipelineTables<'_>) -> Option<Arc<dyn SourceConfig>> {
        let prefetch = checker.within(&self.prefetch, &HTTP_PREFETCH);
        let answer_within = checker.within(&self.answer_within, &ANSWER_WITHIN);
        let token = self.token.given().map(|token| checker.token(token));
        let path = self.path(checker);
        let given = self.http.given()?;
        let address = self.address(checker, given);
        if let (Some(address), Some(path)) = (address, &path) {
            let endpoint = LinkedEndpoint::exclusive("address and path", format!("{address}{path}"));
            checker.link(tables.pipeline, EndpointRole::Source, endpoint, given.span());
        }
        Some(Arc::new(HttpSourceConfig {
            address: address?,
            path: path?,
            token: match token {
                Some(token) => Some(token?),
                None => None,
            },
            prefetch: u16::try_from(prefetch).unwrap_or(u16::MAX),
            answer_within,
        }))
    }
}

impl RawAnswer {
    fn read(table: &mut Table<'_>, report: &mut Report<'_>) -> Box<dyn ReadDestination> {
        Box::new(Self {
            answer: table.key("answer", report),
        })
    }
}

impl ReadDestination for RawAnswer {
    fn check(&self, checker: &mut Checker<'_, '_>, tables: &PipelineTables<'_>) -> Option<Arc<dyn DestinationConfig>> {
        let given = self.answer.given()?;
        if !*given.get_ref() {
            let message = "`answer = false` names no destination";
            let hint = "write `answer = true`, or leave out the table: the answer is 202 then";
            checker.diagnostic(Diagnostic::at(given.span(), message).hint(hint));
            return None;
        }
        if tables.source.is_some_and(|(kind, _)| kind.key != KEY) {
            let message = "nobody waits for an answer here: the pipeline's source is not HTTP";
            let hint = "take messages by HTTP: `source = { http = \"127.0.0.1:8080\" }`, or choose another destination";
            checker.diagnostic(Diagnostic::at(given.span(), message).hint(hint));
        }
        Some(Arc::new(AnswerConfig))
    }
}
