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
pub use suite::{Judged, Report, Suite, Verdict};
pub use update::{UpdateError, update};
