//! Which class was taken for which: counts, and a table of them. Knows no network.

/// Longest label in a table, in characters.
const LABEL_CHARS: usize = 18;

/// How often an item of each class was taken for each class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion {
    // Invariant: `counts` has one row for each label, and in it a number for each label.
    labels: Vec<String>,
    counts: Vec<Vec<u64>>,
}

impl Confusion {
    /// Of nothing yet.
    pub fn new(labels: &[String]) -> Self {
        Self {
            labels: labels.to_vec(),
            counts: vec![vec![0; labels.len()]; labels.len()],
        }
    }

    /// Counts an item. A class without a label is not counted.
    pub fn add(&mut self, is: usize, taken_for: usize) {
        if let Some(count) = self.counts.get_mut(is).and_then(|row| row.get_mut(taken_for)) {
            *count += 1;
        }
    }

    /// How often items of a class were taken for a class.
    pub fn count(&self, is: usize, taken_for: usize) -> u64 {
        let row = self.counts.get(is);
        row.and_then(|row| row.get(taken_for)).copied().unwrap_or(0)
    }

    /// The share of a class's items that were taken for it; nothing where there was none.
    pub fn right(&self, is: usize) -> Option<f64> {
        let all: u64 = self.counts.get(is)?.iter().sum();
        (all > 0).then(|| self.count(is, is) as f64 / all as f64)
    }

    /// The most frequent mistakes: what it is, what it was taken for, how often.
    pub fn worst(&self, n: usize) -> Vec<(&str, &str, u64)> {
        let mut mistakes = Vec::new();
        for ((is, label), row) in self.labels.iter().enumerate().zip(&self.counts) {
            for ((other, taken_for), count) in self.labels.iter().enumerate().zip(row) {
                if is != other && *count > 0 {
                    mistakes.push((label.as_str(), taken_for.as_str(), *count));
                }
            }
        }
        mistakes.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
        mistakes.truncate(n);
        mistakes
    }

    /// A row for each class, a column for what its items were taken for, and the share that was right. Columns go by the numbers
    /// in front of the rows.
    pub fn table(&self) -> String {
        let most = self.counts.iter().flatten().max().copied().unwrap_or(0);
        let width = most.max(self.labels.len() as u64).to_string().len() + 1;
        let labels: Vec<String> = self.labels.iter().map(|label| short(label)).collect();
        let of_label = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
        let of_number = self.labels.len().to_string().len();
        let mut text = " ".repeat(of_number + 1 + of_label);
        for column in 1..=self.labels.len() {
            text += &format!("{column:>width$}");
        }
        text.push_str("   right\n");
        for ((row, label), counts) in labels.iter().enumerate().zip(&self.counts) {
            text += &format!("{:>of_number$} {label:<of_label$}", row + 1);
            for count in counts {
                text += &match count {
                    0 => format!("{:>width$}", "."),
                    _ => format!("{count:>width$}"),
                };
            }
            text += &match self.right(row) {
                Some(share) => format!(" {:5.1} %\n", share * 100.0),
                None => "       -\n".to_owned(),
            };
        }
        text
    }
}

/// A label that fits into a table, and does nothing to a terminal.
fn short(label: &str) -> String {
    let mut text: String = label.chars().take(LABEL_CHARS).flat_map(char::escape_debug).collect();
    if label.chars().nth(LABEL_CHARS).is_some() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::Confusion;

    fn labels(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_table_says_what_was_taken_for_what() {
        let mut confusion = Confusion::new(&labels(&["cat", "dog", "a very long label indeed"]));
        for (is, taken_for, times) in [
            (0, 0, 9),
            (0, 1, 3),
            (1, 1, 12),
            (1, 0, 1),
            (0, 2, 1),
            (7, 0, 1),
            (0, 7, 1),
        ] {
            (0..times).for_each(|_| confusion.add(is, taken_for));
        }
        let expected = [
            "                       1  2  3   right",
            "1 cat                  9  3  1  69.2 %",
            "2 dog                  1 12  .  92.3 %",
            "3 a very long label …  .  .  .       -",
            "",
        ];
        assert_eq!(confusion.table(), expected.join("\n"));
        assert_eq!(
            confusion.worst(2),
            [("cat", "dog", 3), ("cat", "a very long label indeed", 1)]
        );
        assert_eq!(
            (confusion.right(2), confusion.count(1, 0), confusion.count(9, 9)),
            (None, 1, 0)
        );
    }

    #[test]
    fn a_table_of_nothing_is_a_line() {
        assert_eq!(Confusion::new(&[]).table(), "     right\n");
    }
}
