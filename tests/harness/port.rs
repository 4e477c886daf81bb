//! Ports for what is started again and again, such as a host that is killed.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;

use anyhow::{Result, bail};

/// Ports that no system gives to those who connect, and that no broker of the tests takes: one is free again when its host is
/// started again.
const PORTS: Range<u16> = 10_000..15_000;

/// A port of this machine, for as long as the listener lives. That has the same port of another address of this machine, which
/// keeps it from all other tests, whatever they start there.
///
/// # Errors
/// When no port is free.
pub fn claim() -> Result<(TcpListener, SocketAddr)> {
    let first = usize::try_from(std::process::id())? % PORTS.len();
    for port in PORTS.cycle().skip(first).take(PORTS.len()) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if let Ok(claim) = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), port))
            && TcpListener::bind(address).is_ok()
        {
            return Ok((claim, address));
        }
    }
    bail!("no port of {PORTS:?} is free")
}
