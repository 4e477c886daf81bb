//! `millrace plugin build`: a plugin of a crate, and what it is.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::cargo::{Built, CargoArguments};
use super::component::{self, imports_of, roles_of};
use crate::cli::output::{self, plain};
use crate::sandbox::Description;

/// `millrace plugin build`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    #[command(flatten)]
    cargo: CargoArguments,
}

const EXAMPLES: &str = "\
Examples:
  millrace plugin build                   the crate in this folder
  millrace plugin build crop --debug      without optimisation
  CARGO_NET_OFFLINE=true millrace plugin build

What cargo says is shown as it comes. The exit code is 1 when there is no plugin at the end.";

pub(super) fn build(options: &Options) -> anyhow::Result<ExitCode> {
    let built = options.cargo.build()?;
    let description = component::describe(&built.path)?;
    output::print(told(&built, &description))?;
    Ok(ExitCode::SUCCESS)
}

/// The path as whoever is in this folder would write it.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let near = here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    plain(&near.unwrap_or_else(|| path.to_owned()).to_string_lossy(), 4096)
}

/// A plugin that was just built, for whoever built it.
pub(super) fn told(built: &Built, description: &Description) -> String {
    let size = component::size(description.n_bytes);
    format!(
        "built {}\n  {size}, sha256 {}\n  {}, imports {}",
        shown(&built.path),
        description.digest,
        roles_of(description),
        imports_of(description),
    )
}
