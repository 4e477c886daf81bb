//! The files of a new crate, filled in. Knows no disk.

use anyhow::Context;

use super::NewRole;
use super::embedded::{self, FILES, LOCK, SDK_MANIFEST, WORKSPACE};
use super::{lock, manifest};

/// The version that a new crate begins with.
const VERSION: &str = "0.1.0";

/// Where the SDK is in a crate that has one of its own.
const OWN_SDK: &str = "millrace/sdk";

/// A crate to be made.
pub(super) struct Crate<'a> {
    pub(super) name: &'a str,
    pub(super) role: NewRole,
    pub(super) sdk: Sdk,
    /// Whether the SDK reads pictures.
    pub(super) has_pictures: bool,
}

/// Where a crate's SDK is.
pub(super) enum Sdk {
    /// In the crate.
    Own,
    /// At this path, seen from the crate.
    At(String),
}

/// A file to be written.
#[derive(Debug)]
pub(super) struct File {
    /// Its path in the crate's folder.
    pub(super) path: String,
    pub(super) text: String,
}

/// The differences from role to role.
struct Words {
    source: &'static str,
    case: &'static str,
    does: &'static str,
    settings: &'static str,
    example: &'static str,
    pipeline: &'static str,
}

impl NewRole {
    /// The noun for such a plugin.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Preprocess => "preprocessor",
            Self::Route => "router",
            Self::Transform => "transformer",
        }
    }

    fn words(self, has_pictures: bool) -> Words {
        match self {
            Self::Preprocess if has_pictures => Words {
                source: include_str!("templates/preprocess-picture.rs.in"),
                case: include_str!("templates/preprocess.toml.in"),
                does: "decodes a picture and makes it as large as the model wants it",
                settings: "| `resize` | `\"bilinear\"` | How a picture of another size is resized: a filter of Pillow's. |\n\
                           | `invert` | `false` | Whether dark becomes light, and light dark. |",
                example: "invert = true",
                pipeline: "preprocess = \"{{name}}\"",
            },
            Self::Preprocess => Words {
                source: include_str!("templates/preprocess-bytes.rs.in"),
                case: include_str!("templates/preprocess.toml.in"),
                does: "takes the bytes of a message as the elements of the tensor",
                settings: "| `invert` | `false` | Whether dark becomes light, and light dark. |",
                example: "invert = true",
                pipeline: "preprocess = \"{{name}}\"",
            },
            Self::Route => Words {
                source: include_str!("templates/route.rs.in"),
                case: include_str!("templates/route.toml.in"),
                does: "sends what the model is sure of to one destination, and the rest to people",
                settings: "| `destination` | `\"results\"` | The destination of results. |\n\
                           | `unsure` | none | The destination of what the model is not sure of; left out, that is skipped. |\n\
                           | `least` | `0.5` | The least score that is sure. |",
                example: "unsure = \"people\"",
                pipeline: "route = \"{{name}}\"\n\n\
                           [pipeline.NAME.destination.results]\nfolder = \"out\"\n\n\
                           [pipeline.NAME.destination.people]\nfolder = \"people\"",
            },
            Self::Transform => Words {
                source: include_str!("templates/transform.rs.in"),
                case: include_str!("templates/transform.toml.in"),
                does: "gives a picture the content type that its first bytes say",
                settings: "| `strict` | `false` | Whether a body that is no picture is refused. |",
                example: "strict = true",
                pipeline: "preprocess = [\"{{name}}\", \"decode-image\"]",
            },
        }
    }
}

/// The SDK's feature for pictures.
const PICTURES: &str = "image";

/// Whether the SDK with this manifest reads pictures.
pub(super) fn has_pictures(manifest: &toml::Table) -> bool {
    let features = manifest.get("features");
    features.is_some_and(|features| features.get(PICTURES).is_some())
}

/// Whether the SDK in this binary reads pictures.
pub(super) fn own_has_pictures() -> bool {
    let manifest = embedded::text(SDK_MANIFEST).and_then(|text| text.parse().ok());
    manifest.is_some_and(|manifest| has_pictures(&manifest))
}

/// Where cargo puts the plugin of a crate.
pub(super) fn wasm(name: &str) -> String {
    format!("target/wasm32-unknown-unknown/release/{}.wasm", file_stem(name))
}

fn file_stem(name: &str) -> String {
    name.replace('-', "_")
}

impl Crate<'_> {
    /// Every file of it.
    ///
    /// # Errors
    /// When this binary was built with an SDK that cannot stand alone.
    pub(super) fn files(&self) -> anyhow::Result<Vec<File>> {
        let words = self.role.words(self.has_pictures);
        let file = |path: &str, template: &str| File {
            path: path.to_owned(),
            text: self.fill(template, &words),
        };
        let mut files = vec![
            file("Cargo.toml", include_str!("templates/manifest.in")),
            file("build.rs", include_str!("templates/build.rs.in")),
            file("README.md", include_str!("templates/README.md.in")),
            file(".cargo/config.toml", include_str!("templates/cargo.in")),
            file(".gitignore", include_str!("templates/gitignore.in")),
            file(".vscode/extensions.json", include_str!("templates/extensions.json.in")),
            file("src/lib.rs", words.source),
            file("cases/first.toml", words.case),
        ];
        files.extend(self.own_files()?);
        Ok(files)
    }

    /// The files of the binary.
    fn own_files(&self) -> anyhow::Result<Vec<File>> {
        let mut files = Vec::new();
        for (path, text) in FILES.iter().filter(|(path, _)| *path != LOCK) {
            let text = match *path {
                SDK_MANIFEST => {
                    manifest::standalone(text, WORKSPACE).context("the SDK in this binary cannot stand alone")?
                }
                _ => (*text).to_owned(),
            };
            // With another SDK come its own contract and versions; the schemas are for the editor.
            if matches!(self.sdk, Sdk::Own) || path.starts_with("schema/") {
                files.push(File {
                    path: format!("millrace/{path}"),
                    text,
                });
            }
        }
        let locked = embedded::text(LOCK).and_then(|lock| lock::subset(lock, self.name, VERSION));
        if let (Sdk::Own, Some(text)) = (&self.sdk, locked) {
            files.push(File {
                path: LOCK.to_owned(),
                text,
            });
        }
        Ok(files)
    }

    fn fill(&self, template: &str, words: &Words) -> String {
        let schema = match embedded::text("schema/case.schema.json") {
            Some(_) => "#:schema ../millrace/schema/case.schema.json\n",
            None => "",
        };
        let (sdk, wit, vendored) = match &self.sdk {
            Sdk::Own => (
                OWN_SDK,
                "millrace/wit".to_owned(),
                "`millrace/` holds the SDK and the contract, as the `millrace` that made this crate has them: keep it as it is.",
            ),
            Sdk::At(path) => (path.as_str(), format!("{path}/../../wit"), ""),
        };
        let features = match self.has_pictures && self.role == NewRole::Preprocess {
            true => ", features = [\"image\"]",
            false => "",
        };
        let (file, wasm) = (file_stem(self.name), wasm(self.name));
        // Values that are filled in may hold values that are filled in later, not the other way round.
        let values = [
            ("{{pipeline}}", words.pipeline),
            ("{{does}}", words.does),
            ("{{settings}}", words.settings),
            ("{{example}}", words.example),
            ("{{noun}}", self.role.noun()),
            ("{{schema}}", schema),
            ("{{features}}", features),
            ("{{vendored}}", vendored),
            ("{{wasm}}", &wasm),
            ("{{file}}", &file),
            ("{{name}}", self.name),
            ("{{wit}}", &wit),
            // In a TOML string.
            ("{{sdk}}", &sdk.replace('\\', "\\\\").replace('"', "\\\"")),
        ];
        let filled = values
            .iter()
            .fold(template.to_owned(), |text, (key, value)| text.replace(key, value));
        format!("{}\n", filled.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use toml::Table;

    use super::*;

    const ROLES: [NewRole; 3] = [NewRole::Preprocess, NewRole::Route, NewRole::Transform];

    fn files(role: NewRole, sdk: Sdk) -> Vec<File> {
        let name = "dark-first";
        let has_pictures = own_has_pictures();
        let made = Crate {
            name,
            role,
            sdk,
            has_pictures,
        };
        made.files().unwrap()
    }

    fn text<'a>(files: &'a [File], path: &str) -> &'a str {
        let found = files.iter().find(|file| file.path == path);
        &found.unwrap_or_else(|| panic!("no {path}")).text
    }

    #[test]
    fn everything_is_filled_in_and_readable() {
        for role in ROLES {
            let files = files(role, Sdk::Own);
            for file in &files {
                assert!(
                    !file.text.contains("{{") || file.path.starts_with("millrace/"),
                    "{}",
                    file.path
                );
                if file.path.ends_with(".toml") || file.path == LOCK {
                    file.text
                        .parse::<Table>()
                        .unwrap_or_else(|error| panic!("{}: {error}", file.path));
                }
            }
            let readme = text(&files, "README.md");
            assert!(readme.lines().count() <= 45, "more than a screen");
            assert!(text(&files, "src/lib.rs").starts_with("//! "), "a room says what it is");
        }
    }

    #[test]
    fn the_sdk_stands_alone() {
        let files = files(NewRole::Route, Sdk::Own);
        let manifest = text(&files, "millrace/sdk/Cargo.toml");
        assert!(!manifest.contains("workspace"), "{manifest}");
        assert!(text(&files, "millrace/wit/pipeline.wit").contains("package millrace:pipeline@"));
        // Nothing of the generator is built with a plugin.
        assert!(!manifest.contains("macros"), "{manifest}");
        assert!(text(&files, "millrace/sdk/src/bindings/route.rs").contains("Generated: "));
        let lock: Table = text(&files, "Cargo.lock").parse().unwrap();
        let packages = lock["package"].as_array().unwrap();
        let names: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
        assert!(
            names.contains(&"wit-bindgen") && names.contains(&"dark-first"),
            "{names:?}"
        );
        assert!(!names.contains(&"wasmtime"), "{names:?}");
    }

    #[test]
    fn the_sdk_says_how_large_the_stack_of_a_new_crate_is() {
        let readme = embedded::text("sdk/README.md").unwrap();
        let build = include_str!("templates/build.rs.in");
        let kib = build
            .split("STACK_BYTES: u32 = ")
            .nth(1)
            .unwrap()
            .split(' ')
            .next()
            .unwrap();
        assert!(readme.contains(&format!("asks for a stack of\n  {kib} KiB")), "{kib}");
    }

    #[test]
    fn another_sdk_is_named_and_none_written_out() {
        let files = files(NewRole::Route, Sdk::At("../a \"b\"/sdk".to_owned()));
        let manifest: Table = text(&files, "Cargo.toml").parse().unwrap();
        assert_eq!(
            manifest["dependencies"]["millrace-plugin"]["path"].as_str(),
            Some("../a \"b\"/sdk")
        );
        assert!(
            !files
                .iter()
                .any(|file| file.path.starts_with("millrace/sdk") || file.path == LOCK)
        );
    }
}
