//! Asks a host for its health and metrics, as a supervisor or Prometheus would. Knows HTTP and no client of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result};

use crate::host::Host;
use crate::{PATIENCE, wait_for};

/// The address of a host's admin pages.
#[derive(Debug, Clone, Copy)]
pub struct Admin(pub SocketAddr);

impl Admin {
    /// Finds the pages of a host by its log.
    ///
    /// # Errors
    /// When it serves none.
    pub fn of(host: &mut Host) -> Result<Self> {
        let line = host.wait_line(PATIENCE, "serving health and metrics")?;
        let address = line.get("fields").unwrap_or(&line).get("address");
        let address = address
            .and_then(|address| address.as_str())
            .context("a line without an address")?;
        Ok(Self(address.parse()?))
    }

    /// Status and body of a page.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        self.get_as("localhost", path)
    }

    /// As [`Admin::get`], by another name of the host.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn get_as(&self, name: &str, path: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.0, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {name}\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").context("no end of the head")?;
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        Ok((status, body.to_owned()))
    }

    /// Waits until `/readyz` answers with this status and a body with this text, and gives the body.
    ///
    /// # Errors
    /// With the last answer when it does not come.
    pub fn wait_ready(&self, status: u16, expected: &str) -> Result<String> {
        let mut last = String::new();
        let waited = wait_for(&format!("{status} {expected:?} of /readyz"), || {
            let answer = self.get("/readyz").ok()?;
            last = format!("{answer:?}");
            (answer.0 == status && answer.1.contains(expected)).then_some(answer.1)
        });
        waited.with_context(|| format!("the last answer was {last}"))
    }

    /// The value of a metric by its name and labels as they are written; nothing where it is not there.
    ///
    /// # Errors
    /// When the page cannot be had.
    pub fn metric(&self, name: &str) -> Result<Option<f64>> {
        let (_, page) = self.get("/metrics")?;
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.map(str::parse).transpose()?)
    }

    /// The sum of every line of a metric of one pipeline.
    ///
    /// # Errors
    /// When the page cannot be had.
    pub fn sum(&self, name: &str, pipeline: &str) -> Result<f64> {
        let (_, page) = self.get("/metrics")?;
        let lines = page.lines().filter_map(|line| {
            line.strip_prefix(&format!("{name}{{pipeline=\"{pipeline}\""))?
                .rsplit_once(' ')
        });
        lines.map(|(_, value)| Ok(value.parse::<f64>()?)).sum()
    }
}
