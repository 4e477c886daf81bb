//! How far a verb is, on a terminal: a bar below what is said, while it lasts. Knows no verb.

use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::streams::{self, Footer};

const TEMPLATE: &str = "{spinner} {msg} {bar:32} {pos}/{len} {eta}";
/// For work of unknown size.
const ENDLESS: &str = "{spinner} {msg} {elapsed}";

/// The current work, and how much of it is done.
#[derive(Debug, Default)]
struct State {
    what: String,
    n_done: u64,
    n_all: u64,
}

/// Shown on standard error while it is there, where that is a terminal.
#[derive(Debug)]
pub(super) struct Steps {
    state: Arc<Mutex<State>>,
    is_shown: bool,
}

impl Steps {
    /// For work of unknown size.
    pub(super) fn begin(what: &str) -> Self {
        let state = Arc::new(Mutex::new(State {
            what: what.to_owned(),
            ..State::default()
        }));
        let is_shown = streams::is_terminal();
        if is_shown {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            streams::show(Box::new(Bar::new(bar, Arc::clone(&state))));
        }
        Self { state, is_shown }
    }

    /// For a verb that prints while it works: on a terminal what it prints says how far it is, and a bar would be in between.
    pub(super) fn beside_output(self) -> Option<Self> {
        (!std::io::stdout().is_terminal()).then_some(self)
    }

    /// Sets how much is done.
    pub(super) fn at(&self, n_done: usize) {
        self.change(|state| state.n_done = n_done as u64);
    }

    /// Something else is done now, so many times.
    pub(super) fn now(&self, what: &str, n_all: usize) {
        self.change(|state| {
            what.clone_into(&mut state.what);
            (state.n_done, state.n_all) = (0, n_all as u64);
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        // Nothing is half done after a panic.
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        if self.is_shown {
            streams::hide();
        }
    }
}

/// The bar, where diagnostics are written.
struct Bar {
    bar: ProgressBar,
    state: Arc<Mutex<State>>,
    is_endless: bool,
}

impl Bar {
    fn new(bar: ProgressBar, state: Arc<Mutex<State>>) -> Self {
        if let Ok(style) = ProgressStyle::with_template(ENDLESS) {
            bar.set_style(style);
        }
        Self {
            bar,
            state,
            is_endless: true,
        }
    }

    /// As the state is.
    fn follow(&mut self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_endless != (state.n_all == 0) {
            self.is_endless = !self.is_endless;
            let template = if self.is_endless { ENDLESS } else { TEMPLATE };
            if let Ok(style) = ProgressStyle::with_template(template) {
                self.bar.set_style(style);
            }
        }
        self.bar.set_length(state.n_all);
        self.bar.set_position(state.n_done);
        if self.bar.message() != state.what {
            self.bar.set_message(state.what.clone());
        }
    }
}

impl Footer for Bar {
    fn draw(&mut self) {
        self.follow();
        self.bar.tick();
    }

    fn aside(&mut self, write: &mut dyn FnMut()) {
        self.bar.suspend(write);
    }

    fn finish(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_follows_the_steps() {
        let steps = Steps::begin("loading");
        let hidden = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
        let mut bar = Bar::new(hidden, Arc::clone(&steps.state));
        bar.draw();
        assert_eq!((bar.bar.message().as_str(), bar.is_endless), ("loading", true));
        steps.now("pictures", 7);
        steps.at(3);
        bar.draw();
        assert_eq!((bar.bar.position(), bar.bar.length()), (3, Some(7)));
        assert_eq!((bar.bar.message().as_str(), bar.is_endless), ("pictures", false));
        ProgressStyle::with_template(TEMPLATE).expect("a template");
        ProgressStyle::with_template(ENDLESS).expect("a template");
    }
}
