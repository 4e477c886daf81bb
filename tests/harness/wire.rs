//! AMQP as bytes: frames, and the few types that they are made of. Knows no library, so that it can write what none
//! would.

use std::io::Read;
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};

/// What RabbitMQ proposes too.
pub(crate) const FRAME_MAX: usize = 131_072;

pub(crate) const METHOD: u8 = 1;
pub(crate) const HEADER: u8 = 2;
pub(crate) const BODY: u8 = 3;
pub(crate) const HEARTBEAT: u8 = 8;

/// What is left to read of a payload.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n).context("a frame that is too short")?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn number(&mut self, n: usize) -> Result<u64> {
        Ok(self
            .take(n)?
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    pub(crate) fn short(&mut self) -> Result<String> {
        let length = usize::try_from(self.number(1)?)?;
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }
}

/// A content header's correlation id; empty where it has none.
pub(crate) fn correlation_id(header: &[u8]) -> Result<String> {
    let mut bytes = Bytes(header);
    bytes.take(2 + 2 + 8)?;
    let flags = bytes.number(2)?;
    for property in (0..=5).filter(|property| flags & (0x8000 >> property) != 0) {
        match property {
            2 => {
                let length = usize::try_from(bytes.number(4)?)?;
                bytes.take(length)?;
            }
            3 | 4 => drop(bytes.take(1)?),
            5 => return bytes.short(),
            _ => drop(bytes.short()?),
        }
    }
    Ok(String::new())
}

pub(crate) fn read_frame(stream: &mut TcpStream) -> Result<Option<(u8, u16, Vec<u8>)>> {
    let mut head = [0; 7];
    if stream.read_exact(&mut head).is_err() {
        return Ok(None);
    }
    let [kind, a, b, size @ ..] = head;
    let mut payload = vec![0; usize::try_from(u32::from_be_bytes(size))? + 1];
    stream.read_exact(&mut payload)?;
    ensure!(payload.pop() == Some(0xCE), "a frame without an end");
    Ok(Some((kind, u16::from_be_bytes([a, b]), payload)))
}

pub(crate) fn content(channel: u16, header: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = frame(HEADER, channel, header);
    for chunk in body.chunks(FRAME_MAX - 8) {
        bytes.extend(frame(BODY, channel, chunk));
    }
    bytes
}

pub(crate) fn method(channel: u16, class: u8, id: u8, arguments: &[u8]) -> Vec<u8> {
    frame(METHOD, channel, &[&[0, class, 0, id], arguments].concat())
}

pub(crate) fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    [&[kind], channel.to_be_bytes().as_slice(), &long(payload), &[0xCE]].concat()
}

/// Up to 255 bytes behind their length, as a name among properties is written.
pub fn short(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap_or(u8::MAX)], bytes].concat()
}

/// Bytes behind their length, as long strings, tables and arrays are written.
pub fn long(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [length.to_be_bytes().as_slice(), bytes].concat()
}
