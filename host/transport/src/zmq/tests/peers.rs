//! Destinations that connect to peers, and sources that nobody is answered by.

use tokio::net::TcpListener;

use super::super::dial::Target;
use super::super::peer_destination::{Patience, PeerDestination};
use super::*;
use crate::message::{Message, Outbound};
use crate::{DeliverError, Destination};

const QUICK: Patience = Patience::Answer {
    within: Duration::from_secs(20),
    resend: Duration::from_millis(100),
};

fn destination(port: u16, socket: SocketType, patience: Patience) -> PeerDestination {
    let target = Target {
        endpoint: Endpoint::read(&format!("tcp://127.0.0.1:{port}")).unwrap(),
        socket,
        bytes_max: 1 << 20,
    };
    PeerDestination::new(target, patience, None)
}

fn output(destination: &PeerDestination, id: &str) -> PendingOutput {
    let outbound = Outbound {
        destination: "results".to_owned(),
        key: None,
        body: b"cat".to_vec(),
        content_type: None,
        headers: Vec::new(),
    };
    let envelope = Envelope {
        message_id: id.to_owned(),
        correlation_id: "m1".to_owned(),
        ..Envelope::default()
    };
    destination.address(&Message::default(), outbound, 0, envelope).unwrap()
}

#[tokio::test]
async fn a_result_is_safe_when_its_peer_says_so() {
    let mut peer = open(&config()).await;
    let destination = destination(peer.port(), SocketType::Dealer, QUICK);
    let results = [
        output(&destination, "r1"),
        output(&destination, "r2"),
        output(&destination, "r3"),
    ];
    let dispositions = [
        Disposition::Ack,
        Disposition::Reject(reason(ReasonClass::Refused)),
        Disposition::Return,
    ];
    for (result, disposition) in results.iter().zip(dispositions) {
        let (sent, delivery) = tokio::join!(result.send(), async {
            let delivery = next(&mut peer).await;
            let message = delivery.message.clone();
            // It is sent again meanwhile, and joined.
            tokio::time::sleep(Duration::from_millis(250)).await;
            settle(delivery, disposition, &[]).await;
            message
        });
        let outcome = match sent {
            Ok(()) => "done".to_owned(),
            Err(DeliverError::Refused(why)) => format!("refused: {why}"),
            Err(DeliverError::Unconfirmed(why)) => format!("unconfirmed: {why}"),
        };
        match delivery.id.as_str() {
            "r1" => assert_eq!(outcome, "done"),
            "r2" => assert!(
                outcome.starts_with("refused") && outcome.contains("no picture"),
                "{outcome}"
            ),
            _ => assert!(outcome.starts_with("unconfirmed"), "{outcome}"),
        }
        assert_eq!(
            (delivery.body.as_slice(), delivery.correlation_id.as_deref()),
            (b"cat".as_slice(), Some("m1"))
        );
    }
}

#[tokio::test]
async fn a_peer_that_comes_back_gets_what_was_not_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let patience = Patience::Answer {
        within: Duration::from_secs(20),
        // By the new connection, and not by the time.
        resend: Duration::from_secs(20),
    };
    let destination = destination(port, SocketType::Dealer, patience);
    let result = output(&destination, "r1");
    let (sent, ()) = tokio::join!(result.send(), async {
        for is_last in [false, false, true] {
            let (stream, _) = listener.accept().await.unwrap();
            let (reader, writer, _) = wire::shake(stream, SocketType::Router, 1 << 20).await.unwrap();
            let mut peer = Client { reader, writer };
            let frames = peer.frames().await.unwrap();
            assert_eq!(frames[0], "r1");
            if is_last {
                peer.send(&[b"r0", b"done", b"{}"]).await;
                peer.send(&[b"r1", b"what", b"{}"]).await;
                peer.send(&[b"r1", b"done", b"{}"]).await;
                assert!(peer.reader.read().await.is_err() || peer.reader.pop().is_ok());
            }
        }
    });
    sent.unwrap();
}

#[tokio::test]
async fn a_peer_that_is_not_there_is_named() {
    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let patience = Patience::Answer {
        within: Duration::from_millis(300),
        resend: Duration::from_secs(5),
    };
    let destination = destination(port, SocketType::Dealer, patience);
    let error = output(&destination, "r1").send().await.unwrap_err().to_string();
    assert!(
        error.contains("not connected") && error.contains(&port.to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_pushed_arrives_where_nothing_fails() {
    let mut peer = open(&ZmqSourceConfig {
        socket: SourceSocket::Pull,
        ..config()
    })
    .await;
    let patience = Patience::Written {
        within: Duration::from_secs(20),
    };
    let destination = destination(peer.port(), SocketType::Push, patience);
    for id in ["r1", "r2", "r3", "r4"] {
        output(&destination, id).send().await.unwrap();
        let delivery = next(&mut peer).await;
        assert_eq!(
            (delivery.message.id.as_str(), delivery.message.body.as_slice()),
            (id, b"cat".as_slice())
        );
        let disposition = Disposition::Reject(reason(ReasonClass::Refused));
        assert_eq!(settle(delivery, disposition, &[]).await, Settled::Done);
    }
    let mut client = Client::of(SocketType::Push, peer.port()).await.unwrap();
    for n in 0..9 {
        client.send(&vec![b"x".as_slice(); n + 1]).await;
    }
    let mut bodies = 0;
    // A body, a key and a body; the headers of the others are none.
    while bodies < 2 {
        let delivery = next(&mut peer).await;
        assert_eq!(delivery.message.body.as_slice(), b"x");
        settle(delivery, Disposition::Ack, &[]).await;
        bodies += 1;
    }
    assert!(Client::of(SocketType::Dealer, peer.port()).await.is_err());
}

#[tokio::test]
async fn what_is_published_arrives_where_it_is_subscribed_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut source = open_unready(&ZmqSourceConfig {
        endpoint: Endpoint::read(&format!("tcp://127.0.0.1:{port}")).unwrap(),
        socket: SourceSocket::Sub,
        topics: vec!["cats".to_owned(), "dogs".to_owned()],
        ..config()
    })
    .await;
    source.ready().await;
    assert!(!source.health().is_open());
    let (stream, _) = listener.accept().await.unwrap();
    let (reader, writer, peer) = wire::shake(stream, SocketType::Pub, 1 << 20).await.unwrap();
    assert_eq!(peer, SocketType::Sub);
    let mut publisher = Client { reader, writer };
    let mut topics = Vec::new();
    while topics.len() < 2 {
        match publisher.reader.pop().unwrap() {
            Some(Incoming::Subscribe(topic)) => topics.push(topic),
            Some(other) => panic!("{other:?}"),
            None => publisher.reader.read().await.unwrap(),
        }
    }
    assert_eq!(topics, ["cats", "dogs"]);
    publisher.send(&[b"cats.big", b"body"]).await;
    let delivery = next(&mut source).await;
    assert_eq!(
        (delivery.message.key.as_str(), delivery.message.body.as_slice()),
        ("cats.big", b"body".as_slice())
    );
    assert!(source.health().is_open());
    settle(delivery, Disposition::Ack, &[]).await;
}

#[tokio::test]
async fn a_publisher_sends_what_is_subscribed_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let patience = Patience::Written {
        within: Duration::from_secs(20),
    };
    let destination = destination(port, SocketType::Pub, patience);
    let result = output(&destination, "r1");
    let subscribing = async {
        let (stream, _) = listener.accept().await.unwrap();
        let (reader, mut writer, _) = wire::shake(stream, SocketType::Sub, 1 << 20).await.unwrap();
        writer.subscribe(b"res").await.unwrap();
        let mut subscriber = Client { reader, writer };
        subscriber.frames().await.unwrap()
    };
    let publishing = async {
        // What is sent before somebody has subscribed goes nowhere.
        loop {
            result.send().await.unwrap();
        }
    };
    let frames = tokio::select! {
        frames = subscribing => frames,
        () = publishing => unreachable!(),
    };
    assert_eq!(frames[..2], ["results", "r1"]);
}
