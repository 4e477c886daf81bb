//! The checks of where the host can be asked to change. Knows nothing of what can be asked.

use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::check::Checker;
use super::diagnostics::{Diagnostic, did_you_mean};
use super::table::{Key, Table};
use super::values::Text;
use super::{ControlConfig, Secret};

/// How a socket's path ends: what is written without is a word that was meant otherwise, or a file to lose.
const SOCKET_ENDING: &str = "sock";

/// The length of an address of a Unix socket: 108 bytes with the zero at its end.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Less can be guessed.
const TOKEN_CHARS_MIN: usize = 16;

/// It is sent with each request, in one line of its head.
const TOKEN_CHARS_MAX: usize = 512;

const FORMS: &str =
    "it is \"auto\", \"off\", a path that ends in `.sock`, or an address with a port such as \"127.0.0.1:9465\"";

impl Checker<'_, '_> {
    /// Checks `admin` and `admin_public`.
    pub(super) fn admin(&mut self, table: &mut Table<'_>) -> Option<SocketAddr> {
        let key: Key<Text> = table.key("admin", self.report);
        let is_public: Key<bool> = table.key("admin_public", self.report);
        let public = is_public.given().filter(|public| *public.get_ref());
        let Some(admin) = key.given() else {
            if let (Some(public), true) = (public, key.is_absent()) {
                let warning = Diagnostic::at(public.span(), "`admin_public` has no effect without `admin`");
                self.report
                    .warning(warning.hint("leave it out, or serve health and metrics: `admin = \"0.0.0.0:9464\"`"));
            }
            return None;
        };
        let written = admin.get_ref();
        let (message, hint) = match (written.value.parse::<SocketAddr>(), public) {
            (Ok(address), Some(public)) => {
                if address.ip().to_canonical().is_loopback() {
                    let message = format!("{} is reached by this machine alone", written.quoted());
                    let hint =
                        "leave out `admin_public`, or take an address that others reach, such as \"0.0.0.0:9464\"";
                    self.report.warning(Diagnostic::at(public.span(), message).hint(hint));
                }
                return Some(address);
            }
            (Ok(address), None) if address.ip().to_canonical().is_loopback() => return Some(address),
            (Ok(_), None) => (
                format!("{} can be reached from other machines", written.quoted()),
                "use \"127.0.0.1:9464\", or set `admin_public = true`: everybody who reaches the address can then read counts and names, but change nothing",
            ),
            (Err(_), _) => (
                format!("{} is not an address with a port", written.quoted()),
                "such as \"127.0.0.1:9464\" or \"[::1]:9464\"; port 0 takes one that is free",
            ),
        };
        self.report.diagnostic(Diagnostic::at(admin.span(), message).hint(hint));
        None
    }

    /// Checks `control` and `control_token`.
    pub(super) fn control(&mut self, table: &mut Table<'_>) -> ControlConfig {
        let key: Key<Text> = table.key("control", self.report);
        let token: Key<Text> = table.key("control_token", self.report);
        let address = key
            .given()
            .and_then(|control| control.get_ref().value.parse::<SocketAddr>().ok());
        if let (Some(control), Some(address)) = (key.given(), address) {
            return self.tcp(control, address, &token);
        }
        self.unused_token(&key, &token);
        let Some(control) = key.given() else {
            return ControlConfig::Auto;
        };
        match control.get_ref().value.as_str() {
            "auto" => ControlConfig::Auto,
            "off" => ControlConfig::Off,
            text if Path::new(text).extension().is_some_and(|end| end == SOCKET_ENDING) => {
                self.socket(control).map(ControlConfig::Socket).unwrap_or_default()
            }
            text => {
                let meant = did_you_mean(text, ["auto", "off"])
                    .map(|word| format!(", did you mean `{word}`?"))
                    .unwrap_or_default();
                let message = format!("`control` cannot be {}{meant}", control.get_ref().quoted());
                self.report
                    .diagnostic(Diagnostic::at(control.span(), message).hint(FORMS));
                ControlConfig::Auto
            }
        }
    }

    fn tcp(&mut self, control: &Spanned<Text>, address: SocketAddr, token: &Key<Text>) -> ControlConfig {
        if token.is_absent() {
            let message = "everybody who reaches this address could change the host: set `control_token`";
            let hint = "add `control_token = \"${CONTROL_TOKEN}\"`, or take \"auto\", a socket for you alone";
            self.report
                .diagnostic(Diagnostic::at(control.span(), message).hint(hint));
        }
        if !address.ip().is_loopback() {
            let message = "the token crosses the network unencrypted";
            let hint = "use \"127.0.0.1:9465\" behind a proxy with TLS";
            self.report.warning(Diagnostic::at(control.span(), message).hint(hint));
        }
        let token = token.given().and_then(|token| self.token(token));
        ControlConfig::Tcp {
            address,
            token: token.unwrap_or_else(|| Secret::new(String::new())),
        }
    }

    fn token(&mut self, token: &Spanned<Text>) -> Option<Secret> {
        let value = &token.get_ref().value;
        let n_chars = value.chars().count();
        let message = if !value.chars().all(|c| c.is_ascii_graphic()) {
            "a token consists of ASCII letters, digits and punctuation, without spaces".to_owned()
        } else if n_chars < TOKEN_CHARS_MIN {
            format!("this token is too short: it has {n_chars} characters and needs at least {TOKEN_CHARS_MIN}")
        } else if n_chars > TOKEN_CHARS_MAX {
            format!("this token is too long: it has {n_chars} characters and may have at most {TOKEN_CHARS_MAX}")
        } else {
            return Some(Secret::new(value.clone()));
        };
        let hint = "`openssl rand -hex 32` makes a good one";
        self.report.diagnostic(Diagnostic::at(token.span(), message).hint(hint));
        None
    }

    /// A token without a port has no effect.
    fn unused_token(&mut self, control: &Key<Text>, token: &Key<Text>) {
        if let Some(token) = token.given()
            && !matches!(control, Key::Mistaken)
        {
            let warning = Diagnostic::at(token.span(), "this token has no effect: only a control port needs one");
            let hint = "leave it out, or listen at a port: `control = \"127.0.0.1:9465\"`";
            self.report.warning(warning.hint(hint));
        }
    }

    /// The path of a socket that is there, or can be made.
    fn socket(&mut self, text: &Spanned<Text>) -> Option<PathBuf> {
        let written = text.get_ref().quoted();
        let path = self.base.join(&text.get_ref().value);
        let n_bytes = path.as_os_str().len();
        let found = std::fs::metadata(&path).ok();
        let problem = if text.get_ref().value.contains('\0') {
            format!("{written} is not a path")
        } else if n_bytes > SOCKET_PATH_BYTES_MAX {
            format!(
                "the absolute path of the socket {written} has {n_bytes} bytes, more than the {SOCKET_PATH_BYTES_MAX} allowed"
            )
        } else if found.is_some_and(|found| !found.file_type().is_socket()) {
            format!("{written} exists and is not a socket")
        } else if !path.parent().is_some_and(Path::is_dir) {
            format!("the socket {written} cannot be made: the folder above it does not exist")
        } else {
            return Some(path);
        };
        self.report.diagnostic(Diagnostic::at(text.span(), problem));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Rendering};
    use super::*;

    const TOKEN: &str = "hunter2-hunter2-hunter2";

    /// The result of `[host]` with these lines, in a file of this folder.
    fn control(folder: &Path, lines: &str) -> Result<ControlConfig, String> {
        let pipeline = "[pipeline.a]\nsource = { folder = \".\" }\npreprocess = \"p\"\nmodel = \"m\"\nroute = \"r\"\n\
            destination.out = { folder = \"out\" }\n[model.m]\npath = \".\"\n\
            [plugin.p]\npath = \"file\"\n[plugin.r]\npath = \"file\"\n";
        let text = format!("[host]\n{lines}\n{pipeline}");
        let env = |name: &str| (name == "TOKEN").then(|| TOKEN.to_owned());
        let (config, _) = Config::parse(&text, &folder.join("plugins.toml"), &env).map_err(|errors| {
            let shown = errors.render(Rendering::Plain);
            assert!(!shown.contains("hunter2"), "a token is shown: {shown}");
            shown
        })?;
        Ok(config.host.control)
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        std::fs::write(folder.path().join("file.sock"), "").unwrap();
        folder
    }

    #[test]
    fn each_form_is_taken() {
        let folder = folder();
        let tcp = |address: &str| ControlConfig::Tcp {
            address: address.parse().unwrap(),
            token: Secret::new(TOKEN.to_owned()),
        };
        let check = |lines: &str, expected: ControlConfig| {
            assert_eq!(control(folder.path(), lines), Ok(expected), "{lines}");
        };
        check("", ControlConfig::Auto);
        check("control = 'auto'", ControlConfig::Auto);
        check("control = 'off'", ControlConfig::Off);
        check(
            "control = 'a.sock'",
            ControlConfig::Socket(folder.path().join("a.sock")),
        );
        check("control = '/tmp/a.sock'", ControlConfig::Socket("/tmp/a.sock".into()));
        check(
            "control = '127.0.0.1:0'\ncontrol_token = '${TOKEN}'",
            tcp("127.0.0.1:0"),
        );
        check("control = '[::]:9465'\ncontrol_token = '${TOKEN}'", tcp("[::]:9465"));
        // A socket that a host left behind is used again.
        std::os::unix::net::UnixListener::bind(folder.path().join("left.sock")).unwrap();
        check(
            "control = 'left.sock'",
            ControlConfig::Socket(folder.path().join("left.sock")),
        );
    }

    #[test]
    fn what_cannot_be_listened_at_is_refused() {
        let folder = folder();
        let check = |lines: &str, expected: &str| {
            let shown = control(folder.path(), lines).unwrap_err();
            assert!(shown.contains(expected), "{lines} gives\n{shown}");
        };
        check("control = 'on'", "`control` cannot be `on`");
        check("control = 'Auto'", "did you mean `auto`?");
        check("control = ''", "`control` cannot be ``");
        check("control = 'millrace'", "`control` cannot be `millrace`");
        check("control = '127.0.0.1'", "`control` cannot be `127.0.0.1`");
        check("control = 'localhost:9465'", "`control` cannot be `localhost:9465`");
        check("control = 'file.sock'", "exists and is not a socket");
        check("control = 'no/such/a.sock'", "the folder above it does not exist");
        check(
            &format!("control = '{}.sock'", "a".repeat(100)),
            "more than the 107 allowed",
        );
        check("control = '127.0.0.1:9465'", "set `control_token`");
        let with = |token: &str| format!("control = '127.0.0.1:9465'\ncontrol_token = '{token}'");
        check(&with("hunter2"), "it has 7 characters and needs at least 16");
        check(&with(&"hunter2".repeat(100)), "may have at most 512");
        check(&with("hunter2 hunter2 hunter2"), "without spaces");
        check(&with("hunter2-hunter2-hünter2"), "ASCII letters");
        check(&with("${NO_TOKEN}"), "`${NO_TOKEN}` is not set");
        // A mistake elsewhere does not show it, either.
        check(&(with("${TOKEN}-hunter2") + "\nworkers = 0"), "`workers` must be");
        check(&with("hunter2-${TOKEN} "), "without spaces");
    }
}
