//! The configuration with the transports of the host: whole files, their keys, and anything at all as a file.

mod control;
mod files;
mod fuzz;
mod keys;
