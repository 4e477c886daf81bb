//! The requests to a supervisor, and which of them wait for nothing. Knows nothing of how changes are made.

use std::time::Instant;

use super::{ChangeError, Supervisor};
use crate::config::Name;
use crate::control::{ChangeRecord, Command, Unanswered};

/// A change that may take its time.
#[derive(Debug, Clone)]
pub enum ChangeRequest<'a> {
    /// The file, or something that it names, may have changed.
    Read {
        /// The origin.
        by: &'a str,
    },
    /// A client of the control interface asks for it.
    Command { command: Command, by: String },
}

/// The versions that a change may load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReloadScope {
    /// Nothing that was undone before.
    Untried,
    /// Everything, and what was undone is forgotten; but only if it is taken up.
    Everything,
}

impl Supervisor {
    /// Makes a change. Until it is made nothing is changed, so that it can be dropped and started again.
    ///
    /// # Errors
    /// When there is no such plugin or pipeline.
    pub async fn make(&mut self, asked: &ChangeRequest<'_>) -> Result<ChangeRecord, Unanswered> {
        let (command, by) = match asked {
            ChangeRequest::Read { by } => return Ok(self.reload(by, ReloadScope::Untried).await),
            ChangeRequest::Command { command, by } => (command, by),
        };
        match command {
            Command::Reload => Ok(self.reload(by, ReloadScope::Everything).await),
            Command::Resume { pipeline } => {
                let (began, name) = (Instant::now(), self.pipeline(pipeline)?);
                let mut changes = Vec::new();
                if self.paused.contains(&name) {
                    if let Err(error) = self.resume(&name).await {
                        return Ok(self.record(by, began, Vec::new(), Err(error)));
                    }
                    self.paused.remove(&name);
                    self.stood_down.remove(&name);
                    changes.push(format!("pipeline {name}: resumed"));
                }
                Ok(self.record(by, began, changes, Ok(())))
            }
            Command::Rollback { .. } | Command::Pause { .. } => self.ask_urgent(command, by),
        }
    }

    /// Makes a change that waits for nothing.
    ///
    /// # Errors
    /// When there is no such plugin or pipeline.
    pub fn ask_urgent(&mut self, command: &Command, by: &str) -> Result<ChangeRecord, Unanswered> {
        let began = Instant::now();
        match command {
            Command::Rollback { plugin } => {
                let changes = self.roll_back(plugin, by)?;
                Ok(self.record(by, began, changes, Ok(())))
            }
            Command::Pause { pipeline } => {
                let name = self.pipeline(pipeline)?;
                let is_new = self.paused.insert(name.clone());
                self.pipelines.drain(&name);
                let changes = is_new.then(|| format!("pipeline {name}: paused"));
                Ok(self.record(by, began, changes.into_iter().collect(), Ok(())))
            }
            Command::Reload | Command::Resume { .. } => Err(Unanswered::Busy),
        }
    }

    async fn resume(&mut self, name: &Name) -> Result<(), ChangeError> {
        let pipeline = self.config.as_ref().and_then(|config| config.pipelines.get(name));
        let Some(pipeline) = pipeline else { return Ok(()) };
        if let Some(source) = self.pipelines.open(pipeline, &self.connections).await? {
            self.pipelines.start(name, source);
        }
        Ok(())
    }

    fn pipeline(&self, name: &str) -> Result<Name, Unanswered> {
        let mut names = self.config.iter().flat_map(|config| config.pipelines.keys());
        let unknown = || Unanswered::Unknown(format!("there is no pipeline `{}`", name.escape_debug()));
        names.find(|known| known.as_str() == name).cloned().ok_or_else(unknown)
    }
}
