//! The destinations that the settings of a router name, against those that its pipelines declare. Asks no plugin: what it
//! said of its settings at load decides.

use super::LoadedFiles;
use crate::config::{Config, ConfigErrors, Diagnostic, Name, PipelineConfig, Warning, did_you_mean};
use crate::sandbox::NamedDestination;

/// Adds what is wrong: a name of the file's that no pipeline of the router declares is a mistake. One that some of them do not
/// declare may never be chosen there, and so may a default: these are warnings.
pub(super) fn check(config: &Config, loaded: &LoadedFiles, errors: &mut ConfigErrors, warnings: &mut Vec<Warning>) {
    for (router, plugin) in &loaded.plugins {
        let users = config.pipelines.values();
        let users: Vec<&PipelineConfig> = users.filter(|user| user.plugins.route == *router).collect();
        for named in plugin.destinations() {
            let without: Vec<&PipelineConfig> = users
                .iter()
                .copied()
                .filter(|user| !user.destinations.contains_key(named.name.as_str()))
                .collect();
            let Some(first) = without.first() else { continue };
            let place = format!("plugin.{router}.settings.{}", named.setting);
            let diagnostic = diagnostic(router, &named, first);
            let diagnostic = Diagnostic {
                span: config.locate(&place),
                ..diagnostic
            };
            match !named.is_default && without.len() == users.len() {
                true => errors.push(diagnostic),
                false => warnings.push(Warning(diagnostic)),
            }
        }
    }
}

fn diagnostic(router: &Name, named: &NamedDestination, pipeline: &PipelineConfig) -> Diagnostic {
    let (name, setting) = (&named.name, &named.setting);
    let meant = did_you_mean(name, pipeline.destinations.keys().map(Name::as_str));
    let meant = meant
        .map(|meant| format!(", did you mean `{meant}`?"))
        .unwrap_or_default();
    let by = match named.is_default {
        true => format!(" by the default of `{setting}`"),
        false => String::new(),
    };
    let text = format!(
        "the router `{router}` sends to `{name}`{by}, which is not a destination of the pipeline `{}`{meant}",
        pipeline.name
    );
    let hint = match Name::new(name) {
        Some(_) => format!("declare it with `[pipeline.{}.destination.{name}]`", pipeline.name),
        None => "the name of a destination is 1 to 63 of `a-z`, `0-9` and `-`, and begins with a letter".to_owned(),
    };
    let hint = match named.is_default {
        true => format!("{hint}, or set `{setting}` to a declared destination"),
        false => hint,
    };
    Diagnostic::at(None, text).hint(hint)
}
