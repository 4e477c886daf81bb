//! Why a graph does not run.

/// Why a graph does not run here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device can do no more.
    #[error("the device is lost: {0}")]
    DeviceLost(String),
    /// What the device reports, in several lines.
    #[error("{0}")]
    Device(String),
    /// What is not run here, or is not as planned.
    #[error("{0}")]
    Graph(String),
}
