//! All cases of a folder on one plugin, and what came of each. Prints nothing: `plugin test` and `plugin watch` do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::compare::{Compared, compare};
use super::{CannotRun, Defaults, Difference, FindError, Found, Runner, find, stage, update};
use crate::config::ConfigErrors;
use crate::config::case::{Case, Expected, Outcome};
use crate::error_chain::ErrorChain;
use crate::sandbox::{Cost, LoadError, Role};

/// Which cases run on which plugin.
#[derive(Debug, Clone)]
pub struct Suite {
    /// The plugin's file.
    pub plugin: PathBuf,
    /// The folder with its cases, or one case.
    pub cases: PathBuf,
    /// The defaults for cases.
    pub defaults: Defaults,
    /// Where pictures of failures are written; nowhere where there is none.
    pub pictures: Option<PathBuf>,
}

/// The outcomes of all cases of a folder.
#[derive(Debug)]
pub struct SuiteReport {
    // Invariant: not empty.
    /// Each, in the order of their files.
    pub cases: Vec<Judged>,
}

/// The outcome of one case.
#[derive(Debug)]
pub struct Judged {
    /// The case's name.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// Whether it passed.
    pub verdict: CaseVerdict,
    /// How long the call took, where it was made.
    pub took: Option<Duration>,
    /// Its cost, where it has a budget.
    pub cost: Option<Cost>,
}

/// Whether a case passed.
#[derive(Debug)]
pub enum CaseVerdict {
    /// It came out as expected.
    Passed,
    /// It came out otherwise.
    Failed {
        differences: Vec<Difference>,
        /// A picture of expected, found and their difference.
        picture: Option<PathBuf>,
    },
    /// Its file has mistakes.
    Mistaken(ConfigErrors),
    /// It says nothing about the plugin, and was meant to.
    CannotRun(String),
    /// It is a saved dead letter without data for plugins of this role.
    Skipped(String),
}

/// A case that ran.
struct Ran {
    found: Found,
    cost: Option<Cost>,
}

impl SuiteReport {
    /// How many passed.
    pub fn n_passed(&self) -> usize {
        self.count(|verdict| matches!(verdict, CaseVerdict::Passed))
    }

    /// How many were left out.
    pub fn n_skipped(&self) -> usize {
        self.count(|verdict| matches!(verdict, CaseVerdict::Skipped(_)))
    }

    /// How many failed, for whatever reason.
    pub fn n_failed(&self) -> usize {
        self.cases.len() - self.n_passed() - self.n_skipped()
    }

    /// Whether something passed and nothing failed: where nothing ran, nothing is known.
    pub fn is_good(&self) -> bool {
        self.n_failed() == 0 && self.n_passed() > 0
    }

    fn count(&self, is_it: impl Fn(&CaseVerdict) -> bool) -> usize {
        self.cases.iter().filter(|case| is_it(&case.verdict)).count()
    }
}

impl Suite {
    /// Runs every case; calls `each` as soon as a case is judged.
    ///
    /// # Errors
    /// When there are no cases.
    pub async fn run(&self, runner: &Runner, mut each: impl FnMut(&Judged)) -> Result<SuiteReport, FindError> {
        let folder = find(&self.cases)?;
        let mut cases = Vec::with_capacity(folder.files.len());
        for file in &folder.files {
            let judged = self.judge(runner, file).await;
            each(&judged);
            cases.push(judged);
        }
        Ok(SuiteReport { cases })
    }

    async fn judge(&self, runner: &Runner, file: &Path) -> Judged {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut judged = Judged {
            name,
            path: file.to_owned(),
            verdict: CaseVerdict::Passed,
            took: None,
            cost: None,
        };
        let case = match Case::load(file) {
            Ok(case) => case,
            Err(errors) => {
                judged.verdict = CaseVerdict::Mistaken(errors);
                return judged;
            }
        };
        judged.name.clone_from(&case.name);
        let ran = match self.ran(runner, &case).await {
            Ok(ran) => ran,
            Err(error @ (CannotRun::NoPrediction | CannotRun::NoInputType)) if case.record.is_some() => {
                judged.verdict = CaseVerdict::Skipped(error.to_string());
                return judged;
            }
            Err(error) => {
                judged.verdict = CaseVerdict::CannotRun(told(&error));
                return judged;
            }
        };
        judged.took = Some(ran.found.took);
        judged.cost = ran.cost;
        judged.verdict = self.verdict(&case, &ran);
        judged
    }

    /// Writes the results into every case, for its author to read; calls `each` with each.
    ///
    /// # Errors
    /// When there are no cases.
    pub async fn update(
        &self,
        runner: &Runner,
        mut each: impl FnMut(&Path, Result<(), String>),
    ) -> Result<(), FindError> {
        for file in &find(&self.cases)?.files {
            let updated = match Case::load(file) {
                Ok(case) => match self.ran(runner, &case).await {
                    Ok(ran) => update(&case, &ran.found).map_err(|error| ErrorChain(&error).to_string()),
                    Err(error) => Err(told(&error)),
                },
                Err(errors) => Err(errors.to_string()),
            };
            each(file, updated);
        }
        Ok(())
    }

    async fn ran(&self, runner: &Runner, case: &Case) -> Result<Ran, CannotRun> {
        let found = runner.run(&self.plugin, case, &self.defaults).await?;
        let is_bounded = case.budget.fuel.is_some() || case.budget.memory_bytes.is_some();
        // A plugin that refuses its settings never ran.
        let cost = match is_bounded && found.outcome != Outcome::Settings {
            true => {
                let loaded = runner.load(&self.plugin, case, &self.defaults)?;
                Some(runner.cost(&loaded, case, &self.defaults).await?)
            }
            false => None,
        };
        Ok(Ran { found, cost })
    }

    fn verdict(&self, case: &Case, ran: &Ran) -> CaseVerdict {
        let expected = match expectation(case, ran.found.role) {
            Ok(expected) => expected,
            Err(verdict) => return verdict,
        };
        let mut compared = compare(&expected, &ran.found);
        if let Some(cost) = &ran.cost {
            budget(case, cost, &mut compared);
        }
        if compared.differences.is_empty() {
            return CaseVerdict::Passed;
        }
        let mut picture = None;
        if let (Some((expected, found)), Some(folder)) = (&compared.pictures, &self.pictures) {
            let path = folder.join(format!("{}.png", plain_name(&case.name)));
            let written = std::fs::create_dir_all(folder).map_err(|error| error.to_string());
            let picture_of = expected.beside(found);
            let written =
                written.and_then(|()| picture_of.write(&path).map_err(|error| ErrorChain(&error).to_string()));
            match written {
                Ok(()) => picture = Some(path),
                Err(error) => compared.differs("picture", "one of the difference", &error),
            }
        }
        CaseVerdict::Failed {
            differences: compared.differences,
            picture,
        }
    }
}

/// The expectation of a case for a plugin of a role.
fn expectation(case: &Case, role: Role) -> Result<Expected, CaseVerdict> {
    if let Some(expected) = &case.expected {
        return Ok(expected.clone());
    }
    let Some(record) = &case.record else {
        let text = "it expects nothing: `--update` writes what came out into it, for you to read";
        return Err(CaseVerdict::CannotRun(text.to_owned()));
    };
    match stage(role).and_then(|stage| record.expected(stage)) {
        Some(expected) => Ok(expected),
        None => Err(CaseVerdict::Skipped(format!("its record has no data for a {role}"))),
    }
}

fn budget(case: &Case, cost: &Cost, compared: &mut Compared) {
    if let Some(fuel) = case.budget.fuel
        && cost.fuel() > fuel
    {
        compared.differs("budget.fuel", &format!("at most {fuel}"), &cost.fuel().to_string());
    }
    if let Some(bytes) = case.budget.memory_bytes
        && cost.memory_bytes > bytes
    {
        let shown = |bytes: u64| crate::memory::shown(bytes);
        compared.differs(
            "budget.memory",
            &format!("at most {}", shown(bytes)),
            &shown(cost.memory_bytes),
        );
    }
}

/// An error with its causes.
fn told(error: &CannotRun) -> String {
    match error {
        CannotRun::Load(LoadError { problem, .. }) => {
            let hint = problem.hint().map(|hint| format!("\n{hint}"));
            format!("the plugin cannot be loaded: {problem}{}", hint.unwrap_or_default())
        }
        other => ErrorChain(other).to_string(),
    }
}

/// A name that is safe in a path.
fn plain_name(name: &str) -> String {
    let plain = name.chars().map(|c| {
        if c.is_ascii_alphanumeric() || "-_.".contains(c) {
            c
        } else {
            '-'
        }
    });
    plain.take(100).collect()
}
