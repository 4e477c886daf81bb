//! A client of a host's control socket that knows nothing of the host's own. One request a connection.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The line of `[host]` that puts the socket beside the file.
pub const CONTROL: &str = "control = \"control.sock\"";

/// How long an answer may take: a change compiles and warms up.
const PATIENCE: Duration = Duration::from_secs(120);

/// The control socket of a host.
#[derive(Debug, Clone)]
pub struct Control(pub PathBuf);

impl Control {
    /// Status and body of an answer.
    ///
    /// # Errors
    /// When nobody answers, or not in JSON.
    pub fn ask(&self, method: &str, path: &str) -> Result<(u16, Value)> {
        let mut stream = UnixStream::connect(&self.0).with_context(|| self.0.display().to_string())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").context("no end of the head")?;
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        Ok((status, serde_json::from_str(body).with_context(|| text.clone())?))
    }

    /// Reads the file again, and gives what came of it.
    ///
    /// # Errors
    /// When the host does not answer with a change.
    pub fn reload(&self) -> Result<Value> {
        let (status, change) = self.ask("POST", "/v1/reload")?;
        ensure!(status == 200, "{status}: {change}");
        Ok(change)
    }

    /// The status.
    ///
    /// # Errors
    /// When the host does not answer with one.
    pub fn status(&self) -> Result<Value> {
        let (status, found) = self.ask("GET", "/v1/status")?;
        ensure!(status == 200, "{status}: {found}");
        Ok(found)
    }

    /// The history, the oldest first.
    ///
    /// # Errors
    /// When the host does not answer with one.
    pub fn history(&self) -> Result<Vec<Value>> {
        let (status, found) = self.ask("GET", "/v1/history")?;
        ensure!(status == 200, "{status}: {found}");
        Ok(found.as_array().context("a history is a list")?.clone())
    }
}
