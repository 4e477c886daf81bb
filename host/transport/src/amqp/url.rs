//! The broker's URL: checked strictly, and shown without its password. Knows no client library.
//!
//! Stricter than the URL standard by design: the client falls back to `localhost` for a host that it cannot use and
//! to an empty vhost for a final slash, and then connects to another place than the user wanted.

use std::net::Ipv6Addr;

use crate::config::HIDDEN;

/// The form of a URL.
const EXAMPLE: &str = "write `amqp://user:password@host:5672/vhost`";

/// Parameters that the client understands, and whether each is a whole number.
const PARAMETERS: &[(&str, bool)] = &[
    ("heartbeat", true),
    ("frame_max", true),
    ("channel_max", true),
    ("connection_timeout", true),
    ("auth_mechanism", false),
];

/// Where a broker listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BrokerEndpoint {
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    /// The port, by default that of the scheme.
    pub port: u16,
    /// Whether the broker speaks TLS there.
    pub is_tls: bool,
}

/// The parts of a URL that a socket needs.
///
/// # Errors
/// Says why the URL cannot be used; nothing of it but the names of scheme and parameters.
pub(crate) fn endpoint(url: &str) -> Result<BrokerEndpoint, String> {
    check(url).map_err(|error| format!("{}; {}", error.message, error.hint))?;
    let is_tls = is_tls(url);
    let host_port = Parts::of(url).map_or("", |parts| parts.host_port);
    let (host, port) = split_port(host_port);
    Ok(BrokerEndpoint {
        host: unbracketed(host).to_owned(),
        port: port
            .and_then(|port| port.parse().ok())
            .unwrap_or(if is_tls { TLS_PORT } else { PORT }),
        is_tls,
    })
}

/// Host, port and vhost: equal where two URLs are of the same queues.
pub(crate) fn server(url: &str) -> String {
    let vhost = Parts::of(url).and_then(|parts| parts.vhost).unwrap_or(DEFAULT_VHOST);
    let vhost = vhost.replace("%2F", DEFAULT_VHOST);
    match endpoint(url) {
        Ok(BrokerEndpoint { host, port, .. }) => format!("{}:{port}/{vhost}", host.to_ascii_lowercase()),
        Err(_) => redact(url),
    }
}

/// The vhost of a URL that has none, as a URL has it.
const DEFAULT_VHOST: &str = "%2f";

/// Whether the URL asks for TLS.
pub(crate) fn is_tls(url: &str) -> bool {
    url.starts_with("amqps://")
}

/// The ports that are registered for AMQP, without TLS and with it.
const PORT: u16 = 5672;
const TLS_PORT: u16 = 5671;

/// Why a URL cannot be used. Holds nothing of the URL but the names of scheme and parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UrlError {
    pub(crate) message: String,
    pub(crate) hint: &'static str,
}

/// The parts of `amqp://user:password@host:port/vhost?parameters`, as written.
struct Parts<'u> {
    scheme: &'u str,
    user: Option<&'u str>,
    password: Option<&'u str>,
    host_port: &'u str,
    /// Without its slash; `None` where there is no slash.
    vhost: Option<&'u str>,
    parameters: Option<&'u str>,
}

/// Checks a URL.
pub(crate) fn check(url: &str) -> Result<(), UrlError> {
    let Some(parts) = Parts::of(url) else {
        return fail("this is not an AMQP URL", EXAMPLE);
    };
    match parts.scheme {
        "amqp" | "amqps" => {}
        other if other.chars().all(|c| c.is_ascii_alphanumeric()) => {
            return fail(
                format!("the broker's URL has the scheme `{other}`, not `amqp` or `amqps`"),
                EXAMPLE,
            );
        }
        _ => return fail("this is not an AMQP URL", EXAMPLE),
    }
    if url.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#') {
        return fail(
            "the broker's URL holds a space, a control character or `#`",
            "write such a character percent-encoded: ` ` is `%20`, `#` is `%23`",
        );
    }
    for (name, part) in [
        ("user", parts.user),
        ("password", parts.password),
        ("vhost", parts.vhost),
    ] {
        if !part.is_none_or(is_percent_encoded) {
            return fail(
                format!("the {name} in the broker's URL is not percent-encoded"),
                "a `%` itself is `%25`",
            );
        }
    }
    check_host(parts.host_port)?;
    check_vhost(parts.vhost)?;
    parts
        .parameters
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .try_for_each(check_parameter)
}

/// A URL with `***` in place of its password; where it is none, all of it.
pub(crate) fn redact(url: &str) -> String {
    match Parts::of(url) {
        Some(Parts {
            scheme,
            user: Some(user),
            password: Some(_),
            host_port,
            ..
        }) => {
            let from = url.find(host_port).unwrap_or(url.len());
            // The last `@` before the host ends the password, which may hold the host's text too.
            let rest = url.rfind(&format!("@{host_port}")).unwrap_or(from);
            format!("{scheme}://{user}:{HIDDEN}{}", url.get(rest..).unwrap_or_default())
        }
        Some(_) if check(url).is_ok() => url.to_owned(),
        _ => HIDDEN.to_owned(),
    }
}

impl<'u> Parts<'u> {
    fn of(url: &'u str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (rest, parameters) = match rest.split_once('?') {
            Some((rest, parameters)) => (rest, Some(parameters)),
            None => (rest, None),
        };
        let (authority, vhost) = match rest.split_once('/') {
            Some((authority, vhost)) => (authority, Some(vhost)),
            None => (rest, None),
        };
        let (user_info, host_port) = match authority.rsplit_once('@') {
            Some((user_info, host_port)) => (Some(user_info), host_port),
            None => (None, authority),
        };
        let (user, password) = match user_info.map(|info| info.split_once(':').ok_or(info)) {
            Some(Ok((user, password))) => (Some(user), Some(password)),
            Some(Err(user)) => (Some(user), None),
            None => (None, None),
        };
        Some(Self {
            scheme,
            user,
            password,
            host_port,
            vhost,
            parameters,
        })
    }
}

fn check_host(host_port: &str) -> Result<(), UrlError> {
    const ENCODE: &str = "in user and password, `/` is `%2f`, `@` is `%40`, `:` is `%3a` and `?` is `%3f`";
    let (host, port) = split_port(host_port);
    if host.is_empty() {
        return fail("the broker's URL has no host", EXAMPLE);
    }
    let is_name = host
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if !is_name && unbracketed(host).parse::<Ipv6Addr>().is_err() {
        return fail("the broker's URL has a host that cannot be one", ENCODE);
    }
    let valid =
        |port: &str| port.chars().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0);
    if !port.is_none_or(valid) {
        return fail("the port in the broker's URL is not a number from 1 to 65535", ENCODE);
    }
    Ok(())
}

/// Host and port; an IPv6 address keeps its brackets.
fn split_port(host_port: &str) -> (&str, Option<&str>) {
    let colon = match host_port.rfind(']') {
        Some(bracket) => host_port
            .get(bracket..)
            .and_then(|rest| rest.find(':'))
            .map(|at| bracket + at),
        None => host_port.find(':'),
    };
    match colon.and_then(|colon| Some((host_port.get(..colon)?, host_port.get(colon + 1..)?))) {
        Some((host, port)) => (host, Some(port)),
        None => (host_port, None),
    }
}

/// An IPv6 address without its brackets.
fn unbracketed(host: &str) -> &str {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    inner.unwrap_or(host)
}

fn check_vhost(vhost: Option<&str>) -> Result<(), UrlError> {
    match vhost {
        Some("") => fail(
            "the broker's URL ends with `/`, which means a vhost without a name",
            "leave out the final `/` for the vhost `/`, or write it as `/%2f`",
        ),
        Some(vhost) if vhost.contains('/') => fail(
            "the vhost in the broker's URL holds a `/`",
            "write it as `%2f`; the vhost `/` is `/%2f`",
        ),
        _ => Ok(()),
    }
}

fn check_parameter(pair: &str) -> Result<(), UrlError> {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let Some((name, is_number)) = PARAMETERS.iter().find(|(known, _)| *known == name) else {
        return fail(
            "the broker's URL has an unknown parameter",
            "known are `heartbeat`, `frame_max`, `channel_max`, `connection_timeout` and `auth_mechanism`",
        );
    };
    let valid = match *name {
        "heartbeat" | "channel_max" => value.parse::<u16>().is_ok(),
        "frame_max" => value.parse::<u32>().is_ok(),
        _ if *is_number => value.parse::<u64>().is_ok(),
        _ => ["plain", "amqplain", "external", "anonymous", "rabbit-cr-demo"].contains(&value.to_lowercase().as_str()),
    };
    if !valid {
        return fail(
            format!("the parameter `{name}` in the broker's URL has a wrong value"),
            EXAMPLE_PARAMETERS,
        );
    }
    Ok(())
}

/// The form of parameters.
const EXAMPLE_PARAMETERS: &str = "such as `?heartbeat=30` (seconds) or `?connection_timeout=5000` (milliseconds)";

/// Whether every `%` begins an escape, and what they mean is UTF-8.
fn is_percent_encoded(text: &str) -> bool {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first != b'%' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let Some(byte) = digits
            .filter(|d| !d.starts_with('+'))
            .and_then(|d| u8::from_str_radix(d, 16).ok())
        else {
            return false;
        };
        bytes.push(byte);
        rest = after.get(2..).unwrap_or_default();
    }
    std::str::from_utf8(&bytes).is_ok()
}

fn fail(message: impl Into<String>, hint: &'static str) -> Result<(), UrlError> {
    Err(UrlError {
        message: message.into(),
        hint,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_mean_what_they_say_are_taken() {
        for url in [
            "amqp://localhost",
            "amqp://guest:guest@localhost:5672",
            "amqp://guest@localhost/%2f",
            "amqp://u:p%40%2f%3a@rabbit_1.example:5672/my-vhost?heartbeat=30&frame_max=131072",
            "amqp://127.0.0.1?auth_mechanism=plain",
            "amqps://rabbit.example",
            "amqp://guest:guest@[::1]:5672/%2f",
            "amqps://[2001:db8::1]",
        ] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn urls_that_lead_elsewhere_are_refused() {
        let refused = |url: &str, part: &str| {
            let message = check(url).unwrap_err().message;
            assert!(message.contains(part), "{url}: {message}");
        };
        refused("", "not an AMQP URL");
        refused("localhost:5672", "not an AMQP URL");
        refused("http://localhost", "scheme `http`");
        refused("amqp://", "no host");
        refused("amqp://user:pass@", "no host");
        refused("amqp://[::1]/", "vhost without a name");
        refused("amqp://[::g]", "host that cannot be one");
        refused("amqp://[::1", "host that cannot be one");
        refused("amqp://localhost/", "vhost without a name");
        refused("amqp://localhost//", "holds a `/`");
        refused("amqp://localhost:", "port");
        refused("amqp://localhost:0", "port");
        refused("amqp://localhost:+5", "port");
        refused("amqp://localhost:65536", "port");
        refused("amqp://guest:pa/ss@localhost", "port");
        refused("amqp://guest:100%@localhost", "password");
        refused("amqp://guest:%ff@localhost", "password");
        refused("amqp://guest:a b@localhost", "space");
        refused("amqp://ho$t", "host that cannot be one");
        refused("amqp://localhost?heartbeat=x", "`heartbeat`");
        refused("amqp://localhost?tls=1", "unknown parameter");
    }

    #[test]
    fn a_url_says_where_to_connect() {
        for (url, host, port, is_tls) in [
            ("amqp://localhost", "localhost", 5672, false),
            ("amqps://u:p@rabbit.example", "rabbit.example", 5671, true),
            ("amqps://rabbit.example:17/%2f?heartbeat=2", "rabbit.example", 17, true),
            ("amqp://[::1]", "::1", 5672, false),
            ("amqp://[::1]:17", "::1", 17, false),
        ] {
            let host = host.to_owned();
            assert_eq!(endpoint(url), Ok(BrokerEndpoint { host, port, is_tls }), "{url}");
        }
        assert!(!endpoint("amqp://u:hunter2@").unwrap_err().contains("hunter2"));
    }

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(
            redact("amqp://guest:s3cret@localhost/%2f"),
            "amqp://guest:***@localhost/%2f"
        );
        assert_eq!(redact("amqp://u:a@host@host:1"), "amqp://u:***@host:1");
        assert_eq!(redact("amqp://u:@host"), "amqp://u:***@host");
        assert_eq!(redact("amqp://localhost?heartbeat=30"), "amqp://localhost?heartbeat=30");
        assert_eq!(redact("s3cret"), "***");
        assert_eq!(redact("amqp://user:s3/cret@host"), "***");
    }
}
