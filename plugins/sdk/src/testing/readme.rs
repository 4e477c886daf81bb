//! Whether a README's table of settings says what the plugin declares.

use crate::{Setting, Settings};

/// How the table begins.
const HEAD: &str = "| setting | default | meaning |";

/// Compares a README's table of settings with what the plugin declares: every setting in its order, with its default as JSON
/// (`required` or `none` where it has none), and in its row every text that may be chosen from. Settings that belong together may share
/// a row when their default is the same: `` | `max_width`, `max_height` | `8192` | the largest picture | ``.
///
/// ```
/// # use millrace_plugin::testing;
/// # millrace_plugin::settings! {
/// #     /// Settings.
/// #     pub struct Settings {
/// #         /// Where results go.
/// #         pub destination: String = "results".to_owned(),
/// #     }
/// # }
/// let readme = r#"
/// | setting | default | meaning |
/// |---|---|---|
/// | `destination` | `"results"` | where results go |
/// "#;
/// assert_eq!(testing::readme::<Settings>(readme), Ok(()));
/// ```
///
/// # Errors
///
/// The first row that is not as it should be, and what it should be.
pub fn readme<S: Settings>(readme: &str) -> Result<(), String> {
    compare(readme, &S::declared())
}

fn compare(readme: &str, declared: &[Setting]) -> Result<(), String> {
    let mut lines = readme.lines().skip_while(|line| *line != HEAD).skip(2);
    let mut declared = declared.iter();
    for row in lines.by_ref().take_while(|line| line.starts_with('|')) {
        let [names, default] = cells(row).ok_or_else(|| format!("no row of three columns: {row}"))?;
        for name in names.split(", ") {
            let setting = declared
                .next()
                .ok_or_else(|| format!("the README has {name}, which is not declared there"))?;
            if name != format!("`{}`", setting.name) {
                return Err(format!("the README has {name} where `{}` is declared", setting.name));
            }
            check(setting, default, row)?;
        }
    }
    match declared.next() {
        Some(setting) => Err(format!("the README has no row for `{}`", setting.name)),
        None => Ok(()),
    }
}

/// The first two columns of a row.
fn cells(row: &str) -> Option<[&str; 2]> {
    let mut cells = row.split('|').map(str::trim);
    cells.next()?;
    let found = [cells.next()?, cells.next()?];
    cells.next().is_some_and(|meaning| !meaning.is_empty()).then_some(found)
}

fn check(setting: &Setting, default: &str, row: &str) -> Result<(), String> {
    let name = &setting.name;
    let expected = match &setting.default {
        Some(json) => format!("`{json}`"),
        None if setting.required => "required".to_owned(),
        None => "none".to_owned(),
    };
    if default != expected {
        return Err(format!(
            "`{name}` has the default {expected}, the README says {default}"
        ));
    }
    match setting.choices.iter().find(|choice| !row.contains(choice.as_str())) {
        Some(choice) => Err(format!(
            "`{name}` may be `{choice}`, which its row in the README does not say"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::choice! {
        /// A side.
        enum Side {
            /// Left.
            Left = "left",
            /// Right.
            Right = "right",
        }
    }

    fn declared() -> [Setting; 5] {
        [
            Setting::of("width", "How wide.", Some(7)),
            Setting::of("height", "How high.", Some(7)),
            Setting::of("side", "Where.", Some(Side::Left)),
            Setting::of::<String>("purpose", "What for.", None),
            Setting::of::<Option<f32>>("share", "How much.", None),
        ]
    }

    const ROWS: [&str; 4] = [
        "| `width`, `height` | `7` | how large |",
        "| `side` | `\"left\"` | or `right` |",
        "| `purpose` | required | what for |",
        "| `share` | none | how much |",
    ];

    fn check(change: impl FnOnce(String) -> String, expected: &str) {
        let text = change(format!("# It\n\n{HEAD}\n|---|---|---|\n{}\n\nMore.\n", ROWS.join("\n")));
        assert_eq!(
            compare(&text, &declared()).err().unwrap_or_default(),
            expected,
            "{text}"
        );
    }

    #[test]
    fn a_table_that_is_not_true_is_told() {
        check(|text| text, "");
        check(
            |text| text.replace("`height`", "`heigth`"),
            "the README has `heigth` where `height` is declared",
        );
        check(
            |text| text.replace("`7`", "`8`"),
            "`width` has the default `7`, the README says `8`",
        );
        check(
            |text| text.replace("required", "none"),
            "`purpose` has the default required, the README says none",
        );
        check(
            |text| text.replace("right", "up"),
            "`side` may be `right`, which its row in the README does not say",
        );
        check(|text| text.replace(ROWS[3], ""), "the README has no row for `share`");
        check(
            |text| text.replace(ROWS[3], &[ROWS[3], "| `x` | `1` | y |"].join("\n")),
            "the README has `x`, which is not declared there",
        );
        check(
            |text| text.replace("| setting |", "| key |"),
            "the README has no row for `width`",
        );
        check(
            |text| text.replace(" how much |", ""),
            "no row of three columns: | `share` | none |",
        );
    }
}
