//! The keys of ZeroMQ: declared, read and checked. Listens nowhere, and connects nowhere.

use std::net::SocketAddr;
use std::time::Duration;

use super::config::ZMQ;
use super::endpoint::Endpoint;
use super::request::ID_BYTES_MAX;
use crate::config::reading::{
    Beside, By, Checker, Choice, Diagnostic, EndpointRole, Form, FromTable, Key, LinkedEndpoint, PREFETCH, Patterns,
    Table, Text, Within, destination, section, source,
};
use crate::config::{DestinationKind, SourceKind, Transport};

/// ZeroMQ.
pub(crate) static TRANSPORT: Transport = Transport {
    name: "zmq",
    title: "ZeroMQ",
    page: "zeromq.md",
    sources: &[SourceKind {
        key: KEY,
        place: "for ZeroMQ",
        example: "{ zmq = \"tcp://127.0.0.1:5555\" }",
        keys: ZmqSourceConfig::KEYS,
        no_dead_letter_queue: Some(
            "a ZeroMQ source keeps no dead letters: the answer to the client says why a message was rejected",
        ),
        secrets: &[],
        capabilities: &ZMQ,
        read: source::<ZmqSourceConfig>,
    }],
    destinations: &[DestinationKind {
        key: KEY,
        example: "`zmq = \"..\"`",
        keys: ZmqDestinationConfig::KEYS,
        misplaced: &[],
        read: destination::<ZmqDestinationConfig>,
    }],
    connections: &[],
};

const KEY: &str = "zmq";
/// A destination that is the answer to the client.
const REPLY: &str = "reply";

const ENDPOINT_FORM: &str = "^tcp://.+:[0-9]+$";
const TARGET_FORM: &str = "^(reply|tcp://.+:[0-9]+)$";
const TOPICS: Form = Form::Either(&[Form::Text(""), Form::List(&Form::Text(""), 1, Some(1_024))]);

/// What a source does with its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceSocket {
    /// Clients connect, and every message is answered.
    Router,
    /// Clients connect, and nothing is answered.
    Pull,
    /// The source connects, and is sent what it subscribes to.
    Sub,
}

/// What a destination does with its socket, which connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DestinationSocket {
    /// Every result is answered.
    Dealer,
    /// Nothing is answered.
    Push,
    /// Nothing is answered, and what nobody has subscribed to goes nowhere.
    Pub,
}

/// How often a message or a result arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guarantee {
    /// Whatever fails meanwhile.
    AtLeastOnce,
    /// Unless something fails.
    AtMostOnce,
}

const SOURCE_SOCKET: Choice<SourceSocket> = Choice {
    words: &[
        ("router", SourceSocket::Router),
        ("pull", SourceSocket::Pull),
        ("sub", SourceSocket::Sub),
    ],
    default: SourceSocket::Router,
};

const DESTINATION_SOCKET: Choice<DestinationSocket> = Choice {
    words: &[
        ("dealer", DestinationSocket::Dealer),
        ("push", DestinationSocket::Push),
        ("pub", DestinationSocket::Pub),
    ],
    default: DestinationSocket::Dealer,
};

const GUARANTEE: Choice<Guarantee> = Choice {
    words: &[
        ("at-least-once", Guarantee::AtLeastOnce),
        ("at-most-once", Guarantee::AtMostOnce),
    ],
    default: Guarantee::AtLeastOnce,
};

/// Where results go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ZmqTarget {
    /// With the answer to the client.
    Reply,
    /// To a peer.
    Peer(Endpoint),
}

section! {
    /// `source = { zmq = ".." }`
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ZmqSourceConfig;

    /// Where clients connect to: an address of this machine alone (`tcp://127.0.0.1:5555`), or with `public` any (`tcp://*:5555`).
    /// Port `0` takes a free one, which the log names. Of a SUB socket: where the publisher is.
    pub endpoint ("zmq"): Endpoint = By { form: Form::Text(ENDPOINT_FORM), read: source_endpoint }, "\"tcp://127.0.0.1:5555\"";

    /// `"router"`: clients are DEALER or REQ sockets, and every message is answered. `"pull"` and `"sub"` lose messages, and need
    /// `guarantee = "at-most-once"`.
    pub socket ("socket"): SourceSocket = SOURCE_SOCKET, "\"router\"", with(&[KEY]), why("it says which socket of ZeroMQ it is");

    /// What the socket promises: `"at-least-once"` where it answers, `"at-most-once"` to say that you know that a PULL or a SUB socket
    /// loses messages.
    ("guarantee") = GUARANTEE, "\"at-most-once\"", with(&[KEY]), why("it says what a socket of ZeroMQ promises");

    /// Messages in flight.
    pub prefetch ("prefetch"): u16 = Within::<u16> {
        // Each may be a picture in memory, and a client that waits.
        max: 1_024,
        default: 64,
        ..PREFETCH
    }, "64", with(&[KEY]);

    /// Clients at once, half of them of one other machine; one more is closed at once, and tries again.
    pub connections ("connections"): usize = Within::<usize> {
        min: 2,
        // File descriptors: a process may have 1,024 of them.
        max: 65_536,
        default: 256,
    }, "256", with(&[KEY]), why("it says how many clients a ZeroMQ source has at once");

    /// Whether the address may be one that other machines reach.
    ("public") = Beside::<bool>::new(Form::Flag(false)), "true", with(&[KEY]), why("it says that other machines may reach a source");

    /// What a SUB socket subscribes to: the beginnings of topics.
    pub topics ("subscribe"): Vec<String> = By { form: TOPICS, read: topics }, "[\"images.\"]", or("everything"), with(&[KEY]),
        why("it says what a SUB socket subscribes to");
}

section! {
    /// A destination with `zmq = ".."`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ZmqDestinationConfig;

    /// Where the peer listens, such as `"tcp://10.0.0.7:5556"`; or `"reply"`: the result goes with the answer to the client that the
    /// message came from.
    pub target ("zmq"): ZmqTarget = By { form: Form::Text(TARGET_FORM), read: target }, "\"tcp://10.0.0.7:5556\"";

    /// `"dealer"`: the peer answers that a result is done, or it is sent again. `"push"` and `"pub"` lose results, and need
    /// `guarantee = "at-most-once"`.
    pub socket ("socket"): DestinationSocket = DESTINATION_SOCKET, "\"dealer\"", with(&[KEY]), why("it says which socket of ZeroMQ it is");

    /// What the socket promises: `"at-least-once"` where it is answered, `"at-most-once"` to say that you know that a PUSH or a PUB socket
    /// loses results.
    ("guarantee") = GUARANTEE, "\"at-most-once\"", with(&[KEY]), why("it says what a socket of ZeroMQ promises");

    /// How long one try to send a result may take; then the message is held, and the result is tried again.
    pub confirm_within ("confirm_within"): Duration = Within {
        min: Duration::from_millis(100),
        // A message is held for ten minutes at the most.
        max: Duration::from_secs(600),
        default: Duration::from_secs(30),
    }, "\"30s\"", with(&[KEY]), why("it says how long the answer of a ZeroMQ peer is waited for");

    /// After how long a DEALER sends a result again that is not answered.
    pub resend_after ("resend_after"): Duration = Within {
        min: Duration::from_millis(100),
        max: Duration::from_secs(600),
        // A network that is slower than this is an outage.
        default: Duration::from_secs(5),
    }, "\"5s\"", with(&[KEY]), why("it says when a result is sent to a ZeroMQ peer again");

    /// The topic of a PUB socket.
    pub topic ("publish_as"): Option<String> = By { form: Form::Text("^.{1,255}$"), read: topic }, "\"results\"",
        or("the destination's name"), with(&[KEY]), why("it is the topic of a PUB socket");
}

impl ZmqSourceConfig {
    /// The address that it listens at; none of a SUB socket.
    pub(super) fn listens_at(&self) -> Option<SocketAddr> {
        match self.socket {
            SourceSocket::Sub => None,
            SourceSocket::Router | SourceSocket::Pull => self.endpoint.own(),
        }
    }
}

fn source_endpoint(table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<Endpoint> {
    let key: Key<Text> = table.key(KEY, checker.report);
    let given = key.given()?;
    let written = given.get_ref();
    let socket = SOURCE_SOCKET
        .peek("socket", table, checker)
        .unwrap_or(SOURCE_SOCKET.default);
    let is_lossy = socket != SourceSocket::Router;
    promise(table, checker, is_lossy);
    let Some(endpoint) = Endpoint::read(&written.value) else {
        let message = format!("{} is no address of ZeroMQ", written.quoted());
        let hint = "such as \"tcp://127.0.0.1:5555\": a source speaks ZeroMQ over TCP alone";
        checker.diagnostic(Diagnostic::at(given.span(), message).hint(hint));
        return None;
    };
    if socket == SourceSocket::Sub {
        if endpoint.peer().is_none() {
            let message = format!("{} names no publisher", written.quoted());
            checker.diagnostic(Diagnostic::at(given.span(), message).hint("a SUB socket connects to it"));
            return None;
        }
        return Some(endpoint);
    }
    let Some(own) = endpoint.own() else {
        let message = format!("{} cannot be listened at: it is a name", written.quoted());
        let hint = "write the address, such as \"tcp://127.0.0.1:5555\", or \"tcp://*:5555\" for all of this machine";
        checker.diagnostic(Diagnostic::at(given.span(), message).hint(hint));
        return None;
    };
    let is_public = table.peek::<bool>("public", checker.report).into_given() == Some(true);
    if !own.ip().to_canonical().is_loopback() {
        if !is_public {
            let message = format!("{} can be reached from other machines", written.quoted());
            let hint = "use \"tcp://127.0.0.1:5555\", or set `public = true` in a network that you trust";
            checker.diagnostic(Diagnostic::at(given.span(), message).hint(hint));
            return None;
        }
        let message = "everybody who reaches this address can send messages, and nothing is encrypted";
        let hint = "let only a network that you trust reach it: a VPN, or a proxy with TLS";
        checker.warning(Diagnostic::at(given.span(), message).hint(hint));
    }
    // Port 0 is another one for each.
    if own.port() != 0 {
        let linked = LinkedEndpoint::exclusive("address", own.to_string());
        checker.link(table, EndpointRole::Source, linked, given.span());
    }
    Some(endpoint)
}

fn target(table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<ZmqTarget> {
    let key: Key<Text> = table.key(KEY, checker.report);
    let given = key.given()?;
    let written = given.get_ref();
    let socket = DESTINATION_SOCKET.peek("socket", table, checker);
    if written.value == REPLY {
        reply(table, checker, given.span());
        return Some(ZmqTarget::Reply);
    }
    promise(
        table,
        checker,
        socket.unwrap_or(DESTINATION_SOCKET.default) != DestinationSocket::Dealer,
    );
    let endpoint = Endpoint::read(&written.value);
    let Some(endpoint) = endpoint.filter(|endpoint| endpoint.peer().is_some()) else {
        let message = format!("{} is no address of a ZeroMQ peer", written.quoted());
        let hint = "such as \"tcp://10.0.0.7:5556\", or \"reply\" for the answer to the client; a destination connects over TCP alone";
        checker.diagnostic(Diagnostic::at(given.span(), message).hint(hint));
        return None;
    };
    if let Some(own) = endpoint.own() {
        let linked = LinkedEndpoint::exclusive("address", own.to_string());
        checker.link(table, EndpointRole::Destination, linked, given.span());
    }
    Some(ZmqTarget::Peer(endpoint))
}

/// The source must have clients that wait for an answer.
fn reply(table: &Table<'_>, checker: &mut Checker<'_, '_>, span: crate::config::Span) {
    let source = checker.source_of(table.outer());
    let is_router = |source: &Table<'_>| {
        matches!(
            SOURCE_SOCKET.peek("socket", source, checker),
            None | Some(SourceSocket::Router)
        )
    };
    let answers = source.is_none_or(|(kind, source)| kind.key == KEY && is_router(&source));
    if !answers {
        let message = "no client waits for a reply: the pipeline's source is no ROUTER socket of ZeroMQ";
        let hint = "take messages by one: `source = { zmq = \"tcp://127.0.0.1:5555\" }`, or choose another destination";
        checker.diagnostic(Diagnostic::at(span, message).hint(hint));
    }
}

/// A socket that loses messages is asked for in so many words, and one that does not is not called one.
fn promise(table: &Table<'_>, checker: &mut Checker<'_, '_>, is_lossy: bool) {
    let key: Key<Text> = table.peek("guarantee", checker.report);
    let is_given_up = GUARANTEE.peek("guarantee", table, checker) == Some(Guarantee::AtMostOnce);
    let span = key.given().map_or_else(|| table.span().clone(), |given| given.span());
    let (message, hint) = match (is_lossy, is_given_up) {
        (true, false) => (
            "this socket answers nothing: what is on its way when something fails is lost",
            "say that you know it: `guarantee = \"at-most-once\"`; or leave out `socket`: then everything is answered",
        ),
        (false, true) => (
            "this socket answers everything: it delivers at least once",
            "leave out `guarantee`, or choose the socket with `socket`",
        ),
        _ => return,
    };
    checker.diagnostic(Diagnostic::at(span, message).hint(hint));
}

fn topics(table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<Vec<String>> {
    let key: Key<Patterns> = table.key("subscribe", checker.report);
    let Some(given) = key.given() else {
        // The beginning of every topic.
        return key.is_absent().then(|| vec![String::new()]);
    };
    if SOURCE_SOCKET.peek("socket", table, checker) != Some(SourceSocket::Sub) {
        checker.refuse(
            &key,
            "only a SUB socket subscribes",
            "add `socket = \"sub\"`, or leave it out",
        );
        return None;
    }
    let texts = given.get_ref().0.iter();
    Some(texts.map(|text| text.get_ref().value.clone()).collect())
}

fn topic(table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<Option<String>> {
    let key: Key<Text> = table.key("publish_as", checker.report);
    let Some(given) = key.given() else {
        return key.is_absent().then_some(None);
    };
    let text = given.get_ref();
    if DESTINATION_SOCKET.peek("socket", table, checker) != Some(DestinationSocket::Pub) {
        checker.refuse(
            &key,
            "only a PUB socket publishes",
            "add `socket = \"pub\"`, or leave it out",
        );
        return None;
    }
    if !(1..=ID_BYTES_MAX).contains(&text.value.len()) {
        let message = format!("{} is no topic: it has 1 to {ID_BYTES_MAX} bytes", text.quoted());
        checker.diagnostic(Diagnostic::at(given.span(), message));
        return None;
    }
    Some(Some(text.value.clone()))
}
