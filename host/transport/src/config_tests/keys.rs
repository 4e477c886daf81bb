//! Every declared key is read, documented, and known in one table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use millrace_schema::{Form, Section};

use crate::REGISTRY;
use crate::config::{Name, case_file, keys_asked, schema, schema_with_settings};

/// The keys that the reader asks for in every file of the tests: section and key. That each is declared, and as
/// what it is read as, the reader asserts itself.
fn asked() -> BTreeSet<(&'static str, &'static str)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config_tests/testdata");
    let files = ["good", "bad"].map(|name| std::fs::read_dir(folder.join(name)).unwrap());
    let files = files.into_iter().flatten().map(|entry| entry.unwrap().path());
    let files = files.filter(|path: &PathBuf| path.extension().is_some_and(|end| end == "toml"));
    files
        .flat_map(|path| keys_asked(&std::fs::read_to_string(&path).unwrap(), &folder, &REGISTRY))
        .collect()
}

#[test]
fn what_is_declared_is_read_and_nothing_else() {
    let declared: BTreeSet<_> = REGISTRY
        .file()
        .root
        .all()
        .into_iter()
        .flat_map(|section| section.names().into_iter().map(|name| (section.id, name)))
        .collect();
    assert!(declared.len() > 50, "{}", declared.len());
    let asked = asked();
    let (unread, undeclared) = (declared.difference(&asked), asked.difference(&declared));
    let (unread, undeclared): (Vec<_>, Vec<_>) = (unread.collect(), undeclared.collect());
    assert!(unread.is_empty(), "declared, and not read as that: {unread:?}");
    assert!(undeclared.is_empty(), "read, and not declared as that: {undeclared:?}");
}

#[test]
fn keys_are_told_with_words_and_an_example_that_fits() {
    for section in [REGISTRY.file(), case_file()].iter().flat_map(|file| file.root.all()) {
        assert!(section.help.ends_with('.'), "{}", section.id);
        for key in section.keys {
            let place = format!("{}.{}", section.id, key.name);
            assert!(key.help.ends_with('.'), "{place}: {}", key.help);
            if let Form::Words(words) = key.form {
                let shared = key.help.contains("as for a source");
                for word in words.words().into_iter().filter(|_| !shared) {
                    assert!(
                        key.help.contains(&format!("`\"{word}\"`")),
                        "{place} does not tell of {word}"
                    );
                }
                assert!(words.words().contains(&words.default()), "{place}");
            }
            let is_table = matches!(key.form, Form::Table(_) | Form::Tables(_) | Form::Named(..));
            assert!(is_table || !key.example.is_empty(), "{place}");
        }
    }
}

#[test]
fn a_key_in_the_wrong_table_has_one_home() {
    for section in REGISTRY.file().root.all() {
        for key in section.keys.iter().filter(|key| key.has_home) {
            assert_eq!(REGISTRY.home()(key.name), Some(section.title), "{}", key.name);
        }
    }
    assert_eq!(REGISTRY.home()("colour"), None);
    assert_eq!(REGISTRY.home()("path"), None, "models and plugins have one");
    assert_eq!(Section::EMPTY.names(), [""; 0]);
}

#[test]
fn the_settings_of_a_plugin_are_its_own() {
    let settings = serde_json::json!({ "type": "object", "required": ["size"] });
    let name = Name::new("crop").unwrap();
    let with_settings = schema_with_settings(&REGISTRY, BTreeMap::from([(name, settings.clone())]));
    let plain = schema(&REGISTRY);
    let crop = with_settings.pointer("/properties/plugin/properties/crop").unwrap();
    assert_eq!(crop["properties"]["settings"], settings);
    assert_eq!(crop["required"], serde_json::json!(["path", "settings"]));
    assert_eq!(with_settings["definitions"], plain["definitions"]);
}
