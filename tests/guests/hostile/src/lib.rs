//! A preprocessor that misbehaves as its settings say, so that the tests see what the host makes of it.
//!
//! It speaks to the bindings themselves: the SDK's types would not let it lie.
//!
//! Where its settings are empty, it does as the file itself says: a test that writes over `OWN_SETTINGS` has a version
//! that behaves otherwise under the same settings.
#![cfg(target_family = "wasm")]

mod behaviour;

use std::cell::Cell;

use millrace_plugin::bindings::{self, plugin::exports::millrace::pipeline::plugin};
use millrace_plugin::bindings::{
    plugin::millrace::pipeline::types, preprocess::exports::millrace::pipeline::preprocess,
};
use millrace_plugin::serde::Deserialize;
use millrace_plugin::{Setting, export, serde_json};

#[derive(Debug, Default, Deserialize)]
#[serde(crate = "millrace_plugin::serde", deny_unknown_fields, default)]
struct Settings {
    mode: Mode,
    /// The first message, by the number that is its id, at which `trap-from` traps.
    from: u64,
}

/// Settings as JSON after their mark, filled up with spaces.
static OWN_SETTINGS: [u8; 96] =
    *b"hostile settings: {}                                                                            ";
const MARK: &str = "hostile settings: ";

/// What it does. All but the first two do it when it is called with a message.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(crate = "millrace_plugin::serde", rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// Never returns from `configure`.
    LoopInConfigure,
    /// Panics in `configure`.
    PanicInConfigure,
    /// Refuses its settings.
    RejectSettings,
    /// Answers with the tensor that is wanted, all zeros.
    #[default]
    Ok,
    /// Executes `unreachable`.
    Trap,
    /// Panics with a message.
    Panic,
    /// Reads past the end of its memory.
    OutOfBounds,
    /// Never returns.
    Loop,
    /// Never returns, and calls the host all the while.
    LoopInHost,
    /// Asks for memory until it gets no more, which Rust answers with an abort.
    MemoryBomb,
    /// Asks for memory until it gets no more, then answers as if nothing were.
    MemoryBombHandled,
    /// Calls itself for ever, and uses up the host's stack for it.
    Recurse,
    /// Calls itself for ever, and uses up the stack in its memory.
    RecurseInMemory,
    /// A tensor with its axes in another order.
    WrongShape,
    /// A tensor without axes.
    NoShape,
    /// A tensor whose shape overflows when it is multiplied.
    HugeShape,
    /// A tensor of the other element.
    WrongElement,
    /// Floats, one of which is not a number.
    Nan,
    /// Floats, one of which is infinite.
    Infinity,
    /// One element too few.
    ShortData,
    /// One element too many.
    LongData,
    /// 64 MiB of elements.
    HugeOutput,
    /// A hundred thousand lines.
    LogFlood,
    /// One line of a mebibyte.
    LogLongLine,
    /// A line that would colour, move and ring a terminal, and pretend to be two.
    LogControlCharacters,
    /// Asks for the body a thousand times.
    BodyFlood,
    /// Reads its standard input until it ends, and waits for its output to take more.
    WaitForStreams,
    /// Asks for its standard output a million times, and gives nothing back.
    HandleLeak,
    /// Works for some tens of milliseconds, then answers.
    Work,
    /// Uses 96 MiB of memory, then answers.
    UseMemory,
    /// Rejects.
    Reject,
    /// Asks for another attempt.
    Retry,
    /// Asks for another attempt at the first two attempts, then answers.
    RetryTwice,
    /// Wants no result.
    Skip,
    /// Rejects with a mebibyte of text.
    RefuseTextHuge,
    /// Rejects with control characters.
    RefuseControlCharacters,
    /// Answers with a tensor that holds the number of calls of this instance, this one included.
    Stateful,
    /// Panics when the body is `poison`, else answers.
    PanicOnPoison,
    /// Panics unless the broker or a retry has delivered the message before.
    PanicAtFirst,
    /// Answers, and executes `unreachable` from a certain message on.
    TrapFrom,
}

struct Hostile;

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::Ok) };
    static FROM: Cell<u64> = const { Cell::new(0) };
    static CALLS: Cell<u32> = const { Cell::new(0) };
}

impl plugin::Guest for Hostile {
    fn settings() -> Vec<plugin::Setting> {
        let mode = Setting::of::<String>("mode", "What it does.", Some("ok".to_owned()));
        let from = Setting::of::<u64>("from", "The first message at which `trap-from` traps.", Some(0));
        vec![mode.into(), from.into()]
    }

    fn configure(settings: String) -> Result<(), String> {
        export::tell_panics();
        let settings = if settings == "{}" { own_settings()? } else { &settings };
        let Settings { mode, from } = serde_json::from_str(settings).map_err(|error| error.to_string())?;
        MODE.set(mode);
        FROM.set(from);
        match mode {
            Mode::LoopInConfigure => behaviour::spin(),
            Mode::PanicInConfigure => behaviour::panic("the hostile plugin panics in configure"),
            Mode::RejectSettings => Err("the hostile plugin accepts no settings".to_owned()),
            _ => Ok(()),
        }
    }
}

impl preprocess::Guest for Hostile {
    fn preprocess(message: &types::Message, wants: types::TensorType) -> Result<types::Tensor, types::Refusal> {
        CALLS.set(CALLS.get() + 1);
        let is_late = message.id().parse().is_ok_and(|number: u64| number >= FROM.get());
        let mode = match MODE.get() {
            Mode::TrapFrom if is_late => Mode::Trap,
            mode => mode,
        };
        behaviour::preprocess(mode, CALLS.get(), message, wants)
    }
}

/// What the file says; the compiler must not know that it says nothing.
fn own_settings() -> Result<&'static str, String> {
    let text = std::str::from_utf8(std::hint::black_box(&OWN_SETTINGS)).map_err(|error| error.to_string())?;
    text.strip_prefix(MARK)
        .ok_or_else(|| format!("no settings in {text:?}"))
}

const _: () = {
    bindings::plugin::export!(Hostile with_types_in bindings::plugin);
    bindings::preprocess::export!(Hostile with_types_in bindings::preprocess);
};
