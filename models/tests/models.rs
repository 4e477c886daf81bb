//! Models as their users see them: folders on disk, loaded and run.

// Said here, so that the lints know helpers for tests too.
#[cfg(test)]
mod batches;
#[cfg(test)]
mod folders;
#[cfg(test)]
#[cfg(feature = "gpu")]
mod gpus;
#[cfg(test)]
mod layers;
#[cfg(test)]
mod networks;
#[cfg(test)]
mod parity;
#[cfg(test)]
mod running;
#[cfg(test)]
mod samples;
#[cfg(test)]
#[cfg(not(feature = "gpu"))]
mod without_gpus;
#[cfg(test)]
#[path = "../onnx/tests/it/written.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod written;
