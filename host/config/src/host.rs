//! `[host]`: the process itself.

use std::net::SocketAddr;
use std::time::Duration;

use millrace_schema::Form;

use super::ControlConfig;
use super::limits::{AtLeast, Within};
use super::section::{Beside, By, Flag, Reads};
use super::values::{Bytes, Text};
use crate::section;

section! {
    /// `[host]`
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct HostConfig = HOST (
        "host",
        "[host]",
        "The process itself. The whole table may be left out."
    );

    /// Sandbox worker threads: as many plugin calls run at once.
    pub workers ("workers"): usize = By {
        form: Form::Integer(&WORKERS),
        read: |table, checker| {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            Within { default: cores.min(WORKERS.max), ..WORKERS }.read("workers", table, checker)
        },
    }, "4", or("the number of cores"), at_home();

    /// How long a stop (SIGINT, SIGTERM) or a pause may take. Unfinished messages return to their source in its last
    /// quarter, at most three seconds. Keep it below what the service manager allows by a second or more.
    pub drain ("drain"): Duration = Within {
        min: Duration::ZERO,
        max: Duration::from_secs(3_600),
        // Service managers kill after 30 seconds or more; a drain must end before.
        default: Duration::from_secs(25),
    }, "\"25s\"", at_home();

    /// The address that serves health and metrics over HTTP, without credentials: an address of this machine alone
    /// (`127.0.0.1`, `[::1]`), or with `admin_public` any. Port `0` takes a free one, which the log names.
    pub admin ("admin"): Option<SocketAddr> = By {
        form: Form::Text(":[0-9]+$"),
        read: |table, checker| Some(checker.admin(table)),
    }, "\"127.0.0.1:9464\"", or("nowhere"), at_home();

    /// Whether `admin` may be an address that other machines reach, for a Prometheus or a health check elsewhere. It changes
    /// nothing and asks for no credentials: everybody who reaches it can read the names of pipelines, queues, plugins
    /// and models.
    ("admin_public") = Beside::<bool>::new(Form::Flag(false)), "true", at_home();

    /// The most memory that the process may take. A file that may take more is refused, with the terms and the key to
    /// lower.
    pub memory_bytes ("memory"): Option<u64> = AtLeast {
        // Less than this no host starts in; more is no machine that exists.
        min: Bytes(64 << 20),
        max: Bytes(1 << 50),
    }, "\"4GiB\"", or("the memory of the machine or the control group, and then only a warning");

    /// Where the control interface of the running host listens. `"auto"`: a socket for the user that the host runs as;
    /// `millrace` finds it by the path of this file. A path that ends in `.sock`: a socket there, for the same user
    /// alone. An address with a port: TCP, for every client with `control_token`. `"off"`: nowhere.
    pub control ("control"): ControlConfig = By {
        form: Form::Text(r"^(auto|off)$|\.sock$|:[0-9]+$"),
        read: |table, checker| Some(checker.control(table)),
    }, "\"auto\"", or("`\"auto\"`"), at_home();

    /// The token that a client must send over TCP: 16 to 512 letters, digits and punctuation. A browser on the same
    /// machine reaches every address of it, so there is no port without a token. The connection is not encrypted: let
    /// other machines come through a proxy with TLS.
    ("control_token") = Beside::<Text>::new(Form::Text("^[!-~]{16,512}$")), "\"${CONTROL_TOKEN}\"", or("none"), at_home();

    /// Whether the host reloads by itself when this file, or anything that it names, changes. `millrace reload` works
    /// either way.
    pub watch ("watch"): bool = Flag { default: true }, "true", at_home();
}

// Each worker may hold a plugin's whole memory; more threads than this are no machine that exists.
const WORKERS: Within<usize> = Within {
    min: 1,
    max: 1_024,
    default: 1,
};
