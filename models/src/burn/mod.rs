//! Burn, where it is built in: without the feature `gpu` the same names are types that have no values.

#[cfg(not(feature = "gpu"))]
mod absent;
#[cfg(feature = "gpu")]
mod present;

#[cfg(not(feature = "gpu"))]
pub(crate) use absent::*;
#[cfg(feature = "gpu")]
pub(crate) use present::*;
