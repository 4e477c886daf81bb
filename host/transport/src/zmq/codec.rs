//! ZMTP 3.1, the protocol of ZeroMQ, with its mechanism NULL: bytes to messages, and back. Knows no socket and no clock.
//!
//! Written here, and not a library's: those that there are believe a length before they have bounded it, keep what all connections
//! have in memory without a bound, or rebuild what else the host is built with. The protocol is a greeting, one command and a
//! frame of a flag and a length: <https://rfc.zeromq.org/spec/37/>.

use std::fmt;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// The first bytes of a peer: a signature that older versions took for a length, the version, a mechanism.
const GREETING_BYTES: usize = 64;
const SIGNATURE_FIRST: u8 = 0xff;
const SIGNATURE_LAST: u8 = 0x7f;
const SIGNATURE_BYTES: usize = 10;
const MAJOR: u8 = 3;
const MINOR: u8 = 1;
const MECHANISM: &[u8] = b"NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// The bits of a frame's flags.
const MORE: u8 = 0x01;
const LONG: u8 = 0x02;
const COMMAND: u8 = 0x04;

/// The longest command that is taken: a subscription to a topic, or the properties of a handshake.
const COMMAND_BYTES_MAX: usize = 4 << 10;
/// What a ping may ask to be answered with.
const CONTEXT_BYTES_MAX: usize = 16;
/// Memory for each frame besides its bytes: messages of empty frames are bounded, too.
const FRAME_BYTES: usize = 64;
/// More frames than any message here has: a delimiter, and four. What is beyond them is not kept.
const FRAMES_MAX: usize = 8;

/// The frames of a message.
pub(super) type Frames = Vec<Bytes>;

/// The kinds of sockets that are met here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SocketType {
    Dealer,
    Pub,
    Pull,
    Push,
    Req,
    Router,
    Sub,
    XPub,
    XSub,
}

/// What a peer says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    Message(Frames),
    /// A message with more frames than any has: they were dropped.
    TooManyFrames,
    /// It wants what begins so.
    Subscribe(Bytes),
    /// It wants that no more.
    Cancel(Bytes),
    /// It asks whether we are there, with what it is to be answered.
    Ping(Bytes),
    /// It is there.
    Pong,
    /// It says something that asks for nothing.
    Other,
}

/// Why a peer is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProtocolError {
    #[error("its first bytes are not those of ZeroMQ")]
    NoGreeting,
    #[error("it speaks ZMTP {0}, and this host ZMTP 3")]
    Version(u8),
    #[error("it wants the security mechanism {0}, and this host has NULL alone")]
    Mechanism(String),
    #[error("it sends what is no handshake")]
    NoHandshake,
    #[error("its socket cannot be connected with one of type {own}: it is of type {theirs}")]
    Incompatible { own: SocketType, theirs: String },
    #[error("it refuses the connection: {0}")]
    Refused(String),
    #[error("it sends a command that cannot be read")]
    Command,
    #[error("it sends a frame with flags that mean nothing")]
    Flags,
    /// Nothing of it was kept.
    #[error("a message has more than the {bytes_max} bytes that are allowed")]
    TooLarge { bytes_max: usize },
}

impl SocketType {
    const ALL: [(Self, &'static str); 9] = [
        (Self::Dealer, "DEALER"),
        (Self::Pub, "PUB"),
        (Self::Pull, "PULL"),
        (Self::Push, "PUSH"),
        (Self::Req, "REQ"),
        (Self::Router, "ROUTER"),
        (Self::Sub, "SUB"),
        (Self::XPub, "XPUB"),
        (Self::XSub, "XSUB"),
    ];

    /// As the protocol names it.
    pub(super) fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(socket, _)| *socket == self);
        found.map_or("", |(_, name)| name)
    }

    fn of(name: &[u8]) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, own)| own.as_bytes() == name);
        found.map(|(socket, _)| *socket)
    }

    fn goes_with(self, other: Self) -> bool {
        matches!(
            (self, other),
            (Self::Router, Self::Dealer | Self::Req | Self::Router)
                | (Self::Dealer, Self::Router | Self::Dealer)
                | (Self::Req, Self::Router)
                | (Self::Pull, Self::Push)
                | (Self::Push, Self::Pull)
                | (Self::Sub, Self::Pub | Self::XPub)
                | (Self::Pub, Self::Sub | Self::XSub)
        )
    }
}

impl fmt::Display for SocketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is sent first: the greeting, and that this end is ready.
pub(super) fn hello(own: SocketType) -> Bytes {
    let mut bytes = BytesMut::with_capacity(2 * GREETING_BYTES);
    bytes.put_u8(SIGNATURE_FIRST);
    bytes.put_bytes(0, SIGNATURE_BYTES - 2);
    bytes.put_u8(SIGNATURE_LAST);
    bytes.put_slice(&[MAJOR, MINOR]);
    bytes.put_slice(MECHANISM);
    bytes.put_bytes(0, GREETING_BYTES - bytes.len());
    let mut ready = BytesMut::new();
    for (name, value) in [("Socket-Type", own.name()), ("Identity", "")] {
        // Both are shorter than 256 bytes.
        ready.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
        ready.put_slice(name.as_bytes());
        ready.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        ready.put_slice(value.as_bytes());
    }
    bytes.put_slice(&command(b"READY", &ready));
    bytes.freeze()
}

/// The answer to a ping.
pub(super) fn pong(context: &[u8]) -> Bytes {
    command(b"PONG", context)
}

/// A question whether the peer is there, which says when it may take us for gone, in tenths of a second.
pub(super) fn ping(ttl_deciseconds: u16) -> Bytes {
    command(b"PING", &ttl_deciseconds.to_be_bytes())
}

/// What a subscriber sends; one of ZMTP 3.0 says it as a message.
pub(super) fn subscribe(topic: &[u8], minor: u8) -> Vec<Bytes> {
    if minor >= 1 {
        return vec![command(b"SUBSCRIBE", topic)];
    }
    let mut frame = BytesMut::with_capacity(1 + topic.len());
    frame.put_u8(1);
    frame.put_slice(topic);
    message(vec![frame.freeze()])
}

/// The bytes of a message: the header of each frame, and the frame itself.
pub(super) fn message(frames: Frames) -> Vec<Bytes> {
    let n_frames = frames.len();
    let mut bytes = Vec::with_capacity(2 * n_frames);
    for (place, frame) in frames.into_iter().enumerate() {
        let more = if place + 1 < n_frames { MORE } else { 0 };
        bytes.push(header(more, frame.len()));
        if !frame.is_empty() {
            bytes.push(frame);
        }
    }
    bytes
}

fn header(flags: u8, n_bytes: usize) -> Bytes {
    let mut header = BytesMut::with_capacity(9);
    match u8::try_from(n_bytes) {
        Ok(n_bytes) => header.put_slice(&[flags, n_bytes]),
        Err(_) => {
            header.put_u8(flags | LONG);
            header.put_u64(n_bytes as u64);
        }
    }
    header.freeze()
}

fn command(name: &[u8], body: &[u8]) -> Bytes {
    let n_bytes = 1 + name.len() + body.len();
    let mut bytes = BytesMut::with_capacity(9 + n_bytes);
    bytes.put_slice(&header(COMMAND, n_bytes));
    bytes.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
    bytes.put_slice(name);
    bytes.put_slice(body);
    bytes.freeze()
}

/// What comes from one peer.
#[derive(Debug)]
pub(super) struct Decoder {
    own: SocketType,
    bytes_max: usize,
    /// What has come and is not read: no more than a frame that is allowed, and what came with its end.
    input: BytesMut,
    stage: Stage,
    minor: u8,
    frames: Frames,
    /// Frames of the message that has begun, kept or not, and what they cost.
    n_frames: usize,
    n_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Greeting,
    Handshake,
    Messages,
}

/// A frame's header.
#[derive(Debug, Clone, Copy)]
struct Header {
    flags: u8,
    n_bytes: usize,
    n_payload: usize,
}

impl Decoder {
    /// Of a peer that is connected with a socket of this type; `bytes_max` bounds a message with all its frames.
    pub(super) fn new(own: SocketType, bytes_max: usize) -> Self {
        Self {
            own,
            bytes_max,
            input: BytesMut::new(),
            stage: Stage::Greeting,
            minor: 0,
            frames: Frames::new(),
            n_frames: 0,
            n_bytes: 0,
        }
    }

    /// Where bytes are read to: there is room for as many, or for the rest of a frame that has begun.
    pub(super) fn room(&mut self, n_at_least: usize) -> &mut BytesMut {
        let missing = match self.header() {
            Ok(Some(header)) => (header.n_bytes + header.n_payload).saturating_sub(self.input.len()),
            _ => 0,
        };
        let n_free = self.input.capacity() - self.input.len();
        if n_free == 0 || n_free < missing {
            self.input.reserve(missing.max(n_at_least));
        }
        &mut self.input
    }

    /// The minor version that both speak.
    pub(super) fn minor(&self) -> u8 {
        self.minor
    }

    /// Whether a message has begun, or a frame.
    pub(super) fn is_amid(&self) -> bool {
        self.n_frames > 0 || !self.input.is_empty()
    }

    /// What the message that has begun costs, with the frame that comes next as its header says it.
    pub(super) fn n_expected(&self) -> usize {
        let coming = match self.header() {
            Ok(Some(header)) => header.n_payload,
            _ => 0,
        };
        self.n_bytes + coming.max(self.input.len())
    }

    /// Reads the greeting and the handshake, as far as they have come; gives the peer's type of socket at the end.
    ///
    /// # Errors
    /// When it is no peer, or one that does not fit.
    pub(super) fn handshake(&mut self) -> Result<Option<SocketType>, ProtocolError> {
        if self.stage == Stage::Greeting && !self.greeting()? {
            return Ok(None);
        }
        let Some((header, payload)) = self.frame()? else {
            return Ok(None);
        };
        if header.flags & COMMAND == 0 {
            return Err(ProtocolError::NoHandshake);
        }
        match named(&payload) {
            Some((b"READY", properties)) => {
                let theirs = socket_type(properties).ok_or(ProtocolError::NoHandshake)?;
                match SocketType::of(theirs).filter(|theirs| self.own.goes_with(*theirs)) {
                    Some(socket) => {
                        self.stage = Stage::Messages;
                        Ok(Some(socket))
                    }
                    None => Err(ProtocolError::Incompatible {
                        own: self.own,
                        theirs: shown(theirs),
                    }),
                }
            }
            Some((b"ERROR", reason)) => Err(ProtocolError::Refused(shown(reason.get(1..).unwrap_or_default()))),
            _ => Err(ProtocolError::NoHandshake),
        }
    }

    /// Reads what has come next; nothing where more of it must come first.
    ///
    /// # Errors
    /// When the peer breaks the rules, or a message is too large.
    pub(super) fn next(&mut self) -> Result<Option<Incoming>, ProtocolError> {
        while let Some((header, payload)) = self.frame()? {
            if header.flags & COMMAND != 0 {
                return told(&payload).map(Some);
            }
            self.n_frames += 1;
            self.n_bytes += payload.len() + FRAME_BYTES;
            match self.n_frames <= FRAMES_MAX {
                true => self.frames.push(payload),
                false => self.frames.clear(),
            }
            if header.flags & MORE == 0 {
                let has_all = self.n_frames <= FRAMES_MAX;
                let frames = std::mem::take(&mut self.frames);
                (self.n_frames, self.n_bytes) = (0, 0);
                return Ok(Some(match has_all {
                    true => Incoming::Message(frames),
                    false => Incoming::TooManyFrames,
                }));
            }
        }
        Ok(None)
    }

    /// Whether the greeting has come.
    fn greeting(&mut self) -> Result<bool, ProtocolError> {
        let has = |at: usize, expected: u8| self.input.get(at).is_none_or(|byte| *byte == expected);
        if !has(0, SIGNATURE_FIRST) || !has(SIGNATURE_BYTES - 1, SIGNATURE_LAST) {
            return Err(ProtocolError::NoGreeting);
        }
        if let Some(major) = self.input.get(SIGNATURE_BYTES).filter(|major| **major < MAJOR) {
            return Err(ProtocolError::Version(*major));
        }
        if self.input.len() < GREETING_BYTES {
            return Ok(false);
        }
        let mut greeting = self.input.split_to(GREETING_BYTES);
        greeting.advance(SIGNATURE_BYTES + 1);
        self.minor = greeting.get_u8().min(MINOR);
        let mechanism = greeting.split_to(MECHANISM.len());
        if mechanism != MECHANISM {
            let name = mechanism
                .as_ref()
                .split(|byte: &u8| *byte == 0)
                .next()
                .unwrap_or_default();
            return Err(ProtocolError::Mechanism(shown(name)));
        }
        self.stage = Stage::Handshake;
        Ok(true)
    }

    /// The next frame, where all of it is there.
    fn frame(&mut self) -> Result<Option<(Header, Bytes)>, ProtocolError> {
        let Some(header) = self.header()? else {
            return Ok(None);
        };
        if self.input.len() < header.n_bytes + header.n_payload {
            return Ok(None);
        }
        self.input.advance(header.n_bytes);
        let payload = self.input.split_to(header.n_payload).freeze();
        Ok(Some((header, payload)))
    }

    /// The header of the next frame, whose length is one that is allowed.
    fn header(&self) -> Result<Option<Header>, ProtocolError> {
        if self.stage == Stage::Greeting {
            return Ok(None);
        }
        let Some(flags) = self.input.first().copied() else {
            return Ok(None);
        };
        let is_command = flags & COMMAND != 0;
        if flags & !(MORE | LONG | COMMAND) != 0 || (is_command && flags & MORE != 0) {
            return Err(ProtocolError::Flags);
        }
        let mut rest = self.input.get(1..).unwrap_or_default();
        let (n_bytes, n_payload) = match (flags & LONG != 0, rest.len()) {
            (false, 1..) => (2, u64::from(rest.get_u8())),
            (true, 8..) => (9, rest.get_u64()),
            _ => return Ok(None),
        };
        let n_payload = usize::try_from(n_payload).unwrap_or(usize::MAX);
        let (taken, bytes_max) = match is_command || self.stage == Stage::Handshake {
            true => (n_payload, COMMAND_BYTES_MAX),
            false => (
                self.n_bytes.saturating_add(n_payload).saturating_add(FRAME_BYTES),
                self.bytes_max,
            ),
        };
        if taken > bytes_max {
            return Err(ProtocolError::TooLarge { bytes_max });
        }
        Ok(Some(Header {
            flags,
            n_bytes,
            n_payload,
        }))
    }
}

/// The name of a command, and what follows.
fn named(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let (n_bytes, rest) = payload.split_first()?;
    rest.split_at_checked(usize::from(*n_bytes))
}

fn told(payload: &Bytes) -> Result<Incoming, ProtocolError> {
    let (name, rest) = named(payload).ok_or(ProtocolError::Command)?;
    let body = || payload.slice_ref(rest);
    Ok(match name {
        b"PING" => {
            // After the time that it has patience for.
            let context = rest.get(2..).ok_or(ProtocolError::Command)?;
            if context.len() > CONTEXT_BYTES_MAX {
                return Err(ProtocolError::Command);
            }
            Incoming::Ping(payload.slice_ref(context))
        }
        b"PONG" => Incoming::Pong,
        b"SUBSCRIBE" => Incoming::Subscribe(body()),
        b"CANCEL" => Incoming::Cancel(body()),
        b"ERROR" => return Err(ProtocolError::Refused(shown(rest.get(1..).unwrap_or_default()))),
        _ => Incoming::Other,
    })
}

/// The type of socket among the properties of a handshake.
fn socket_type(mut properties: &[u8]) -> Option<&[u8]> {
    loop {
        let (n_name, rest) = properties.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(*n_name))?;
        let (n_value, rest) = rest.split_first_chunk::<4>()?;
        let n_value = usize::try_from(u32::from_be_bytes(*n_value)).ok()?;
        let (value, rest) = rest.split_at_checked(n_value)?;
        if name.eq_ignore_ascii_case(b"Socket-Type") {
            return Some(value);
        }
        properties = rest;
    }
}

/// A stranger's text in the log.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text.get(..100).unwrap_or(text));
    text.escape_debug().to_string()
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
