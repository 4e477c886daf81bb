//! The executor against the graph's own interpreter, on random graphs; what it refuses.

// Said here, so that the lints know helpers for tests too.
#[cfg(test)]
mod api;
#[cfg(test)]
mod differential;
#[cfg(test)]
mod generate;
#[cfg(test)]
mod random;
