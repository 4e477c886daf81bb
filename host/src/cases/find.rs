//! Which cases there are. Opens none of them.

use std::path::{Path, PathBuf};

use crate::config::case::DEAD_LETTER_FILE;

/// More files than this are not a folder of cases.
const CASES_MAX: usize = 4096;

/// Cases of one folder, in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// The folder.
    pub path: PathBuf,
    // Invariant: not empty.
    pub files: Vec<PathBuf>,
}

/// Why there are no cases.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The folder does not exist.
    #[error("`{}` is neither a folder of cases nor a case: name one with --cases", .0.display())]
    Missing(PathBuf),
    /// The folder cannot be read.
    #[error("the cases in `{}` cannot be read", path.display())]
    Read {
        /// The folder.
        path: PathBuf,
        source: std::io::Error,
    },
    /// There is nothing in it.
    #[error("there are no cases in `{}`: neither a .toml file nor a folder with a {DEAD_LETTER_FILE}", .0.display())]
    None(PathBuf),
    #[error("there are more than {CASES_MAX} cases in `{}`", .0.display())]
    TooMany(PathBuf),
}

/// Finds the cases of a folder: its `.toml` files, and folders with a `case.json`. A path that is itself a case is the
/// only one.
///
/// # Errors
/// When there are none.
pub fn find(path: &Path) -> Result<Folder, FindError> {
    if path.is_file() {
        return Ok(alone(path));
    }
    let dead_letter = path.join(DEAD_LETTER_FILE);
    if dead_letter.is_file() {
        return Ok(alone(&dead_letter));
    }
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => FindError::Missing(path.to_owned()),
        _ => FindError::Read {
            path: path.to_owned(),
            source,
        },
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?.path();
        let dead_letter = entry.join(DEAD_LETTER_FILE);
        if entry.extension().is_some_and(|ending| ending == "toml") && entry.is_file() {
            files.push(entry);
        } else if dead_letter.is_file() {
            files.push(dead_letter);
        }
        if files.len() > CASES_MAX {
            return Err(FindError::TooMany(path.to_owned()));
        }
    }
    files.sort();
    match files.is_empty() {
        true => Err(FindError::None(path.to_owned())),
        false => Ok(Folder {
            path: path.to_owned(),
            files,
        }),
    }
}

fn alone(file: &Path) -> Folder {
    Folder {
        path: file.parent().unwrap_or(Path::new(".")).to_owned(),
        files: vec![file.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_toml_files_and_saved_dead_letters() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        assert!(matches!(find(folder.path()), Err(FindError::None(_))));
        let missing = find(&path("nothing")).unwrap_err();
        let expected = format!(
            "`{}` is neither a folder of cases nor a case: name one with --cases",
            path("nothing").display()
        );
        assert_eq!(crate::error_chain::ErrorChain(&missing).to_string(), expected);
        std::fs::write(path("b.toml"), "").unwrap();
        std::fs::write(path("b.png"), "").unwrap();
        std::fs::create_dir(path("a")).unwrap();
        std::fs::write(path("a/case.json"), "").unwrap();
        std::fs::create_dir(path("c.toml")).unwrap();
        assert_eq!(
            find(folder.path()).unwrap().files,
            [path("a/case.json"), path("b.toml")]
        );
        assert_eq!(find(&path("a")).unwrap().files, [path("a/case.json")]);
        assert_eq!(find(&path("b.toml")).unwrap().files, [path("b.toml")]);
    }
}
