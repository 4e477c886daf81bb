//! Commands and what they print, as a page shows them. Knows how to compare, and not how anything is run.

/// A command of a `console` block, and what the page says that it prints.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// What is typed after `$ `, with the lines after it that begin with `> `.
    pub(super) command: String,
    /// The lines below it; with none, nothing is said about what it prints.
    pub(super) output: Vec<String>,
}

/// The commands of a block.
///
/// # Errors
/// When it does not begin with one.
pub(super) fn steps(text: &str) -> Result<Vec<Step>, String> {
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step {
                command: command.to_owned(),
                output: Vec::new(),
            });
            continue;
        }
        let Some(step) = steps.last_mut() else {
            return Err(format!("the block does not begin with `$ `: {line}"));
        };
        match line.strip_prefix("> ") {
            Some(more) if step.output.is_empty() => step.command += &format!("\n{more}"),
            _ => step.output.push(line.trim_end().to_owned()),
        }
    }
    for step in &mut steps {
        // A blank line between two commands is for the eye.
        while step.output.last().is_some_and(String::is_empty) {
            step.output.pop();
        }
    }
    Ok(steps)
}

/// Whether the lines are as expected: `...` stands for any lines where it is alone, and for any text within a line.
pub(super) fn is_as_expected(expected: &[String], found: &[String]) -> bool {
    let Some((line, rest)) = expected.split_first() else {
        return found.is_empty();
    };
    if line.trim() == "..." {
        return (0..=found.len()).any(|skipped| is_as_expected(rest, found.get(skipped..).unwrap_or_default()));
    }
    match found.split_first() {
        Some((first, others)) => is_line(line, first) && is_as_expected(rest, others),
        None => false,
    }
}

fn is_line(expected: &str, found: &str) -> bool {
    let mut parts = expected.split("...");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = found.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::{is_as_expected, steps};

    #[test]
    fn dots_stand_for_what_varies() {
        let rows = [
            ("a\nb", "a\nb", true),
            ("a", "a\nb", false),
            ("a\nb", "a", false),
            ("...", "", true),
            ("...\nb", "a\na\nb", true),
            ("a\n...\nc", "a\nc", true),
            ("a\n...\nc", "a\nb", false),
            ("took ... ms", "took 12 ms", true),
            ("took ... ms", "took 12 s", false),
            ("a ... b ... c", "a 1 b 2 c", true),
            ("a ... b ... c", "a 1 c", false),
            ("ab...b", "ab", false),
        ];
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        for (expected, found, is) in rows {
            assert_eq!(
                is_as_expected(&lines(expected), &lines(found)),
                is,
                "{expected:?} {found:?}"
            );
        }
    }

    #[test]
    fn a_block_is_commands_with_what_they_print() {
        let found = steps("$ cat <<END\n> a\n> END\na\n\n$ true\n").unwrap();
        let shown: Vec<_> = found
            .iter()
            .map(|step| (step.command.as_str(), step.output.join("|")))
            .collect();
        assert_eq!(shown, [("cat <<END\na\nEND", "a".to_owned()), ("true", String::new())]);
        assert!(steps("true\n").is_err());
    }
}
