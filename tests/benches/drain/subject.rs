//! What is measured, and how each is started.

use std::fmt;
use std::process::{Child, Command, Stdio};

use anyhow::{Result, ensure};
use millrace_tests::amqp::Arrival;
use millrace_tests::host::{Host, Mill};
use millrace_tests::samples::Sample;
use millrace_tests::scene::{Plugin, Scene};

/// Who drains the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// The bare echo.
    Echo(Body),
    /// The host, with a fresh instance for each message.
    PerMessage(Body),
    /// The host, with one instance for each worker thread.
    PerWorker(Body),
}

/// What is in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Body {
    /// 3,072 bytes of RGB.
    Raw,
    /// The sample files as they are.
    Png,
}

/// A subject that runs, until it is dropped.
pub(crate) enum Running {
    /// The echo's process.
    Echo(Child),
    /// The host's; its folder lives as long.
    Host(
        Host,
        #[expect(dead_code, reason = "the folder is removed when it is dropped")] Mill,
    ),
}

impl Subject {
    /// Every subject, in the order of a round.
    pub(crate) const ALL: [Self; 6] = [
        Self::Echo(Body::Raw),
        Self::PerMessage(Body::Raw),
        Self::PerWorker(Body::Raw),
        Self::Echo(Body::Png),
        Self::PerMessage(Body::Png),
        Self::PerWorker(Body::Png),
    ];

    /// What its queue is filled with.
    pub(crate) fn body(self) -> Body {
        match self {
            Self::Echo(body) | Self::PerMessage(body) | Self::PerWorker(body) => body,
        }
    }

    /// The echo that it is compared with.
    pub(crate) fn baseline(self) -> Self {
        Self::Echo(self.body())
    }

    /// Starts it on the queues of a scene.
    pub(crate) fn start(self, mut scene: Scene) -> Result<Running> {
        let isolation = match self {
            Self::Echo(_) => {
                let Scene {
                    url,
                    input,
                    results,
                    prefetch,
                    ..
                } = &scene;
                let mut echo = Command::new(std::env::current_exe()?);
                echo.args(["echo", url, input, results, &prefetch.to_string()])
                    .stdin(Stdio::null());
                return Ok(Running::Echo(echo.spawn()?));
            }
            Self::PerMessage(_) => "message",
            Self::PerWorker(_) => "worker",
        };
        for plugin in [&mut scene.preprocess, &mut scene.route] {
            *plugin = Plugin {
                lines: format!("isolation = \"{isolation}\""),
                ..plugin.clone()
            };
        }
        let mill = scene.mill()?;
        Ok(Running::Host(mill.start()?, mill))
    }

    /// Demands that a result is right for the picture it was made from.
    pub(crate) fn check(self, result: &Arrival, sample: &Sample) -> Result<()> {
        match self {
            Self::Echo(_) => ensure!(result.body.len() == crate::echo::RESULT_BYTES, "{result:?}"),
            Self::PerMessage(_) | Self::PerWorker(_) => {
                let result = result.json()?;
                let label = result.get("label").and_then(|label| label.as_str());
                ensure!(
                    label == Some(sample.label.as_str()),
                    "expected {}, found {label:?}",
                    sample.label
                );
            }
        }
        Ok(())
    }
}

impl Body {
    /// A picture as a message body, and its content type.
    pub(crate) fn of(self, sample: &Sample) -> Result<(&'static str, Vec<u8>)> {
        Ok(match self {
            Self::Raw => ("image/x-rgb", sample.raw()?),
            Self::Png => ("image/png", sample.png.clone()),
        })
    }
}

impl Running {
    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::Echo(child) => child.id(),
            Self::Host(host, _) => host.pid(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Self::Echo(child) = self
            && child.kill().is_ok()
        {
            child.wait().ok();
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Echo(_) => "bare echo",
            Self::PerMessage(_) => "millrace, instance per message",
            Self::PerWorker(_) => "millrace, instance per worker",
        };
        let body = match self.body() {
            Body::Raw => "raw",
            Body::Png => "png",
        };
        f.pad(&format!("{name}, {body}"))
    }
}
