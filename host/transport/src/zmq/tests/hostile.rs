//! Peers that mean harm, or are none.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::codec;
use super::*;

async fn raw(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).await.unwrap()
}

/// Whether the host closes a connection.
async fn is_closed(mut stream: TcpStream) -> bool {
    let mut rest = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest));
    reading.await.is_ok()
}

/// A peer that has greeted as a DEALER, and sends bytes of its own.
async fn greeted(port: u16, bytes: &[u8]) -> TcpStream {
    let mut stream = raw(port).await;
    stream.write_all(&codec::hello(SocketType::Dealer)).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

async fn still_serves(source: &mut ZmqSource) {
    let mut client = Client::connect(source.port()).await;
    client.ask("alive", "cat").await;
    settle(next(source).await, Disposition::Ack, &[]).await;
    assert_eq!(client.answer().await.1, "done");
}

#[tokio::test]
async fn nine_bytes_that_announce_a_terabyte_end_a_connection() {
    let mut source = open(&config()).await;
    for header in [
        [2, 0, 0, 1, 0, 0, 0, 0, 0], // a terabyte of data
        [2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        [6, 0, 0, 1, 0, 0, 0, 0, 0], // a command of a terabyte
        [0x42, 0, 0, 0, 0, 0, 0, 0, 1],
    ] {
        assert!(is_closed(greeted(source.port(), &header).await).await, "{header:?}");
    }
    // A client of ours is told.
    let mut client = Client::connect(source.port()).await;
    // The whole of it is not taken.
    let frames = [&b"m1"[..], b"{}", &vec![0; 4 << 20]].map(Bytes::copy_from_slice);
    drop(client.writer.send(frames.to_vec()).await);
    let (id, status, fields, _) = client.answer().await;
    assert_eq!((id.as_str(), status.as_str()), ("", "dead"));
    assert!(fields["error"].as_str().unwrap().contains("max_message"), "{fields}");
    assert!(client.is_closed().await);
    still_serves(&mut source).await;
}

#[tokio::test]
async fn garbage_is_no_greeting() {
    let mut source = open(&config()).await;
    for garbage in [
        b"GET / HTTP/1.1\r\nHost: here\r\n\r\n".as_slice(),
        &[0; 100],
        &[0xff; 64],
    ] {
        let mut stream = raw(source.port()).await;
        stream.write_all(garbage).await.unwrap();
        assert!(is_closed(stream).await);
    }
    assert!(Client::of(SocketType::Push, source.port()).await.is_err());
    still_serves(&mut source).await;
}

#[tokio::test]
async fn handshakes_that_do_not_end_keep_nobody_out() {
    let mut source = open(&config()).await;
    let mut half_open = Vec::new();
    for n in 0..500 {
        let mut stream = raw(source.port()).await;
        if n % 2 == 0 {
            stream.write_all(&codec::hello(SocketType::Dealer)[..30]).await.unwrap();
        }
        half_open.push(stream);
    }
    still_serves(&mut source).await;
    // The oldest went first.
    assert!(is_closed(half_open.remove(0)).await);
}

#[tokio::test]
async fn clients_are_bounded_and_one_that_leaves_makes_room() {
    let mut source = open(&config()).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(Client::connect(source.port()).await);
    }
    while Client::of(SocketType::Dealer, source.port()).await.is_ok() {
        tokio::task::yield_now().await;
    }
    clients.pop();
    loop {
        if Client::of(SocketType::Dealer, source.port()).await.is_ok() {
            break;
        }
        tokio::task::yield_now().await;
    }
    drop(clients);
    still_serves(&mut source).await;
}

#[tokio::test]
async fn a_body_that_does_not_come_gives_its_slot_back() {
    let mut source = open(&config()).await;
    let mut slow = Vec::new();
    for _ in 0..2 {
        // The header of a frame of 100,000 bytes, behind an id and headers.
        let begun = [1, 1, b'a', 1, 0, 2, 0, 0, 0, 0, 0, 1, 0x86, 0xa0, 0];
        slow.push(greeted(source.port(), &begun).await);
    }
    let mut client = Client::connect(source.port()).await;
    let began = std::time::Instant::now();
    client.ask("m1", "cat").await;
    settle(next(&mut source).await, Disposition::Ack, &[]).await;
    assert_eq!(client.answer().await.1, "done");
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn a_client_that_never_reads_gives_its_slots_back() {
    let mut source = open(&config()).await;
    let mut deaf = Client::connect(source.port()).await;
    let large = "x".repeat(64 << 20);
    for id in ["m1", "m2"] {
        deaf.ask(id, "cat").await;
        let outbound = crate::message::Outbound {
            destination: "reply".to_owned(),
            key: None,
            body: large.clone().into_bytes(),
            content_type: None,
            headers: Vec::new(),
        };
        let result = crate::Destination::address(
            &super::super::reply_destination::ReplyDestination,
            &crate::message::Message::default(),
            outbound,
            0,
            Envelope::default(),
        );
        settle(next(&mut source).await, Disposition::Ack, &[result.unwrap()]).await;
    }
    // Both slots are with answers that are not read, until the patience with it ends.
    let mut other = Client::connect(source.port()).await;
    loop {
        other.ask("m3", "cat").await;
        let status = tokio::select! {
            delivery = next(&mut source) => {
                settle(delivery, Disposition::Ack, &[]).await;
                other.answer().await.1
            }
            answer = other.answer() => answer.1,
        };
        if status == "done" {
            break;
        }
    }
    // It was cut off: what it did not read is not all there.
    let mut frames = 0;
    while deaf.frames().await.is_ok() {
        frames += 1;
    }
    assert!(frames < 2);
}

#[tokio::test]
async fn pings_are_answered_once_for_who_does_not_read() {
    let mut source = open(&config()).await;
    let ping = codec::ping(10).repeat(100_000);
    let mut stream = greeted(source.port(), &ping).await;
    let mut read = vec![0; 64 << 10];
    let n_bytes = stream.read(&mut read).await.unwrap();
    assert!(n_bytes > 0);
    drop(stream);
    still_serves(&mut source).await;
}
