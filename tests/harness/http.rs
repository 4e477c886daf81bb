//! A client that sends messages by HTTP, over a connection that it keeps. Knows HTTP and no client of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::PATIENCE;
use crate::host::{Host, field, said};

/// A connection to a host's HTTP source.
#[derive(Debug)]
pub struct Http {
    address: SocketAddr,
    stream: BufReader<TcpStream>,
    // The last answer was the last of its connection.
    is_closed: bool,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers, with names in small letters.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// Where a pipeline of a host listens, by its log: the last time that it began to.
///
/// # Errors
/// With the host's log, when it does not listen.
pub fn address(host: &mut Host, pipeline: &str) -> Result<SocketAddr> {
    let is_it =
        |line: &Value| said(line) == Some("listening for messages") && field(line, "pipeline") == Some(pipeline);
    host.wait_line_that(PATIENCE, "the address of an HTTP source", is_it)?;
    let lines = host.lines();
    let line = lines.iter().rfind(|line| is_it(line)).context("no line")?;
    Ok(field(line, "address").context("a line without an address")?.parse()?)
}

impl Http {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            address,
            stream: BufReader::new(stream),
            is_closed: false,
        })
    }

    /// Sends a message to a path and waits for the answer.
    ///
    /// # Errors
    /// When none comes.
    pub fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
        self.begin(path, headers, body)?;
        self.answer()
    }

    /// Sends a message, and does not wait; over another connection where the host said that it closes this one.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn begin(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<()> {
        if self.is_closed {
            *self = Self::connect(self.address)?;
        }
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        let mut bytes = (request + "\r\n").into_bytes();
        bytes.extend_from_slice(body);
        self.send(&bytes)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.get_mut().write_all(bytes)?)
    }

    /// The next answer.
    ///
    /// # Errors
    /// When it does not come, or is none.
    pub fn answer(&mut self) -> Result<Answer> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line
            .split(' ')
            .nth(1)
            .with_context(|| format!("no status in {line:?}"))?
            .parse()?;
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            match line.trim_end().split_once(':') {
                Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
                None => break,
            }
        }
        let mut answer = Answer {
            status,
            headers,
            body: Vec::new(),
        };
        let n_bytes = answer.header("content-length").unwrap_or("0").parse()?;
        answer.body.resize(n_bytes, 0);
        self.stream.read_exact(&mut answer.body)?;
        self.is_closed = answer.header("connection") == Some("close");
        Ok(answer)
    }

    /// Whether the host has closed it, once it has.
    ///
    /// # Errors
    /// When it sends something, or does not close it.
    pub fn wait_closed(&mut self) -> Result<()> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest)?;
        anyhow::ensure!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
        Ok(())
    }
}

impl Answer {
    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter();
        all.find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Its body as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("{self:?}"))
    }
}
