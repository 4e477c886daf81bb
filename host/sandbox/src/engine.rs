//! The engine: what WebAssembly may be, the pool that instances come from, and the tick that ends overlong calls.
//! Knows nothing of plugins.

use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use wasmtime::{
    Config, Enabled, Engine, EngineWeak, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    WasmBacktraceDetails,
};

/// How often a running guest is asked whether it may go on: a deadline is overrun by at most this.
/// The question costs well under a microsecond, so 200 a second are free.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// Instances that one worker keeps for plugins with `isolation = "worker"`; the least recently used one makes room.
/// Two generations of three plugins.
pub(super) const RESIDENTS_PER_WORKER: usize = 6;

/// Memories of one component. Guests have one; a component that was composed of several has one for each: JavaScript's
/// QuickJS has two, and three with stubs in place of WASI. The plugin's `memory` holds for all of them together, so that
/// what is bounded here is address space.
const MEMORIES_PER_COMPONENT: u32 = 4;

/// Core instances of one component: the guest's module and the shims that componentizing puts around it. Rust has 4; a
/// Python interpreter with its libraries linked beside it has 38.
const CORE_INSTANCES_PER_COMPONENT: u32 = 64;

/// The memory that wasmtime keeps for one core instance, beside the plugin's memory: its functions and globals. The
/// decoder of pictures has 12 KiB, that interpreter 237 KiB.
const CORE_INSTANCE_BYTES: usize = 320 << 10;

/// The memory of an instance beside its memories and tables.
pub(super) const BESIDE_MEMORY_BYTES: usize = CORE_INSTANCES_PER_COMPONENT as usize * CORE_INSTANCE_BYTES;

/// Tables of one component: the guest's own and the shims'.
const TABLES_PER_COMPONENT: u32 = 8;

/// Elements of one table. Function tables of real guests have hundreds, of managed languages up to 10,000.
const TABLE_ELEMENTS: usize = 20_000;

/// The largest linear memory that 32-bit WebAssembly can address. What a plugin may use is the limiter's business;
/// a pool slot of this size is address space only, and spares every access its bounds check.
const MEMORY_MAX_BYTES: usize = 4 << 30;

/// Pages of a returned slot that stay resident, so that the next instance of the plugin does not fault them in again.
/// Measured: a fresh call of a 25 KB decoder costs 20 us with it and 50 us without.
pub(super) const KEEP_RESIDENT_BYTES: usize = 2 << 20;

/// Warm slots of plugins that are not running, for each worker: both plugins of a pipeline in two generations.
/// Bounds what idle slots hold to this times [`KEEP_RESIDENT_BYTES`] for each worker.
pub(super) const WARM_SLOTS_PER_WORKER: u32 = 4;

/// The guest's share of a worker's stack. Decoders need a tenth of it.
const WASM_STACK_BYTES: usize = 512 << 10;

/// Frames in a trap's backtrace: enough to see the callers, not enough to fill a dead letter.
const BACKTRACE_FRAMES: usize = 16;

/// Builds the engine for a number of workers, and starts its tick.
///
/// # Errors
/// When the platform does not have what the engine needs, such as address space for the pool or a thread.
pub(super) fn start(workers: usize) -> wasmtime::Result<Engine> {
    with_pool(config(), workers, MEMORIES_PER_COMPONENT)
}

/// As [`start`] for one worker, for plugins of one memory each: a fifth of the address space, which is what valgrind has.
///
/// # Errors
/// As [`start`].
pub(super) fn start_small() -> wasmtime::Result<Engine> {
    with_pool(config(), 1, 1)
}

/// As [`start`], but it counts fuel, which costs time: for measuring, and never for serving.
///
/// # Errors
/// As [`start`].
pub(super) fn start_metering(workers: usize) -> wasmtime::Result<Engine> {
    let mut config = config();
    config.consume_fuel(true);
    with_pool(config, workers, MEMORIES_PER_COMPONENT)
}

fn with_pool(mut config: Config, workers: usize, memories: u32) -> wasmtime::Result<Engine> {
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(workers, memories)));
    let engine = Engine::new(&config)?;
    let weak = engine.weak();
    thread::Builder::new()
        .name("sandbox-tick".to_owned())
        .spawn(move || tick(&weak))?;
    Ok(engine)
}

/// An engine that compiles for those that [`start`] builds, or [`start_metering`], and reserves nothing: wasmtime
/// refuses machine code of another configuration, and the source of instances is not part of it.
///
/// # Errors
/// When the platform does not have what the engine needs.
pub(super) fn for_compiling(counts_fuel: bool) -> wasmtime::Result<Engine> {
    // One function after the other: what serves has the other cores, and the memory of one function is a bound.
    Engine::new(config().parallel_compilation(false).consume_fuel(counts_fuel))
}

/// Advances the epoch for as long as anybody holds the engine.
fn tick(engine: &EngineWeak) {
    while let Some(engine) = engine.upgrade() {
        engine.increment_epoch();
        drop(engine);
        thread::sleep(TICK);
    }
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .concurrency_support(false)
        .memory_init_cow(true)
        .cranelift_opt_level(OptLevel::Speed)
        .max_wasm_stack(WASM_STACK_BYTES)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .wasm_backtrace_max_frames(NonZeroUsize::new(BACKTRACE_FRAMES));
    // Off: what guests of the plain component model do not need is not offered to hostile ones.
    config
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .wasm_memory64(false)
        .wasm_tail_call(false)
        .wasm_relaxed_simd(false);
    // On: where a component was composed of several, wasmtime's own code between two of them copies from memory to memory.
    // A guest's module still has one memory of its own: the pool's bounds say so.
    config.wasm_multi_memory(true);
    config
}

/// The pool for so many workers, and plugins of at most so many memories each.
fn pool(workers: usize, memories: u32) -> PoolingAllocationConfig {
    let workers = u32::try_from(workers).unwrap_or(u32::MAX);
    // The cached instances of each worker, the instance that it is running, and one trial (loading is one at a time).
    let instance_cache = u32::try_from(RESIDENTS_PER_WORKER).unwrap_or(u32::MAX);
    let components = workers
        .saturating_mul(instance_cache.saturating_add(1))
        .saturating_add(1);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(components)
        .total_core_instances(components.saturating_mul(CORE_INSTANCES_PER_COMPONENT))
        .total_memories(components.saturating_mul(memories))
        .total_tables(components.saturating_mul(TABLES_PER_COMPONENT))
        .total_stacks(0)
        .total_gc_heaps(0)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_core_instance_size(CORE_INSTANCE_BYTES)
        .max_memories_per_component(memories)
        .max_tables_per_component(TABLES_PER_COMPONENT)
        .max_memories_per_module(1)
        .max_tables_per_module(TABLES_PER_COMPONENT)
        .table_elements(TABLE_ELEMENTS)
        .max_memory_size(MEMORY_MAX_BYTES)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(TABLE_ELEMENTS.saturating_mul(size_of::<usize>()))
        .max_unused_warm_slots(workers.saturating_mul(WARM_SLOTS_PER_WORKER))
        .pagemap_scan(Enabled::Auto);
    pool
}
