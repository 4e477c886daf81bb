//! `${NAME}` in the strings of `plugins.toml`. Knows nothing of keys; never puts a value into a message.

/// Why a string cannot be filled in. None of these holds a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ExpandError<'t> {
    /// The variable is not there.
    Unset(&'t str),
    /// No variable can have this name.
    BadName(&'t str),
    /// `${` without `}`.
    Unclosed(&'t str),
}

impl<'t> ExpandError<'t> {
    /// The part of the string that it is about.
    pub(super) fn offending(&self) -> &'t str {
        match self {
            Self::Unset(part) | Self::BadName(part) | Self::Unclosed(part) => part,
        }
    }
}

/// A string that was filled in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Expanded<'t> {
    pub(super) text: String,
    /// The references whose values ended with a line break, which is left out.
    pub(super) trimmed: Vec<&'t str>,
}

/// Puts variables of the environment in place of `${NAME}`; `$${` stands for `${`, and any other `$` for itself.
///
/// The value of a variable is used as it is, and not searched for further names; but one line break at its end is left
/// out: it comes from the file or the command that the secret was read from, and no secret ends with one.
pub(super) fn expand<'t>(
    text: &'t str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Expanded<'t>, Vec<ExpandError<'t>>> {
    let mut expanded = String::with_capacity(text.len());
    let (mut trimmed, mut errors) = (Vec::new(), Vec::new());
    let mut rest = text;
    while let Some((before, reference)) = rest.find("${").and_then(|at| rest.split_at_checked(at)) {
        if let Some(before) = before.strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = reference.get(2..).unwrap_or_default();
            continue;
        }
        expanded.push_str(before);
        let Some(length) = reference.find('}') else {
            errors.push(ExpandError::Unclosed(reference));
            rest = "";
            break;
        };
        let (whole, after) = reference.split_at(length + 1);
        let name = whole.get(2..length).unwrap_or_default();
        if !is_name(name) {
            errors.push(ExpandError::BadName(whole));
        } else if let Some(value) = variable(name) {
            let kept = without_line_break(&value);
            if kept.len() < value.len() {
                trimmed.push(whole);
            }
            expanded.push_str(kept);
        } else {
            errors.push(ExpandError::Unset(whole));
        }
        rest = after;
    }
    expanded.push_str(rest);
    match errors.is_empty() {
        true => Ok(Expanded {
            text: expanded,
            trimmed,
        }),
        false => Err(errors),
    }
}

/// A value without the one line break that may be at its end.
pub fn without_line_break(value: &str) -> &str {
    let whole = value.strip_suffix("\r\n").or_else(|| value.strip_suffix('\n'));
    whole.unwrap_or(value)
}

/// The names that shells and service managers can set.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, Vec<ExpandError<'_>>>) {
        let variable = |name: &str| (name == "HOME_1").then(|| "/home ${X}".to_owned());
        let expanded = expand(text, &variable).map(|expanded| expanded.text);
        assert_eq!(expanded, expected.map(str::to_owned), "{text}");
    }

    #[test]
    fn variables_are_filled_in_and_everything_else_stays() {
        check("", Ok(""));
        check("plain $ {HOME_1} $HOME_1", Ok("plain $ {HOME_1} $HOME_1"));
        check("${HOME_1}", Ok("/home ${X}"));
        check("a${HOME_1}b${HOME_1}", Ok("a/home ${X}b/home ${X}"));
        check("$${HOME_1}", Ok("${HOME_1}"));
        check("$$${HOME_1}", Ok("$${HOME_1}"));
        check(
            "${A} ${HOME_1} ${B}",
            Err(vec![ExpandError::Unset("${A}"), ExpandError::Unset("${B}")]),
        );
        check("${A:-b}", Err(vec![ExpandError::BadName("${A:-b}")]));
        check("${}", Err(vec![ExpandError::BadName("${}")]));
        check("x ${HOME_1", Err(vec![ExpandError::Unclosed("${HOME_1")]));
    }

    #[test]
    fn one_line_break_at_the_end_of_a_value_is_left_out_and_told() {
        fn check(value: &str, expected: &str, is_reported: bool) {
            let variable = |_: &str| Some(value.to_owned());
            let expanded = expand("a ${SECRET} b", &variable).unwrap();
            let trimmed = if is_reported { vec!["${SECRET}"] } else { Vec::new() };
            assert_eq!(
                (expanded.text, expanded.trimmed),
                (format!("a {expected} b"), trimmed),
                "{value:?}"
            );
        }
        check("hunter2", "hunter2", false);
        check("hunter2\n", "hunter2", true);
        check("hunter2\r\n", "hunter2", true);
        check("hunter2\n\n", "hunter2\n", true);
        check("two\nlines", "two\nlines", false);
        check("\n", "", true);
        check("hunter2 ", "hunter2 ", false);
    }
}
