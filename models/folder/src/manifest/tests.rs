//! The reader is held to the declared keys: each is taken as declared, and nothing else is.

use millrace_schema::{Absent, Declared, Form, Section, Words};

use super::keys::FILE;
use super::keys_layer::LAYER;
use super::*;

/// `key = example` for each key that has one, but for some of them.
fn lines(keys: &[Declared], without: &[&str]) -> String {
    let named = keys
        .iter()
        .filter(|key| !without.contains(&key.name) && !key.example.is_empty());
    named.map(|key| format!("{} = {}\n", key.name, key.example)).collect()
}

/// A whole file in which one section has these lines.
fn file(section: &str, own: &str) -> String {
    let root = FILE.root;
    // Both spellings at once are one too many.
    let mut text = match section {
        "file" => own.to_owned(),
        _ => lines(root.keys, &["license"]),
    };
    for section_key in root.keys {
        for below in section_key.form.sections() {
            if section == format!("no {}", below.id) {
                continue;
            }
            let brackets = if below.id == LAYER.id { "[[layer]]" } else { below.title };
            let lines = if below.id == section {
                own.to_owned()
            } else {
                lines(below.keys, &[])
            };
            text.push_str(&format!("{brackets}\n{lines}"));
        }
    }
    // A network that ends in a softmax layer has no activation.
    if section != "no layer" {
        text.push_str("[[layer]]\ntype = \"relu\"\n");
    }
    text
}

fn parse(text: &str) -> Result<Manifest, String> {
    let source = Source {
        path: PathBuf::from("model.toml"),
        text: text.to_owned(),
    };
    Manifest::parse(&source).map_err(|error| error.to_string())
}

#[track_caller]
fn check(text: &str, expected: Option<&str>) {
    match (parse(text), expected) {
        (Ok(_), None) => {}
        (Err(error), Some(part)) => assert!(error.contains(part), "{error}\n{text}"),
        (Ok(_), Some(part)) => panic!("taken, and not `{part}`:\n{text}"),
        (Err(error), None) => panic!("{error}\n{text}"),
    }
}

/// Holds the reader to the keys of one table. `head` is what the table has beside them.
fn hold(section: &str, keys: &[Declared], head: &str, doubled: &str) {
    let all = |own: String| file(section, &format!("{head}{own}"));
    check(&all(lines(keys, &[doubled])), None);
    check(&all(lines(keys, &[doubled]) + "colour = 1\n"), Some("colour"));
    for key in keys.iter().filter(|key| !key.example.is_empty() && key.name != doubled) {
        // An activation without labels is refused, and no key of theirs.
        let beside = if key.name == "labels" { "activation" } else { "" };
        let rest = || lines(keys, &[key.name, doubled, beside]);
        check(&all(rest()), is_required(section, key).then_some(key.name));
        let wrong = |value: &str| all(format!("{}{} = {value}\n", rest(), key.name));
        check(&wrong("2026-01-02"), Some("model.toml"));
        match &key.form {
            Form::Words(words) => hold_words(*words, wrong),
            Form::Integer(bounds) | Form::Number(bounds) => {
                let below = bounds.min().and_then(|min| min.as_f64()).filter(|min| *min >= 0.0);
                if below.is_some() {
                    check(&wrong("-1"), Some("model.toml"));
                }
                if let Some(max) = bounds.max().and_then(|max| max.as_i64()) {
                    check(&wrong(&max.to_string()), None);
                    check(&wrong(&(max + 1).to_string()), Some(key.name));
                }
            }
            Form::Either([Form::Integer(bounds), Form::List(Form::Integer(_), 2, Some(2))]) => {
                let least = bounds.min().and_then(|min| min.as_i64()).unwrap();
                check(&wrong(&(least - 1).to_string()), Some("model.toml"));
                check(&wrong("[1]"), Some("[height, width]"));
                check(&wrong("[1, 1, 1]"), Some("[height, width]"));
                check(&wrong(&format!("[{0}, {0}]", key.example)), None);
            }
            _ => {}
        }
    }
}

/// Whether it must be there beside layers: an `.onnx` file has the answer to some keys in it.
fn is_required(section: &str, key: &Declared) -> bool {
    let beside_layers = match section {
        "file" => ["input", "layer"].contains(&key.name),
        "input" => ["shape", "element"].contains(&key.name),
        _ => false,
    };
    beside_layers || matches!(key.absent, Absent::Required)
}

fn hold_words(words: &dyn Words, with: impl Fn(&str) -> String) {
    let error = parse(&with("\"other\"")).unwrap_err();
    for word in words.words() {
        // A network has its layers in it, and here are layers.
        let expected = (word == "onnx").then_some("has its layers in it");
        check(
            &with(&format!("\"{word}\""))
                .replace("scale =", "# ")
                .replace("mean =", "# ")
                .replace("std =", "# "),
            expected,
        );
        assert!(error.contains(&format!("\"{word}\"")), "{error} does not name {word}");
    }
    let n_offered = error.matches("\", ").count() + error.matches("\" or \"").count() + 1;
    assert_eq!(n_offered, words.words().len(), "{error}");
}

#[test]
fn every_table_takes_what_is_declared_and_nothing_else() {
    let sections: Vec<&Section> = FILE.root.all();
    assert_eq!(sections.len(), 7);
    for section in sections {
        hold(section.id, section.keys, "", "license");
    }
    check(&file("file", "license = \"MIT\"\n"), None);
    check(
        &file("file", "licence = \"MIT\"\nlicense = \"MIT\"\n"),
        Some("duplicate field `licence`"),
    );
}

#[test]
fn a_table_is_required_as_declared() {
    for key in FILE.root.keys {
        for below in key.form.sections() {
            check(
                &file(&format!("no {}", below.id), ""),
                is_required("file", key).then_some(key.name),
            );
        }
    }
}

#[test]
fn every_kind_of_layer_takes_what_is_declared_and_nothing_else() {
    let kinds = LAYER.kinds.as_ref().unwrap().of;
    assert!(kinds.len() > 15);
    let every: Vec<&Declared> = kinds.iter().flat_map(|kind| kind.keys).collect();
    for kind in kinds {
        let head = format!("type = \"{}\"\n", kind.name);
        hold("layer", kind.keys, &head, "");
        for other in &every {
            let is_own = kind.keys.iter().any(|key| key.name == other.name) || other.name == "name";
            if !is_own {
                let text = format!("{head}{}{} = {}\n", lines(kind.keys, &[]), other.name, other.example);
                check(&file("layer", &text), Some(&format!("takes no `{}`", other.name)));
            }
        }
    }
    let error = parse(&file("layer", "type = \"conv3d\"\n")).unwrap_err();
    assert!(kinds.iter().all(|kind| error.contains(kind.name)), "{error}");
}
