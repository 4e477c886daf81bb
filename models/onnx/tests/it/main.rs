//! ONNX files from outside: those that exporters write, and those that mean harm.

// Said here, so that the lints know helpers for tests too.
#[cfg(test)]
mod batch;
#[cfg(test)]
mod cases;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod written;
