//! `millrace plugin build`: a plugin of a crate, and what it is.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{anyhow, ensure};
use clap::Args;

use super::cargo::{Built, CargoArguments};
use super::component::{self, imports_of, roles_of};
use crate::cli::output::{self, plain};
use crate::error_chain::ErrorChain;
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

The output of cargo is shown as it comes. The exit code is 1 when there is no plugin at the end.";

pub(super) fn build(options: &Options) -> anyhow::Result<ExitCode> {
    output::print(made(&options.cargo, None)?.1)?;
    Ok(ExitCode::SUCCESS)
}

/// Builds a plugin, in a folder apart where one is named, and says what it is. Blocking.
///
/// # Errors
/// When there is none at the end; a crate may build and be none.
pub(super) fn made(cargo: &CargoArguments, separate_target: Option<&Path>) -> anyhow::Result<(Built, String)> {
    let built = cargo.build(separate_target)?;
    let description = component::describe(&built.path).map_err(|error| anyhow!("{}", ErrorChain(&error)))?;
    ensure!(
        !description.roles().is_empty(),
        "{}: it is not a plugin: it exports no role of the contract\nwith the SDK, call one of these once in the crate: export_preprocessor!, export_router!, export_transformer!",
        shown(&built.path)
    );
    let text = told(&built, &description);
    Ok((built, text))
}

/// The path relative to the current folder.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let near = here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    plain(&near.unwrap_or_else(|| path.to_owned()).to_string_lossy(), 4096)
}

/// A plugin that was just built, for people.
fn told(built: &Built, description: &Description) -> String {
    let size = component::size(description.n_bytes);
    format!(
        "built {}\n  {size}, sha256 {}\n  {}, imports {}",
        shown(&built.path),
        description.digest,
        roles_of(description),
        imports_of(description),
    )
}
