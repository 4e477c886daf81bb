//! Health and metrics over HTTP, for this machine alone. Knows what is to be shown, and not where it comes from; changes
//! nothing.

mod health;
mod metric;
mod metrics;
mod server;
mod view;

pub use server::{Admin, AdminError};
pub use view::{Phase, PipelineView, View};

use std::sync::Arc;

use hyper::{Method, StatusCode};

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

/// Answers a request. A control interface would be asked here for everything that begins with `/v1/`.
fn answer(method: &Method, path: &str, viewer: &Viewer) -> Answer {
    let plain = |status, text: &str| Answer {
        status,
        content_type: PLAIN,
        text: text.to_owned(),
    };
    if *method != Method::GET && *method != Method::HEAD {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "nothing can be changed here\n");
    }
    match path {
        "/livez" => plain(StatusCode::OK, "ok\n"),
        "/readyz" => health::answer(&viewer()),
        "/metrics" => Answer {
            status: StatusCode::OK,
            content_type: metrics::CONTENT_TYPE,
            text: metrics::text(&viewer()),
        },
        _ => plain(StatusCode::NOT_FOUND, "there are /livez, /readyz and /metrics\n"),
    }
}
