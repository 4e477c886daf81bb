//! Model folders as they are read: right ones and wrong ones, and what strangers write.

// Said here, so that the lints know helpers for tests too.
#[cfg(test)]
mod checkpoints;
#[cfg(test)]
mod faults;
#[cfg(test)]
#[path = "../../tests/folders.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod folders;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod strangers;
