//! Bars of text: a chart that every reader of a page can show.

/// The longest bar.
const WIDTH: f64 = 40.0;
/// Parts of a full block, from none to seven eighths.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// One bar for each value, the longest for the largest; each with what is to be read at its end.
pub(super) fn bars(rows: &[(String, f64, String)]) -> String {
    let largest = rows.iter().map(|row| row.1).fold(0.0, f64::max);
    let n_letters = rows.iter().map(|row| row.0.chars().count()).max().unwrap_or(0);
    let mut text = String::from("```text\n");
    for (name, value, shown) in rows {
        let eighths = (value / largest * WIDTH * 8.0).round() as usize;
        let rest = EIGHTHS.get(eighths % 8).copied().unwrap_or_default();
        let bar = format!("{}{rest}", "█".repeat(eighths / 8));
        text += &format!("{name:<n_letters$}  {bar} {shown}\n");
    }
    text + "```\n"
}

#[cfg(test)]
mod tests {
    use super::bars;

    #[test]
    fn bars_are_as_long_as_their_values() {
        let rows = [("a", 100.0), ("long", 50.0), ("c", 0.0), ("d", 1.0)];
        let rows = rows.map(|(name, value)| (name.to_owned(), value, value.to_string()));
        let full = "█".repeat(40);
        let half = "█".repeat(20);
        let expected = format!("```text\na     {full} 100\nlong  {half} 50\nc      0\nd     ▍ 1\n```\n");
        assert_eq!(bars(&rows), expected);
    }
}
