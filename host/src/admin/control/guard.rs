//! Access to the control interface. Knows no route.

use std::net::SocketAddr;

use hyper::StatusCode;
use hyper::header::{HeaderMap, ORIGIN};

use super::super::server::Peer;
use super::RequestError;
use crate::callers::{TokenDigest, names_loopback};
use crate::config::Secret;

/// Access control.
#[derive(Debug, Clone)]
pub(super) enum AccessGuard {
    /// A user of this machine, and root.
    Owner {
        /// The user's number.
        uid: u32,
    },
    /// Clients with the token.
    Token {
        /// Its digest.
        digest: TokenDigest,
        /// Whether only this machine can reach the port. Then a name that is not this machine's is a web page that had its
        /// own name point here.
        is_loopback: bool,
    },
}

impl AccessGuard {
    /// The user that runs the host, and root.
    pub(super) fn owner() -> Self {
        Self::Owner {
            uid: rustix::process::geteuid().as_raw(),
        }
    }

    /// Clients with a token.
    pub(super) fn token(token: &Secret, address: SocketAddr) -> Self {
        Self::Token {
            digest: TokenDigest::of(token),
            is_loopback: address.ip().to_canonical().is_loopback(),
        }
    }

    /// Lets a request in: who asks, as the history has it.
    pub(super) fn admit(&self, headers: &HeaderMap, peer: Peer) -> Result<String, RequestError> {
        let forbid = |why| Err(RequestError::new(StatusCode::FORBIDDEN, why));
        // Only browsers say where a request comes from.
        if headers.contains_key(ORIGIN) {
            return forbid("web pages may not ask");
        }
        match (self, peer) {
            (Self::Owner { uid }, Peer::User(peer)) if peer == *uid || peer == 0 => Ok(format!("control (uid {peer})")),
            (Self::Token { digest, is_loopback }, Peer::Address(address)) => {
                if *is_loopback && !names_loopback(headers) {
                    return forbid("the header `Host` does not name this machine");
                }
                if !digest.is_shown(headers) {
                    return Err(RequestError::new(
                        StatusCode::UNAUTHORIZED,
                        "`Authorization: Bearer TOKEN` is missing, or another token is needed",
                    ));
                }
                Ok(format!("control ({address})"))
            }
            _ => forbid("only the user that runs the host, and root, may ask"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Peer = Peer::Address(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn headers(rows: &[(&'static str, &str)]) -> HeaderMap {
        let row = |&(name, value): &(&'static str, &str)| {
            (
                hyper::header::HeaderName::from_static(name),
                value.parse().expect("a value"),
            )
        };
        rows.iter().map(row).collect()
    }

    #[track_caller]
    fn check(guard: &AccessGuard, rows: &[(&'static str, &str)], peer: Peer, expected: Result<&str, u16>) {
        let admitted = guard.admit(&headers(rows), peer);
        let admitted = admitted.as_deref().map_err(|refusal| refusal.status.as_u16());
        assert_eq!(admitted, expected, "{rows:?}");
    }

    #[test]
    fn a_socket_serves_its_owner_and_root() {
        let guard = AccessGuard::Owner { uid: 1000 };
        check(&guard, &[], Peer::User(1000), Ok("control (uid 1000)"));
        check(&guard, &[], Peer::User(0), Ok("control (uid 0)"));
        check(&guard, &[], Peer::User(1001), Err(403));
        check(&guard, &[], HERE, Err(403));
        check(&guard, &[("origin", "null")], Peer::User(1000), Err(403));
        check(
            &guard,
            &[("host", "anything")],
            Peer::User(1000),
            Ok("control (uid 1000)"),
        );
    }

    #[test]
    fn a_port_serves_whoever_has_the_token_and_no_web_page() {
        let token = Secret::new("s3cret".to_owned());
        let local = AccessGuard::token(&token, "127.0.0.1:9465".parse().unwrap());
        let right = ("authorization", "Bearer s3cret");
        for host in ["127.0.0.1:9465", "localhost", "LocalHost:1", "[::1]:9465", "127.9.9.9"] {
            check(&local, &[right, ("host", host)], HERE, Ok("control (127.0.0.1)"));
        }
        for host in [
            "evil.example:9465",
            "localhost.evil.example",
            "192.0.2.1",
            "[::2]",
            "",
            "a b",
        ] {
            check(&local, &[right, ("host", host)], HERE, Err(403));
        }
        check(&local, &[right], HERE, Err(403));
        let here = ("host", "localhost");
        check(
            &local,
            &[("authorization", "bearer s3cret"), here],
            HERE,
            Ok("control (127.0.0.1)"),
        );
        for wrong in [
            "Bearer s3cre",
            "Bearer s3crets",
            "Bearer ",
            "Bearer",
            "Basic s3cret",
            "s3cret",
            "",
        ] {
            check(&local, &[("authorization", wrong), here], HERE, Err(401));
        }
        check(&local, &[here], HERE, Err(401));
        check(&local, &[right, here, ("origin", "http://localhost")], HERE, Err(403));
        // Where others reach it, they call it by names that are not known here.
        let open = AccessGuard::token(&token, "0.0.0.0:9465".parse().unwrap());
        check(
            &open,
            &[right, ("host", "mill.example")],
            HERE,
            Ok("control (127.0.0.1)"),
        );
        check(&open, &[("host", "mill.example")], HERE, Err(401));
    }
}
