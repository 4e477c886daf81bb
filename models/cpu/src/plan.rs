//! Steps in stages, and where each value lies in a thread's memory.

use std::ops::Range;

use millrace_graph::Graph;

use crate::error::Error;
use crate::kernels::{Buffer, Cells, Kernels};
use crate::lower::{Class, Lowered, Planned, Storage, lower};
use crate::step::{Extent, Scope, Share, Step};

/// The most items that a thread works on before it takes the next ones.
const CHUNK_MAX: usize = 16;

/// Steps that as many items go through together.
struct Stage {
    steps: Range<usize>,
    together: usize,
}

/// A network, ready to run.
pub(crate) struct Plan {
    steps: Vec<Box<dyn Step>>,
    stages: Vec<Stage>,
    extents: Vec<Extent>,
    /// Items that a thread's memory holds.
    pub(crate) chunk: usize,
    /// Floats of a thread's memory.
    pub(crate) memory: usize,
    /// Floats of a thread's scratch memory.
    pub(crate) scratch: usize,
    /// Floats of packed weights.
    pub(crate) weights: usize,
    /// Floats of an item's input.
    pub(crate) input: usize,
    /// Floats of an item, by output.
    pub(crate) outputs: Vec<usize>,
    /// Nodes that are computed by the book.
    pub(crate) plain_nodes: Vec<String>,
}

impl Plan {
    /// # Errors
    /// Names all nodes that cannot be run.
    pub(crate) fn new(graph: &Graph, kernels: &'static Kernels, max_batch: usize) -> Result<Self, Error> {
        let chunk = max_batch.min(CHUNK_MAX);
        let Lowered {
            steps,
            storages,
            outputs,
            input,
            plain_nodes,
        } = lower(graph, kernels, chunk)?;
        let stages = stages(&steps);
        let (extents, memory) = allocate(&steps, &storages, &stages, chunk);
        Ok(Self {
            extents,
            chunk,
            memory,
            scratch: steps.iter().map(|planned| planned.step.scratch()).max().unwrap_or(0),
            weights: steps.iter().map(|planned| planned.step.weights()).sum(),
            input,
            outputs,
            plain_nodes,
            stages,
            steps: steps.into_iter().map(|planned| planned.step).collect(),
        })
    }

    /// Runs a share of each step for the items of a chunk; `between` is called behind each step, and says whether to go on.
    pub(crate) fn run(&self, work: &Work<'_>, share: Share, mut between: impl FnMut() -> bool) {
        for stage in &self.stages {
            for first in (0..work.items).step_by(stage.together) {
                let scope = Scope {
                    memory: work.memory,
                    extents: &self.extents,
                    scratch: work.scratch,
                    first,
                    count: stage.together.min(work.items - first),
                    input: work.input,
                    outputs: work.outputs,
                };
                for step in self.steps.get(stage.steps.clone()).unwrap_or(&[]) {
                    step.run(&scope, share);
                    if !between() {
                        return;
                    }
                }
            }
        }
    }
}

/// A chunk of items, and the memory to run it in.
#[derive(Clone, Copy)]
pub(crate) struct Work<'a> {
    pub(crate) memory: Cells<'a>,
    pub(crate) scratch: Cells<'a>,
    /// At most the plan's chunk.
    pub(crate) items: usize,
    pub(crate) input: &'a [f32],
    pub(crate) outputs: &'a [Cells<'a>],
}

fn stages(steps: &[Planned]) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    for (index, planned) in steps.iter().enumerate() {
        match stages.last_mut() {
            Some(stage) if stage.together == planned.together => stage.steps.end = index + 1,
            _ => stages.push(Stage {
                steps: index..index + 1,
                together: planned.together,
            }),
        }
    }
    stages
}

/// Memory that was some storage's, and may be another's behind a step.
struct Region {
    start: usize,
    floats: usize,
    class: Class,
    copies: usize,
    free_behind: usize,
}

/// Gives each storage memory; several share it where they do not live at the same time.
fn allocate(steps: &[Planned], storages: &[Storage], stages: &[Stage], chunk: usize) -> (Vec<Extent>, usize) {
    // Tables reach over whole groups of items, even where the last group of a chunk is smaller.
    let chunk = stages
        .iter()
        .map(|stage| chunk.next_multiple_of(stage.together))
        .max()
        .unwrap_or(chunk);
    let mut regions: Vec<Region> = Vec::new();
    let mut end = 0;
    let mut extents = vec![
        Extent {
            start: 0,
            length: 0,
            copies: 1
        };
        storages.len()
    ];
    let uses = uses(steps, storages.len()).into_iter().enumerate();
    let mut lives: Vec<(usize, Life)> = uses
        .filter_map(|(index, uses)| Some((index, Life::of(uses?, stages, chunk)?)))
        .collect();
    lives.sort_by_key(|(_, life)| life.first);
    for (index, life) in lives {
        let (Some(storage), Some(extent)) = (storages.get(index), extents.get_mut(index)) else {
            continue;
        };
        let floats = storage.floats * life.copies;
        let fitting = regions
            .iter_mut()
            .filter(|region| region.free_behind < life.first && region.copies == life.copies && region.floats >= floats)
            .filter(|region| region.class == storage.class)
            .min_by_key(|region| region.floats);
        let start = match fitting {
            Some(region) => {
                region.free_behind = life.last;
                region.start
            }
            None => {
                let start = end;
                end += floats.div_ceil(Buffer::ALIGNMENT) * Buffer::ALIGNMENT;
                let (class, copies) = (storage.class, life.copies);
                regions.push(Region {
                    start,
                    floats,
                    class,
                    copies,
                    free_behind: life.last,
                });
                start
            }
        };
        *extent = Extent {
            start,
            length: storage.floats,
            copies: life.copies,
        };
    }
    (extents, end)
}

/// Between which steps a storage is in use, and for how many items at a time.
struct Life {
    first: usize,
    last: usize,
    copies: usize,
}

/// The first and the last step that touch each storage; nothing where no step does. One pass over the steps: a search for
/// each storage would take minutes for tens of thousands of nodes.
fn uses(steps: &[Planned], n_storages: usize) -> Vec<Option<(usize, usize)>> {
    let mut uses: Vec<Option<(usize, usize)>> = vec![None; n_storages];
    for (index, planned) in steps.iter().enumerate() {
        for storage in &planned.touches {
            if let Some(span) = uses.get_mut(*storage) {
                *span = Some((span.map_or(index, |(first, _)| first), index));
            }
        }
    }
    uses
}

impl Life {
    /// Of a storage that the steps from `first` to `last` touch.
    fn of((first, last): (usize, usize), stages: &[Stage], chunk: usize) -> Option<Self> {
        let stage = |step: usize| stages.get(stages.partition_point(|stage| stage.steps.end <= step));
        let (from, to) = (stage(first)?, stage(last)?);
        // What outlives its stage waits there for the other items of the chunk.
        Some(match from.steps == to.steps {
            true => Self {
                first,
                last,
                copies: from.together,
            },
            false => Self {
                first: from.steps.start,
                last: to.steps.end,
                copies: chunk,
            },
        })
    }
}
