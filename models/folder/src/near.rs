//! Finds the name that was probably meant. Knows no file.

/// Longest names that are compared, in characters: the work grows with the product.
const MAX_CHARS: usize = 200;

/// The name that is nearest to `name`, when it is near enough to be meant: a third of it, or less, is otherwise.
pub(crate) fn nearest<'a>(name: &str, among: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name: Vec<char> = name.chars().collect();
    let most = name.len().div_ceil(3);
    if name.len() > MAX_CHARS {
        return None;
    }
    let near = among.filter_map(|other| {
        let chars: Vec<char> = other.chars().take(MAX_CHARS + 1).collect();
        let may_be = chars.len() <= MAX_CHARS && chars.len().abs_diff(name.len()) <= most;
        let distance = may_be.then(|| distance(&name, &chars))?;
        (distance <= most).then_some((distance, other))
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, other)| other)
}

/// How many characters to put in, take out, change, or swap with the next.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    let mut previous = None;
    for (index, letter) in from.iter().enumerate() {
        let mut next = vec![index + 1];
        for (column, other) in to.iter().enumerate() {
            let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX);
            let changed = at(&row, column) + usize::from(letter != other);
            let mut least = changed.min(at(&next, column) + 1).min(at(&row, column + 1) + 1);
            let is_swapped =
                previous == Some(other) && column.checked_sub(1).and_then(|one| to.get(one)) == Some(letter);
            if is_swapped && column > 0 {
                least = least.min(at(&before, column - 1).saturating_add(1));
            }
            next.push(least);
        }
        previous = Some(letter);
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_is_found_and_another_word_is_not() {
        let check = |name: &str, among: &[&str], expected: Option<&str>| {
            assert_eq!(nearest(name, among.iter().copied()), expected, "{name}");
        };
        check("widht", &["weight", "width", "out"], Some("width"));
        check("conv1.weight", &["conv2.weight", "conv1.bias"], Some("conv2.weight"));
        check("fc.wieght", &["fc.weight", "fc.bias"], Some("fc.weight"));
        check("colour", &["shape", "element"], None);
        check("", &["a"], None);
        check("a", &[], None);
    }
}
