//! The source and its answers over real sockets, without a host.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::destination::AnswerDestination;
use super::keys::HttpSourceConfig;
use super::source::HttpSource;
use crate::config::{Name, Secret};
use crate::disposition::{Disposition, Reason, ReasonClass, Stage};
use crate::message::{Envelope, Message, Outbound};
use crate::{Delivery, Destination, Hold, PendingOutput, Settled, Settlement, Source};

const MAX_BYTES: usize = 1024;

fn config() -> HttpSourceConfig {
    HttpSourceConfig {
        address: "127.0.0.1:0".parse().unwrap(),
        path: "/classify".to_owned(),
        token: None,
        prefetch: 2,
        answer_within: Duration::from_secs(30),
    }
}

async fn open(config: &HttpSourceConfig) -> HttpSource {
    let name = Name::new("images").unwrap();
    let mut source = HttpSource::open(config, &name, MAX_BYTES).await.unwrap();
    source.ready().await;
    source
}

/// A status, the head and the body of an answer.
type Reply = (u16, String, String);

struct Client(BufReader<TcpStream>);

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    async fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).await.unwrap();
    }

    async fn post(&mut self, headers: &str, body: &str) {
        let length = body.len();
        let head = format!("POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{headers}\r\n");
        self.send(&(head + body)).await;
    }

    async fn reply(&mut self) -> Reply {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let n_bytes = self.0.read_line(&mut head).await.unwrap();
            assert!(n_bytes > 0, "the connection ended: {head:?}");
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head.to_ascii_lowercase();
        let length = length
            .split_once("content-length: ")
            .map_or("0", |(_, rest)| rest.lines().next().unwrap());
        let mut body = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut body).await.unwrap();
        (status, head, String::from_utf8(body).unwrap())
    }

    async fn is_closed(&mut self) -> bool {
        self.0.read_u8().await.is_err()
    }
}

async fn settle(delivery: Delivery, disposition: Disposition, results: &[PendingOutput]) -> Settled {
    let Delivery { message, ack, .. } = delivery;
    let hold = Hold::new("images", CancellationToken::new(), Duration::ZERO);
    let dead_letter = |reason: &Reason| Envelope {
        headers: [
            ("x-millrace-reason".into(), reason.class.to_string()),
            ("x-millrace-text".into(), reason.to_string()),
        ]
        .into(),
        ..Envelope::default()
    };
    let settlement = Settlement {
        disposition: &disposition,
        otherwise: &Disposition::Return,
        message: &message,
        results,
        hold: &hold,
        dead_letter: &dead_letter,
    };
    ack.settle(settlement).await
}

async fn next(source: &mut HttpSource) -> Delivery {
    source.next().await.unwrap().unwrap()
}

fn reason(class: ReasonClass) -> Reason {
    Reason {
        stage: Stage::Preprocess,
        class,
        text: "no picture".to_owned(),
        plugin: None,
    }
}

fn result(body: &str) -> PendingOutput {
    let outbound = Outbound {
        destination: "answer".to_owned(),
        key: None,
        body: body.as_bytes().to_vec(),
        content_type: None,
        headers: Vec::new(),
    };
    let envelope = Envelope {
        message_id: format!("id-of-{}", body.len()),
        content_type: Some("text/plain".to_owned()),
        ..Envelope::default()
    };
    AnswerDestination
        .address(&Message::default(), outbound, 0, envelope)
        .unwrap()
}

/// A result for another destination.
#[derive(Debug)]
struct Elsewhere;

impl crate::Output for Elsewhere {
    fn send(&self) -> futures_util::future::BoxFuture<'_, Result<(), crate::DeliverError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl std::fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("elsewhere")
    }
}

#[tokio::test]
async fn a_request_is_a_message() {
    let mut source = open(&config()).await;
    let mut client = Client::connect(source.address()).await;
    let headers = "X-Message-Id: m1\r\nX-Correlation-Id: c1\r\nContent-Type: image/png\r\nX-Colour: red\r\nCookie: secret\r\n\
                   X-Millrace-Attempt: 2\r\n";
    client.post(headers, "cat").await;
    let delivery = next(&mut source).await;
    let message = &delivery.message;
    assert_eq!(
        (message.id.as_str(), message.correlation_id.as_deref()),
        ("m1", Some("c1"))
    );
    assert_eq!(
        (message.content_type.as_deref(), message.attempt),
        (Some("image/png"), 2)
    );
    assert_eq!(
        (message.source.as_str(), message.key.as_str()),
        ("/classify", "/classify")
    );
    assert_eq!(message.body.as_slice(), b"cat");
    assert!(message.headers.contains(&("x-colour".to_owned(), "red".to_owned())));
    assert!(
        message.headers.iter().all(|(name, _)| name.starts_with("x-")),
        "{:?}",
        message.headers
    );
    assert!(message.deadline.is_some());
    settle(delivery, Disposition::Ack, &[]).await;
    assert_eq!(client.reply().await.0, 204);
    // Without an id the body is one.
    client.post("", "cat").await;
    let delivery = next(&mut source).await;
    assert_eq!(delivery.message.id, crate::digest::digest(b"cat"));
    drop(delivery);
    assert_eq!(client.reply().await.0, 503, "what is let go of is to be sent again");
}

#[tokio::test]
async fn each_settlement_has_its_answer() {
    let mut source = open(&config()).await;
    let mut client = Client::connect(source.address()).await;
    let rejected = |class| Disposition::Reject(reason(class));
    let elsewhere = || -> PendingOutput { Box::new(Elsewhere) };
    let rows: [(Disposition, Vec<PendingOutput>, u16, &str, Settled); 9] = [
        (Disposition::Ack, vec![result("cat")], 200, "cat", Settled::Done),
        (
            Disposition::Ack,
            vec![result("cat"), elsewhere()],
            200,
            "cat",
            Settled::Done,
        ),
        (
            Disposition::Ack,
            vec![elsewhere()],
            202,
            r#"{"message_id":"m1"}"#,
            Settled::Done,
        ),
        (Disposition::Ack, vec![], 204, "", Settled::Done),
        (
            rejected(ReasonClass::Refused),
            vec![],
            422,
            r#""error":"no picture""#,
            Settled::Done,
        ),
        (
            rejected(ReasonClass::Trap),
            vec![],
            500,
            r#""reason":"trap""#,
            Settled::Done,
        ),
        (
            rejected(ReasonClass::Expired),
            vec![],
            504,
            r#""reason":"expired""#,
            Settled::Done,
        ),
        (
            Disposition::Retry(reason(ReasonClass::Retried)),
            vec![],
            503,
            r#""attempt":2"#,
            Settled::Done,
        ),
        (Disposition::Return, vec![], 503, "send it again", Settled::Returned),
    ];
    for (disposition, results, status, expected, settled) in rows {
        let shown = format!("{disposition:?}");
        client.post("X-Message-Id: m1\r\n", "x").await;
        let delivery = next(&mut source).await;
        assert_eq!(settle(delivery, disposition, &results).await, settled, "{shown}");
        let (found, head, body) = client.reply().await;
        assert_eq!(found, status, "{shown}: {head}");
        assert!(body.contains(expected), "{shown}: {body}");
        assert!(head.contains("x-millrace-message-id: m1"), "{shown}: {head}");
        assert_eq!(head.contains("retry-after: 1"), status == 503, "{shown}: {head}");
        assert_eq!(
            head.contains("x-millrace-attempt: 2"),
            shown.starts_with("Retry"),
            "{head}"
        );
    }
}

#[tokio::test]
async fn several_results_are_parts_of_one_answer() {
    let mut source = open(&config()).await;
    let mut client = Client::connect(source.address()).await;
    client.post("", "x").await;
    let delivery = next(&mut source).await;
    settle(delivery, Disposition::Ack, &[result("one"), result("--millrace--")]).await;
    let (status, head, body) = client.reply().await;
    assert_eq!(status, 200);
    assert!(
        head.contains("content-type: multipart/mixed; boundary=millrace-x\r\n"),
        "{head}"
    );
    let parts: Vec<&str> = body.split("--millrace-x\r\n").collect();
    assert_eq!(parts.len(), 3, "{body}");
    assert!(
        parts[1].contains("x-millrace-result-id: id-of-3\r\n") && parts[1].ends_with("\r\n\r\none\r\n"),
        "{body}"
    );
    assert!(body.ends_with("\r\n\r\n--millrace--\r\n--millrace-x--\r\n"), "{body}");
}

#[tokio::test]
async fn what_is_no_message_is_refused_by_its_head() {
    let settings = HttpSourceConfig {
        token: Some(Secret::new("a-secret-token-of-mine".to_owned())),
        ..config()
    };
    let (open_source, closed_source) = (open(&config()).await, open(&settings).await);
    let (free, guarded) = (open_source.address(), closed_source.address());
    let bearer = "Authorization: Bearer a-secret-token-of-mine\r\n";
    let rows = [
        (free, "GET /classify", "", 405),
        (free, "DELETE /classify", "", 405),
        (free, "POST /", "", 404),
        (free, "POST /classify/", "", 404),
        (free, "POST /classify?a=b", "Content-Length: 1025\r\n", 413),
        (free, "POST /classify", "Content-Length: 9999999999999\r\n", 413),
        (free, "POST /classify", "Origin: http://localhost\r\n", 403),
        (free, "POST /classify", "Content-Encoding: br\r\n", 415),
        (free, "POST /classify", "X-Message-Id: \r\n", 400),
        (free, "POST /classify", "X-Message-Id: caf\u{e9}\r\n", 400),
        (free, "POST /classify", "X-Millrace-Attempt: 0\r\n", 400),
        (free, "POST /classify", "X-Millrace-Attempt: 1001\r\n", 400),
        (free, "POST /classify", "X-Millrace-Deadline: soon\r\n", 400),
        (guarded, "POST /classify", "", 401),
        (
            guarded,
            "POST /classify",
            "Authorization: Bearer a-secret-token-of-min\r\n",
            401,
        ),
        (
            guarded,
            "POST /classify",
            &format!("{bearer}X-Millrace-Attempt: x\r\n"),
            400,
        ),
        // Who has the token may be a page, or call the host as they like.
        (
            guarded,
            "POST /classify",
            &format!("{bearer}Origin: http://evil.example\r\nX-Millrace-Attempt: x\r\n"),
            400,
        ),
    ];
    for (address, line, headers, status) in rows {
        let mut client = Client::connect(address).await;
        client
            .send(&format!("{line} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"))
            .await;
        let (found, head, body) = client.reply().await;
        assert_eq!(found, status, "{line} {headers}: {head}{body}");
    }
    let mut client = Client::connect(free).await;
    client
        .send("POST /classify HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        .await;
    assert_eq!(client.reply().await.0, 403);
    for too_much in ["X-A: b\r\n".repeat(65), format!("X-A: {}\r\n", "b".repeat(17 << 10))] {
        let mut client = Client::connect(free).await;
        client
            .send(&format!("POST /classify HTTP/1.1\r\nHost: localhost\r\n{too_much}\r\n"))
            .await;
        assert_eq!(client.reply().await.0, 431);
    }
}

#[tokio::test]
async fn a_refused_client_that_sends_a_large_body_reads_its_answer() {
    let source = open(&config()).await;
    for headers in ["Content-Length: 400000\r\n", "Transfer-Encoding: chunked\r\n"] {
        let mut client = Client::connect(source.address()).await;
        client
            .send(&format!("POST /classify HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"))
            .await;
        if headers.starts_with("Transfer") {
            client.send("61a80\r\n").await;
        }
        client.send(&"x".repeat(400_000)).await;
        let (status, _, body) = client.reply().await;
        assert_eq!(status, 413, "{body}");
        assert!(client.is_closed().await);
    }
}

#[tokio::test]
async fn one_more_than_the_pipeline_takes_is_told_to_come_again() {
    let mut source = open(&config()).await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(source.address()).await;
        client.post("", "x").await;
        clients.push(client);
    }
    let mut deliveries = vec![next(&mut source).await, next(&mut source).await];
    let mut more = Client::connect(source.address()).await;
    let asking = async {
        // Else it does not take.
        source.next().await.unwrap().unwrap()
    };
    let refused = async {
        more.post("", "x").await;
        let (status, head, _) = more.reply().await;
        assert!(status == 429 && head.contains("retry-after: 1"), "{head}");
        settle(deliveries.remove(0), Disposition::Ack, &[]).await;
        // A slot is free once the answer is written.
        assert_eq!(clients[0].reply().await.0, 204);
        loop {
            more.post("", "y").await;
            tokio::select! {
                (status, ..) = more.reply() => assert_eq!(status, 429),
                () = tokio::time::sleep(Duration::from_millis(100)) => return,
            }
        }
    };
    let (delivery, ()) = tokio::join!(asking, refused);
    assert_eq!(delivery.message.body.as_slice(), b"y");
}

#[tokio::test]
async fn a_pipeline_that_asks_for_nothing_takes_nothing() {
    let settings = HttpSourceConfig {
        answer_within: Duration::from_millis(100),
        ..config()
    };
    let mut source = open(&settings).await;
    let mut client = Client::connect(source.address()).await;
    // Until it has stood still for a second, it may just be between two messages.
    loop {
        client.post("", "late").await;
        match client.reply().await {
            (503, head, _) => break assert!(head.contains("retry-after: 5"), "{head}"),
            // Those who were told so wait in the queue until the pipeline asks.
            (status, ..) => assert!(matches!(status, 429 | 504), "{status}"),
        }
    }
    // Those who were told that it takes too long are not handed out.
    let asking = tokio::spawn(async move { (next(&mut source).await.message, source) });
    loop {
        client.post("", "in time").await;
        assert_eq!(client.reply().await.0, 503, "too early, or let go of unsettled");
        if asking.is_finished() {
            break;
        }
    }
    let (message, _source) = asking.await.unwrap();
    assert_eq!(message.body.as_slice(), b"in time");
}

#[tokio::test]
async fn a_body_that_does_not_come_gives_its_slot_back() {
    let settings = HttpSourceConfig {
        answer_within: Duration::from_millis(200),
        prefetch: 1,
        ..config()
    };
    let mut source = open(&settings).await;
    let mut slow = Client::connect(source.address()).await;
    slow.send("POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx")
        .await;
    assert_eq!(slow.reply().await.0, 408);
    assert!(slow.is_closed().await);
    let mut client = Client::connect(source.address()).await;
    client.post("", "x").await;
    next(&mut source).await;
}

#[tokio::test]
async fn a_client_that_left_makes_its_acknowledgement_void() {
    let mut source = open(&config()).await;
    let mut client = Client::connect(source.address()).await;
    client.post("", "x").await;
    let delivery = next(&mut source).await;
    assert!(!delivery.ack.is_void());
    drop(client);
    let void = async {
        while !delivery.ack.is_void() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), void).await.unwrap();
    assert!(matches!(
        settle(delivery, Disposition::Ack, &[]).await,
        Settled::Lost(_)
    ));
    let samples = (source.samples())();
    let gone = samples
        .iter()
        .find(|sample| sample.label == Some(("status", "none")))
        .unwrap();
    assert_eq!(gone.value, 1);
}

#[tokio::test]
async fn a_new_source_takes_the_address_over_and_no_connection_breaks() {
    let mut before = open(&config()).await;
    let address = before.address();
    let mut client = Client::connect(address).await;
    client.post("", "before").await;
    let first = next(&mut before).await;

    let settings = HttpSourceConfig { address, ..config() };
    let name = Name::new("images").unwrap();
    let mut after = HttpSource::open(&settings, &name, MAX_BYTES).await.unwrap();
    // It is not asked for messages yet: who knows whether the change is made.
    let mut other = Client::connect(address).await;
    other.post("", "still before").await;
    let second = next(&mut before).await;
    assert_eq!(second.message.body.as_slice(), b"still before");

    // In between, no request is refused.
    assert!(before.stop_consuming().await.is_empty());
    let mut third = Client::connect(address).await;
    third.post("", "after").await;
    after.ready().await;
    assert_eq!(next(&mut after).await.message.body.as_slice(), b"after");
    settle(first, Disposition::Ack, &[result("cat")]).await;
    settle(second, Disposition::Ack, &[result("dog")]).await;
    before.last().await;
    drop(before);
    assert_eq!(client.reply().await.2, "cat");
    assert_eq!(other.reply().await.2, "dog");
    client.post("", "on the same connection").await;
    settle(next(&mut after).await, Disposition::Ack, &[]).await;
    assert_eq!(client.reply().await.0, 204);
}

#[tokio::test]
async fn pipelines_share_an_address_by_their_paths() {
    let mut images = open(&config()).await;
    let address = images.address();
    let settings = HttpSourceConfig {
        address,
        path: "/faces".to_owned(),
        ..config()
    };
    let faces = open(&settings).await;
    let mut client = Client::connect(address).await;
    client.post("", "x").await;
    settle(next(&mut images).await, Disposition::Ack, &[]).await;
    assert_eq!(client.reply().await.0, 204);
    drop(faces);
    client
        .send("POST /faces HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(client.reply().await.0, 503, "it may come back");
    drop(images);
    assert!(client.is_closed().await);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn the_last_to_leave_waits_until_answers_are_written() {
    let mut source = open(&config()).await;
    let address = source.address();
    let (mut client, mut idle) = (Client::connect(address).await, Client::connect(address).await);
    client.post("", "x").await;
    let delivery = next(&mut source).await;
    idle.post("", "waits").await;
    let other = next(&mut source).await;
    assert!(source.stop_consuming().await.is_empty());
    settle(delivery, Disposition::Ack, &[result(&"cat".repeat(1000))]).await;
    settle(other, Disposition::Return, &[]).await;
    source.last().await;
    drop(source);
    assert_eq!(client.reply().await.2.len(), 3000);
    assert_eq!(idle.reply().await.0, 503);
    assert!(client.is_closed().await && idle.is_closed().await);
}

#[tokio::test]
async fn a_large_answer_keeps_its_slot_until_it_is_written() {
    let settings = HttpSourceConfig {
        prefetch: 1,
        ..config()
    };
    let mut source = open(&settings).await;
    let mut client = Client::connect(source.address()).await;
    client.post("", "x").await;
    // More than the system takes for a client that does not read.
    settle(
        next(&mut source).await,
        Disposition::Ack,
        &[result(&"x".repeat(16 << 20))],
    )
    .await;
    let asking = tokio::spawn(async move { (next(&mut source).await, source) });
    let address = client.0.get_ref().peer_addr().unwrap();
    let mut other = Client::connect(address).await;
    other.post("", "y").await;
    assert_eq!(other.reply().await.0, 429);
    assert_eq!(client.reply().await.2.len(), 16 << 20);
    loop {
        other.post("", "y").await;
        tokio::select! {
            (status, ..) = other.reply() => assert_eq!(status, 429),
            () = tokio::time::sleep(Duration::from_millis(100)) => break,
        }
    }
    let (delivery, _source) = asking.await.unwrap();
    assert_eq!(delivery.message.body.as_slice(), b"y");
}
