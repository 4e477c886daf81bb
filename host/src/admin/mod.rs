//! Health and metrics over HTTP, and the control interface: what a host is seen and asked by from outside. Knows what is
//! shown and asked, and not where it comes from.

mod control;
mod health;
mod metric;
mod metrics;
mod pages;
mod server;
mod view;

pub use control::{Client, ClientError, ControlServer, HostAddress, find_socket};
pub use health::readiness;
pub use pages::Admin;
pub use view::{HostPhase, PipelineState, PipelineView, View};

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use hyper::StatusCode;

/// Gives what is to be shown, at the moment it is asked.
pub type Viewer = Arc<dyn Fn() -> View + Send + Sync>;

/// An answer: its status, the type of its text, its text.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    content_type: &'static str,
    text: String,
}

const PLAIN: &str = "text/plain; charset=utf-8";

/// Why something cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The port of the pages.
    #[error("cannot serve health and metrics at {address}")]
    Pages { address: SocketAddr, source: io::Error },
    /// The port of the control interface.
    #[error("cannot serve control at {address}")]
    ControlAddress { address: SocketAddr, source: io::Error },
    /// A port without a token would let everybody in.
    #[error("cannot serve control at {address} without a token")]
    NoToken { address: SocketAddr },
    /// The socket of the control interface.
    #[error("cannot serve control at `{}`", path.display())]
    ControlSocket { path: PathBuf, source: io::Error },
    /// The system has no room for it.
    #[error("the path of the control socket has {} bytes, more than the {max} allowed: `{}`", path.as_os_str().len(), path.display())]
    TooLong {
        path: PathBuf,
        /// The longest that fits.
        max: usize,
    },
    /// Another host serves there.
    #[error("another process serves control at `{}`", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something that must not be removed is there.
    #[error("`{}` exists and is not a socket", path.display())]
    NoSocket { path: PathBuf },
    /// Others could put their own socket into the folder.
    #[error("`{}` belongs to another user, or other users have access to it", folder.display())]
    Exposed { folder: PathBuf },
}
