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

/// Puts variables of the environment in place of `${NAME}`; `$${` stands for `${`, and any other `$` for itself.
///
/// What a variable holds is taken as it is: it is not searched for further names.
pub(super) fn expand<'t>(
    text: &'t str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<String, Vec<ExpandError<'t>>> {
    let mut expanded = String::with_capacity(text.len());
    let mut errors = Vec::new();
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
            expanded.push_str(&value);
        } else {
            errors.push(ExpandError::Unset(whole));
        }
        rest = after;
    }
    expanded.push_str(rest);
    if errors.is_empty() { Ok(expanded) } else { Err(errors) }
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
        assert_eq!(expand(text, &variable), expected.map(str::to_owned), "{text}");
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
}
