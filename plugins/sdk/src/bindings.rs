//! What wit-bindgen makes of the contract. Knows no plugin.
//!
//! One module for each interface that a plugin exports, because two worlds that export the same interface would define its
//! export macro twice. A plugin exports `plugin` and one of the others; what the linker makes of both is one of the worlds
//! of the contract.
//!
//! Sources and no macro: a macro would bring a parser of the contract, a generator and a parser of Rust into the first build
//! of every plugin. `cargo xtask generate` writes them, and a test holds them to the contract.
#![allow(
    missing_docs,
    unreachable_pub,
    unsafe_code,
    clippy::all,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "generated code"
)]

#[rustfmt::skip]
pub mod plugin;
#[rustfmt::skip]
pub mod preprocess;
#[rustfmt::skip]
pub mod route;
#[rustfmt::skip]
pub mod transform;
