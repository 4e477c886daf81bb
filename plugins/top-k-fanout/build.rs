//! Links the WebAssembly builds with a small stack and a small heap.

/// Bytes: ample for code that neither recurses nor keeps buffers on its stack, where the default is a
/// mebibyte that every new instance has to be given. An overflow is a trap.
const STACK_BYTES: u32 = 64 * 1024;

/// Bytes that an instance begins with; more is there when it is asked for, which costs every new instance two system calls.
const HEAP_BYTES: u32 = 64 * 1024;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_FAMILY").as_deref() == Ok("wasm") {
        println!("cargo::rustc-link-arg-cdylib=-zstack-size={STACK_BYTES}");
        println!("cargo::rustc-link-arg-cdylib=--initial-heap={HEAP_BYTES}");
    }
}
