//! The model room as its users see it: folders on disk, loaded and run, right ones and wrong ones.

// Said here, so that the lints know helpers for tests too.
#[cfg(test)]
mod checkpoints;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod folders;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod layers;
#[cfg(test)]
mod networks;
#[cfg(test)]
mod parity;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod strangers;
#[cfg(test)]
mod trainer;
#[cfg(test)]
#[path = "../onnx/tests/it/written.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod written;
