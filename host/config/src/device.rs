//! `device` and `devices` of a model: how they are written, and what they name. Opens no device.

use millrace_model_types::DeviceChoice;
use millrace_schema::{Declared, Form, Section};
use toml::Spanned;
use toml::de::DeValue;

use super::check::Checker;
use super::diagnostics::{Diagnostic, Span};
use super::limits::Choice;
use super::report::Report;
use super::table::{Key, Read, Table, Unreadable};
use super::values::{Text, WRONG_TYPE, found};

pub(super) const DEVICE_FORM: Form = Form::Either(&[
    Form::Words(&DEVICE),
    Form::Text("^gpu:[0-9]{1,2}$"),
    Form::Table(&ADAPTER),
]);
pub(super) const DEVICES_FORM: Form = Form::List(&DEVICE_FORM, 1, Some(DEVICES_MAX));

/// Devices that have a name of their own.
const DEVICE: Choice<DeviceChoice> = Choice {
    words: &[
        ("auto", DeviceChoice::Auto),
        ("gpu", DeviceChoice::Gpu),
        ("cpu", DeviceChoice::Cpu),
    ],
    default: DeviceChoice::Auto,
};

/// What stands before the place of a GPU.
const GPU_AT: &str = "gpu:";

/// Devices that one model may run on.
const DEVICES_MAX: usize = 16;

static ADAPTER: Section = Section {
    id: "adapter",
    title: "`device`",
    help: "A device by the name of its adapter.",
    keys: &[Declared::new(
        "adapter",
        Form::Text(r"[^ \t\r\n]"),
        "\"llvmpipe\"",
        "A part of the adapter's name; `millrace devices` lists them.",
    )
    .required()],
    ..Section::EMPTY
};

const FORMS: &str =
    "write \"auto\", \"gpu\", \"gpu:1\", \"cpu\" or { adapter = \"..\" }; `millrace devices` lists adapters";

impl Checker<'_, '_> {
    /// The devices of `devices`, or the one of `device`.
    pub(super) fn devices(&mut self, table: &Table<'_>) -> Vec<DeviceChoice> {
        let device: Key<RawDevice> = table.peek("device", self.report);
        let devices: Key<RawDevices> = table.key("devices", self.report);
        let one = device.given().map(|device| self.device(device));
        let Some(several) = devices.given() else {
            return vec![one.unwrap_or(DEVICE.default)];
        };
        if let Some(device) = device.given() {
            let message = "`device` and `devices` exclude each other";
            let diagnostic = Diagnostic::at(device.span(), message).hint("leave one of them out");
            self.report.diagnostic(diagnostic);
        }
        let devices = &several.get_ref().0;
        if !(1..=DEVICES_MAX).contains(&devices.len()) {
            let message = format!("`devices` must name from 1 to {DEVICES_MAX}, found {}", devices.len());
            self.report.diagnostic(Diagnostic::at(several.span(), message));
            return vec![DEVICE.default];
        }
        devices.iter().map(|device| self.device(device)).collect()
    }

    fn device(&mut self, raw: &Spanned<RawDevice>) -> DeviceChoice {
        match raw.get_ref() {
            RawDevice::Named(text) => {
                if let Some(device) = DEVICE.find(&text.value) {
                    return device.clone();
                }
                let place = text.value.strip_prefix(GPU_AT);
                let place = place.and_then(|place| place.parse::<u8>().ok());
                if let Some(place) = place.filter(|place| *place < 100) {
                    return DeviceChoice::GpuAt(place.into());
                }
                let message = format!("{} is not a device", text.quoted());
                self.report.diagnostic(Diagnostic::at(raw.span(), message).hint(FORMS));
            }
            RawDevice::Adapter { adapter, span } => {
                self.required(
                    adapter,
                    "adapter",
                    span,
                    "a part of the adapter's name; `millrace devices` lists them",
                );
                if let Some(adapter) = adapter.given() {
                    if !adapter.get_ref().value.trim().is_empty() {
                        return DeviceChoice::Adapter(adapter.get_ref().value.clone());
                    }
                    self.report
                        .diagnostic(Diagnostic::at(adapter.span(), "the adapter has no name").hint(FORMS));
                }
            }
        }
        DEVICE.default
    }
}

/// The two forms of `device`.
pub(super) enum RawDevice {
    /// `"auto"`, `"gpu"`, `"gpu:1"` or `"cpu"`.
    Named(Text),
    /// `{ adapter = "llvmpipe" }`
    Adapter { adapter: Key<Text>, span: Span },
}

/// Devices side by side.
pub(super) struct RawDevices(pub(super) Vec<Spanned<RawDevice>>);

impl<'t> Read<'t> for RawDevice {
    const EXPECTED: &'static str = "`\"auto\"`, `\"gpu\"`, `\"gpu:1\"`, `\"cpu\"` or `{ adapter = \"..\" }`";

    fn read(value: &'t Spanned<DeValue<'t>>, report: &mut Report<'_>) -> Result<Self, Unreadable> {
        match value.get_ref() {
            DeValue::Table(table) => {
                let table = Table::new(table, &ADAPTER, "`device`".to_owned(), value.span());
                let n_before = report.diagnostics.len();
                let adapter = table.key("adapter", report);
                table.finish(&report.registry.home(), report);
                if report.diagnostics.len() > n_before {
                    return Err(Unreadable::Reported);
                }
                Ok(Self::Adapter {
                    adapter,
                    span: value.span(),
                })
            }
            _ => Text::read(value, report).map(Self::Named),
        }
    }

    fn takes(form: &Form) -> bool {
        matches!(form, Form::Either([Form::Words(_), Form::Text(_), Form::Table(_)]))
    }
}

impl<'t> Read<'t> for RawDevices {
    const EXPECTED: &'static str = "a list of devices, such as `[\"gpu:0\", \"gpu:1\"]`";

    fn read(value: &'t Spanned<DeValue<'t>>, report: &mut Report<'_>) -> Result<Self, Unreadable> {
        let DeValue::Array(items) = value.get_ref() else {
            return Err(WRONG_TYPE);
        };
        let (mut devices, mut failed) = (Vec::new(), false);
        for item in items.iter() {
            match RawDevice::read(item, report) {
                Ok(device) => devices.push(Spanned::new(item.span(), device)),
                Err(Unreadable::Reported) => failed = true,
                Err(Unreadable::Type { .. }) => {
                    failed = true;
                    let message = format!(
                        "a device must be {}, found {}",
                        RawDevice::EXPECTED,
                        found(item.get_ref())
                    );
                    report.diagnostic(Diagnostic::at(item.span(), message));
                }
            }
        }
        if failed {
            Err(Unreadable::Reported)
        } else {
            Ok(Self(devices))
        }
    }

    fn takes(form: &Form) -> bool {
        matches!(form, Form::List(device, ..) if RawDevice::takes(device))
    }
}
