//! How far a login is, told by what the broker sent last: what is waited for has a name before there is a connection.
//! Knows no socket.

use std::sync::atomic::{AtomicU8, Ordering};

/// What is waited for, in the order in which it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Step {
    /// The network.
    Tcp,
    /// The handshake of TLS.
    Tls,
    /// The broker's first word.
    Start,
    /// What it makes of user and password.
    Tune,
    /// What it makes of the vhost.
    Open,
    /// Nothing any more.
    Done,
}

/// How far one login is.
#[derive(Debug, Default)]
pub(super) struct Login(AtomicU8);

/// What the broker sends when a step is done: the numbers of the class `connection` and of its method, and the next.
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

    /// What is waited for, in words.
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
        step.map_or("the client to take up the connection", |(_, words)| words)
    }
}
