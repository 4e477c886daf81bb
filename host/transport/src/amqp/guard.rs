//! Frames from the broker, made harmless before the client library parses them. Knows the wire format, and no meaning of it.
//!
//! A message's properties are untrusted. The library (seen with lapin 4.12.3) parses nested tables by
//! recursion without a bound: a thousand levels, of five bytes each, overflow its thread's stack, which aborts the
//! process. And it takes a short string that is not UTF-8 for a broken connection: the message comes again on the next
//! one. Either way the message is then delivered to the next host.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};

use super::login::Login;
use super::traffic::Traffic;

/// Tables within tables that are passed on; deeper ones are passed on as a byte array.
const DEPTH_MAX: usize = 32;

/// Type, channel and size of a frame.
const HEAD_BYTES: usize = 7;

/// More than any broker sends in one frame.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// Holds many small frames, so that a frame is no system call of its own.
const BUFFER_BYTES: usize = 64 * 1024;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const HEARTBEAT: u8 = 8;

/// The first byte of a TLS server's answer to a client without TLS: an alert.
const TLS_ALERT: u8 = 21;

/// The first bytes of the answer of a broker that does not speak our version of the protocol.
const PROTOCOL_HEADER: u8 = b'A';

/// The broker speaks TLS, and the client did not.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the broker answers by TLS")]
pub(super) struct SpeaksTls;

/// A connection whose incoming frames are safe to parse.
#[derive(Debug)]
pub(super) struct FrameGuard<S> {
    inner: BufReader<S>,
    stage: Stage,
    /// The frame, or its head, that is being collected or handed on.
    frame: Vec<u8>,
    /// Bytes of `frame` that were collected.
    n_collected: usize,
    /// Whether a byte was received yet.
    begun: bool,
    /// The progress of the login, which these frames show.
    login: Arc<Login>,
    /// Counts the received bytes.
    traffic: Arc<Traffic>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Collecting the head of a frame.
    Head,
    /// Collecting the rest of it, because it must be looked into.
    Rest,
    /// Handing on what was collected, from this byte, and after it so many bytes as they come.
    Give { from: usize, pass: usize },
    /// Handing on so many bytes as they come.
    Pass(usize),
}

impl<S: AsyncRead> FrameGuard<S> {
    pub(super) fn new(inner: S, login: Arc<Login>, traffic: Arc<Traffic>) -> Self {
        Self {
            inner: BufReader::with_capacity(BUFFER_BYTES, inner),
            stage: Stage::Head,
            frame: vec![0; HEAD_BYTES],
            n_collected: 0,
            begun: false,
            login,
            traffic,
        }
    }

    /// Looks at a head that is complete.
    fn head(&mut self) -> io::Result<Stage> {
        let &[kind, _, _, a, b, c, d] = self.frame.as_slice() else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let first = !std::mem::replace(&mut self.begun, true);
        match kind {
            TLS_ALERT if first => return Err(io::Error::new(io::ErrorKind::InvalidData, SpeaksTls)),
            PROTOCOL_HEADER if first => {
                return Ok(Stage::Give {
                    from: 0,
                    pass: usize::MAX,
                });
            }
            _ => {}
        }
        // A frame ends with an octet of its own.
        let left = usize::try_from(u32::from_be_bytes([a, b, c, d])).map_or(usize::MAX, |size| size.saturating_add(1));
        if kind != HEARTBEAT {
            self.traffic.comes(HEAD_BYTES);
        }
        if !matches!(kind, METHOD | HEADER) {
            return Ok(Stage::Give { from: 0, pass: left });
        }
        if left > FRAME_BYTES_MAX {
            let text = format!("the broker sent a frame of {left} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        self.frame.resize(HEAD_BYTES + left, 0);
        Ok(Stage::Rest)
    }

    fn clean(&mut self) {
        if let Some((head, payload)) = self.frame.split_at_mut_checked(HEAD_BYTES) {
            // The library refuses a frame that cannot be read to its end.
            let _read_to_the_end = match head.first() {
                Some(&METHOD) => {
                    self.login.heard(payload);
                    Wire(payload).method()
                }
                _ => Wire(payload).header(),
            };
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FrameGuard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match this.stage {
                Stage::Head | Stage::Rest => {
                    let mut space = ReadBuf::new(this.frame.get_mut(this.n_collected..).unwrap_or_default());
                    ready!(Pin::new(&mut this.inner).poll_read(cx, &mut space))?;
                    let n = space.filled().len();
                    if n == 0 {
                        // The end of the stream; in the middle of a frame the library reports it.
                        return Poll::Ready(Ok(()));
                    }
                    this.n_collected += n;
                    if this.n_collected == this.frame.len() {
                        this.stage = match this.stage {
                            Stage::Head => this.head()?,
                            _ => {
                                this.clean();
                                Stage::Give { from: 0, pass: 0 }
                            }
                        };
                    }
                }
                Stage::Give { from, pass } => {
                    let rest = this.frame.get(from..).unwrap_or_default();
                    let n = rest.len().min(out.remaining());
                    out.put_slice(rest.get(..n).unwrap_or_default());
                    this.stage = Stage::Give { from: from + n, pass };
                    if n == rest.len() {
                        this.stage = Stage::Pass(pass);
                    }
                    return Poll::Ready(Ok(()));
                }
                Stage::Pass(0) => {
                    this.frame.clear();
                    this.frame.resize(HEAD_BYTES, 0);
                    this.n_collected = 0;
                    this.stage = Stage::Head;
                }
                Stage::Pass(left) => {
                    let n = left.min(out.remaining());
                    let mut space = ReadBuf::new(out.initialize_unfilled_to(n));
                    ready!(Pin::new(&mut this.inner).poll_read(cx, &mut space))?;
                    let n = space.filled().len();
                    out.advance(n);
                    // The last octet of a frame alone proves nothing: a heartbeat has no more.
                    if left > 1 {
                        this.traffic.comes(n);
                    }
                    this.stage = Stage::Pass(left - n);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for FrameGuard<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

/// A payload that is walked through and corrected in place: nothing changes its length. `None` where it ends too soon.
struct Wire<'a>(&'a mut [u8]);

impl<'a> Wire<'a> {
    /// A method with untrusted strings: names of queues and keys, and the broker's words about them.
    fn method(&mut self) -> Option<()> {
        match (self.number::<2>()?, self.number::<2>()?) {
            // connection.close, channel.close
            (10, 50) | (20, 40) => {
                self.take(2)?;
                self.text()
            }
            // basic.cancel
            (60, 30) => self.text(),
            // basic.return
            (60, 50) => {
                self.take(2)?;
                self.text()?;
                self.text()?;
                self.text()
            }
            // basic.deliver
            (60, 60) => {
                self.text()?;
                self.take(8 + 1)?;
                self.text()?;
                self.text()
            }
            _ => Some(()),
        }
    }

    /// A content header: class, weight, body size, flags, and the properties that the flags name, first bit first.
    fn header(&mut self) -> Option<()> {
        self.take(2 + 2 + 8)?;
        let flags = self.number::<2>()?;
        for property in 0..14 {
            if flags & (0x8000 >> property) == 0 {
                continue;
            }
            match property {
                2 => self.sequence()?.fields(0)?,
                3 | 4 => drop(self.take(1)?),
                9 => drop(self.take(8)?),
                _ => self.text()?,
            }
        }
        Some(())
    }

    /// A value that begins with its length in bytes: a table, an array, a long string.
    fn sequence(&mut self) -> Option<Wire<'a>> {
        let length = usize::try_from(self.number::<4>()?).ok()?;
        self.take(length).map(Wire)
    }

    fn fields(&mut self, depth: usize) -> Option<()> {
        while !self.0.is_empty() {
            self.text()?;
            self.value(depth)?;
        }
        Some(())
    }

    fn elements(&mut self, depth: usize) -> Option<()> {
        while !self.0.is_empty() {
            self.value(depth)?;
        }
        Some(())
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        let kind = self.take(1)?.first_mut()?;
        let bytes = match *kind {
            b'F' | b'A' if depth >= DEPTH_MAX => {
                *kind = b'x';
                return self.sequence().map(drop);
            }
            b'F' => return self.sequence()?.fields(depth + 1),
            b'A' => return self.sequence()?.elements(depth + 1),
            b'S' | b'x' => return self.sequence().map(drop),
            b'V' => 0,
            b't' | b'b' | b'B' => 1,
            b's' | b'U' | b'u' => 2,
            b'I' | b'i' | b'f' => 4,
            b'D' => 5,
            b'L' | b'l' | b'd' | b'T' => 8,
            _ => return None,
        };
        self.take(bytes).map(drop)
    }

    /// A short string: made ASCII where it is not UTF-8.
    fn text(&mut self) -> Option<()> {
        let length = usize::try_from(self.number::<1>()?).ok()?;
        let text = self.take(length)?;
        if std::str::from_utf8(text).is_err() {
            for byte in text.iter_mut().filter(|byte| !byte.is_ascii()) {
                *byte = b'?';
            }
        }
        Some(())
    }

    fn number<const N: usize>(&mut self) -> Option<u32> {
        let bytes = self.take(N)?;
        Some(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    fn take(&mut self, n: usize) -> Option<&'a mut [u8]> {
        let (taken, rest) = std::mem::take(&mut self.0).split_at_mut_checked(n)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[kind, 0, 1], size.as_slice(), payload, &[0xCE]].concat()
    }

    /// A content header with these properties.
    fn header(flags: u16, properties: &[u8]) -> Vec<u8> {
        let head = [0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3];
        frame(HEADER, &[&head, flags.to_be_bytes().as_slice(), properties].concat())
    }

    fn long(kind: u8, inner: &[u8]) -> Vec<u8> {
        [
            &[kind],
            u32::try_from(inner.len()).unwrap().to_be_bytes().as_slice(),
            inner,
        ]
        .concat()
    }

    /// A headers table with arrays in arrays.
    fn nested(levels: usize) -> Vec<u8> {
        let value = (0..levels).fold(vec![b'V'], |inner, _| long(b'A', &inner));
        long(b'F', &[&[1, b'k'], value.as_slice()].concat())[1..].to_vec()
    }

    async fn through(wire: &[u8], read_at_once: usize) -> io::Result<Vec<u8>> {
        let mut guard = FrameGuard::new(wire, Arc::default(), Arc::default());
        let (mut got, mut buffer) = (Vec::new(), vec![0; read_at_once]);
        loop {
            match guard.read(&mut buffer).await? {
                0 => return Ok(got),
                n => got.extend_from_slice(&buffer[..n]),
            }
        }
    }

    #[tokio::test]
    async fn what_is_harmless_comes_through_unchanged_however_it_is_cut() {
        let name = [&[5][..], "grün".as_bytes()].concat();
        let wire = [
            header(0x8000, &name),
            header(0x2000, &nested(DEPTH_MAX)),
            frame(3, &[7; 300]),
            frame(8, &[]),
            frame(METHOD, &[0, 60, 0, 60, 1, b't', 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, b'k']),
        ]
        .concat();
        for read_at_once in [1, 2, 7, 64, 4096] {
            assert_eq!(through(&wire, read_at_once).await.unwrap(), wire, "{read_at_once}");
        }
    }

    #[tokio::test]
    async fn tables_that_are_nested_deeper_become_byte_arrays() {
        let wire = header(0x2000, &nested(10_000));
        let clean = through(&wire, 4096).await.unwrap();
        assert_eq!(clean.len(), wire.len());
        let changed: Vec<_> = (0..wire.len()).filter(|at| wire[*at] != clean[*at]).collect();
        assert_eq!(changed.len(), 1);
        assert_eq!((wire[changed[0]], clean[changed[0]]), (b'A', b'x'));
    }

    #[tokio::test]
    async fn short_strings_that_are_no_text_become_ascii() {
        let wire = header(0x8000, &[3, b'a', 0xFF, b'b']);
        assert_eq!(
            through(&wire, 64).await.unwrap(),
            header(0x8000, &[3, b'a', b'?', b'b'])
        );
        let deliver = |key: u8| frame(METHOD, &[0, 60, 0, 60, 1, b't', 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, key]);
        assert_eq!(through(&deliver(0xFF), 64).await.unwrap(), deliver(b'?'));
    }

    #[tokio::test]
    async fn what_is_cut_off_or_lies_about_its_length_is_passed_on_for_the_library_to_refuse() {
        let lie = header(0x2000, &[0xFF, 0xFF, 0xFF, 0xFF, 1]);
        assert_eq!(through(&lie, 64).await.unwrap(), lie);
        assert!(through(&[HEADER, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF], 64).await.is_err());
        assert_eq!(through(b"AMQP\0\0\x09\x01", 3).await.unwrap(), b"AMQP\0\0\x09\x01");
    }

    #[tokio::test]
    async fn an_alert_tells_that_the_broker_speaks_tls() {
        let error = through(&[TLS_ALERT, 3, 3, 0, 2, 2, 10], 64).await.unwrap_err();
        assert!(error.get_ref().is_some_and(|inner| inner.is::<SpeaksTls>()), "{error}");
    }
}
