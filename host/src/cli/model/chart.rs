//! Bars in a terminal. Knows what no bar means.

/// Eighths of a character, fuller and fuller.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// A bar for a value, as a share of the largest one: so many characters wide at most. Something is never nothing.
pub(super) fn bar(value: f64, largest: f64, width: usize) -> String {
    let share = value / largest;
    if !(share.is_finite() && share > 0.0) {
        return String::new();
    }
    let eighths = ((share.min(1.0) * width as f64 * 8.0).round() as usize).max(1);
    let part = EIGHTHS.get(eighths % 8).copied().unwrap_or_default();
    "█".repeat(eighths / 8) + part
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn bars_are_as_long_as_their_values() {
        let check = |value: f64, expected: &str| assert_eq!(bar(value, 8.0, 4), expected);
        check(8.0, "████");
        check(4.0, "██");
        check(5.0, "██▌");
        check(0.001, "▏");
        check(0.0, "");
        check(f64::NAN, "");
        check(9.0, "████");
        assert_eq!(bar(1.0, 0.0, 4), "");
    }
}
