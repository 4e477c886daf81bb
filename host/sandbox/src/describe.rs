//! The description of a file, without running it: its world as WIT, its producers, its other sections. Knows no role
//! and no settings.
//!
//! The file is a stranger's: it is parsed where it would be compiled, in a process of its own with that process's limits.
//! Texts come as they are; the printer escapes them.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wasmparser::{CustomSectionReader, KnownCustom, Parser, Payload};

use super::compile::{NotCompiled, answer_in_this_process, check_kind, component_bytes, read_answer};
use super::compiler_process::CompileLimits;
use super::load::{OUR_IMPORTS, read, without_version};
use super::load_error::LoadProblem;
use super::{Compiler, Role, unasked, wasi_stubs};

/// Bytes of WIT that are shown. The contract's own, with all its prose, is 15 KB.
const WIT_MAX_BYTES: usize = 256 << 10;

/// Names of imports and exports, producers and sections that are listed of each kind.
const ITEMS_MAX: usize = 500;

/// Bytes of one name or text.
const TEXT_MAX_BYTES: usize = 4 << 10;

/// Custom sections whose content is text for people, as the tools of WebAssembly write them.
const TEXTS: [&str; 7] = [
    "authors",
    "description",
    "homepage",
    "licenses",
    "revision",
    "source",
    "version",
];

/// The description of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// SHA-256, lower-case hexadecimal.
    pub digest: String,
    /// How large it is.
    pub n_bytes: usize,
    /// Whether it is a component; else it is a core module that says which one it can become.
    pub is_component: bool,
    /// Its world, and every interface in it.
    pub wit: String,
    pub imports: Vec<String>,
    pub exports: Vec<String>,
    /// Languages, SDKs and tools.
    pub producers: Vec<Producer>,
    /// Every custom section, those of modules within it included.
    pub sections: Vec<Section>,
}

/// Its producer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Producer {
    /// `language`, `sdk` or `processed-by`.
    pub field: String,
    /// Such as `Rust`.
    pub name: String,
    pub version: String,
}

/// A custom section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    pub name: String,
    /// How large its content is.
    pub n_bytes: usize,
    /// Its content, where that is for people.
    pub text: Option<String>,
}

/// The host's grant for an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    Contract,
    /// It is there and does nothing, because standard libraries import it unasked.
    Inert,
    /// It is there because the runtimes of languages import it unasked, and most calls of it end in a trap.
    Unasked,
    /// It is dropped.
    None,
}

impl Description {
    /// The roles that it exports, whatever their version.
    pub fn roles(&self) -> Vec<Role> {
        let is_exported = |role: &Role| {
            let mut exports = self.exports.iter();
            exports.any(|name| without_version(name) == without_version(role.interface()))
        };
        Role::ALL.into_iter().filter(is_exported).collect()
    }

    /// The host's grant for one of its imports.
    pub fn grant(&self, import: &str) -> Grant {
        match without_version(import) {
            name if OUR_IMPORTS.contains(&name) => Grant::Contract,
            name if wasi_stubs::INTERFACES.contains(&name) => Grant::Inert,
            unasked::ROOT => Grant::Inert,
            name if unasked::is_wasi(name) && unasked::has_runtime(self.imports.iter().map(String::as_str)) => {
                Grant::Unasked
            }
            _ => Grant::None,
        }
    }
}

/// Reads a file and says what it holds. Blocking.
///
/// # Errors
/// When it is neither a component nor a module that can become one, or costs more than a plugin may.
pub fn describe(compiler: &Compiler, path: &Path) -> Result<Description, LoadProblem> {
    let bytes = read(path)?;
    check_kind(&bytes)?;
    let digest = format!("{:x}", Sha256::digest(&bytes));
    let n_bytes = bytes.len();
    let json = match compiler.process() {
        None => json(bytes)?,
        Some(process) => {
            let answer = process.describe(&bytes)?;
            match read_answer(&answer) {
                Some(Ok(json)) => json.to_owned(),
                Some(Err(NotCompiled::OutOfMemory)) => return Err(process.out_of_memory()),
                Some(Err(problem)) => return Err(problem.into()),
                None => return Err(LoadProblem::Host("there was no answer".to_owned())),
            }
        }
    };
    let description = serde_json::from_slice(&json);
    let description: Description = description.map_err(|error| LoadProblem::Host(error.to_string()))?;
    Ok(Description {
        digest,
        n_bytes,
        ..description
    })
}

/// Says what stdin holds: the whole life of a process that does nothing else.
///
/// # Errors
/// When its limits cannot be set, or its answer cannot be written.
pub fn describe_in_this_process(limits: &CompileLimits) -> io::Result<()> {
    answer_in_this_process(limits, json)
}

fn json(bytes: Vec<u8>) -> Result<Vec<u8>, NotCompiled> {
    let description = described(bytes)?;
    serde_json::to_vec(&description).map_err(|error| NotCompiled::invalid(&error.to_string()))
}

fn described(bytes: Vec<u8>) -> Result<Description, NotCompiled> {
    let (producers, sections) = custom(&bytes)?;
    let is_component = Parser::is_component(&bytes);
    let component = component_bytes(bytes)?;
    let decoded = wit_component::decode(&component).map_err(|error| NotCompiled::invalid(&format!("{error:#}")))?;
    let wit_component::DecodedWasm::Component(resolve, world) = &decoded else {
        return Err(NotCompiled::invalid("it is a WIT package, which holds no program"));
    };
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    if let Some(world) = resolve.worlds.get(*world) {
        let names = |keys: &mut dyn Iterator<Item = String>| keys.take(ITEMS_MAX).map(|name| cut(&name)).collect();
        imports = names(&mut world.imports.keys().map(|key| resolve.name_world_key(key)));
        exports = names(&mut world.exports.keys().map(|key| resolve.name_world_key(key)));
    }
    let main = decoded.package();
    let others: Vec<_> = resolve
        .packages
        .iter()
        .map(|(id, _)| id)
        .filter(|id| *id != main)
        .collect();
    let mut printer = wit_component::WitPrinter::default();
    let printed = printer.print(resolve, main, &others);
    printed.map_err(|error| NotCompiled::invalid(&format!("its world cannot be printed: {error:#}")))?;
    Ok(Description {
        is_component,
        wit: cut_to(&String::from(printer.output), WIT_MAX_BYTES),
        imports,
        exports,
        producers,
        sections,
        ..Description::default()
    })
}

/// Everything but the program, in the file and in what lies within it.
fn custom(bytes: &[u8]) -> Result<(Vec<Producer>, Vec<Section>), NotCompiled> {
    let (mut producers, mut sections) = (BTreeSet::new(), Vec::new());
    for payload in Parser::new(0).parse_all(bytes) {
        match payload {
            Ok(Payload::CustomSection(section)) => {
                add_producers(&section, &mut producers);
                if sections.len() < ITEMS_MAX {
                    sections.push(told(&section));
                }
            }
            Ok(_) => {}
            Err(error) => return Err(NotCompiled::invalid(&error.to_string())),
        }
    }
    Ok((producers.into_iter().collect(), sections))
}

fn told(section: &CustomSectionReader<'_>) -> Section {
    let text = TEXTS
        .contains(&section.name())
        .then(|| str::from_utf8(section.data()).ok());
    Section {
        name: cut(section.name()),
        n_bytes: section.data().len(),
        text: text.flatten().map(cut),
    }
}

/// A broken section of producers is not worth an error.
fn add_producers(section: &CustomSectionReader<'_>, producers: &mut BTreeSet<Producer>) {
    let KnownCustom::Producers(fields) = section.as_known() else {
        return;
    };
    for field in fields.into_iter().flatten() {
        for value in field.values.into_iter().flatten() {
            if producers.len() < ITEMS_MAX {
                producers.insert(Producer {
                    field: cut(field.name),
                    name: cut(value.name),
                    version: cut(value.version),
                });
            }
        }
    }
}

fn cut(text: &str) -> String {
    cut_to(text, TEXT_MAX_BYTES)
}

fn cut_to(text: &str, max_bytes: usize) -> String {
    match text.len() > max_bytes {
        true => format!(
            "{}...",
            text.get(..text.floor_char_boundary(max_bytes)).unwrap_or_default()
        ),
        false => text.to_owned(),
    }
}
