//! What a client of a ROUTER source is answered.

use super::super::reply_destination::ReplyDestination;
use super::*;
use crate::message::{Message, Outbound};
use crate::{Destination, OpenError};

fn result(body: &str) -> PendingOutput {
    let outbound = Outbound {
        destination: "reply".to_owned(),
        key: None,
        body: body.as_bytes().to_vec(),
        content_type: None,
        headers: Vec::new(),
    };
    let envelope = Envelope {
        message_id: format!("id-of-{body}"),
        correlation_id: "m1".to_owned(),
        content_type: Some("text/plain".to_owned()),
        headers: [("colour".into(), "red".to_owned())].into(),
    };
    ReplyDestination
        .address(&Message::default(), outbound, 0, envelope)
        .unwrap()
}

#[tokio::test]
async fn a_message_is_answered_when_it_is_settled() {
    let mut source = open(&config()).await;
    let mut client = Client::connect(source.port()).await;
    client
        .send(&[b"m1", b"{\"content-type\": \"image/png\", \"n\": 1}", b"cat"])
        .await;
    let delivery = next(&mut source).await;
    let message = &delivery.message;
    assert_eq!(
        (message.id.as_str(), message.body.as_slice()),
        ("m1", b"cat".as_slice())
    );
    assert_eq!(message.source, format!("tcp://127.0.0.1:{}", source.port()));
    assert_eq!(message.headers, [("n".to_owned(), "1".to_owned())]);
    assert_eq!(
        settle(delivery, Disposition::Ack, &[result("a"), result("b")]).await,
        Settled::Done
    );
    let (id, status, fields, results) = client.answer().await;
    assert_eq!(
        (id.as_str(), status.as_str(), &fields["results"]),
        ("m1", "done", &2.into())
    );
    let [headers, body, _, other] = results.as_slice() else {
        panic!("{results:?}")
    };
    let headers: Value = serde_json::from_str(headers).unwrap();
    assert_eq!((body.as_str(), other.as_str()), ("a", "b"));
    assert_eq!(
        (&headers["x-millrace-result-id"], &headers["colour"]),
        (&"id-of-a".into(), &"red".into())
    );
}

#[tokio::test]
async fn each_settlement_has_its_answer() {
    let mut source = open(&config()).await;
    let mut client = Client::connect(source.port()).await;
    let rows = [
        (
            Disposition::Reject(reason(ReasonClass::Refused)),
            "dead",
            "refused",
            Settled::Done,
        ),
        (
            Disposition::Retry(reason(ReasonClass::Retried)),
            "again",
            "retried",
            Settled::Done,
        ),
        (Disposition::Return, "again", "", Settled::Returned),
    ];
    for (disposition, status, class, settled) in rows {
        client.ask("m1", "cat").await;
        let delivery = next(&mut source).await;
        assert_eq!(settle(delivery, disposition, &[]).await, settled);
        let (id, answered, fields, _) = client.answer().await;
        assert_eq!((id.as_str(), answered.as_str()), ("m1", status));
        assert_eq!(fields["reason"].as_str().unwrap_or_default(), class);
        assert!(fields["error"].is_string(), "{fields}");
        if class == "retried" {
            assert_eq!(fields["attempt"], 2);
        }
    }
    client.ask("m1", "cat").await;
    drop(next(&mut source).await);
    assert_eq!(
        client.answer().await.1,
        "again",
        "what is let go of is to be sent again"
    );
}

#[tokio::test]
async fn a_req_socket_gets_its_delimiter_back() {
    let mut source = open(&config()).await;
    let mut client = Client::of_req(source.port()).await;
    client.send(&[b"", b"m1", b"", b"cat"]).await;
    settle(next(&mut source).await, Disposition::Ack, &[]).await;
    let frames = client.frames().await.unwrap();
    assert_eq!(
        frames[..3],
        [Bytes::new(), Bytes::from_static(b"m1"), Bytes::from_static(b"done")]
    );
    client.send(&[b"", b"m1"]).await;
    let frames = client.frames().await.unwrap();
    assert_eq!(frames[..3], [Bytes::new(), Bytes::new(), Bytes::from_static(b"dead")]);
}

impl Client {
    /// The codec connects no REQ sockets: it is a DEALER with another name.
    async fn of_req(port: u16) -> Self {
        Self::of(SocketType::Req, port).await.unwrap()
    }
}

#[tokio::test]
async fn who_sends_a_message_again_waits_for_the_first() {
    let mut source = open(&config()).await;
    let (mut one, mut two) = (
        Client::connect(source.port()).await,
        Client::connect(source.port()).await,
    );
    one.ask("m1", "cat").await;
    let delivery = next(&mut source).await;
    one.ask("m1", "cat").await;
    two.ask("m1", "cat").await;
    two.ask("m1", "dog").await;
    // The last is no resend. When it is answered, those before it were read.
    let (id, status, fields, _) = two.answer().await;
    assert_eq!((id.as_str(), status.as_str()), ("m1", "again"));
    assert!(
        fields["error"].as_str().unwrap().contains("another message of this id"),
        "{fields}"
    );
    one.ask("m2", "sentinel").await;
    assert_eq!(next(&mut source).await.message.id, "m2", "m1 came once");
    assert_eq!(one.answer().await.1, "again");
    settle(delivery, Disposition::Ack, &[]).await;
    assert_eq!(one.answer().await.1, "done");
    assert_eq!(two.answer().await.1, "done");
    // Its id is free, and one answer went to each.
    one.ask("m1", "dog").await;
    settle(next(&mut source).await, Disposition::Ack, &[]).await;
    assert_eq!(
        (one.answer().await.0, two.reader.pop().unwrap().is_none()),
        ("m1".to_owned(), true)
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_answered_as_dead() {
    let mut source = open(&config()).await;
    let mut client = Client::connect(source.port()).await;
    let many: Vec<&[u8]> = vec![b"x"; 20];
    for (frames, id, expected) in [
        (&[b"m1".as_slice()][..], "", "three frames"),
        (&many, "", "more frames"),
        (&[b"m1", b"[]", b"cat"], "m1", "no JSON object"),
        (&[b"m1", b"{}", &vec![0; MAX_BYTES + 1]], "m1", "`max_message`"),
    ] {
        client.send(frames).await;
        let (answered, status, fields, _) = client.answer().await;
        assert_eq!(
            (answered.as_str(), status.as_str(), &fields["reason"]),
            (id, "dead", &"malformed".into())
        );
        assert!(fields["error"].as_str().unwrap().contains(expected), "{fields}");
    }
    // The connection serves on.
    client.ask("m2", "cat").await;
    settle(next(&mut source).await, Disposition::Ack, &[]).await;
    assert_eq!(client.answer().await.1, "done");
}

#[tokio::test]
async fn no_more_messages_are_read_than_there_are_slots() {
    let mut source = open(&config()).await;
    let mut client = Client::connect(source.port()).await;
    for id in ["m1", "m2", "m3"] {
        client.ask(id, "cat").await;
    }
    let (one, two) = (next(&mut source).await, next(&mut source).await);
    tokio::select! {
        biased;
        _ = next(&mut source) => panic!("a third of two"),
        () = tokio::time::sleep(Duration::from_millis(50)) => {}
    }
    settle(one, Disposition::Ack, &[]).await;
    assert_eq!(client.answer().await.0, "m1");
    let three = next(&mut source).await;
    assert_eq!(three.message.id, "m3");
    drop((two, three));
}

#[tokio::test]
async fn a_pipeline_that_asks_for_nothing_says_so() {
    let mut source = open(&config()).await;
    let mut client = Client::connect(source.port()).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
    client.ask("m1", "cat").await;
    let (id, status, fields, _) = client.answer().await;
    assert_eq!((id.as_str(), status.as_str()), ("m1", "again"));
    assert!(fields["after_ms"].as_u64().is_some(), "{fields}");
    // It asks again, and takes what is sent again.
    let (delivery, ()) = tokio::join!(next(&mut source), client.ask("m1", "cat"));
    settle(delivery, Disposition::Ack, &[]).await;
    assert_eq!(client.answer().await.1, "done");
}

#[tokio::test]
async fn a_client_that_left_makes_its_acknowledgement_void_until_it_comes_back() {
    let mut source = open(&config()).await;
    let mut client = Client::connect(source.port()).await;
    client.ask("m1", "cat").await;
    let delivery = next(&mut source).await;
    assert!(!delivery.ack.is_void());
    drop(client);
    while !delivery.ack.is_void() {
        tokio::task::yield_now().await;
    }
    let mut client = Client::connect(source.port()).await;
    client.ask("m1", "cat").await;
    while delivery.ack.is_void() {
        tokio::task::yield_now().await;
    }
    assert_eq!(settle(delivery, Disposition::Ack, &[]).await, Settled::Done);
    assert_eq!(client.answer().await.1, "done");

    client.ask("m2", "cat").await;
    let delivery = next(&mut source).await;
    drop(client);
    while !delivery.ack.is_void() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(
        settle(delivery, Disposition::Ack, &[]).await,
        Settled::Lost(_)
    ));
}

#[tokio::test]
async fn a_new_source_takes_the_address_over_with_its_connections() {
    let mut old = open(&config()).await;
    let mut client = Client::connect(old.port()).await;
    let changed = ZmqSourceConfig {
        endpoint: Endpoint::read(&format!("tcp://127.0.0.1:{}", old.port())).unwrap(),
        prefetch: 3,
        ..config()
    };
    let mut new = open_unready(&changed).await;
    client.ask("m1", "cat").await;
    let in_flight = next(&mut old).await;
    new.ready().await;
    // Sent again, it is not taken by the new one.
    client.ask("m1", "cat").await;
    client.ask("m2", "cat").await;
    let delivery = next(&mut new).await;
    assert_eq!(delivery.message.id, "m2");
    assert!(old.stop_consuming().await.is_empty());
    settle(in_flight, Disposition::Ack, &[]).await;
    assert!(old.last().await.is_none());
    drop(old);
    assert_eq!(client.answer().await.0, "m1");
    settle(delivery, Disposition::Ack, &[]).await;
    assert_eq!(client.answer().await.0, "m2");
}

#[tokio::test]
async fn who_leaves_last_waits_until_answers_are_written() {
    let mut source = open(&config()).await;
    let port = source.port();
    let mut client = Client::connect(port).await;
    client.ask("m1", "cat").await;
    let delivery = next(&mut source).await;
    assert!(source.stop_consuming().await.is_empty());
    client.ask("m2", "cat").await;
    assert_eq!(client.answer().await.0, "m2", "it is told to come again");
    settle(delivery, Disposition::Ack, &[]).await;
    source.last().await;
    assert_eq!(client.answer().await.1, "done");
    assert!(client.is_closed().await);
    // The address is free.
    let error: Result<_, OpenError> = ZmqSource::open(
        &ZmqSourceConfig {
            endpoint: Endpoint::read(&format!("tcp://127.0.0.1:{port}")).unwrap(),
            ..config()
        },
        &Name::new("images").unwrap(),
        MAX_BYTES,
    )
    .await;
    assert!(error.is_ok());
}
