//! The imports that the runtimes of languages bring unasked: an interpreter in a component (Python, JavaScript), or a
//! module for WASI's first preview behind its adapter, imports the whole of WASI and calls next to nothing of it. It is
//! linked, so that such a plugin loads; a call of any of it ends in a trap that names it. Grants nothing.
//!
//! A plugin with imports of its own doing is reported when it is loaded, not by the first message that asks for the time:
//! only what brings a whole C library imports the folders that it may begin at.

use std::sync::Arc;
use wasmtime::{Result, format_err};

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, LinkerInstance, ResourceType, Val};

use super::limits::Breach;
use super::load::{is_linked, without_version};
use super::state::State;
use super::text::sanitize;
use super::wasi_stubs;

/// The folders that a program may begin at: the first thing that a C library asks for.
pub(super) const ROOT: &str = "wasi:filesystem/preopens";

/// Resources that a component may import; WASI has two dozen.
const RESOURCES_MAX: usize = 256;

/// Bytes that a runtime may seed itself with at once.
const SEED_MAX_BYTES: u64 = 4 << 10;

/// A resource that does not exist: nothing here makes one.
struct Nothing;

/// Whether these imports are those of a language's runtime.
pub(super) fn has_runtime<'a>(imports: impl IntoIterator<Item = &'a str>) -> bool {
    imports.into_iter().any(|name| without_version(name) == ROOT)
}

/// Whether an import is WASI's.
pub(super) fn is_wasi(import: &str) -> bool {
    import.starts_with("wasi:")
}

/// Lets a component with a language's runtime reach what it imports beyond the rest, and no further.
///
/// # Errors
/// When a name is defined twice: our bug.
pub(super) fn add_to_linker(linker: &mut Linker<State>, component: &Component) -> Result<()> {
    let engine = linker.engine().clone();
    let component_type = component.component_type();
    if !has_runtime(component_type.imports(&engine).map(|(name, _)| name)) {
        return Ok(());
    }
    // An interface may name another one's resource as its own; then it must not be defined once more.
    let mut seen = Vec::new();
    for (name, import) in component_type.imports(&engine) {
        let ComponentItem::ComponentInstance(interface) = import.ty else {
            continue;
        };
        let is_ours = is_wasi(name) && !is_linked(name);
        let mut instance = match is_ours {
            true => Some(linker.instance(name)?),
            false => None,
        };
        // A name may be long, and its functions many: one copy for all of them.
        let interface_name: Arc<str> = Arc::from(without_version(name));
        for (item_name, item) in interface.exports(&engine) {
            match (item.ty, &mut instance) {
                (ComponentItem::Resource(resource), _) if seen.contains(&resource) => {}
                (ComponentItem::Resource(_), _) if seen.len() >= RESOURCES_MAX => {
                    return Err(format_err!("it imports more than {RESOURCES_MAX} resources"));
                }
                (ComponentItem::Resource(resource), instance) => {
                    seen.push(resource);
                    if let Some(instance) = instance {
                        instance.resource(item_name, ResourceType::host::<Nothing>(), |_, _| Ok(()))?;
                    }
                }
                (ComponentItem::ComponentFunc(_), Some(instance)) => function(instance, &interface_name, item_name)?,
                _ => {}
            }
        }
    }
    Ok(())
}

/// The answers for a runtime to start: in every instance, on every host the same.
fn answer(interface: &str, name: &str, is_starting: bool, given: &[Val]) -> Option<Val> {
    match (interface, name) {
        (ROOT, "get-directories") => Some(Val::List(Vec::new())),
        // It stands still: what measures with it finds that nothing takes time.
        ("wasi:clocks/monotonic-clock", "now") => Some(Val::U64(0)),
        ("wasi:clocks/monotonic-clock", "resolution") => Some(Val::U64(1)),
        // A runtime seeds itself at its start; in a call a plugin would take it for randomness.
        ("wasi:random/random", "get-random-u64") if is_starting => Some(Val::U64(wasi_stubs::SEED.0)),
        ("wasi:random/random", "get-random-bytes") if is_starting => match given {
            [Val::U64(length)] if *length <= SEED_MAX_BYTES => {
                let seed = wasi_stubs::SEED
                    .0
                    .to_le_bytes()
                    .into_iter()
                    .chain(wasi_stubs::SEED.1.to_le_bytes());
                let length = usize::try_from(*length).unwrap_or_default();
                Some(Val::List(seed.cycle().take(length).map(Val::U8).collect()))
            }
            _ => None,
        },
        _ => None,
    }
}

fn function(instance: &mut LinkerInstance<'_, State>, interface: &Arc<str>, name: &str) -> Result<()> {
    let (interface, function) = (Arc::clone(interface), name.to_owned());
    instance.func_new(name, move |store, _, given, results| {
        let is_starting = store.data().message.is_none();
        match (answer(&interface, &function, is_starting, given), results) {
            (Some(answer), [result]) => {
                *result = answer;
                Ok(())
            }
            _ => Err(Breach::NotGranted {
                interface: sanitize(&interface),
                function: sanitize(&function),
            }
            .into()),
        }
    })
}
