//! What a model takes of this machine's memory while it runs, computed from its graph and where it runs.

use millrace_model_folder::Model;
use millrace_model_types::Placement;

use crate::device::{self, CPU_MAX_BATCH, threads_each};

/// Windows whose numbers a thread's kernels have in another order at a time.
const UNFOLDED_WINDOWS: u64 = 512;
/// Most items that a thread of the CPU has at a time, however large the batch.
const CPU_ITEMS: usize = 16;

/// How many items of a model run at a time on the first device of a placement.
pub fn batch_items(model: &Model, placement: &Placement, max_batch: Option<usize>) -> usize {
    let default = placement
        .devices
        .first()
        .map_or(CPU_MAX_BATCH, device::default_max_batch);
    let is_cpu = placement.devices.first().is_none_or(device::is_cpu);
    items_at_a_time(model, is_cpu, max_batch.unwrap_or(default))
}

/// The most memory that a model takes on this machine while it runs where a placement says, with batches of at most
/// `max_batch` items: a GPU's memory is counted as if it were the machine's, which on a software device it is.
pub fn memory_bytes(model: &Model, placement: &Placement, max_batch: Option<usize>) -> u64 {
    // The smallest default of several devices holds for all.
    let default = placement.devices.iter().map(device::default_max_batch).min();
    let max_batch = max_batch.or(default).unwrap_or(CPU_MAX_BATCH);
    let each = placement.devices.iter().map(|device| {
        let one = match device::is_cpu(device) {
            true => cpu_bytes(model, max_batch, threads_each(placement)),
            false => gpu_bytes(model, max_batch),
        };
        one.saturating_mul(placement.instances.max(1) as u64)
    });
    // Weights are there once as they were read, and once more for each instance.
    each.fold(model.weight_bytes(), u64::saturating_add)
}

/// What an instance takes on the CPU: its weights, with channels filled up to the width of a register; and for each
/// thread the values of the items that it has at a time, filled up as well and with their readers' padding around
/// them, and the room of its kernels.
fn cpu_bytes(model: &Model, max_batch: usize, threads: usize) -> u64 {
    let cost = &model.network().cost;
    let n_items = items_at_a_time(model, true, max_batch) as u64;
    let values = bytes(cost.peak_elements as u64)
        .saturating_mul(2)
        .saturating_mul(n_items);
    let kernels = bytes(cost.window_elements).saturating_mul(UNFOLDED_WINDOWS);
    let weights = bytes(cost.parameters);
    let packed = weights.saturating_add(weights / 4);
    let input = bytes(model.input().elements()).saturating_mul(max_batch as u64);
    let threads = (threads as u64).saturating_mul(values.saturating_add(kernels));
    packed.saturating_add(threads).saturating_add(input)
}

/// What an instance takes on a GPU.
fn gpu_bytes(model: &Model, max_batch: usize) -> u64 {
    let cost = &model.network().cost;
    // What goes into an operation, what comes out and what is kept beside it, and as much again for the operation's
    // own: a convolution brings its input into another order.
    let n_items = items_at_a_time(model, false, max_batch) as u64;
    let batch = bytes(cost.peak_elements as u64)
        .saturating_mul(2)
        .saturating_mul(n_items);
    // The weights of one layer are there once more, turned round.
    bytes(cost.parameters)
        .saturating_add(bytes(cost.largest_parameters))
        .saturating_add(batch)
}

fn items_at_a_time(model: &Model, is_cpu: bool, max_batch: usize) -> usize {
    match (model.network().is_batched(), is_cpu) {
        (false, _) => 1,
        (true, true) => max_batch.min(CPU_ITEMS),
        (true, false) => max_batch,
    }
}

/// Of numbers with 32 bits.
fn bytes(elements: u64) -> u64 {
    elements.saturating_mul(size_of::<f32>() as u64)
}
