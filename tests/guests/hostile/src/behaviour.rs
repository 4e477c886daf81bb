//! What each mode does.
#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    unsafe_code,
    reason = "misbehaving is what it is for"
)]

use std::hint::black_box;

use millrace_plugin::bindings::plugin::millrace::pipeline::log;
use millrace_plugin::bindings::plugin::millrace::pipeline::types::{
    Element, Message, Refusal, Tensor, TensorData, TensorType,
};

use crate::Mode;

const MEBIBYTE: usize = 1 << 20;
/// A title, a colour, a bell, a cursor movement, a line that is not one, and a character that turns the direction of text.
const CONTROL: &str = "\x1b]0;owned\x07\x1b[31mred\x1b[2J\r\nERROR a line of the host's?\0\u{202e}txet";

pub(crate) fn preprocess(mode: Mode, calls: u32, message: &Message, wants: TensorType) -> Result<Tensor, Refusal> {
    match mode {
        Mode::Trap => core::arch::wasm32::unreachable(),
        Mode::Panic => panic("the hostile plugin panics"),
        // Safety: there is none; the load is outside of the memory and traps.
        Mode::OutOfBounds => drop(black_box(unsafe {
            core::ptr::read_volatile((u32::MAX - 8) as *const u8)
        })),
        Mode::Loop => spin(),
        Mode::LoopInHost => loop {
            black_box(message.attempt());
        },
        Mode::MemoryBomb => memory_bomb(),
        Mode::MemoryBombHandled => memory_bomb_handled(),
        Mode::Recurse => drop(black_box(recurse(black_box(0)))),
        Mode::RecurseInMemory => drop(black_box(recurse_in_memory(black_box(0)))),
        Mode::LogFlood => (0..100_000).for_each(|line| log::log(log::Level::Info, &format!("line {line}"))),
        Mode::LogLongLine => log::log(log::Level::Info, &"x".repeat(MEBIBYTE)),
        Mode::LogControlCharacters => log::log(log::Level::Warn, CONTROL),
        Mode::WaitForStreams => wait_for_streams(),
        Mode::HandleLeak => (0..1_000_000).for_each(|_| leak_a_handle()),
        Mode::Work => drop(black_box((0..WORK_ROUNDS).fold(1_u64, |sum, round| {
            black_box(sum).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ round
        }))),
        Mode::UseMemory => drop(black_box(vec![1_u8; 96 * MEBIBYTE])),
        Mode::BodyFlood => (0..1000).for_each(|_| drop(black_box(message.body()))),
        Mode::PanicOnPoison if message.body() == b"poison" => panic("the hostile plugin panics at poison"),
        Mode::PanicAtFirst if message.attempt() == 1 && !message.redelivered() => {
            panic("the hostile plugin panics once")
        }
        _ => {}
    }
    if let Some(refusal) = refusal(mode, message) {
        return Err(refusal);
    }
    Ok(tensor(mode, calls, wants))
}

fn refusal(mode: Mode, message: &Message) -> Option<Refusal> {
    Some(match mode {
        Mode::Reject => Refusal::Reject("the hostile plugin rejects".to_owned()),
        Mode::Retry => Refusal::Retry("the hostile plugin wants another attempt".to_owned()),
        Mode::RetryTwice if message.attempt() <= 2 => Refusal::Retry(format!("attempt {}", message.attempt())),
        Mode::Skip => Refusal::Skip("the hostile plugin wants no result".to_owned()),
        Mode::RefuseTextHuge => Refusal::Reject("x".repeat(MEBIBYTE)),
        Mode::RefuseControlCharacters => Refusal::Reject(CONTROL.to_owned()),
        _ => return None,
    })
}

fn tensor(mode: Mode, calls: u32, wants: TensorType) -> Tensor {
    let mut shape = wants.shape;
    let mut length = shape.iter().map(|axis| *axis as usize).product();
    let mut element = wants.element;
    let mut first_byte = 0;
    let mut first_float = 0.0;
    match mode {
        Mode::WrongShape => shape.rotate_left(1),
        Mode::NoShape => shape.clear(),
        Mode::HugeShape => shape = vec![u32::MAX; 16],
        Mode::WrongElement if element == Element::Byte => element = Element::Float,
        Mode::WrongElement => element = Element::Byte,
        Mode::Nan => (element, first_float) = (Element::Float, f32::NAN),
        Mode::Infinity => (element, first_float) = (Element::Float, f32::INFINITY),
        Mode::ShortData => length -= 1,
        Mode::LongData => length += 1,
        Mode::HugeOutput => length = 64 * MEBIBYTE,
        Mode::Stateful => (first_byte, first_float) = (calls as u8, calls as f32),
        _ => {}
    }
    let data = match element {
        Element::Byte => {
            let mut bytes = vec![0; length];
            bytes[0] = first_byte;
            TensorData::Bytes(bytes)
        }
        Element::Float => {
            let mut floats = vec![0.0; length];
            floats[0] = first_float;
            TensorData::Floats(floats)
        }
    };
    Tensor { shape, data }
}

/// Some tens of milliseconds: a multiplication waits for the one before it.
const WORK_ROUNDS: u64 = 40_000_000;

fn wait_for_streams() {
    use std::io::{Read, Write};
    let mut input = Vec::new();
    // What an inert host answers is of no interest here, only that it does.
    for _ in 0..1000 {
        std::io::stdin().read_to_end(&mut input).ok();
        std::io::stdout().write_all(b"waiting").ok();
        std::io::stdout().flush().ok();
    }
}

/// The standard library gives its handles back; this does not.
#[cfg(target_os = "wasi")]
fn leak_a_handle() {
    #[link(wasm_import_module = "wasi:cli/stdout@0.2.6")]
    unsafe extern "C" {
        #[link_name = "get-stdout"]
        fn get_stdout() -> i32;
    }
    // Safety: it takes nothing and returns a number.
    black_box(unsafe { get_stdout() });
}

#[cfg(not(target_os = "wasi"))]
fn leak_a_handle() {}

/// Never returns.
pub(crate) fn spin() -> ! {
    loop {
        black_box(0);
    }
}

/// Panics.
pub(crate) fn panic(text: &str) -> ! {
    panic!("{text}")
}

fn memory_bomb() {
    let mut hoard = Vec::new();
    loop {
        hoard.push(black_box(vec![1_u8; MEBIBYTE]));
    }
}

fn memory_bomb_handled() {
    while core::arch::wasm32::memory_grow::<0>(16) != usize::MAX {}
}

/// Fills the stack that the host keeps: nothing here needs a place in memory. What is done with the
/// result keeps it from becoming a loop.
fn recurse(depth: u64) -> u64 {
    if depth == u64::MAX {
        0
    } else {
        (recurse(depth + 1) ^ depth).wrapping_mul(31)
    }
}

/// Fills the stack that the plugin keeps in its memory, until an address is below zero.
#[expect(unconditional_recursion, reason = "misbehaving is what it is for")]
fn recurse_in_memory(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    frame[0] + recurse_in_memory(depth + 1)
}
