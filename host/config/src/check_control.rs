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
    pub(super) fn admin(&mut self, table: &Table<'_>) -> Option<SocketAddr> {
        let key: Key<Text> = table.key("admin", self.report);
        let is_public: Key<bool> = table.peek("admin_public", self.report);
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
    pub(super) fn control(&mut self, table: &Table<'_>) -> ControlConfig {
        let key: Key<Text> = table.key("control", self.report);
        let token: Key<Text> = table.peek("control_token", self.report);
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

    /// A token that clients must show.
    pub fn token(&mut self, token: &Spanned<Text>) -> Option<Secret> {
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
