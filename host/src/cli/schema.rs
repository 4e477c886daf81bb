//! `millrace schema`: the JSON Schema of a file that users write, for the editors of TOML.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use millrace_schema::{Setting, SettingKind, settings_schema};
use serde_json::Value;

use super::{MISTAKEN, output};
use crate::config::{self, Config, Name, Rendering, ValidParts};
use crate::sandbox::{self, Compiler, CompilerProcess, LoadProblem, Role, Sandbox};
use crate::streams::{self, Severity};
use crate::transport::REGISTRY;

/// `millrace schema`
#[derive(Debug, Args)]
pub struct Options {
    /// The file to print the schema of
    #[arg(value_enum, default_value_t = Which::Plugins)]
    which: Which,
    /// With the settings that the plugins of this `plugins.toml` declare; it may have mistakes
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// A file that users write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// `plugins.toml`
    Plugins,
    /// `model.toml` of a model folder
    Model,
    /// A case of a plugin
    Case,
}

pub(super) fn schema(options: &Options) -> anyhow::Result<ExitCode> {
    let schema = match (options.which, &options.file) {
        (Which::Plugins, None) => config::schema(&REGISTRY),
        (Which::Plugins, Some(file)) => match valid_parts(file) {
            Some(valid_parts) => config::schema_with_settings(&REGISTRY, declared(&valid_parts)?),
            None => return Ok(ExitCode::from(MISTAKEN)),
        },
        (_, Some(_)) => anyhow::bail!("--file goes with `plugins`: no other file names plugins"),
        (Which::Model, None) => millrace_models::manifest_schema(),
        (Which::Case, None) => config::case_schema(),
    };
    output::print(format_args!("{schema:#}"))?;
    Ok(ExitCode::SUCCESS)
}

/// The valid parts of a file: its author needs the schema before all of it is. A file without valid parts, because it
/// is missing or is not TOML, is reported.
fn valid_parts(file: &Path) -> Option<Arc<ValidParts>> {
    match Config::load(file, &REGISTRY) {
        Ok((config, _)) => Some(config.errors().valid_parts()),
        Err(errors) if !errors.valid_parts().plugins.is_empty() => Some(errors.valid_parts()),
        Err(errors) => {
            streams::say(Severity::Error, errors.render(Rendering::of_stderr()));
            None
        }
    }
}

/// The settings that plugins declare, each as a schema. A plugin that does not load is reported, and takes any.
fn declared(valid_parts: &ValidParts) -> anyhow::Result<BTreeMap<Name, Value>> {
    let sandbox = Sandbox::start(1, Compiler::Child(CompilerProcess::default()))?;
    let mut schemas = BTreeMap::new();
    for (name, config) in &valid_parts.plugins {
        let roles = [
            (&valid_parts.preprocessors, Role::Preprocess),
            (&valid_parts.transformers, Role::Transform),
            (&valid_parts.routers, Role::Route),
        ];
        // A plugin that no pipeline uses has no role yet.
        let Some((_, role)) = roles.into_iter().find(|(names, _)| names.contains(name)) else {
            continue;
        };
        let takes = match sandbox.load(config, role) {
            Ok(plugin) => plugin.settings().to_vec(),
            Err(error) => match error.problem {
                LoadProblem::SettingDiagnostics { takes, .. } => takes,
                _ => {
                    streams::error(crate::error_chain::ErrorChain(&error));
                    continue;
                }
            },
        };
        schemas.insert(name.clone(), settings_schema(takes.iter().map(setting)));
    }
    Ok(schemas)
}

fn setting(setting: &sandbox::Setting) -> Setting<'_> {
    Setting {
        name: &setting.name,
        help: &setting.help,
        kind: match setting.kind {
            sandbox::SettingKind::Boolean => SettingKind::Boolean,
            sandbox::SettingKind::Integer => SettingKind::Integer,
            sandbox::SettingKind::Number => SettingKind::Number,
            sandbox::SettingKind::Text => SettingKind::Text,
            sandbox::SettingKind::Array => SettingKind::Array,
            sandbox::SettingKind::Table => SettingKind::Table,
        },
        choices: &setting.choices,
        default: setting.default.as_ref(),
        required: setting.required,
        schema: setting.schema.as_ref(),
    }
}
