//! What keeps a model from being lowered: all of it at once, each by operator, node and what to do.

use std::fmt;

use crate::known::Unknown;
use crate::limits;
use crate::shown::shown;
use millrace_graph::Misfit;

/// One thing that keeps a model from being lowered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The operator, with its domain where that is not the standard's; empty where it is the model as a whole.
    pub operator: String,
    /// The node, as the file calls it; cut and escaped.
    pub node: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it; empty where there is nothing.
    pub advice: String,
}

impl Problem {
    /// One of the model as a whole.
    pub(crate) fn of_model(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            operator: String::new(),
            node: String::new(),
            what: what.into(),
            advice: advice.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.operator.is_empty() {
            write!(f, "`{}` node `{}`: ", self.operator, self.node)?;
        }
        f.write_str(&self.what)?;
        if !self.advice.is_empty() {
            write!(f, ": {}", self.advice)?;
        }
        Ok(())
    }
}

/// Why a node is not lowered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) what: String,
    pub(crate) advice: &'static str,
}

/// Refuses without advice.
pub(crate) fn refuse(what: impl Into<String>) -> Refusal {
    Refusal {
        what: what.into(),
        advice: "",
    }
}

/// Refuses with advice.
pub(crate) fn advise(what: impl Into<String>, advice: &'static str) -> Refusal {
    Refusal {
        what: what.into(),
        advice,
    }
}

impl From<Misfit> for Refusal {
    fn from(misfit: Misfit) -> Self {
        refuse(misfit.to_string())
    }
}

impl From<Unknown> for Refusal {
    fn from(unknown: Unknown) -> Self {
        refuse(unknown.to_string())
    }
}

impl From<crate::wire::Fault> for Refusal {
    fn from(fault: crate::wire::Fault) -> Self {
        refuse(format!("an attribute is malformed: {fault}"))
    }
}

impl From<crate::error::Error> for Refusal {
    fn from(error: crate::error::Error) -> Self {
        refuse(error.to_string())
    }
}

impl From<crate::error::TensorFault> for Refusal {
    fn from(fault: crate::error::TensorFault) -> Self {
        refuse(fault.to_string())
    }
}

/// Problems in the order in which they were found, the first of them in full.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    list: Vec<Problem>,
    more: usize,
}

impl Problems {
    pub(crate) fn add(&mut self, problem: Problem) {
        if self.list.contains(&problem) {
            return;
        }
        match self.list.len() < limits::PROBLEMS {
            true => self.list.push(problem),
            false => self.more = self.more.saturating_add(1),
        }
    }

    pub(crate) fn node(&mut self, operator: &str, node: &str, refusal: Refusal) {
        self.add(Problem {
            operator: shown(operator),
            node: shown(node),
            what: refusal.what,
            advice: refusal.advice.to_owned(),
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn into_list(mut self) -> Vec<Problem> {
        if self.more > 0 {
            self.list.push(Problem::of_model(
                format!("{} more problems are not listed", self.more),
                "",
            ));
        }
        self.list
    }
}
