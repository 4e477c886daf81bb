//! The verbs that ask a running host: `status`, `history`, `reload`, `rollback`, `pause`, `resume`. Knows how a host is
//! found, and not how it is changed.

mod change;
mod follow;
mod history;
mod ready;
mod status;
mod table;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::Args;

use super::output;
use crate::admin::{Client, ClientError, HostAddress, find_socket};
use crate::config::{ControlConfig, Secret, control_of, without_line_break};

pub(super) use change::{
    PipelineOptions, ReloadOptions, Reloaded, RollbackOptions, is_there, pause, reload, reload_of, resume, rollback,
};
pub(super) use follow::{Before, End, Followed, News};
pub(super) use history::{Options as HistoryOptions, history};
pub(super) use ready::{Options as ReadyOptions, ready};
pub(super) use status::{Options as StatusOptions, status};

/// Where a host is asked that is named neither by its file nor on the command line.
const PLACE_VARIABLE: &str = "MILLRACE_CONTROL";

/// The token of a host that is asked at a port.
const TOKEN_VARIABLE: &str = "MILLRACE_CONTROL_TOKEN";

/// The file that is meant where none is named.
const FILE: &str = "plugins.toml";

/// Which host.
#[derive(Debug, Args)]
pub(super) struct HostArguments {
    /// The file that the host runs; it may have mistakes [default: plugins.toml]
    #[arg(short, long, value_name = "FILE", conflicts_with = "control")]
    file: Option<PathBuf>,
    /// The control address of the host, instead of its file: a socket, or `http://127.0.0.1:9465` [env: MILLRACE_CONTROL]
    #[arg(long, value_name = "PATH|URL")]
    control: Option<String>,
    /// A file with the token for a host with a control port [default: MILLRACE_CONTROL_TOKEN of the environment, or
    /// `control_token` of the host's file]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Prints JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// A host that can be asked.
struct Host {
    client: Client,
    /// The file that it was looked for by.
    file: Option<PathBuf>,
}

impl HostArguments {
    /// Finds out where to ask; asks nothing yet.
    fn host(&self) -> anyhow::Result<Host> {
        self.find(&|name| std::env::var_os(name))
    }

    fn find(&self, variable: &dyn Fn(&str) -> Option<OsString>) -> anyhow::Result<Host> {
        // The command line comes before the environment.
        let control = match (&self.control, &self.file) {
            (Some(control), _) => Some(control.clone()),
            (None, Some(_)) => None,
            (None, None) => text_of(PLACE_VARIABLE, variable)?,
        };
        let given = match &self.token_file {
            Some(path) => {
                let token = std::fs::read_to_string(path);
                let token = token.with_context(|| format!("cannot read {}", path.display()))?;
                Some(token.trim().to_owned())
            }
            None => text_of(TOKEN_VARIABLE, variable)?.map(|token| without_line_break(&token).to_owned()),
        };
        let given = given.map(Secret::new);
        if let Some(control) = control {
            return Ok(Host {
                client: Client::new(place(&control)?, given),
                file: None,
            });
        }
        let file = self.file.clone().unwrap_or_else(|| FILE.into());
        let (place, token) = place_of(&file)?;
        Ok(Host {
            client: Client::new(place, given.or(token)),
            file: Some(file),
        })
    }
}

impl Host {
    /// The host that runs a file, if one does.
    fn of_file(file: &Path) -> anyhow::Result<Self> {
        let (place, token) = place_of(file)?;
        let given = text_of(TOKEN_VARIABLE, &|name| std::env::var_os(name))?;
        let given = given.map(|token| Secret::new(without_line_break(&token).to_owned()));
        Ok(Self {
            client: Client::new(place, given.or(token)),
            file: Some(file.to_owned()),
        })
    }

    /// The error where there is no answer.
    fn explain(&self, error: ClientError) -> anyhow::Error {
        match (&self.file, error) {
            (
                Some(file),
                ClientError::Away {
                    place: HostAddress::Socket(socket),
                    source,
                },
            ) => {
                let (file_shown, socket) = (file.display(), socket.display());
                let why = match source.kind() {
                    std::io::ErrorKind::NotFound => format!("its control socket {socket} is not there"),
                    std::io::ErrorKind::ConnectionRefused => {
                        format!("no process answers at its control socket {socket}")
                    }
                    std::io::ErrorKind::PermissionDenied => {
                        return anyhow!(
                            "the host that runs {file_shown} belongs to another user: its control socket {socket} is for \
                             that user and root"
                        );
                    }
                    _ => format!("its control socket {socket} cannot be reached: {source}"),
                };
                let missing = match file.exists() {
                    true => "",
                    false => "\nthe file does not exist either: name it with --file",
                };
                anyhow!("no host runs {file_shown}: {why}{missing}")
            }
            (_, ClientError::Refused { why, .. }) => anyhow!(lines(&why)),
            (_, error) => error.into(),
        }
    }
}

/// Where a file's host is asked.
fn place_of(file: &Path) -> anyhow::Result<(HostAddress, Option<Secret>)> {
    Ok(match control_of(file) {
        ControlConfig::Off => bail!(
            "{} says `control = \"off\"`: its host has no control interface",
            file.display()
        ),
        ControlConfig::Socket(path) => (HostAddress::Socket(path), None),
        ControlConfig::Tcp { mut address, token } => {
            // A host that listens everywhere listens here, too.
            if address.ip().is_unspecified() {
                address.set_ip(match address.is_ipv4() {
                    true => std::net::Ipv4Addr::LOCALHOST.into(),
                    false => std::net::Ipv6Addr::LOCALHOST.into(),
                });
            }
            let token = Some(token).filter(|token| !token.expose().is_empty());
            (HostAddress::Tcp(address.to_string()), token)
        }
        ControlConfig::Auto => {
            let socket = find_socket(file).with_context(|| format!("{} cannot be a path", file.display()))?;
            (HostAddress::Socket(socket), None)
        }
    })
}

/// The value of `--control`.
fn place(control: &str) -> anyhow::Result<HostAddress> {
    if control.parse::<std::net::SocketAddr>().is_ok() {
        return Ok(HostAddress::Tcp(control.to_owned()));
    }
    if let Some(authority) = control.strip_prefix("http://") {
        let authority = authority.trim_end_matches('/');
        let is_whole = !authority.is_empty() && !authority.contains(['/', '?', '#', '@']) && authority.contains(':');
        return match is_whole {
            true => Ok(HostAddress::Tcp(authority.to_owned())),
            false => bail!("--control {control}: it is like `http://127.0.0.1:9465`"),
        };
    }
    if control.starts_with("https://") {
        bail!("--control {control}: a host does not speak TLS; open a tunnel, such as `ssh -L 9465:127.0.0.1:9465`");
    }
    Ok(HostAddress::Socket(control.into()))
}

fn text_of(name: &str, variable: &dyn Fn(&str) -> Option<OsString>) -> anyhow::Result<Option<String>> {
    let Some(value) = variable(name).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let text = value.into_string().map_err(|_| anyhow!("{name} is not UTF-8"))?;
    Ok(Some(text))
}

/// Text of several lines, each made harmless.
fn lines(text: &str) -> String {
    /// Longer than any line of ours.
    const LINE_CHARS: usize = 4000;
    let lines: Vec<String> = text.lines().map(|line| output::plain(line, LINE_CHARS)).collect();
    lines.join("\n")
}

/// An object as one line of JSON.
fn json_line(value: &impl serde::Serialize) -> anyhow::Result<String> {
    Ok(output::harmless(&serde_json::to_string(value)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(file: Option<&Path>, control: Option<&str>) -> HostArguments {
        HostArguments {
            file: file.map(Path::to_owned),
            control: control.map(str::to_owned),
            token_file: None,
            json: false,
        }
    }

    fn away(host: &Host, kind: std::io::ErrorKind) -> String {
        let place = host.client.place().clone();
        let source = kind.into();
        host.explain(ClientError::Away { place, source }).to_string()
    }

    #[test]
    fn a_host_is_found_by_what_is_nearest() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mill.toml");
        std::fs::write(&file, "[host]\ncontrol = \"c.sock\"\n[plugin").unwrap();
        let by_file = HostAddress::Socket(folder.path().join("c.sock"));
        let set = |name: &str| (name == PLACE_VARIABLE).then(|| OsString::from("/run/e.sock"));
        let unset = |_: &str| None;
        let find = |arguments: HostArguments, variable: &dyn Fn(&str) -> Option<OsString>| {
            arguments.find(variable).unwrap().client.place().clone()
        };
        assert_eq!(find(arguments(Some(&file), None), &unset), by_file);
        assert_eq!(find(arguments(Some(&file), None), &set), by_file);
        assert_eq!(
            find(arguments(None, None), &set),
            HostAddress::Socket("/run/e.sock".into())
        );
        assert_eq!(
            find(arguments(None, Some("http://[::1]:9465/")), &set),
            HostAddress::Tcp("[::1]:9465".to_owned())
        );
        assert_eq!(
            find(arguments(None, Some("127.0.0.1:9465")), &unset),
            HostAddress::Tcp("127.0.0.1:9465".to_owned())
        );
        for wrong in [
            "https://127.0.0.1:1",
            "http://",
            "http://a",
            "http://a:1/v1",
            "http://u@a:1",
        ] {
            assert!(arguments(None, Some(wrong)).find(&unset).is_err(), "{wrong}");
        }
        std::fs::write(&file, "[host]\ncontrol = \"0.0.0.0:9465\"\ncontrol_token = \"x\"").unwrap();
        assert_eq!(
            find(arguments(Some(&file), None), &unset),
            HostAddress::Tcp("127.0.0.1:9465".to_owned())
        );
        std::fs::write(&file, "[host]\ncontrol = \"off\"").unwrap();
        let off = arguments(Some(&file), None).find(&unset).err().expect("nowhere");
        assert!(
            off.to_string()
                .ends_with("says `control = \"off\"`: its host has no control interface"),
            "{off}"
        );
    }

    #[test]
    fn a_host_that_is_not_there_is_told_with_its_file_and_its_socket() {
        use std::io::ErrorKind;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mill.toml");
        std::fs::write(&file, "[host]\ncontrol = \"/run/c.sock\"").unwrap();
        let host = arguments(Some(&file), None).find(&|_| None).unwrap();
        let shown = file.display();
        let rows = [
            (
                ErrorKind::NotFound,
                format!("no host runs {shown}: its control socket /run/c.sock is not there"),
            ),
            (
                ErrorKind::ConnectionRefused,
                format!("no host runs {shown}: no process answers at its control socket /run/c.sock"),
            ),
            (
                ErrorKind::PermissionDenied,
                format!(
                    "the host that runs {shown} belongs to another user: its control socket /run/c.sock is for that user \
                     and root"
                ),
            ),
        ];
        for (kind, expected) in rows {
            assert_eq!(away(&host, kind), expected);
        }
        std::fs::remove_file(&file).unwrap();
        assert!(away(&host, ErrorKind::NotFound).ends_with("the file does not exist either: name it with --file"));
    }
}
