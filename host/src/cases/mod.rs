//! Runs cases: a plugin is given a message in the engine and with the limits that serve, and what comes out is compared
//! with what was expected. Knows no broker; prints nothing.

mod compare;
mod find;
mod found;
mod picture;
mod run;
mod statistics;
mod suite;
mod update;
mod written;

pub use compare::{Difference, compare};
pub use find::{FindError, Folder, find};
pub use found::{Found, Made};
pub use picture::{Picture, PictureError};
pub use run::{CannotRun, Defaults, Runner};
pub use statistics::Statistics;
pub use suite::{CaseVerdict, Judged, Suite, SuiteReport};
pub use update::{UpdateError, update};

use crate::disposition::Stage;
use crate::sandbox::Role;

/// The stage of a plugin of a role, where the role determines it.
fn stage(role: Role) -> Option<Stage> {
    match role {
        Role::Preprocess => Some(Stage::Preprocess),
        Role::Route => Some(Stage::Route),
        // It may be anywhere in a chain.
        Role::Transform => None,
    }
}
