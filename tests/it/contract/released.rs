//! What was released of the contract stays as it was, and what follows it breaks no plugin.

use anyhow::{Context, Result, bail, ensure};
use millrace_tests::samples::root;
use sha2::{Digest as _, Sha256};
use wit_bindgen_core::wit_parser::{InterfaceId, Package, PackageId, Resolve, WorldId, WorldItem};
use wit_component_check::semver_check;

/// Released versions, each with the SHA-256 of its copy, `wit/VERSION/pipeline.wit`. A row is added with every release,
/// and none is ever changed: plugins were built against it.
const RELEASED: [(&str, &str); 1] = [(
    "0.1.0",
    "e5ad1978bf69871e2c45cd8ba09296d0f6b91355b197da85d48e1201adad29f7",
)];
const PACKAGE: &str = "package millrace:pipeline@";

#[test]
fn a_released_copy_never_changes() -> Result<()> {
    for (version, digest) in RELEASED {
        let text = copy(version)?;
        let found: String = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            found, digest,
            "the released contract {version} was changed: take that back"
        );
        assert_eq!(version_of(&text)?, version);
    }
    Ok(())
}

#[test]
fn the_contract_keeps_to_what_was_released() -> Result<()> {
    let current = current()?;
    let version = version_of(&current)?;
    for (released, _) in RELEASED
        .iter()
        .filter(|(released, _)| track(released) == track(version))
    {
        succeeds(&copy(released)?, &current).with_context(|| {
            format!("wit/pipeline.wit breaks plugins of {released}; wit/README.md says what may change")
        })?;
    }
    Ok(())
}

#[test]
fn one_version_is_one_contract() -> Result<()> {
    let current = current()?;
    let version = version_of(&current)?;
    if let Some((released, _)) = RELEASED.iter().find(|(released, _)| *released == version) {
        assert_eq!(
            without_prose(&copy(released)?),
            without_prose(&current),
            "{version} was released: what is more than prose needs the next version in the package line"
        );
    }
    Ok(())
}

/// What to replace by what, and what must be said then.
#[test]
fn what_would_break_a_plugin_is_found() -> Result<()> {
    let rows = [
        (
            "    label: string,\n",
            "    label: string,\n    group: string,\n",
            "expected 3 fields, found 4",
        ),
        ("    required: bool,\n", "", "expected 6 fields, found 7"),
        ("    index: u32,\n", "    number: u32,\n", "expected field name"),
        (
            "    skip(string),\n",
            "    skip(string),\n    later(string),\n",
            "expected 3 cases, found 4",
        ),
        ("    float,\n", "    float,\n    half,\n", "mismatch in enum elements"),
        (
            "enum level { trace, debug,",
            "enum level { debug, trace,",
            "mismatch in enum elements",
        ),
        (
            "attempt: func() -> u32",
            "attempt: func() -> u64",
            "expected primitive `u32`",
        ),
        (
            "top: func(k: u32)",
            "top: func(k: u32, least: f32)",
            "[method]prediction.top",
        ),
        (
            "    redelivered: func() -> bool;\n",
            "",
            "missing expected export `[method]message.redelivered`",
        ),
        (
            "  preprocess: func(",
            "  preprocess: async func(",
            "expected sync function",
        ),
        // What a plugin of before does not have, and what it has for nobody.
        (
            "  settings: func() ",
            "  version: func() -> string;\n  settings: func() ",
            "missing expected export `version`",
        ),
        (
            "  settings: func() -> list<setting>;\n",
            "",
            "`settings` of `plugin` is called no more",
        ),
        (
            "  export plugin;\n  export route;\n",
            "  export route;\n",
            "`router` takes no `plugin` any more",
        ),
        (
            "  export route;\n",
            "  export route;\n  export transform;\n",
            "missing export named `millrace:pipeline/transform`",
        ),
        (
            "  import log;\n  export plugin;\n  export route;\n",
            "  export plugin;\n  export route;\n",
            "missing import named `millrace:pipeline/log`",
        ),
        ("world router {", "world routes {", "there is no world `router`"),
    ];
    let released = copy("0.1.0")?;
    for (from, to, expected) in rows {
        let changed = changed(&released, from, to)?;
        let Err(error) = succeeds(&released, &changed) else {
            bail!("{to:?} in place of {from:?} was let through");
        };
        let said = format!("{error:#}");
        assert!(
            said.contains(expected),
            "{to:?} in place of {from:?}: no {expected:?} in:\n{said}"
        );
        assert_ne!(without_prose(&released), without_prose(&changed));
    }
    Ok(())
}

#[test]
fn what_breaks_no_plugin_may_be_added() -> Result<()> {
    let rows = [
        ("package millrace:pipeline@0.1.0;", "package millrace:pipeline@0.1.1;"),
        (
            "    redelivered: func() -> bool;\n",
            "    redelivered: func() -> bool;\n    timestamp: func() -> option<u64>;\n",
        ),
        ("  log: func(", "  enabled: func(level: level) -> bool;\n  log: func("),
        ("  record score {", "  record later { at: u64 }\n  record score {"),
        ("world router {", "world other { import log; }\n\nworld router {"),
        (
            "world router {",
            "interface clock { now: func() -> u64; }\n\nworld router {\n  import clock;",
        ),
    ];
    let released = copy("0.1.0")?;
    for (from, to) in rows {
        let changed = changed(&released, from, to)?;
        succeeds(&released, &changed).with_context(|| format!("{to:?} in place of {from:?}"))?;
        assert_ne!(
            without_prose(&released),
            without_prose(&changed),
            "{to:?} needs a version of its own"
        );
    }
    let prose = changed(&released, "/// How a plugin lives:", "/// How every plugin lives:")?;
    assert_eq!(without_prose(&released), without_prose(&prose));
    Ok(())
}

/// Whether whatever was built against one contract runs where another is served.
fn succeeds(old: &str, new: &str) -> Result<()> {
    let mut resolve = Resolve::default();
    // One set of packages has a version once, and the check below looks at none.
    let old = resolve.push_str("old.wit", &old.replace(version_of(old)?, "0.0.1"))?;
    let new = resolve.push_str("new.wit", new)?;
    for (name, &old_world) in &package(&resolve, old)?.worlds {
        let new_world = package(&resolve, new)?.worlds.get(name);
        let new_world = *new_world.with_context(|| format!("there is no world `{name}` any more"))?;
        semver_check(resolve.clone(), old_world, new_world)?;
        // To the check it is fine when the host takes less of a plugin. To whoever wrote the plugin it is not.
        let kept = exports(&resolve, new_world)?;
        for (interface, functions) in exports(&resolve, old_world)? {
            let now = kept.iter().find(|(kept, _)| *kept == interface);
            let (_, now) = now.with_context(|| format!("`{name}` takes no `{interface}` any more"))?;
            for function in functions {
                ensure!(
                    now.contains(&function),
                    "`{function}` of `{interface}` is called no more"
                );
            }
        }
    }
    Ok(())
}

fn package(resolve: &Resolve, id: PackageId) -> Result<&Package> {
    resolve.packages.get(id).context("no such package")
}

/// The interfaces that a world exports, each with its functions.
fn exports(resolve: &Resolve, world: WorldId) -> Result<Vec<(&str, Vec<&str>)>> {
    let world = resolve.worlds.get(world).context("no such world")?;
    let interfaces = world.exports.values().map(|item| match item {
        WorldItem::Interface { id, .. } => functions(resolve, *id),
        _ => bail!("a world exports interfaces alone"),
    });
    interfaces.collect()
}

fn functions(resolve: &Resolve, interface: InterfaceId) -> Result<(&str, Vec<&str>)> {
    let interface = resolve.interfaces.get(interface).context("no such interface")?;
    let name = interface.name.as_deref().context("an interface without a name")?;
    Ok((name, interface.functions.keys().map(String::as_str).collect()))
}

fn copy(version: &str) -> Result<String> {
    read(&format!("wit/{version}/pipeline.wit"))
}

fn current() -> Result<String> {
    read("wit/pipeline.wit")
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))
}

/// The contract with one thing changed, wherever it is.
fn changed(text: &str, from: &str, to: &str) -> Result<String> {
    ensure!(text.contains(from), "{from:?} is not there");
    Ok(text.replace(from, to))
}

fn version_of(text: &str) -> Result<&str> {
    let line = text.lines().find_map(|line| line.strip_prefix(PACKAGE));
    line.and_then(|rest| rest.strip_suffix(';')).context("no package line")
}

/// What versions that can stand for each other have in common: `0.1` of `0.1.0`.
fn track(version: &str) -> &str {
    match version.split_once('.') {
        Some(("0", _)) => version.rsplit_once('.').map_or(version, |(track, _)| track),
        Some((major, _)) => major,
        None => version,
    }
}

/// Code without comments and layout.
fn without_prose(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .collect()
}
