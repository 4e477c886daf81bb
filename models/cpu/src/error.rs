//! What can go wrong.

use std::fmt;

/// Why an executor cannot be made, or why a run failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nodes that no kernel and no plain way computes: all of the graph's.
    #[error("the CPU executor cannot run {}", List(.0))]
    Unsupported(Vec<Unsupported>),
    /// The instruction set that was asked for is not there.
    #[error("this processor has no {0:?}; use `InstructionSet::Auto`")]
    InstructionSet(crate::InstructionSet),
    /// A value too large for the tables of offsets.
    #[error("a value of {floats} numbers is too large: an item's value may have 2^31")]
    TooLarge {
        /// Numbers of the value.
        floats: usize,
    },
    /// Options that make no sense.
    #[error("`{option}` must be from 1 to {most}, not {found}")]
    Option {
        /// Which.
        option: &'static str,
        /// The largest that is allowed.
        most: usize,
        /// What was given.
        found: usize,
    },
    /// An input that has not the length that the number of items asks for.
    #[error("expected {expected} numbers of input for {items} items, found {found}")]
    Input {
        /// Items of the call.
        items: usize,
        /// Numbers that they have.
        expected: usize,
        /// Numbers that were given.
        found: usize,
    },
    /// More items than the executor was made for.
    #[error("{items} items are more than the {most} that the executor was made for")]
    Batch {
        /// Items of the call.
        items: usize,
        /// As made.
        most: usize,
    },
    /// Not as many output vectors as the network has outputs.
    #[error("expected {expected} vectors for outputs, found {found}")]
    Outputs {
        /// Outputs of the network.
        expected: usize,
        /// Vectors that were given.
        found: usize,
    },
    /// A thread of the executor could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(String),
    /// A bug of this crate: a step panicked. The executor can be used further.
    #[error("a kernel failed, which is a bug: {0}")]
    Bug(String),
}

/// A node that cannot be run, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    /// The node's name.
    pub node: String,
    /// Why.
    pub reason: String,
}

/// `node` (reason), one after another.
struct List<'a>(&'a [Unsupported]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Unsupported { node, reason }) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}`{node}` ({reason})")?;
        }
        Ok(())
    }
}
