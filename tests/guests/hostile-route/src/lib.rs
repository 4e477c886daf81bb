//! A router that misbehaves as its settings say, so that the tests see what the host makes of it.

use millrace_plugin::serde::{Deserialize, Serialize};
use millrace_plugin::{Message, Outbound, Prediction, Refusal, Router, SettingKind, SettingValue};

/// The plugin.
#[derive(Debug)]
pub struct HostileRoute {
    settings: Settings,
}

millrace_plugin::settings! {
    /// Its settings.
    pub struct Settings {
        /// What it does.
        mode: Mode = Mode::Ok,
        /// Where it sends to, but for the modes that say otherwise.
        destination: String = "results".to_owned(),
        /// The second destination of `fan-out`.
        second: String = "copies".to_owned(),
        /// The routing key of `key`.
        key: String = "anything".to_owned(),
    }
}

/// What it does.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
#[serde(crate = "millrace_plugin::serde", rename_all = "kebab-case")]
pub enum Mode {
    /// Sends the best label as text.
    #[default]
    Ok,
    /// Sends nothing, which is no refusal.
    Nothing,
    /// Sends to a destination that nobody declared.
    UnknownDestination,
    /// Sends with the key in its settings, `anything` by default.
    KeyNotAllowed,
    /// Sends with a key of 300 bytes, more than a broker's short string holds.
    LongKey,
    /// Sends with the header `CC`.
    HeaderCc,
    /// Sends with the header `bcc`, in small letters.
    HeaderBcc,
    /// Sends with the header `x-millrace-model`.
    HeaderX,
    /// Sends with a header whose name has 300 bytes.
    HeaderLongName,
    /// Sends with a header whose value has a mebibyte.
    HeaderLongValue,
    /// Sends with ten thousand headers.
    ManyHeaders,
    /// Sends with a content type of 300 bytes.
    LongContentType,
    /// Sends a body of 32 MiB.
    HugeBody,
    /// Sends a body of 7 MiB, which is allowed.
    LargeBody,
    /// Sends a thousand results.
    ManyOutputs,
    /// Sends to both destinations.
    FanOut,
    /// Sends to the first destination, and to one that nobody declared.
    FanOutUnknown,
    /// Sends the message's header `echo` back, as header and as body.
    EchoHeader,
    /// Asks for the raw outputs and sends how many elements each has.
    RawOutputs,
    /// Asks for a raw output that does not exist and for more classes than there are; sends how many it got.
    AskTooMuch,
    /// Executes `unreachable`.
    Trap,
    /// Panics with a message.
    Panic,
    /// Never returns.
    Loop,
    /// Rejects.
    Reject,
    /// Asks for another attempt.
    Retry,
    /// Wants no result.
    Skip,
}

/// The broker's short strings end at 255 bytes.
const TOO_LONG: usize = 300;
const MEBIBYTE: usize = 1 << 20;

impl SettingValue for Mode {
    const KIND: SettingKind = SettingKind::Text;
}

impl Router for HostileRoute {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self { settings })
    }

    fn route(&mut self, message: &Message, prediction: &Prediction) -> Result<Vec<Outbound>, Refusal> {
        let top = prediction.top(1);
        let label = top.first().map(|best| best.label.clone()).unwrap_or_default();
        let text = |body: String| self.outbound(body.into_bytes());
        Ok(match self.settings.mode {
            Mode::Nothing => vec![],
            Mode::UnknownDestination => vec![Outbound::new("nobody-declared-this", label)],
            Mode::FanOut => vec![text(label.clone()), Outbound::new(&self.settings.second, label)],
            Mode::FanOutUnknown => vec![text(label.clone()), Outbound::new("nobody-declared-this", label)],
            Mode::ManyOutputs => (0..1000).map(|at| text(format!("{label} {at}"))).collect(),
            Mode::HugeBody => vec![self.outbound(vec![b'x'; 32 * MEBIBYTE])],
            Mode::LargeBody => vec![self.outbound(vec![b'x'; 7 * MEBIBYTE])],
            Mode::EchoHeader => {
                let echo = message.header("echo").unwrap_or_default();
                vec![text(echo.clone()).with_header("echo", echo)]
            }
            Mode::RawOutputs => vec![text(raw_outputs(prediction))],
            Mode::AskTooMuch => {
                let n_classes = prediction.top(u32::MAX).len();
                vec![text(format!("{n_classes} {}", prediction.output(u32::MAX).is_none()))]
            }
            Mode::Trap => trap(),
            Mode::Panic => panic_now(),
            Mode::Loop => spin(),
            Mode::Reject => return Err(Refusal::reject("the hostile router rejects")),
            Mode::Retry => return Err(Refusal::retry("the hostile router wants another attempt")),
            Mode::Skip => return Err(Refusal::skip("the hostile router wants no result")),
            mode => vec![self.dressed(mode, text(label))],
        })
    }
}

impl HostileRoute {
    fn outbound(&self, body: Vec<u8>) -> Outbound {
        Outbound::new(&self.settings.destination, body).with_content_type("text/plain")
    }

    /// The modes in which the result is good, but not its envelope.
    fn dressed(&self, mode: Mode, outbound: Outbound) -> Outbound {
        match mode {
            Mode::KeyNotAllowed => outbound.with_key(&self.settings.key),
            Mode::LongKey => outbound.with_key("k".repeat(TOO_LONG)),
            Mode::HeaderCc => outbound.with_header("CC", "another.queue"),
            Mode::HeaderBcc => outbound.with_header("bcc", "another.queue"),
            Mode::HeaderX => outbound.with_header("x-millrace-model", "another"),
            Mode::HeaderLongName => outbound.with_header("n".repeat(TOO_LONG), "value"),
            Mode::HeaderLongValue => outbound.with_header("long", "v".repeat(MEBIBYTE)),
            Mode::LongContentType => outbound.with_content_type("t".repeat(TOO_LONG)),
            Mode::ManyHeaders => (0..10_000).fold(outbound, |outbound, at| {
                outbound.with_header(format!("header-{at}"), "value")
            }),
            _ => outbound,
        }
    }
}

fn raw_outputs(prediction: &Prediction) -> String {
    let n_outputs = prediction.outputs().len();
    let lengths = (0..).take(n_outputs).map(|at| {
        let elements = prediction.output(at).map(|output| output.tensor_type().elements());
        elements.unwrap_or_default().to_string()
    });
    lengths.collect::<Vec<_>>().join(" ")
}

fn trap() -> ! {
    #[cfg(target_family = "wasm")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_family = "wasm"))]
    std::process::abort();
}

#[expect(clippy::panic, reason = "misbehaving is what it is for")]
fn panic_now() -> ! {
    panic!("the hostile router panics")
}

fn spin() -> ! {
    loop {
        std::hint::black_box(0);
    }
}

millrace_plugin::export_router!(HostileRoute);
