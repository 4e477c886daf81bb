//! The reference's tables, made of the declared keys and written between marks; the prose around them is by hand.
//! Knows no file and no key.

use std::fmt;

use serde_json::Value;

use crate::{Absent, Bounds, Declared, Form, Section};

const BEGIN: &str = "<!-- keys: ";
const BEGIN_END: &str = " -->";
const END: &str = "<!-- end of keys -->";

/// Why a text's tables cannot be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FillError {
    /// A mark names no section, or no choice of it.
    Unknown(String),
    /// A mark without its end.
    Unclosed(String),
    /// Sections that no mark names.
    Missing(Vec<String>),
}

/// Makes the tables of a reference's pages anew, each between `<!-- keys: ID -->` (or `<!-- keys: ID CHOICE -->`) and its
/// end. Every section has a mark on one of the pages.
///
/// # Errors
/// When marks and sections do not fit.
pub fn fill(pages: &[&str], root: &'static Section) -> Result<Vec<String>, FillError> {
    let sections = root.all();
    let mut missing: Vec<String> = sections.iter().flat_map(|section| marks(section)).collect();
    let filled = pages.iter().map(|page| fill_page(page, &sections, &mut missing));
    let filled = filled.collect::<Result<_, _>>()?;
    match missing.is_empty() {
        true => Ok(filled),
        false => Err(FillError::Missing(missing)),
    }
}

fn fill_page(text: &str, sections: &[&Section], missing: &mut Vec<String>) -> Result<String, FillError> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (mark, after) = after
            .split_once(BEGIN_END)
            .ok_or_else(|| FillError::Unclosed(after.lines().next().unwrap_or_default().to_owned()))?;
        let (_, after) = after
            .split_once(END)
            .ok_or_else(|| FillError::Unclosed(mark.to_owned()))?;
        let table = sections
            .iter()
            .find_map(|section| table(section, mark))
            .ok_or_else(|| FillError::Unknown(mark.to_owned()))?;
        missing.retain(|other| other != mark);
        filled.push_str(&format!("{before}{BEGIN}{mark}{BEGIN_END}\n{table}{END}"));
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// The marks of a section: one, or one for each choice. A section of one key is told where it is named.
fn marks(section: &Section) -> Vec<String> {
    let kinds = section.kinds.as_ref().map(|_| format!("{} kinds", section.id));
    let choices = section.one_of.iter().map(|choice| format!("{} {choice}", section.id));
    match section.one_of {
        [] if section.keys.len() == 1 => kinds.into_iter().collect(),
        [] => std::iter::once(section.id.to_owned()).chain(kinds).collect(),
        _ => choices.collect(),
    }
}

fn table(section: &Section, mark: &str) -> Option<String> {
    if !marks(section).iter().any(|own| own == mark) && mark != section.id {
        return None;
    }
    let choice = mark.strip_prefix(section.id)?.trim();
    if choice == "kinds" {
        return section.kinds.as_ref().map(kinds_table);
    }
    let mut table = "| key | meaning | default |\n|---|---|---|\n".to_owned();
    for key in section.keys.iter().filter(|key| key.goes_with(section, choice)) {
        let absent = match key.absent {
            Absent::Required | Absent::RequiredWith(_) => "required".to_owned(),
            Absent::Told(words) => words.to_owned(),
            Absent::Default if key.name == choice => "required".to_owned(),
            Absent::Default => key.default().map(|value| code(&value)).unwrap_or_default(),
        };
        table.push_str(&format!("| `{}` | {} | {absent} |\n", key.name, key.told()));
    }
    Some(table)
}

fn kinds_table(kinds: &crate::Kinds) -> String {
    let mut table = format!("| `{}` | keys (default) | {} |\n|---|---|---|\n", kinds.tag, kinds.told);
    for kind in kinds.of {
        let keys: Vec<String> = kind.keys.iter().map(Declared::brief).collect();
        table.push_str(&format!("| `{}` | {} | {} |\n", kind.name, keys.join(", "), kind.help));
    }
    table
}

impl Declared {
    /// What it does, and where its value must lie.
    pub(crate) fn told(&self) -> String {
        let Some(bounds) = self.form.bounds() else {
            return self.help.to_owned();
        };
        let is_zero = |value: &Value| matches!(value.as_str(), Some("0s" | "0B")) || value.as_f64() == Some(0.0);
        let range = match (bounds.min(), bounds.max()) {
            (Some(min), Some(max)) if is_zero(&min) && max.is_string() => format!(" Up to {}.", code(&max)),
            (Some(min), Some(max)) => format!(" {} to {}.", code(&min), code(&max)),
            (Some(min), None) => format!(" At least {}.", code(&min)),
            (None, Some(max)) => format!(" At most {}.", code(&max)),
            (None, None) => String::new(),
        };
        format!("{}{range}", self.help)
    }

    fn brief(&self) -> String {
        match (self.absent, self.default()) {
            (Absent::Told(words), _) => format!("`{}` ({words})", self.name),
            (_, Some(default)) => format!("`{}` ({})", self.name, bare(&default)),
            (_, None) => format!("`{}`", self.name),
        }
    }

    /// Whether it belongs into the table of one choice of its section.
    fn goes_with(&self, section: &Section, choice: &str) -> bool {
        let is_choice = section.one_of.contains(&self.name);
        choice.is_empty()
            || self.name == choice
            || (!is_choice && (self.with.is_empty() || self.with.contains(&choice)))
    }
}

impl Form {
    fn bounds(&self) -> Option<&'static dyn Bounds> {
        match self {
            Self::Integer(bounds) | Self::Number(bounds) | Self::Quantity(_, bounds) => Some(*bounds),
            _ => None,
        }
    }
}

/// A value as the file has it, in backticks.
fn code(value: &Value) -> String {
    format!("`{}`", bare(value))
}

fn bare(value: &Value) -> String {
    value.to_string()
}

impl fmt::Display for FillError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(mark) => write!(f, "no section, and no choice of one, is called `{mark}`"),
            Self::Unclosed(mark) => write!(f, "the mark `{mark}` has no end"),
            Self::Missing(marks) => write!(f, "the tables are missing of: {}", marks.join(", ")),
        }
    }
}

impl std::error::Error for FillError {}
