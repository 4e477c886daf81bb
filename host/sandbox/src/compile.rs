//! From a file's bytes to machine code, in this process or in one of its own. Knows no world and no settings.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::code_cache::{CodeCache, Key};
use super::compiler_process::{CompileLimits, CompilerProcess};
use super::engine;
use super::fault::panic_text;
use super::load::FILE_MAX_BYTES;
use super::load_error::LoadProblem;
use super::text::sanitize_to;

/// The prefix of the custom section in which bindings generators embed a component type.
const COMPONENT_TYPE_SECTION: &str = "component-type";

/// The imports of modules that call the system as WASI's first preview has it.
const PREVIEW_1: &str = WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME;

/// And those for the draft before it.
const PREVIEW_0: &str = "wasi_unstable";

/// The hint for these.
const TOO_OLD: &str = "it imports `wasi_unstable`, a draft of WASI from before its first preview: rebuild it with a tool that makes components, or modules that import `wasi_snapshot_preview1`";

/// The error of the compiler for a component that is built for asynchronous functions, whether it has any or not.
const ASYNC_FEATURE: &str = "requires the component model async feature";

/// The meaning for its author.
const ASYNC_MEANS: &str = "it is built for the component model's asynchronous functions, which plugins do not have: build it \
                           without them (jco: `--backend-qjs-disable-async`)";

/// Bytes of an error of the compiler's or the linker's that are shown.
const DETAIL_MAX_BYTES: usize = 2 << 10;

/// Bytes before the first section: what it is, and of which version.
const HEADER_BYTES: usize = 8;

/// Where plugins are compiled.
#[derive(Debug, Clone)]
pub enum Compiler {
    /// In this process and without limits: for programs that are not hosts and know what they load.
    InProcess,
    /// Each file in a process of its own: one that crashes the compiler harms nothing else.
    Child(CompilerProcess),
    /// The same, with a cache of compiled code: for authors who try one file again and again, and never for a host that
    /// serves.
    Kept(CompilerProcess, Arc<CodeCache>),
}

/// The result of compiling a file.
pub(super) struct Compilation {
    /// Machine code and types.
    pub(super) component: Component,
    /// How long it took, when it was compiled.
    pub(super) took: Duration,
    /// Whether it was compiled now.
    pub(super) is_fresh: bool,
}

/// The results in place of machine code; each goes from the child to its parent by its tag and text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotCompiled {
    /// A core module that says no component type.
    NoContract,
    /// It is broken, or uses what the sandbox does not offer.
    Invalid(String),
    /// Compiling it takes more memory than there is.
    OutOfMemory,
    /// The compiler panicked.
    Panicked(String),
}

impl Compiler {
    /// Compiles what a file holds.
    ///
    /// # Errors
    /// When it is not a plugin, or exceeds its limits.
    pub(super) fn compile(&self, engine: &Engine, bytes: Vec<u8>) -> Result<Compilation, LoadProblem> {
        check_kind(&bytes)?;
        let began = Instant::now();
        let component = match self {
            Self::InProcess => {
                let bytes = component_bytes(bytes)?;
                Component::from_binary(engine, &bytes)
            }
            Self::Child(compiler) => deserialize(engine, &by_child(compiler, &bytes)?),
            Self::Kept(compiler, cache) => {
                let key = Key::new(&bytes, engine_digest(engine), compiler.counts_fuel);
                if let Some(found) = key.as_ref().and_then(|key| kept(engine, cache, key, compiler)) {
                    return Ok(found);
                }
                let code = by_child(compiler, &bytes)?;
                if let Some(key) = &key {
                    cache.keep(key, &code, began.elapsed());
                }
                deserialize(engine, &code)
            }
        };
        // Machine code from a child fails here where the pool of instances has no room for it.
        let component = component.map_err(|error| match forbids_code(&error) {
            true => LoadProblem::ForbiddenCode(detail(&error)),
            false => NotCompiled::from(&error).into(),
        })?;
        Ok(Compilation {
            component,
            took: began.elapsed(),
            is_fresh: true,
        })
    }

    /// The process that each file gets, where it gets one.
    pub(super) fn process(&self) -> Option<&CompilerProcess> {
        match self {
            Self::InProcess => None,
            Self::Child(process) | Self::Kept(process, _) => Some(process),
        }
    }

    /// The cache for the verbs of authors, who try one file again and again.
    pub fn of_author() -> Self {
        Self::Kept(CompilerProcess::default(), CodeCache::of_user())
    }
}

/// Machine code that a process of its own made of a file.
fn by_child(compiler: &CompilerProcess, bytes: &[u8]) -> Result<Vec<u8>, LoadProblem> {
    let mut answer = compiler.compile(bytes)?;
    match read_answer(&answer) {
        Some(Ok(_)) => {
            answer.remove(0); // the letter
            Ok(answer)
        }
        Some(Err(NotCompiled::OutOfMemory)) => Err(compiler.out_of_memory()),
        Some(Err(problem)) => Err(problem.into()),
        None => Err(LoadProblem::Host("the compiler gave no answer".to_owned())),
    }
}

/// The compiled code from the cache; an unusable entry is removed.
fn kept(engine: &Engine, cache: &CodeCache, key: &Key, compiler: &CompilerProcess) -> Option<Compilation> {
    let entry = cache.find(key, compiler.limits.code_bytes)?;
    match deserialize(engine, &entry.code) {
        Ok(component) => {
            tracing::debug!(n_bytes = entry.code.len(), "found a plugin compiled");
            Some(Compilation {
                component,
                took: entry.took,
                is_fresh: false,
            })
        }
        Err(error) => {
            tracing::debug!(%error, "compiled code that was kept does not fit");
            cache.forget(key);
            None
        }
    }
}

/// The parts of an engine that its code depends on: wasmtime's version, its settings, the processor's features.
fn engine_digest(engine: &Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

#[expect(unsafe_code, reason = "wasmtime cannot check machine code that another process made")]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes were made by the compiler of this very binary and came by a pipe that only the two processes
    // hold. wasmtime itself checks that its version and the engine's configuration are the same. So what is trusted is the
    // compiler, as it is when it runs in this process; a program that has another one compile for it vouches for that one.
    // In the verbs of authors, and never in a host that serves, they may have lain in a file in between: in a folder that
    // belongs to the user and is closed to everybody else, under a key of this very binary, with a digest. Whoever can
    // write there can write whatever the user runs.
    unsafe { Component::deserialize(engine, code) }
}

/// Compiles what stdin holds and puts the answer on stdout: the whole life of a process that does nothing else. Code that
/// counts fuel is for measuring.
///
/// # Errors
/// When its limits cannot be set, or its answer cannot be written.
pub fn compile_in_this_process(limits: &CompileLimits, counts_fuel: bool) -> io::Result<()> {
    answer_in_this_process(limits, |bytes| machine_code(bytes, counts_fuel))
}

/// Makes something of what stdin holds and puts it on stdout, or why there is nothing.
///
/// # Errors
/// As [`compile_in_this_process`].
pub(super) fn answer_in_this_process(
    limits: &CompileLimits,
    make: impl FnOnce(Vec<u8>) -> Result<Vec<u8>, NotCompiled>,
) -> io::Result<()> {
    limits.apply()?;
    // A panic is an answer, and nothing else is said.
    std::panic::set_hook(Box::new(|_| {}));
    let mut bytes = Vec::new();
    io::stdin().lock().take(FILE_MAX_BYTES).read_to_end(&mut bytes)?;
    let compiled = catch_unwind(AssertUnwindSafe(|| make(bytes)));
    let compiled = compiled.unwrap_or_else(|panic| Err(NotCompiled::Panicked(panic_text(panic.as_ref()))));
    let mut stdout = io::stdout().lock();
    match compiled {
        Ok(code) => {
            stdout.write_all(&[COMPILED])?;
            stdout.write_all(&code)?;
        }
        Err(problem) => {
            let (letter, text) = problem.as_answer();
            stdout.write_all(&[letter])?;
            stdout.write_all(text.as_bytes())?;
        }
    }
    stdout.flush()
}

fn machine_code(bytes: Vec<u8>, counts_fuel: bool) -> Result<Vec<u8>, NotCompiled> {
    let engine = engine::for_compiling(counts_fuel).map_err(|error| NotCompiled::from(&error))?;
    let bytes = component_bytes(bytes)?;
    engine
        .precompile_component(&bytes)
        .map_err(|error| NotCompiled::from(&error))
}

/// The first byte of an answer that is what was asked for.
const COMPILED: u8 = b'C';

/// Reads an answer of a child.
///
/// # Errors
/// The result in place of machine code; `None` when the answer is invalid.
pub(super) fn read_answer(answer: &[u8]) -> Option<Result<&[u8], NotCompiled>> {
    let (letter, rest) = answer.split_first()?;
    let text = || sanitize_to(&String::from_utf8_lossy(rest), DETAIL_MAX_BYTES);
    Some(match *letter {
        COMPILED => Ok(rest),
        b'N' => Err(NotCompiled::NoContract),
        b'I' => Err(NotCompiled::Invalid(text())),
        b'M' => Err(NotCompiled::OutOfMemory),
        b'P' => Err(NotCompiled::Panicked(text())),
        _ => return None,
    })
}

impl NotCompiled {
    fn as_answer(&self) -> (u8, &str) {
        match self {
            Self::NoContract => (b'N', ""),
            Self::Invalid(text) => (b'I', text),
            Self::OutOfMemory => (b'M', ""),
            Self::Panicked(text) => (b'P', text),
        }
    }

    pub(super) fn invalid(text: &str) -> Self {
        Self::Invalid(sanitize_to(text, DETAIL_MAX_BYTES))
    }
}

impl From<&wasmtime::Error> for NotCompiled {
    fn from(error: &wasmtime::Error) -> Self {
        match error.downcast_ref::<wasmtime::error::OutOfMemory>() {
            Some(_) => Self::OutOfMemory,
            None => {
                let text = format!("{error:#}");
                match text.contains(ASYNC_FEATURE) {
                    true => Self::invalid(&format!("{ASYNC_MEANS} ({text})")),
                    false => Self::invalid(&text),
                }
            }
        }
    }
}

impl From<NotCompiled> for LoadProblem {
    fn from(problem: NotCompiled) -> Self {
        match problem {
            NotCompiled::NoContract => Self::NoContract,
            NotCompiled::Invalid(text) => Self::Invalid(text),
            NotCompiled::OutOfMemory => Self::Host("no memory is left".to_owned()),
            NotCompiled::Panicked(text) => Self::Host(text),
        }
    }
}

/// Whether the system refused to let memory be executed.
fn forbids_code(error: &wasmtime::Error) -> bool {
    let is_refused = |cause: &&(dyn std::error::Error + 'static)| match cause.downcast_ref::<Errno>() {
        Some(errno) => [Errno::ACCESS, Errno::PERM].contains(errno),
        None => cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied),
    };
    error.chain().any(|cause| is_refused(&cause))
}

/// Refuses a file that is not WebAssembly by its first bytes, or incomplete.
pub(super) fn check_kind(bytes: &[u8]) -> Result<(), LoadProblem> {
    if bytes.is_empty() {
        return Err(LoadProblem::NotWasm("the file is empty".to_owned()));
    }
    // A file that wasmtime compiled is such a file, too.
    if bytes.starts_with(b"\x7fELF") {
        return Err(LoadProblem::Precompiled);
    }
    if wasmparser::Parser::is_component(bytes) || wasmparser::Parser::is_core_wasm(bytes) {
        return match is_cut_off(bytes) {
            true => Err(LoadProblem::CutOff),
            false => Ok(()),
        };
    }
    let begins = String::from_utf8_lossy(bytes.get(..bytes.len().min(16)).unwrap_or_default()).into_owned();
    Err(LoadProblem::NotWasm(format!(
        "it begins with `{}`",
        sanitize_to(&begins, 64)
    )))
}

/// Whether the last section goes on behind the end.
fn is_cut_off(bytes: &[u8]) -> bool {
    let sections = bytes.get(HEADER_BYTES..).unwrap_or_default();
    let mut reader = wasmparser::BinaryReader::new(sections, 0);
    while !reader.eof() {
        let section = reader.read_u8().and_then(|_| reader.read_var_u32());
        let section = section.and_then(|n_bytes| reader.read_bytes(n_bytes as usize));
        if section.is_err() {
            return true;
        }
    }
    false
}

/// Takes a component as it is, and makes one of a core module that says its component type.
pub(super) fn component_bytes(bytes: Vec<u8>) -> Result<Vec<u8>, NotCompiled> {
    if wasmparser::Parser::is_component(&bytes) {
        return Ok(bytes);
    }
    let module = ModuleFacts::read(&bytes)?;
    if module.is_for_preview_0 {
        return Err(NotCompiled::invalid(TOO_OLD));
    }
    if !module.has_contract {
        return Err(NotCompiled::NoContract);
    }
    let invalid = |error: &dyn std::fmt::Display| NotCompiled::invalid(&format!("{error:#}"));
    let mut encoder = wit_component::ComponentEncoder::default()
        .validate(true)
        .module(&bytes)
        .map_err(|error| invalid(&error))?;
    if module.is_for_preview_1 {
        // The adapter turns the old imports into those that are linked as stubs and those that no plugin is granted.
        encoder = encoder
            .adapter(PREVIEW_1, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)
            .map_err(|error| invalid(&error))?;
    }
    encoder.encode().map_err(|error| invalid(&error))
}

/// Facts about a core module.
#[derive(Debug, Default)]
struct ModuleFacts {
    /// Its component type.
    has_contract: bool,
    /// It calls the system as WASI's first preview has it.
    is_for_preview_1: bool,
    /// And as the draft before that had it.
    is_for_preview_0: bool,
}

impl ModuleFacts {
    fn read(module: &[u8]) -> Result<Self, NotCompiled> {
        let invalid = |error: wasmparser::BinaryReaderError| NotCompiled::invalid(&error.to_string());
        let mut facts = Self::default();
        for payload in wasmparser::Parser::new(0).parse_all(module) {
            match payload.map_err(invalid)? {
                wasmparser::Payload::CustomSection(section) => {
                    facts.has_contract |= section.name().starts_with(COMPONENT_TYPE_SECTION);
                }
                wasmparser::Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let import = import.map_err(invalid)?;
                        facts.is_for_preview_1 |= import.module == PREVIEW_1;
                        facts.is_for_preview_0 |= import.module == PREVIEW_0;
                    }
                }
                _ => {}
            }
        }
        Ok(facts)
    }
}

/// An error of wasmtime's, made safe to show.
pub(super) fn detail(error: &wasmtime::Error) -> String {
    sanitize_to(&format!("{error:#}"), DETAIL_MAX_BYTES)
}
