//! The codec, fed with what peers send and what nobody should.

use millrace_fuzz::proptest::prelude::*;

use super::*;

const BYTES_MAX: usize = 1_000;

fn decoder() -> Decoder {
    Decoder::new(SocketType::Router, BYTES_MAX)
}

/// A decoder whose handshake is done.
fn ready() -> Decoder {
    let mut decoder = decoder();
    feed(&mut decoder, &hello(SocketType::Dealer));
    assert_eq!(decoder.handshake().unwrap(), Some(SocketType::Dealer));
    decoder
}

fn feed(decoder: &mut Decoder, bytes: &[u8]) {
    decoder.room(bytes.len()).extend_from_slice(bytes);
}

fn wire(frames: &[&[u8]]) -> Vec<u8> {
    let frames = frames.iter().map(|frame| Bytes::copy_from_slice(frame)).collect();
    message(frames).concat()
}

#[test]
fn messages_come_however_they_are_cut() {
    let long = vec![7; 600];
    let mut stream = hello(SocketType::Req).to_vec();
    stream.extend(wire(&[b"", b"id", b"{}", &long]));
    stream.extend(ping(10));
    stream.extend(wire(&[b"next"]));
    for n_at_once in [1, 2, 3, 64, 65, 10_000] {
        let mut decoder = decoder();
        let mut socket = None;
        let mut found = Vec::new();
        for piece in stream.chunks(n_at_once) {
            feed(&mut decoder, piece);
            if socket.is_none() {
                socket = decoder.handshake().unwrap();
            }
            while let Some(incoming) = socket.and_then(|_| decoder.next().unwrap()) {
                found.push(incoming);
            }
        }
        assert_eq!(socket, Some(SocketType::Req), "{n_at_once}");
        let frames =
            |frames: &[&[u8]]| Incoming::Message(frames.iter().map(|frame| Bytes::copy_from_slice(frame)).collect());
        let expected = [
            frames(&[b"", b"id", b"{}", &long]),
            Incoming::Ping(Bytes::new()),
            frames(&[b"next"]),
        ];
        assert_eq!(found, expected, "{n_at_once}");
        assert!(!decoder.is_amid());
    }
}

#[test]
fn nine_bytes_that_announce_a_terabyte_cost_nine_bytes() {
    let mut decoder = ready();
    let mut attack = vec![LONG];
    attack.extend((1_u64 << 40).to_be_bytes());
    feed(&mut decoder, &attack);
    assert!(matches!(
        decoder.next(),
        Err(ProtocolError::TooLarge { bytes_max: BYTES_MAX })
    ));
    assert!(decoder.room(16).capacity() < 1 << 16);
}

#[test]
fn a_message_is_bounded_with_all_its_frames() {
    let mut decoder = ready();
    let mut frames = [MORE, 0].repeat(BYTES_MAX / FRAME_BYTES);
    feed(&mut decoder, &frames);
    assert_eq!(decoder.next().unwrap(), None);
    feed(&mut decoder, &[MORE, 0]);
    assert!(matches!(decoder.next(), Err(ProtocolError::TooLarge { .. })));

    // Frames that no message has are dropped as they come.
    let mut decoder = ready();
    frames.truncate(2 * (FRAMES_MAX + 1));
    frames.extend([0, 0]);
    feed(&mut decoder, &frames);
    assert_eq!(decoder.next().unwrap(), Some(Incoming::TooManyFrames));
    feed(&mut decoder, &wire(&[b"a"]));
    assert!(matches!(decoder.next().unwrap(), Some(Incoming::Message(frames)) if frames.len() == 1));
}

#[test]
fn what_a_message_costs_is_known_by_its_header() {
    let mut decoder = ready();
    feed(&mut decoder, &wire(&[b"id", b"{}", &[1; 700]])[..20]);
    assert_eq!(decoder.next().unwrap(), None);
    assert!(decoder.is_amid());
    assert!(
        (700..BYTES_MAX).contains(&decoder.n_expected()),
        "{}",
        decoder.n_expected()
    );
}

#[test]
fn who_is_no_peer_is_told_from_who_is() {
    #[track_caller]
    fn check(bytes: &[u8], expected: &str) {
        let mut decoder = decoder();
        feed(&mut decoder, bytes);
        let error = decoder.handshake().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    check(b"GET / HTTP/1.1\r\n\r\n", "first bytes");
    check(&[0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0], "first bytes");
    check(&[0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 1], "ZMTP 1");
    let hello = |from: &[u8], to: &[u8]| {
        let text = hello(SocketType::Dealer);
        let at = text.windows(from.len()).position(|window| window == from).unwrap();
        let mut text = text.to_vec();
        text[at..at + to.len()].copy_from_slice(to);
        text
    };
    check(&hello(b"NULL", b"CURV"), "mechanism CURV");
    check(&hello(b"DEALER", b"PULLER"), "of type PULLER");
    check(&hello(b"READY", b"READX"), "no handshake");
    check(&hello(b"Socket-Type", b"Socket-Tape"), "no handshake");
    check(&hello(b"READY", b"ERROR"), "refuses");
    let mut long = super::hello(SocketType::Dealer)[..GREETING_BYTES].to_vec();
    long.extend([COMMAND | LONG, 0, 0, 0, 0, 0, 1, 0, 0]);
    check(&long, "more than the 4096 bytes");
    let mut early = super::hello(SocketType::Dealer)[..GREETING_BYTES].to_vec();
    early.extend(wire(&[b"id"]));
    check(&early, "no handshake");
}

#[test]
fn commands_are_read_and_answered() {
    let mut decoder = ready();
    feed(&mut decoder, &command(b"PING", b"\0\x0acontext"));
    feed(&mut decoder, &pong(b"context"));
    feed(&mut decoder, &subscribe(b"cats.", 1).concat());
    feed(&mut decoder, &command(b"CANCEL", b""));
    feed(&mut decoder, &command(b"JOIN", b"group"));
    let mut next = || decoder.next().unwrap().unwrap();
    assert_eq!(next(), Incoming::Ping(Bytes::from_static(b"context")));
    assert_eq!(next(), Incoming::Pong);
    assert_eq!(next(), Incoming::Subscribe(Bytes::from_static(b"cats.")));
    assert_eq!(next(), Incoming::Cancel(Bytes::new()));
    assert_eq!(next(), Incoming::Other);
    for bad in [
        &[COMMAND, 0][..],
        &[COMMAND, 1, 9],
        &[COMMAND | MORE, 1, 0],
        &[0x40, 1, 0],
    ] {
        let mut decoder = ready();
        feed(&mut decoder, bad);
        assert!(decoder.next().is_err(), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn nothing_that_a_peer_sends_is_believed(
        is_greeted in any::<bool>(),
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..12),
    ) {
        let mut decoder = if is_greeted { ready() } else { decoder() };
        let mut is_ready = is_greeted;
        'peer: for piece in pieces {
            feed(&mut decoder, &piece);
            loop {
                if !is_ready {
                    match decoder.handshake() {
                        Ok(Some(_)) => is_ready = true,
                        Ok(None) => break,
                        Err(_) => break 'peer,
                    }
                }
                match decoder.next() {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => break 'peer,
                }
            }
            prop_assert!(decoder.n_expected() <= BYTES_MAX + 9);
            prop_assert!(decoder.room(64).capacity() <= 4 * BYTES_MAX);
        }
    }
}
