//! A blocking peer of ZeroMQ, written down from the protocol and from no code of the host's: ZMTP 3.1 with NULL over TCP.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// How long one read or write may take.
const LIMIT: Duration = Duration::from_secs(10);
/// No frame in a test is larger.
const FRAME_BYTES_MAX: u64 = 64 << 20;

/// The frames of a message.
pub type Frames = Vec<Vec<u8>>;

/// A connection whose handshake is done.
pub struct Zmq(BufReader<TcpStream>);

impl Zmq {
    /// Connects as a socket of this type, such as `DEALER`.
    ///
    /// # Errors
    /// When nobody listens, or it is no peer.
    pub fn connect(address: SocketAddr, socket: &str) -> Result<Self> {
        Self::on(TcpStream::connect_timeout(&address, LIMIT)?, socket)
    }

    /// Shakes hands on a connection that was accepted or made.
    ///
    /// # Errors
    /// When the other side is no peer.
    pub fn on(stream: TcpStream, socket: &str) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        let mut zmq = Self(BufReader::new(stream));
        let mut greeting = b"\xff\0\0\0\0\0\0\0\0\x7f\x03\x01NULL".to_vec();
        greeting.resize(64, 0);
        zmq.write(&greeting)?;
        let mut theirs = [0; 64];
        zmq.0.read_exact(&mut theirs)?;
        ensure!(
            theirs[0] == 0xff && theirs[9] == 0x7f && theirs[10] == 3,
            "no greeting: {theirs:?}"
        );
        let mut ready = b"\x05READY\x0bSocket-Type".to_vec();
        ready.extend(u32::try_from(socket.len())?.to_be_bytes());
        ready.extend(socket.as_bytes());
        zmq.write_frame(4, &ready)?;
        let (flags, command) = zmq.read_frame()?;
        ensure!(
            flags & 4 != 0 && command.starts_with(b"\x05READY"),
            "refused: {command:?}"
        );
        Ok(zmq)
    }

    /// Another handle of the connection, to end it from another thread.
    ///
    /// # Errors
    /// When the system has no more.
    pub fn stream(&self) -> Result<TcpStream> {
        Ok(self.0.get_ref().try_clone()?)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the connection is over.
    pub fn send(&mut self, frames: &[&[u8]]) -> Result<()> {
        let (last, before) = frames.split_last().context("a message has a frame")?;
        for frame in before {
            self.write_frame(1, frame)?;
        }
        self.write_frame(0, last)
    }

    /// Receives one, and answers pings meanwhile.
    ///
    /// # Errors
    /// When the connection is over, or nothing comes for ten seconds.
    pub fn receive(&mut self) -> Result<Frames> {
        let mut frames = Frames::new();
        loop {
            let (flags, frame) = self.read_frame()?;
            if flags & 4 != 0 {
                if frame.starts_with(b"\x04PING") {
                    // After a byte for the name's length, the name, and two for the time that it has patience for.
                    let pong = [b"\x04PONG", frame.get(7..).context("a short ping")?].concat();
                    self.write_frame(4, &pong)?;
                }
                continue;
            }
            frames.push(frame);
            if flags & 1 == 0 {
                return Ok(frames);
            }
        }
    }

    fn write_frame(&mut self, flags: u8, frame: &[u8]) -> Result<()> {
        let mut bytes = match u8::try_from(frame.len()) {
            Ok(length) => vec![flags, length],
            Err(_) => {
                let mut header = vec![flags | 2];
                header.extend(u64::try_from(frame.len())?.to_be_bytes());
                header
            }
        };
        bytes.extend(frame);
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.0.get_mut().write_all(bytes)?)
    }

    fn read_frame(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut flags = [0];
        self.0.read_exact(&mut flags)?;
        let length = match flags[0] & 2 {
            0 => {
                let mut length = [0];
                self.0.read_exact(&mut length)?;
                u64::from(length[0])
            }
            _ => {
                let mut length = [0; 8];
                self.0.read_exact(&mut length)?;
                u64::from_be_bytes(length)
            }
        };
        if length > FRAME_BYTES_MAX {
            bail!("a frame of {length} bytes");
        }
        let mut frame = vec![0; usize::try_from(length)?];
        self.0.read_exact(&mut frame)?;
        Ok((flags[0], frame))
    }
}
