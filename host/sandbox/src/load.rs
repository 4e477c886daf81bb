//! From a file to a plugin: read, digested, compiled, linked, checked against its world, tried once. Every step that
//! fails says what was found and what was expected.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use millrace_config::PluginConfig;
use millrace_types::disposition::PluginIdentity;
use millrace_types::log_fields;
use millrace_types::quota::LineQuota;
use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use super::compile::{Compilation, Compiler, detail};
use super::declared::Setting;
use super::fault::panic_text;
use super::instance::{Instance, InstanceLimits, Linked, NoInstance};
use super::load_error::LoadProblem;
use super::log::LINES_PER_SECOND;
use super::state::State;
use super::text::{sanitize, size};
use super::versions::{Compiled, Versions};
use super::{Role, bindings, unasked, wasi_stubs};

/// The largest file that is read. Plugins in Rust have 25 KB to a few megabytes; one that carries Python has 18 MB. What
/// compiling costs has bounds of its own.
pub(super) const FILE_MAX_BYTES: u64 = 32 << 20;

/// The exports of every plugin beside its role.
pub(super) const PLUGIN_INTERFACE: &str = "millrace:pipeline/plugin@0.1.0";

/// Interfaces of ours that a plugin may import, without their version.
pub(super) const OUR_IMPORTS: [&str; 2] = ["millrace:pipeline/types", "millrace:pipeline/log"];

/// The version of the contract.
const OUR_VERSION: &str = "0.1.0";

/// The suffix in the name of every interface that is compatible with one of that version.
const OUR_TRACK: &str = "@0.1.";

/// The errors of the linker, for its authors, and in words for the author of a plugin.
const LINKER_WORDS: [(&str, &str); 5] = [
    ("component imports instance", "its import"),
    (
        ", but a matching implementation was not found in the linker",
        " is not as it is here",
    ),
    ("instance export", "export"),
    (
        "function implementation is missing",
        "this host does not have the function",
    ),
    (
        "resource implementation is missing",
        "this host does not have the resource",
    ),
];

/// Bytes of a page of WebAssembly memory.
const WASM_PAGE_BYTES: usize = 64 << 10;

/// Loads plugins, one at a time.
pub(super) struct Loader {
    engine: Engine,
    compiler: Compiler,
    versions: Versions,
    n_compiled: u64,
}

/// A plugin that is ready to be instantiated.
pub(super) struct LoadedPlugin {
    pub(super) compiled: Arc<Compiled>,
    /// Name and digest.
    pub(super) identity: Arc<PluginIdentity>,
    /// Linked and type-checked.
    pub(super) linked: Linked,
    /// The limits of an instance.
    pub(super) allowance: InstanceLimits,
    /// The log quota of all instances together.
    pub(super) log: Arc<LineQuota>,
    /// The settings that it takes.
    pub(super) settings: Vec<Setting>,
}

impl Loader {
    /// A loader for an engine.
    pub(super) fn new(engine: Engine, compiler: Compiler) -> Self {
        Self {
            engine,
            compiler,
            versions: Versions::default(),
            n_compiled: 0,
        }
    }

    /// Reads a plugin and makes it ready to serve.
    ///
    /// # Errors
    /// The first step that fails.
    pub(super) fn load(&mut self, config: &PluginConfig, role: Role) -> Result<LoadedPlugin, LoadProblem> {
        let mut loaded = self.linked(config, role)?;
        loaded.settings = try_out(&loaded, || {
            Instance::first(&loaded, &config.settings).map(|(_, takes)| takes)
        })?;
        Ok(loaded)
    }

    /// Reads a plugin and asks it which settings it takes, whatever it is given.
    ///
    /// # Errors
    /// The first step that fails.
    pub(super) fn settings(&mut self, config: &PluginConfig, role: Role) -> Result<Vec<Setting>, LoadProblem> {
        let loaded = self.linked(config, role)?;
        try_out(&loaded, || Instance::settings(&loaded))
    }

    /// Everything but the trial.
    fn linked(&mut self, config: &PluginConfig, role: Role) -> Result<LoadedPlugin, LoadProblem> {
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
        let compiled = self.compiled(bytes, digest)?;
        let component = &compiled.component;
        check_exports(component, &self.engine, role)?;
        check_imports(component, &self.engine)?;
        check_memory(component, config.memory_bytes)?;
        let linked = link(&self.engine, component, role)?;
        let identity = PluginIdentity {
            name: config.name.to_string(),
            digest: compiled.digest.clone(),
        };
        let allowance = InstanceLimits {
            deadline: config.deadline,
            memory_bytes: config.memory_bytes,
        };
        let log = Arc::new(LineQuota::new(LINES_PER_SECOND));
        Ok(LoadedPlugin {
            compiled,
            identity: Arc::new(identity),
            linked,
            allowance,
            log,
            settings: Vec::new(),
        })
    }

    /// How long compiling a version took, while it is kept.
    pub(super) fn compile_time(&mut self, digest: &str) -> Option<Duration> {
        self.versions.find(digest).map(|compiled| compiled.took)
    }

    /// Versions that were compiled.
    pub(super) fn n_compiled(&self) -> u64 {
        self.n_compiled
    }

    fn compiled(&mut self, bytes: Vec<u8>, digest: String) -> Result<Arc<Compiled>, LoadProblem> {
        if let Some(compiled) = self.versions.find(&digest) {
            return Ok(compiled);
        }
        let (n_bytes, kept) = (bytes.len(), Arc::from(bytes.as_slice()));
        let Compilation {
            component,
            took,
            is_fresh,
        } = self.compiler.compile(&self.engine, bytes)?;
        if is_fresh {
            self.n_compiled += 1;
            tracing::debug!(digest, n_bytes, took_ms = log_fields::millis(took), "compiled a plugin");
        }
        let compiled = Arc::new(Compiled {
            digest,
            bytes: kept,
            component,
            took,
        });
        self.versions.add(&compiled);
        Ok(compiled)
    }
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader")
            .field("compiler", &self.compiler)
            .field("n_compiled", &self.n_compiled)
            .finish_non_exhaustive()
    }
}

/// Reads the file whole, so that what is checked is what runs, whatever happens to the file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, LoadProblem> {
    let mut file = File::open(path).map_err(LoadProblem::Read)?;
    let before = stamp(&file)?;
    let mut bytes = Vec::new();
    let mut bounded = file.by_ref().take(FILE_MAX_BYTES.saturating_add(1));
    bounded.read_to_end(&mut bytes).map_err(LoadProblem::Read)?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        return Err(LoadProblem::TooLarge {
            allowed: FILE_MAX_BYTES,
        });
    }
    match stamp(&file)? == before {
        true => Ok(bytes),
        false => Err(LoadProblem::Changed),
    }
}

/// The stamps that a write to a file changes.
fn stamp(file: &File) -> Result<(u64, Option<SystemTime>), LoadProblem> {
    let metadata = file.metadata().map_err(LoadProblem::Read)?;
    Ok((metadata.len(), metadata.modified().ok()))
}

/// Finds the world's exports, and says what is there in their place when they are not.
fn check_exports(component: &Component, engine: &Engine, role: Role) -> Result<(), LoadProblem> {
    let has = |name: &str| component.get_export_index(None, name).is_some();
    let component_type = component.component_type();
    let ours = component_type.exports(engine).map(|(name, _)| name);
    let ours: Vec<String> = ours
        .filter(|name| name.starts_with("millrace:"))
        .map(sanitize)
        .collect();
    let expected = role.interface();
    let problem = |found: &str| LoadProblem::World {
        found: found.to_owned(),
        role,
        expected,
    };
    if !has(expected) {
        let of = |role: Role| {
            let base = without_version(role.interface());
            ours.iter().find(|name| without_version(name) == base)
        };
        // Another version of what is expected explains it better than another role.
        let found = of(role).or_else(|| Role::ALL.into_iter().find_map(of));
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

/// Names every import that is not granted, or granted in another version.
fn check_imports(component: &Component, engine: &Engine) -> Result<(), LoadProblem> {
    let component_type = component.component_type();
    let has_runtime = unasked::has_runtime(component_type.imports(engine).map(|(name, _)| name));
    let ungranted: Vec<String> = component_type
        .imports(engine)
        .map(|(name, _)| name)
        .filter(|name| !(is_linked(name) || has_runtime && unasked::is_wasi(name)))
        .map(sanitize)
        .collect();
    if !ungranted.is_empty() {
        return Err(LoadProblem::Ungranted(ungranted));
    }
    let is_other = |name: &str| OUR_IMPORTS.contains(&without_version(name)) && !name.contains(OUR_TRACK);
    let mut imports = component_type.imports(engine).map(|(name, _)| name);
    match imports.find(|name| is_other(name)) {
        Some(name) => Err(LoadProblem::Version {
            found: sanitize(name),
            expected: format!("{}@{OUR_VERSION}", without_version(name)),
        }),
        None => Ok(()),
    }
}

/// Whether every plugin gets an import of this name, whatever its version.
pub(super) fn is_linked(name: &str) -> bool {
    OUR_IMPORTS.contains(&without_version(name)) || wasi_stubs::INTERFACES.contains(&without_version(name))
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
        wasi_stubs::add_to_linker(&mut linker)?;
        unasked::add_to_linker(&mut linker, component)?;
        Linked::new(linker.instantiate_pre(component)?, role)
    };
    link().map_err(|error: wasmtime::Error| misfit(&detail(&error)))
}

fn misfit(linker_says: &str) -> LoadProblem {
    let text = LINKER_WORDS
        .iter()
        .fold(linker_says.to_owned(), |text, (from, to)| text.replace(from, to));
    LoadProblem::Link(text)
}

/// Makes one instance under the limits of a call, and does what `first` does with it.
///
/// On a thread of its own, because a call is charged by the CPU time of its thread, and because the workers may all be
/// busy with the plugins that this one is to replace.
fn try_out<T: Send>(
    loaded: &LoadedPlugin,
    first: impl FnOnce() -> Result<T, NoInstance> + Send,
) -> Result<T, LoadProblem> {
    let trial = thread::scope(|scope| {
        let trial = thread::Builder::new().name("sandbox-trial".to_owned());
        trial.spawn_scoped(scope, first).map(thread::ScopedJoinHandle::join)
    });
    match trial {
        Ok(Ok(Ok(answer))) => {
            tracing::debug!(plugin = %loaded.identity.name, version = loaded.identity.version(), "plugin passed its trial");
            Ok(answer)
        }
        Ok(Ok(Err(NoInstance::Misfit(text)))) => Err(misfit(&text)),
        Ok(Ok(Err(NoInstance::Refused(text)))) => Err(LoadProblem::Settings(text)),
        Ok(Ok(Err(NoInstance::Declaration(text)))) => Err(LoadProblem::Declaration(text)),
        Ok(Ok(Err(NoInstance::Settings { diagnostics, takes }))) => {
            Err(LoadProblem::SettingDiagnostics { diagnostics, takes })
        }
        Ok(Ok(Err(NoInstance::Fault(fault)))) => Err(LoadProblem::Trial(fault)),
        Ok(Err(panic)) => Err(LoadProblem::Host(panic_text(panic.as_ref()))),
        Err(error) => Err(LoadProblem::Thread(error)),
    }
}

pub(super) fn without_version(name: &str) -> &str {
    name.split_once('@').map_or(name, |(base, _)| base)
}
