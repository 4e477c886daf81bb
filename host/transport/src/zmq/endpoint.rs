//! The address of a peer as a file writes it. Connects nowhere.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The only transport of ZeroMQ that leads to other processes and machines alike.
const SCHEME: &str = "tcp://";
/// Names of machines are no longer.
const HOST_BYTES_MAX: usize = 253;

/// `tcp://HOST:PORT`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A name, an address, or `*`.
    host: String,
    port: u16,
}

impl Endpoint {
    /// Reads one.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (host, port) = text.strip_prefix(SCHEME)?.rsplit_once(':')?;
        let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| is_port)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = match bare {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => host == "*" || is_name(host),
        };
        let host = bare.unwrap_or(host).to_owned();
        is_host.then_some(Self { host, port })
    }

    /// The address to listen at, where it is one of a machine: `*` is every one of this.
    pub(super) fn own(&self) -> Option<SocketAddr> {
        let address = match self.host.as_str() {
            "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            host => host.parse().ok()?,
        };
        Some(SocketAddr::new(address, self.port))
    }

    /// Where to connect to; nothing where it is no single place.
    pub(super) fn peer(&self) -> Option<(&str, u16)> {
        (self.host != "*" && self.port != 0).then_some((self.host.as_str(), self.port))
    }

    /// The same with the port that the system chose.
    pub(super) fn at_port(&self, port: u16) -> Self {
        let host = self.host.clone();
        Self { host, port }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "{SCHEME}[{}]:{}", self.host, self.port),
            false => write!(f, "{SCHEME}{}:{}", self.host, self.port),
        }
    }
}

fn is_name(host: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (1..=HOST_BYTES_MAX).contains(&host.len()) && host.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        for text in [
            "tcp://127.0.0.1:5555",
            "tcp://[::1]:5555",
            "tcp://*:0",
            "tcp://queue.example-1:65535",
        ] {
            assert_eq!(
                Endpoint::read(text).map(|endpoint| endpoint.to_string()).as_deref(),
                Some(text)
            );
        }
        for text in [
            "",
            "tcp://",
            "127.0.0.1:5555",
            "tcp://host",
            "tcp://host:",
            "tcp://:5555",
            "tcp://host:65536",
            "tcp://host:+1",
            "ipc:///tmp/socket",
            "tcp://a b:1",
            "tcp://[host]:1",
            "tcp://::1:5555",
            "tcp://host:5555/",
        ] {
            assert_eq!(Endpoint::read(text), None, "{text}");
        }
        let own = |text: &str| {
            Endpoint::read(text)
                .and_then(|endpoint| endpoint.own())
                .map(|own| own.to_string())
        };
        assert_eq!(own("tcp://*:5555").as_deref(), Some("0.0.0.0:5555"));
        assert_eq!(own("tcp://[::1]:5555").as_deref(), Some("[::1]:5555"));
        assert_eq!(own("tcp://localhost:5555"), None);
        assert_eq!(Endpoint::read("tcp://*:5555").unwrap().peer(), None);
        assert_eq!(Endpoint::read("tcp://[::1]:1").unwrap().peer(), Some(("::1", 1)));
    }
}
