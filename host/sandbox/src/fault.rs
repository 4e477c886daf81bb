//! The classes of failed calls: crossed bounds by their class, traps with the guest's last words and its frames.

use std::fmt::Write;

use millrace_types::disposition::ReasonClass;
use wasmtime::{FrameInfo, Trap, WasmBacktrace};

use super::CallError;
use super::limits::Breach;
use super::state::State;
use super::text::{TEXT_MAX_BYTES, sanitize, sanitize_to, size};

/// Frames that a fault's text names, innermost first.
const FRAMES_SHOWN: usize = 6;

/// Bytes of one frame in a fault's text: names of generic functions can be very long.
const FRAME_MAX_BYTES: usize = 160;

/// How functions begin that a panic or an allocation goes through on its way out.
const RUNTIME: [&str; 16] = [
    "__rust",
    "rust_",
    "std::",
    "<std::",
    "core::",
    "<core::",
    "alloc::",
    "<alloc::",
    "dlmalloc",
    "<dlmalloc",
    "abort",
    "malloc",
    "calloc",
    "realloc",
    "sbrk",
    "memory.grow",
];

/// Where their sources are, in guests with debug information.
const RUNTIME_SOURCES: &str = " (/rustc/";

/// The name of the first function in a guest: generated, and the same in each.
const GLUE: &str = "_cabi";

/// The longest mangled name that is worth demangling.
const NAME_MAX_BYTES: usize = 4 << 10;

/// Bytes of a fault's text: the last words and the frames.
const FAULT_MAX_BYTES: usize = 3 * TEXT_MAX_BYTES;

/// The error of wasmtime when a guest hands over more than its allowance; its type is private.
const HOSTCALL_FUEL_SPENT: &str = "fuel allocated for hostcalls has been exhausted";

/// And when a call ends with what it was lent; no type, either.
const BORROW_KEPT: &str = "borrow handles still remain at the end of the call";

/// The meaning for an author.
const BORROW_KEPT_MEANS: &str =
    "the plugin keeps the message or the prediction that it was lent, or its bindings give it back too late";

/// Names the fault that ended a call; `output_max` is what the guest might hand over at once.
pub(super) fn fault(error: &wasmtime::Error, state: &State, output_max: usize) -> CallError {
    let (class, mut text) = match error.downcast_ref::<Breach>() {
        Some(breach @ (Breach::CpuTime { .. } | Breach::WallTime { .. })) => {
            (ReasonClass::Deadline, breach.to_string())
        }
        Some(breach @ Breach::Memory { .. }) => (ReasonClass::Memory, breach.to_string()),
        Some(breach @ (Breach::Exit | Breach::NotGranted { .. })) => (ReasonClass::Trap, breach.to_string()),
        // It is not reported, and says nothing about the plugin.
        Some(Breach::Abandoned) => return CallError::Stopped,
        None => describe(error, output_max),
    };
    if class == ReasonClass::Trap
        && let Some(words) = state.log.last_words()
    {
        append(&mut text, format_args!(": {words}"));
    }
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        frames(&mut text, backtrace);
    }
    CallError::Fault {
        class,
        text: sanitize_to(&text, FAULT_MAX_BYTES),
    }
}

/// The text of a panic of the host's own.
pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    sanitize(
        text.or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no text"),
    )
}

fn describe(error: &wasmtime::Error, output_max: usize) -> (ReasonClass, String) {
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return (
            ReasonClass::Trap,
            format!("trapped: {}", trap.to_string().trim_start_matches("wasm trap: ")),
        );
    }
    let causes: Vec<String> = error
        .chain()
        .map(ToString::to_string)
        .filter(|cause| !cause.starts_with("error while executing at wasm backtrace"))
        .collect();
    if causes.iter().any(|cause| cause.contains(HOSTCALL_FUEL_SPENT)) {
        let text = format!("handed over more than {} at once", size(output_max));
        return (ReasonClass::OutputTooLarge, text);
    }
    if causes.iter().any(|cause| cause.contains(BORROW_KEPT)) {
        return (
            ReasonClass::Trap,
            format!("trapped: {BORROW_KEPT}: {BORROW_KEPT_MEANS}"),
        );
    }
    (ReasonClass::Trap, format!("trapped: {}", causes.join(": ")))
}

/// Appends the innermost frames: function, and file and line where the guest has debug information.
///
/// The backtrace's own words are taken apart, because only they have the names demangled.
fn frames(text: &mut String, backtrace: &WasmBacktrace) {
    if backtrace
        .frames()
        .iter()
        .any(|frame| name_bytes(frame) > NAME_MAX_BYTES)
    {
        return append(text, format_args!("; in functions with names too long to show"));
    }
    let mut frames: Vec<String> = Vec::new();
    for line in backtrace.to_string().lines().skip(1).map(str::trim) {
        if let (Some(place), Some(frame)) = (line.strip_prefix("at "), frames.last_mut()) {
            append(frame, format_args!(" ({})", sanitize_to(place, FRAME_MAX_BYTES)));
        } else if !line.starts_with("note:") {
            // `0: 0x1a2b - crop.wasm!crop::cut`, `- crop::inlined`, or without an address `0: crop.wasm!crop::cut`.
            let name = line
                .split_once(" - ")
                .map(|(_, name)| name)
                .or_else(|| line.strip_prefix("- "));
            let name = name.unwrap_or_else(|| line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':').trim());
            frames.push(sanitize_to(&plain_name(name), FRAME_MAX_BYTES));
        }
    }
    // A recursion is one frame, listed once; the frames of a panic or an allocation say nothing about the plugin.
    frames.dedup();
    let own = frames.iter().position(|frame| !is_runtime(frame)).unwrap_or_default();
    let mut told = frames.split_off(own);
    let glue = told.iter().position(|frame| frame.contains(GLUE)).unwrap_or(told.len());
    told.truncate(glue.clamp(1, FRAMES_SHOWN));
    if !told.is_empty() {
        append(text, format_args!("; in {}", told.join(" < ")));
    }
}

fn is_runtime(frame: &str) -> bool {
    frame.contains(RUNTIME_SOURCES) || RUNTIME.iter().any(|name| frame.starts_with(name))
}

/// A function's name without the module before it (there is one) and without the compiler's hashes.
fn plain_name(name: &str) -> String {
    let is_hash = |text: &str| text.len() == 16 && text.chars().all(|c| c.is_ascii_hexdigit());
    let name = match name.split_once('!') {
        // A `!` may be a type, too; and a module may have no name.
        Some((module, name)) if module == "<unknown>" || !module.contains(['<', '(', ' ']) => name,
        _ => name,
    };
    let name = match name.rsplit_once("::h") {
        Some((plain, hash)) if is_hash(hash) => plain,
        _ => name,
    };
    // `std[a543996e6e7dbf1e]::process::abort`
    let mut parts = name.split('[');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(']') {
            Some((hash, rest)) if is_hash(hash) => plain.push_str(rest),
            _ => append(&mut plain, format_args!("[{part}")),
        }
    }
    plain
}

/// Bytes of the names that a frame has in the guest's own sections: the guest's to choose.
fn name_bytes(frame: &FrameInfo) -> usize {
    let symbols = frame.symbols().iter().map(|symbol| symbol.name().map_or(0, str::len));
    symbols.chain(frame.func_name().map(str::len)).max().unwrap_or_default()
}

fn append(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail; what a display implementation refuses is left out.
    if text.write_fmt(what).is_err() {
        text.push_str("...");
    }
}

#[cfg(test)]
mod tests {
    use super::plain_name;

    #[test]
    fn names_are_told_without_hashes() {
        #[track_caller]
        fn check(name: &str, expected: &str) {
            assert_eq!(plain_name(name), expected);
        }
        check("crop.wasm!crop::cut::h9c256cf471a4bc9c", "crop::cut");
        check("crop.wasm!std[d123b7a1a2ed1472]::process::abort", "std::process::abort");
        check(
            "<unknown>!<A[d123b7a1a2ed1472]::B as C[u8; 4]>::d",
            "<A::B as C[u8; 4]>::d",
        );
        check(
            "end<std::panic_handler::{closure#0}, !>",
            "end<std::panic_handler::{closure#0}, !>",
        );
        check("crop::here::hero", "crop::here::hero");
        check("function[12", "function[12");
    }
}
