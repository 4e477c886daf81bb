//! Which of a file's tensors are the network's: weights are often nested under a key.

use std::collections::BTreeMap;

/// How many prefixes an error names.
const SHOWN: usize = 4;

/// The prefix of the names `wanted` in a file: nothing, or a dotted path of keys with its dot.
///
/// With `key` it is that one; without, the one under which most of the wanted names are. Where
/// several have equally many, the bare names win, or it is an error that lists them.
pub(crate) fn find_prefix<'a>(
    names: impl Iterator<Item = &'a str>,
    wanted: &[String],
    key: Option<&str>,
) -> Result<String, String> {
    if let Some(key) = key {
        return Ok(format!("{key}."));
    }
    // Only names that end in the last part of a wanted one can match, so that a large file is not
    // compared with every wanted name.
    let mut by_last: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in wanted {
        by_last.entry(last_part(name)).or_default().push(name);
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names {
        for wanted in by_last.get(last_part(name)).into_iter().flatten() {
            if let Some(prefix) = name.strip_suffix(wanted)
                && (prefix.is_empty() || prefix.ends_with('.'))
            {
                *counts.entry(prefix).or_default() += 1;
            }
        }
    }
    let most = counts.values().copied().max().unwrap_or(0);
    let best: Vec<&str> = counts
        .into_iter()
        .filter(|(_, count)| *count == most)
        .map(|(prefix, _)| prefix)
        .collect();
    match best.as_slice() {
        [] => Ok(String::new()),
        [only] => Ok((*only).to_owned()),
        several if several.contains(&"") => Ok(String::new()),
        several => {
            let shown: Vec<&str> = several
                .iter()
                .take(SHOWN)
                .map(|prefix| prefix.trim_end_matches('.'))
                .collect();
            Err(format!(
                "the weights are there under each of `{}`: say which with `key`",
                shown.join("`, `")
            ))
        }
    }
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::find_prefix;

    fn check(names: &[&str], wanted: &[&str], key: Option<&str>, expected: Result<&str, &str>) {
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        let found = find_prefix(names.iter().copied(), &wanted, key);
        match expected {
            Ok(prefix) => assert_eq!(found, Ok(prefix.to_owned()), "{names:?}"),
            Err(part) => assert!(
                found.as_ref().is_err_and(|error| error.contains(part)),
                "{names:?}: {found:?}"
            ),
        }
    }

    #[test]
    fn the_weights_are_found_where_they_are_nested() {
        let wanted = ["conv.weight", "conv.bias", "fc.weight"];
        check(&["conv.weight", "conv.bias", "fc.weight"], &wanted, None, Ok(""));
        check(
            &["state_dict.conv.weight", "state_dict.conv.bias", "epoch.weight"],
            &wanted,
            None,
            Ok("state_dict."),
        );
        check(
            &["a.module.conv.weight", "a.module.fc.weight", "b.fc.weight"],
            &wanted,
            None,
            Ok("a.module."),
        );
        check(
            &["model.fc.weight", "ema.fc.weight"],
            &wanted,
            None,
            Err("`ema`, `model`"),
        );
        check(&["fc.weight", "ema.fc.weight"], &wanted, None, Ok(""));
        check(&["model.fc.weight", "ema.fc.weight"], &wanted, Some("ema"), Ok("ema."));
        check(&["other"], &wanted, None, Ok(""));
    }

    #[test]
    fn a_name_that_merely_ends_alike_is_no_match() {
        check(&["preconv.weight"], &["conv.weight"], None, Ok(""));
    }
}
