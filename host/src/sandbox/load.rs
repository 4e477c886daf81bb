//! From a file to a plugin: read, digested, compiled, linked, checked against its world, tried once. Every step that
//! fails says what was found and what was expected.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread;

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use super::bindings::preprocessor::PreprocessorPre;
use super::bindings::router::RouterPre;
use super::fault::panic_text;
use super::instance::{Allowance, Instance, Linked, NoInstance};
use super::load_error::LoadProblem;
use super::log::LINES_PER_SECOND;
use super::state::State;
use super::text::{size, tame, tame_to};
use super::{Role, bindings, inert};
use crate::config::PluginConfig;
use crate::disposition::PluginIdentity;
use crate::quota::LineQuota;

/// The largest file that is read. Real plugins have 25 KB to a few megabytes; compiling costs CPU in proportion.
const FILE_MAX_BYTES: u64 = 16 << 20;

/// What every plugin exports beside its role.
const PLUGIN_INTERFACE: &str = "millrace:pipeline/plugin@0.1.0";

/// Interfaces of ours that a plugin may import, without their version.
const OUR_IMPORTS: [&str; 2] = ["millrace:pipeline/types", "millrace:pipeline/log"];

/// The prefix of the custom section in which bindings generators embed a component type.
const COMPONENT_TYPE_SECTION: &str = "component-type";

/// Bytes of an error of the compiler's or the linker's that are told.
const DETAIL_MAX_BYTES: usize = 2 << 10;

/// Bytes of a page of WebAssembly memory.
const WASM_PAGE_BYTES: usize = 64 << 10;

/// Loads plugins, one at a time.
pub(super) struct Loader {
    engine: Engine,
    // What plugins in service were compiled from: the same file with other settings is not compiled again.
    compiled: Vec<Weak<Compiled>>,
}

/// A file's content, compiled.
pub(super) struct Compiled {
    digest: String,
    component: Component,
}

/// A plugin that is ready to be instantiated.
pub(super) struct Loaded {
    /// What it was compiled from.
    #[expect(dead_code, reason = "keeps it for the loader to find")]
    compiled: Arc<Compiled>,
    /// Name and digest.
    pub(super) identity: Arc<PluginIdentity>,
    /// Linked and type-checked.
    pub(super) linked: Linked,
    /// What an instance may have.
    pub(super) allowance: Allowance,
    /// What all instances may say together.
    pub(super) log: Arc<LineQuota>,
}

impl Loader {
    /// A loader for an engine.
    pub(super) fn new(engine: Engine) -> Self {
        Self {
            engine,
            compiled: Vec::new(),
        }
    }

    /// Reads a plugin and makes it ready to serve.
    ///
    /// # Errors
    /// The first step that fails.
    pub(super) fn load(&mut self, config: &PluginConfig, role: Role) -> Result<Loaded, LoadProblem> {
        let bytes = read(&config.path)?;
        let digest = format!("{:x}", Sha256::digest(&bytes));
        if let Some(expected) = &config.sha256
            && *expected != digest
        {
            return Err(LoadProblem::Digest {
                expected: expected.clone(),
                found: digest,
            });
        }
        let compiled = self.compile(bytes, digest)?;
        let component = &compiled.component;
        check_exports(component, &self.engine, role)?;
        check_imports(component, &self.engine)?;
        check_memory(component, config.memory_bytes)?;
        let linked = link(&self.engine, component, role)?;
        let identity = PluginIdentity {
            name: config.name.to_string(),
            digest: compiled.digest.clone(),
        };
        let allowance = Allowance {
            deadline: config.deadline,
            memory_bytes: config.memory_bytes,
        };
        let log = Arc::new(LineQuota::new(LINES_PER_SECOND));
        let loaded = Loaded {
            compiled,
            identity: Arc::new(identity),
            linked,
            allowance,
            log,
        };
        try_out(&loaded, &config.settings)?;
        Ok(loaded)
    }

    fn compile(&mut self, bytes: Vec<u8>, digest: String) -> Result<Arc<Compiled>, LoadProblem> {
        self.compiled.retain(|compiled| compiled.strong_count() > 0);
        let mut in_service = self.compiled.iter().filter_map(Weak::upgrade);
        if let Some(compiled) = in_service.find(|compiled| compiled.digest == digest) {
            return Ok(compiled);
        }
        let bytes = component_bytes(bytes)?;
        let component = Component::from_binary(&self.engine, &bytes);
        let component = component.map_err(|error| LoadProblem::Invalid(detail(&error)))?;
        let compiled = Arc::new(Compiled { digest, component });
        self.compiled.push(Arc::downgrade(&compiled));
        Ok(compiled)
    }
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader")
            .field("n_compiled", &self.compiled.len())
            .finish_non_exhaustive()
    }
}

/// Reads the file whole, so that what is checked is what runs, whatever happens to the file.
fn read(path: &Path) -> Result<Vec<u8>, LoadProblem> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_MAX_BYTES.saturating_add(1)).read_to_end(&mut bytes));
    match read {
        Ok(_) if bytes.len() as u64 > FILE_MAX_BYTES => Err(LoadProblem::TooLarge {
            allowed: FILE_MAX_BYTES,
        }),
        Ok(_) => Ok(bytes),
        Err(error) => Err(LoadProblem::Read(error)),
    }
}

/// Takes a component as it is, and makes one of a core module that says its component type.
fn component_bytes(bytes: Vec<u8>) -> Result<Vec<u8>, LoadProblem> {
    if bytes.is_empty() {
        return Err(LoadProblem::NotWasm("the file is empty".to_owned()));
    }
    if bytes.starts_with(b"\x7fELF") || Engine::detect_precompiled(&bytes).is_some() {
        return Err(LoadProblem::Precompiled);
    }
    if wasmparser::Parser::is_component(&bytes) {
        return Ok(bytes);
    }
    if !wasmparser::Parser::is_core_wasm(&bytes) {
        let begins = String::from_utf8_lossy(bytes.get(..bytes.len().min(16)).unwrap_or_default()).into_owned();
        return Err(LoadProblem::NotWasm(format!(
            "it begins with `{}`",
            tame_to(&begins, 64)
        )));
    }
    if !has_component_type(&bytes)? {
        return Err(LoadProblem::NoContract);
    }
    let invalid =
        |error: &dyn std::fmt::Display| LoadProblem::Invalid(tame_to(&format!("{error:#}"), DETAIL_MAX_BYTES));
    let mut encoder = wit_component::ComponentEncoder::default()
        .validate(true)
        .module(&bytes)
        .map_err(|error| invalid(&error))?;
    encoder.encode().map_err(|error| invalid(&error))
}

fn has_component_type(module: &[u8]) -> Result<bool, LoadProblem> {
    for payload in wasmparser::Parser::new(0).parse_all(module) {
        match payload {
            Ok(wasmparser::Payload::CustomSection(section)) if section.name().starts_with(COMPONENT_TYPE_SECTION) => {
                return Ok(true);
            }
            Ok(_) => {}
            Err(error) => return Err(LoadProblem::Invalid(tame(&error.to_string()))),
        }
    }
    Ok(false)
}

/// Finds the world's exports, and says what is there in their place when they are not.
fn check_exports(component: &Component, engine: &Engine, role: Role) -> Result<(), LoadProblem> {
    let has = |name: &str| component.get_export_index(None, name).is_some();
    let component_type = component.component_type();
    let ours = component_type.exports(engine).map(|(name, _)| name);
    let ours: Vec<String> = ours.filter(|name| name.starts_with("millrace:")).map(tame).collect();
    let expected = role.interface();
    let problem = |found: &str| LoadProblem::World {
        found: found.to_owned(),
        role,
        expected,
    };
    if !has(expected) {
        let (base, other) = (without_version(expected), role.other().interface());
        let same = ours.iter().find(|name| without_version(name) == base);
        let found = same.or_else(|| ours.iter().find(|name| without_version(name) == without_version(other)));
        return Err(found.map_or(LoadProblem::NoPlugin { role, expected }, |found| problem(found)));
    }
    if !has(PLUGIN_INTERFACE) {
        return Err(LoadProblem::NoPlugin {
            role,
            expected: PLUGIN_INTERFACE,
        });
    }
    Ok(())
}

/// Names every import that nobody granted.
fn check_imports(component: &Component, engine: &Engine) -> Result<(), LoadProblem> {
    let component_type = component.component_type();
    let ungranted: Vec<String> = component_type
        .imports(engine)
        .map(|(name, _)| name)
        .filter(|name| {
            !OUR_IMPORTS.contains(&without_version(name)) && !inert::INTERFACES.contains(&without_version(name))
        })
        .map(tame)
        .collect();
    if ungranted.is_empty() {
        Ok(())
    } else {
        Err(LoadProblem::Ungranted(ungranted))
    }
}

/// Checks what an instance needs at its start against what it may have; the pool's own bounds hold since it compiled.
fn check_memory(component: &Component, allowed: usize) -> Result<(), LoadProblem> {
    let Some(needs) = component.resources_required() else {
        return Err(LoadProblem::Invalid(
            "it instantiates modules that it imports".to_owned(),
        ));
    };
    let pages = usize::try_from(needs.max_initial_memory_size.unwrap_or_default()).unwrap_or(usize::MAX);
    let needed = pages.saturating_mul(WASM_PAGE_BYTES);
    if needed > allowed {
        return Err(LoadProblem::Memory {
            needed: size(needed),
            allowed: size(allowed),
        });
    }
    Ok(())
}

fn link(engine: &Engine, component: &Component, role: Role) -> Result<Linked, LoadProblem> {
    let link = || {
        let mut linker = Linker::<State>::new(engine);
        bindings::add_to_linker(&mut linker)?;
        inert::add_to_linker(&mut linker)?;
        let pre = linker.instantiate_pre(component)?;
        match role {
            Role::Preprocess => PreprocessorPre::new(pre).map(Linked::Preprocess),
            Role::Route => RouterPre::new(pre).map(Linked::Route),
        }
    };
    link().map_err(|error: wasmtime::Error| LoadProblem::Link(detail(&error)))
}

/// Makes one instance under the limits of a call and lets it accept its settings.
///
/// On a thread of its own, because a call is charged by the CPU time of its thread, and because the workers may all be
/// busy with the plugins that this one is to replace.
fn try_out(loaded: &Loaded, settings: &str) -> Result<(), LoadProblem> {
    let trial = thread::scope(|scope| {
        let trial = thread::Builder::new().name("sandbox-trial".to_owned());
        let trial = trial.spawn_scoped(scope, || {
            Instance::new(loaded, settings, "").map(|instance| instance.memory_peak())
        });
        trial.map(thread::ScopedJoinHandle::join)
    });
    match trial {
        Ok(Ok(Ok(memory_peak))) => {
            tracing::debug!(plugin = %loaded.identity.name, version = loaded.identity.version(), memory_peak, "plugin accepted its settings");
            Ok(())
        }
        Ok(Ok(Err(NoInstance::Refused(text)))) => Err(LoadProblem::Settings(text)),
        Ok(Ok(Err(NoInstance::Fault(fault)))) => Err(LoadProblem::Trial(fault)),
        Ok(Err(panic)) => Err(LoadProblem::Host(panic_text(panic.as_ref()))),
        Err(error) => Err(LoadProblem::Thread(error)),
    }
}

fn without_version(name: &str) -> &str {
    name.split_once('@').map_or(name, |(base, _)| base)
}

fn detail(error: &wasmtime::Error) -> String {
    tame_to(&format!("{error:#}"), DETAIL_MAX_BYTES)
}
