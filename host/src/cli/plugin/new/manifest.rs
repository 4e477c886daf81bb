//! Makes a manifest that inherits from a workspace stand alone. Knows no file.

use toml::{Table, Value};

/// Keys that are left out: those that need files of this repository, and rules of its own.
const LEFT_OUT: [&str; 5] = ["lints", "dev-dependencies", "test", "bench", "example"];

/// Tables of dependencies.
const DEPENDENCIES: [&str; 2] = ["dependencies", "build-dependencies"];

/// Why a manifest cannot stand alone: our mistake, which a test of the SDK's manifest finds.
#[derive(Debug, thiserror::Error)]
pub(super) enum ManifestError {
    /// One of the two is not TOML.
    #[error("the manifest cannot be read")]
    Read(#[from] toml::de::Error),
    /// The result cannot be written.
    #[error("the manifest cannot be written")]
    Write(#[from] toml::ser::Error),
    /// It inherits what is not there.
    #[error("the workspace has no `{0}` to inherit")]
    Missing(String),
    /// It depends on a crate that is not written out with it.
    #[error("it depends on `{0}`, which has a path in the workspace")]
    Path(String),
}

/// The same manifest with everything filled in that it inherits.
pub(super) fn standalone(manifest: &str, workspace: &str) -> Result<String, ManifestError> {
    let mut manifest: Table = manifest.parse()?;
    let workspace: Table = workspace.parse()?;
    let workspace = table(&workspace, "workspace").cloned().unwrap_or_default();
    for key in LEFT_OUT {
        manifest.remove(key);
    }
    if let Some(Value::Table(package)) = manifest.get_mut("package") {
        let inherited = table(&workspace, "package").cloned().unwrap_or_default();
        for (key, value) in package.iter_mut().filter(|(_, value)| inherits(value)) {
            *value = inherited
                .get(key)
                .cloned()
                .ok_or_else(|| ManifestError::Missing(format!("package.{key}")))?;
        }
    }
    let inherited = table(&workspace, "dependencies").cloned().unwrap_or_default();
    fill_dependencies(&mut manifest, &inherited)?;
    if let Some(Value::Table(targets)) = manifest.get_mut("target") {
        for target in targets.iter_mut().filter_map(|(_, target)| target.as_table_mut()) {
            fill_dependencies(target, &inherited)?;
        }
    }
    write(manifest)
}

/// The package first, as people expect it.
fn write(mut manifest: Table) -> Result<String, ManifestError> {
    let package: Table = manifest.remove_entry("package").into_iter().collect();
    Ok(format!(
        "{}\n{}",
        toml::to_string(&package)?,
        toml::to_string(&manifest)?
    ))
}

fn fill_dependencies(of: &mut Table, inherited: &Table) -> Result<(), ManifestError> {
    for key in DEPENDENCIES {
        let Some(Value::Table(dependencies)) = of.get_mut(key) else {
            continue;
        };
        for (name, dependency) in dependencies.iter_mut().filter(|(_, dependency)| inherits(dependency)) {
            let base = inherited
                .get(name)
                .ok_or_else(|| ManifestError::Missing(format!("dependencies.{name}")))?;
            *dependency = Value::Table(filled(base, dependency));
        }
        if let Some((name, _)) = dependencies.iter().find(|(_, value)| value.get("path").is_some()) {
            return Err(ManifestError::Path(name.to_owned()));
        }
    }
    Ok(())
}

/// The workspace's entry for a dependency, with the crate's additions: features are those of both.
fn filled(base: &Value, own: &Value) -> Table {
    let mut filled = match base {
        Value::Table(base) => base.clone(),
        version => Table::from_iter([("version".to_owned(), version.clone())]),
    };
    for (key, value) in own.as_table().into_iter().flatten() {
        match (key.as_str(), value, filled.get_mut(key)) {
            ("workspace", ..) => {}
            ("features", Value::Array(more), Some(Value::Array(features))) => features.extend(more.iter().cloned()),
            (key, value, _) => drop(filled.insert(key.to_owned(), value.clone())),
        }
    }
    filled
}

fn inherits(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true)
}

fn table<'a>(of: &'a Table, key: &str) -> Option<&'a Table> {
    of.get(key).and_then(Value::as_table)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKSPACE: &str = r#"
        [workspace.package]
        version = "0.3.0"
        [workspace.dependencies]
        plain = "1.2"
        lean = { version = "2", default-features = false, features = ["a"] }
        ours = { path = "ours" }
    "#;

    #[test]
    fn what_is_inherited_is_filled_in() {
        let manifest = r#"
            [package]
            name = "x"
            version.workspace = true
            [dependencies]
            plain.workspace = true
            own = "3"
            lean = { workspace = true, optional = true, features = ["b"] }
            [target.'cfg(wasm)'.dependencies]
            plain = { workspace = true }
            [dev-dependencies]
            ours.workspace = true
            [lints]
            workspace = true
        "#;
        let found: Table = standalone(manifest, WORKSPACE).unwrap().parse().unwrap();
        let expected: Table = r#"
            [package]
            name = "x"
            version = "0.3.0"
            [dependencies]
            plain = { version = "1.2" }
            own = "3"
            lean = { version = "2", default-features = false, features = ["a", "b"], optional = true }
            [target.'cfg(wasm)'.dependencies]
            plain = { version = "1.2" }
        "#
        .parse()
        .unwrap();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_cannot_stand_alone_is_told() {
        #[track_caller]
        fn check(manifest: &str, expected: &str) {
            let error = standalone(manifest, WORKSPACE).unwrap_err().to_string();
            assert_eq!(error, expected);
        }
        check(
            "[package]\nlicense.workspace = true",
            "the workspace has no `package.license` to inherit",
        );
        check(
            "[dependencies]\nmore.workspace = true",
            "the workspace has no `dependencies.more` to inherit",
        );
        check(
            "[dependencies]\nours.workspace = true",
            "it depends on `ours`, which has a path in the workspace",
        );
        check("[dependencies", "the manifest cannot be read");
    }
}
