//! Tensors, labels and results as lines for people. Knows no verb.

use std::fmt::Write as _;

use crate::cases::Statistics;
use crate::cli::output::{count, plain};
use crate::message::{Element, Outbound, Score, Tensor};

/// The widest bar.
const BAR_CHARS: u64 = 40;

/// How much of a name, a key or a label is shown.
const NAME_CHARS: usize = 200;

/// How much of a body is shown.
const BODY_CHARS: usize = 1000;

/// A tensor's type, range and histogram.
pub(in crate::cli) fn tensor(tensor: &Tensor) -> String {
    let figures = Statistics::of(tensor);
    let found_type = tensor.tensor_type();
    let mut text = format!(
        "tensor   {found_type}\nrange    {} to {}, mean {:.4}\nsha256   {}\n",
        figures.min, figures.max, figures.mean, figures.sha256
    );
    let most = figures.bars.iter().copied().max().unwrap_or_default().max(1);
    let step = (figures.high - figures.low) / figures.bars.len().max(1) as f64;
    for (index, n) in figures.bars.iter().enumerate() {
        let from = figures.low + step * index as f64;
        let range = match found_type.element {
            Element::Byte => format!("{from:>3} to {:>3}", from + step - 1.0),
            Element::Float => format!("{from:>10.4} to {:>10.4}", from + step),
        };
        // Rounded up: what is there is seen.
        let n_chars = n.saturating_mul(BAR_CHARS).div_ceil(most);
        let bar = "#".repeat(usize::try_from(n_chars).unwrap_or_default());
        writeln!(text, "  {range}  {bar:<40}  {n}").unwrap_or_default();
    }
    text
}

/// The best labels of a model.
pub(in crate::cli) fn labels(labels: &[Score]) -> String {
    let shown = labels
        .iter()
        .map(|score| format!("{} {:.4}", plain(&score.label, NAME_CHARS), score.score));
    format!("labels   {}\n", shown.collect::<Vec<_>>().join(", "))
}

/// The results of a router.
pub(in crate::cli) fn results(results: &[Outbound]) -> String {
    let mut text = format!("sends    {}\n", count(results.len(), "result"));
    for (index, result) in results.iter().enumerate() {
        let key = result
            .key
            .as_ref()
            .map(|key| format!(", key `{}`", plain(key, NAME_CHARS)));
        let destination = plain(&result.destination, NAME_CHARS);
        writeln!(text, "{}. to `{destination}`{}", index + 1, key.unwrap_or_default()).unwrap_or_default();
        text += &body(&result.body, result.content_type.as_deref(), &result.headers);
    }
    text
}

/// A body with its content type and headers.
pub(in crate::cli) fn body(body: &[u8], content_type: Option<&str>, headers: &[(String, String)]) -> String {
    let content_type = content_type.map_or_else(|| "no content type".to_owned(), |text| plain(text, NAME_CHARS));
    let mut text = format!("   {} bytes, {content_type}\n", body.len());
    for (name, value) in headers {
        writeln!(text, "   {}: {}", plain(name, NAME_CHARS), plain(value, NAME_CHARS)).unwrap_or_default();
    }
    match std::str::from_utf8(body) {
        Ok(words) if !words.contains('\0') => {
            for line in words.chars().take(BODY_CHARS).collect::<String>().lines() {
                writeln!(text, "   {}", plain(line, BODY_CHARS)).unwrap_or_default();
            }
            if words.chars().nth(BODY_CHARS).is_some() {
                text += "   …\n";
            }
        }
        _ => {}
    }
    text
}
