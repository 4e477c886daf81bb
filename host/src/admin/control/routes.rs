//! The paths of the control interface, read and written. Knows no socket, and changes nothing.

use hyper::{Method, StatusCode};

use super::RequestError;
use crate::config::Name;
use crate::control::Command;

pub(super) const STATUS: &str = "/v1/status";
pub(super) const HISTORY: &str = "/v1/history";
const RELOAD: &str = "/v1/reload";
const PLUGINS: &str = "/v1/plugins/";
const LOG: &str = "/log";
const AFTER: &str = "after=";

/// The query of a client that does not wait for its change.
pub(super) const AT_ONCE: &str = "wait=false";

/// A request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ControlRequest {
    /// How the host is.
    Status,
    /// The changes.
    History,
    /// The log about a plugin.
    Log {
        /// Its name in `plugins.toml`.
        plugin: String,
        /// The number of the last line that is known already.
        after: u64,
    },
    /// To change something.
    Change { command: Command, answer: When },
}

/// When a change is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// When it is its turn to wait.
    Accepted,
    /// When it is made, or refused.
    Made,
}

/// Where a change is asked for.
pub(super) fn path(command: &Command) -> String {
    match command {
        Command::Reload => RELOAD.to_owned(),
        Command::Rollback { plugin } => format!("/v1/plugins/{plugin}/rollback"),
        Command::Pause { pipeline } => format!("/v1/pipelines/{pipeline}/pause"),
        Command::Resume { pipeline } => format!("/v1/pipelines/{pipeline}/resume"),
    }
}

/// The request of a path.
pub(super) fn read(method: &Method, path: &str, query: Option<&str>) -> Result<ControlRequest, RequestError> {
    if let Some(asked) = look(path, query) {
        let asked = asked?;
        return match *method {
            Method::GET | Method::HEAD => Ok(asked),
            _ => Err(RequestError::method("GET")),
        };
    }
    let command = command(path)?;
    if *method != Method::POST {
        return Err(RequestError::method("POST"));
    }
    let answer = match query {
        None | Some("wait=true") => When::Made,
        Some(AT_ONCE) => When::Accepted,
        Some(_) => {
            return Err(RequestError::new(
                StatusCode::BAD_REQUEST,
                "the query is `wait=true` or `wait=false`",
            ));
        }
    };
    Ok(ControlRequest::Change { command, answer })
}

fn look(path: &str, query: Option<&str>) -> Option<Result<ControlRequest, RequestError>> {
    match path {
        STATUS => return Some(Ok(ControlRequest::Status)),
        HISTORY => return Some(Ok(ControlRequest::History)),
        _ => {}
    }
    let plugin = path.strip_prefix(PLUGINS)?.strip_suffix(LOG)?;
    let after = match query {
        None => Some(0),
        Some(query) => query.strip_prefix(AFTER).and_then(|after| after.parse().ok()),
    };
    let after = after.ok_or_else(|| {
        let why = "the query is `after=NUMBER`: that of the last line that is known";
        RequestError::new(StatusCode::BAD_REQUEST, why)
    });
    Some(name(plugin).and_then(|plugin| Ok(ControlRequest::Log { plugin, after: after? })))
}

/// Where the lines about a plugin are asked for that came after one.
pub(super) fn log(plugin: &str, after: u64) -> String {
    format!("{PLUGINS}{plugin}{LOG}?{AFTER}{after}")
}

fn name(text: &str) -> Result<String, RequestError> {
    let name = Name::new(text).map(|name| name.as_str().to_owned());
    name.ok_or_else(|| {
        let why = "a name is 1 to 63 of `a-z`, `0-9` and `-`, beginning with a letter";
        RequestError::new(StatusCode::BAD_REQUEST, why)
    })
}

fn command(path: &str) -> Result<Command, RequestError> {
    const ROUTES: &str = "there are GET /v1/status, GET /v1/history, GET /v1/plugins/NAME/log, POST /v1/reload, POST /v1/plugins/NAME/rollback, \
                          POST /v1/pipelines/NAME/pause and POST /v1/pipelines/NAME/resume";
    let parts: Vec<&str> = path.split('/').collect();
    match *parts.as_slice() {
        ["", "v1", "reload"] => Ok(Command::Reload),
        ["", "v1", "plugins", plugin, "rollback"] => Ok(Command::Rollback { plugin: name(plugin)? }),
        ["", "v1", "pipelines", pipeline, "pause"] => Ok(Command::Pause {
            pipeline: name(pipeline)?,
        }),
        ["", "v1", "pipelines", pipeline, "resume"] => Ok(Command::Resume {
            pipeline: name(pipeline)?,
        }),
        _ => Err(RequestError::new(StatusCode::NOT_FOUND, ROUTES)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: Method, target: &str, expected: Result<ControlRequest, u16>) {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let asked = read(&method, path, query).map_err(|refusal| refusal.status.as_u16());
        assert_eq!(asked, expected, "{method} {target}");
    }

    #[test]
    fn every_change_has_a_path_that_is_read_back() {
        let (plugin, pipeline) = ("crop-2".to_owned(), "images".to_owned());
        let commands = [
            Command::Reload,
            Command::Rollback { plugin },
            Command::Pause {
                pipeline: pipeline.clone(),
            },
            Command::Resume { pipeline },
        ];
        for command in commands {
            let path = path(&command);
            for (query, answer) in [
                ("", When::Made),
                ("?wait=true", When::Made),
                ("?wait=false", When::Accepted),
            ] {
                let command = command.clone();
                check(
                    Method::POST,
                    &format!("{path}{query}"),
                    Ok(ControlRequest::Change { command, answer }),
                );
            }
            check(Method::GET, &path, Err(405));
            check(Method::POST, &format!("{path}?wait=maybe"), Err(400));
        }
    }

    #[test]
    fn what_is_looked_at_cannot_be_changed() {
        check(Method::GET, "/v1/status", Ok(ControlRequest::Status));
        check(Method::HEAD, "/v1/history", Ok(ControlRequest::History));
        check(Method::GET, "/v1/history?since=yesterday", Ok(ControlRequest::History));
        let log = |plugin: &str, after| {
            let plugin = plugin.to_owned();
            Ok(ControlRequest::Log { plugin, after })
        };
        check(Method::GET, "/v1/plugins/crop-2/log", log("crop-2", 0));
        check(Method::GET, &super::log("crop-2", 17), log("crop-2", 17));
        check(Method::GET, "/v1/plugins/crop-2/log?after=-1", Err(400));
        check(Method::GET, "/v1/plugins/crop-2/log?since=1", Err(400));
        check(Method::GET, "/v1/plugins/../log", Err(400));
        check(Method::GET, "/v1/plugins/a/b/log", Err(400));
        check(Method::POST, "/v1/plugins/crop-2/log", Err(405));
        check(Method::POST, "/v1/status", Err(405));
        check(Method::DELETE, "/v1/history", Err(405));
    }

    #[test]
    fn only_names_get_further_than_here() {
        for name in ["", "A", "a b", "..", "%2e%2e", "a%00", "é", &"a".repeat(64)] {
            check(Method::POST, &format!("/v1/plugins/{name}/rollback"), Err(400));
            check(Method::POST, &format!("/v1/pipelines/{name}/pause"), Err(400));
        }
        for path in [
            "/",
            "",
            "*",
            "/v2/status",
            "/v1/status/",
            "/v1/plugins/a/b/rollback",
            "/metrics",
            "//v1/reload",
        ] {
            check(Method::POST, path, Err(404));
        }
    }
}
