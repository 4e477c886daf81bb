//! The progress of a login, by the broker's last frame: the wait has a name before there is a connection. Knows no socket.

use std::sync::atomic::{AtomicU8, Ordering};

/// The steps, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Step {
    /// The network.
    Tcp,
    /// The handshake of TLS.
    Tls,
    /// The broker's first frame.
    Start,
    /// The broker's verdict on user and password.
    Tune,
    /// The broker's verdict on the vhost.
    Open,
    Done,
}

/// The progress of one login.
#[derive(Debug, Default)]
pub(super) struct Login(AtomicU8);

/// The frame that ends each step: the numbers of the class `connection` and of its method, and the next.
const HEARD: [([u8; 4], Step); 3] = [
    ([0, 10, 0, 10], Step::Tune),
    ([0, 10, 0, 30], Step::Open),
    ([0, 10, 0, 41], Step::Done),
];

impl Login {
    /// A step has begun.
    pub(super) fn reached(&self, step: Step) {
        self.0.store(step as u8, Ordering::Relaxed);
    }

    /// The broker sent a method.
    pub(super) fn heard(&self, method: &[u8]) {
        if let Some((_, step)) = HEARD.iter().find(|(numbers, _)| method.starts_with(numbers)) {
            self.reached(*step);
        }
    }

    /// The current wait, in words.
    pub(super) fn waits_for(&self) -> &'static str {
        const STEPS: [(Step, &str); 5] = [
            (Step::Tcp, "the broker's host to take the connection"),
            (Step::Tls, "the broker to answer the handshake of TLS"),
            (Step::Start, "the broker to answer with `connection.start`"),
            (Step::Tune, "the broker to answer the login with `connection.tune`"),
            (Step::Open, "the broker to answer `connection.open`"),
        ];
        let at = self.0.load(Ordering::Relaxed);
        let step = STEPS.iter().find(|(step, _)| *step as u8 == at);
        step.map_or("the client to use the connection", |(_, words)| words)
    }
}
