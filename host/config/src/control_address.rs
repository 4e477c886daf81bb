//! The control address in a file, whether or not the rest of it is right: a user whose file has a mistake wants to ask
//! all the same. Reports nothing.

use std::net::SocketAddr;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::{ControlConfig, Secret, document, environment};

/// Reads `control` and `control_token` of `[host]`; what cannot be read is taken as absent.
pub fn control_of(path: &Path) -> ControlConfig {
    let text = document::read(path).unwrap_or_default();
    find(&text, path, &|name| std::env::var(name).ok())
}

fn find(text: &str, path: &Path, variable: &dyn Fn(&str) -> Option<String>) -> ControlConfig {
    let (table, _) = DeTable::parse_recoverable(text);
    let host = table.get_ref().get("host").and_then(|host| host.get_ref().as_table());
    let value = |key: &str| match host?.get(key)?.get_ref() {
        DeValue::String(text) => environment::expand(text, variable).ok().map(|expanded| expanded.text),
        _ => None,
    };
    let Some(control) = value("control") else {
        return ControlConfig::Auto;
    };
    if let Ok(address) = control.parse::<SocketAddr>() {
        let token = Secret::new(value("control_token").unwrap_or_default());
        return ControlConfig::Tcp { address, token };
    }
    match (
        control.as_str(),
        Path::new(&control).extension(),
        std::path::absolute(path),
    ) {
        ("off", ..) => ControlConfig::Off,
        (_, Some(ending), Ok(path)) if ending == "sock" => {
            ControlConfig::Socket(path.parent().unwrap_or(Path::new("/")).join(&control))
        }
        _ => ControlConfig::Auto,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: ControlConfig) {
        let variable = |name: &str| (name == "TOKEN").then(|| "s3cret".to_owned());
        assert_eq!(
            find(text, Path::new("/srv/mill/plugins.toml"), &variable),
            expected,
            "{text}"
        );
    }

    #[test]
    fn a_host_is_found_by_a_file_with_mistakes() {
        let socket = |path: &str| ControlConfig::Socket(path.into());
        let tcp = |token: &str| ControlConfig::Tcp {
            address: "127.0.0.1:9465".parse().unwrap(),
            token: Secret::new(token.to_owned()),
        };
        check("", ControlConfig::Auto);
        check("[host]\nworkers = 2", ControlConfig::Auto);
        check("[host]\ncontrol = \"auto\"", ControlConfig::Auto);
        check("[host]\ncontrol = \"off\"", ControlConfig::Off);
        check("[host]\ncontrol = \"c.sock\"", socket("/srv/mill/c.sock"));
        check(
            "[host]\ncontrol = \"/run/c.sock\"\n[plugin.crop\npath =",
            socket("/run/c.sock"),
        );
        check(
            "what = is this\n[host]\nworkers = many\ncontrol = \"/run/c.sock\"",
            socket("/run/c.sock"),
        );
        check(
            "[host]\ncontrol = \"127.0.0.1:9465\"\ncontrol_token = \"${TOKEN}\"",
            tcp("s3cret"),
        );
        check(
            "[host]\ncontrol = \"127.0.0.1:9465\"\ncontrol_token = \"${UNSET}\"",
            tcp(""),
        );
        for odd in ["7", "[]", "\"${UNSET}\"", "\"nonsense\""] {
            check(&format!("[host]\ncontrol = {odd}"), ControlConfig::Auto);
        }
        check("host = 3", ControlConfig::Auto);
    }
}
