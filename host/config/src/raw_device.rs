//! `device` and `devices` of a model as they are written. Knows no device.

use millrace_schema::Form;
use toml::Spanned;
use toml::de::DeValue;

use super::diagnostics::{Diagnostic, Span};
use super::keys;
use super::table::{Key, Read, Report, Table, Unreadable};
use super::values::{Text, WRONG_TYPE, found};

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
                let mut table = Table::new(table, &keys::ADAPTER, "`device`".to_owned(), value.span());
                let adapter = table.key("adapter", report);
                let is_invalid = table.is_invalid();
                let n_before = report.diagnostics.len();
                table.finish(&report.registry.home(), report);
                if is_invalid || report.diagnostics.len() > n_before {
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
