//! The keys of HTTP: declared, read and checked. Listens nowhere.

use std::net::SocketAddr;
use std::time::Duration;

use super::config::HTTP;
use crate::config::reading::{
    Beside, By, Checker, Diagnostic, EndpointRole, Form, FromTable, Key, LinkedEndpoint, PREFETCH, Table, Text, Within,
    destination, section, source,
};
use crate::config::{DestinationKind, Secret, SecretKey, SourceKind, Transport};

/// HTTP.
pub(crate) static TRANSPORT: Transport = Transport {
    name: "http",
    title: "HTTP",
    page: "http.md",
    sources: &[SourceKind {
        key: KEY,
        place: "for HTTP",
        example: "{ http = \"127.0.0.1:8080\" }",
        keys: HttpSourceConfig::KEYS,
        no_dead_letter_queue: Some(
            "an HTTP source keeps no dead letters: the answer to the client says why a message was rejected",
        ),
        secrets: &[SecretKey {
            key: "token",
            stand_in: "no-token-is-needed-here",
        }],
        capabilities: &HTTP,
        read: source::<HttpSourceConfig>,
    }],
    destinations: &[DestinationKind {
        key: "answer",
        example: "`answer = true`",
        keys: AnswerConfig::KEYS,
        misplaced: &[],
        read: destination::<AnswerConfig>,
    }],
    connections: &[],
};

const KEY: &str = "http";

/// Paths that every client can write.
const PATH_FORM: &str = "^/[!-\"$->@-~]{0,254}$";
const PATH_CHARS_MAX: usize = 255;
/// The path where the file names none.
const ROOT: &str = "/";

section! {
    /// `source = { http = ".." }`
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct HttpSourceConfig;

    /// The address to listen at: one of this machine alone (`127.0.0.1`, `[::1]`), or with `public` any. Pipelines with
    /// different paths may share one. Port `0` takes a free one, which the log names.
    pub address ("http"): SocketAddr = By { form: Form::Text(":[0-9]+$"), read: address }, "\"127.0.0.1:8080\"";

    /// The path that takes messages.
    pub path ("path"): String = By { form: Form::Text(PATH_FORM), read: path }, "\"/classify\"",
        or("`\"/\"`"), with(&[KEY]);

    /// Messages in flight: one request more is answered with 429.
    pub prefetch ("prefetch"): u16 = Within::<u16> {
        // Each is a client that waits, with a connection: a client that has thousands of pictures has a queue.
        max: 1_024,
        default: 64,
        ..PREFETCH
    }, "64", with(&[KEY]);

    /// What a client must send as `Authorization: Bearer TOKEN`: 16 to 512 letters, digits and punctuation.
    pub token ("token"): Option<Secret> = By { form: Form::Text("^[!-~]{16,512}$"), read: token }, "\"${HTTP_TOKEN}\"",
        or("none"), with(&[KEY]), why("it says which clients of an HTTP source may send messages"), at_home();

    /// Whether the address may be one that other machines reach. The connection is not encrypted: TLS is a proxy's work.
    ("public") = Beside::<bool>::new(Form::Flag(false)), "true",
        with(&[KEY]), why("it says that other machines may reach an HTTP source");

    /// How long a client waits for its answer, from the head of its request on; then it is 504.
    pub answer_within ("answer_within"): Duration = Within {
        min: Duration::from_millis(100),
        // A message is held for ten minutes at the most.
        max: Duration::from_secs(600),
        // Proxies and clients give up after a minute, or half of one.
        default: Duration::from_secs(30),
    }, "\"30s\"", with(&[KEY]), why("it says how long a client of an HTTP source waits for its answer"), at_home();
}

section! {
    /// A destination with `answer = true`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct AnswerConfig;

    /// The result is the body of the answer to the request that the message came by.
    ("answer") = By { form: Form::Flag(true), read: answer }, "true";
}

fn address(table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<SocketAddr> {
    let key: Key<Text> = table.key(KEY, checker.report);
    let given = key.given()?;
    let is_public = table.peek::<bool>("public", checker.report).into_given() == Some(true);
    let written = given.get_ref();
    let (message, hint) = match written.value.parse::<SocketAddr>() {
        Ok(address) if is_public || address.ip().to_canonical().is_loopback() => {
            if is_public && table.peek::<Text>("token", checker.report).is_absent() {
                let message = "everybody who reaches this address can send messages";
                let hint = "add `token = \"${HTTP_TOKEN}\"`, or let a proxy ask for one";
                checker.warning(Diagnostic::at(given.span(), message).hint(hint));
            }
            let path: Key<Text> = table.peek("path", checker.report);
            let path = path.into_given().map_or_else(|| ROOT.to_owned(), |path| path.value);
            // Port 0 is another one for each.
            if is_path(&path) && address.port() != 0 {
                let endpoint = LinkedEndpoint::exclusive("address and path", format!("{address}{path}"));
                checker.link(table, EndpointRole::Source, endpoint, given.span());
            }
            return Some(address);
        }
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

fn path(table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<String> {
    let key: Key<Text> = table.key("path", checker.report);
    let Some(given) = key.given() else {
        return key.is_absent().then(|| ROOT.to_owned());
    };
    let text = given.get_ref();
    if is_path(&text.value) {
        return Some(text.value.clone());
    }
    let message = format!("{} is not the path of a request", text.quoted());
    let hint = "it begins with `/`, and has at most 255 letters, digits and punctuation without `?` and `#`";
    checker.diagnostic(Diagnostic::at(given.span(), message).hint(hint));
    None
}

fn is_path(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#');
    text.starts_with('/') && text.len() <= PATH_CHARS_MAX && text.chars().all(is_plain)
}

fn token(table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<Option<Secret>> {
    let key: Key<Text> = table.key("token", checker.report);
    match key.given() {
        Some(token) => checker.token(token).map(Some),
        None => Some(None),
    }
}

fn answer(table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<()> {
    let key: Key<bool> = table.key("answer", checker.report);
    let given = key.given()?;
    if !*given.get_ref() {
        let message = "`answer = false` names no destination";
        let hint = "write `answer = true`, or leave out the table and let the router choose another destination: the answer is 202 then";
        checker.diagnostic(Diagnostic::at(given.span(), message).hint(hint));
        return None;
    }
    let source = checker.source_of(table.outer());
    if source.is_some_and(|(kind, _)| kind.key != KEY) {
        let message = "no client waits for an answer: the pipeline's source is not HTTP";
        let hint = "take messages by HTTP: `source = { http = \"127.0.0.1:8080\" }`, or choose another destination";
        checker.diagnostic(Diagnostic::at(given.span(), message).hint(hint));
    }
    Some(())
}
