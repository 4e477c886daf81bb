//! The executor: a plan, threads, and memory for each.

use millrace_graph::Graph;

use crate::barrier::Barrier;
use crate::error::Error;
use crate::kernels::{Buffer, Cells, Crew, caught};
use crate::options::Options;
use crate::plan::{Plan, Work};
use crate::step::Share;

/// Multiply-adds of an item from which its steps are shared: some 100 microseconds of one thread. Below, threads wait for
/// each other longer than they work: LeNet takes twice the time on two.
const SHARED_WORK: u64 = 8_000_000;

/// Multiply-adds of a call from which its items go to several threads.
const DIVIDED_WORK: u64 = 4_000_000;

/// Runs one network.
pub struct Executor {
    plan: Plan,
    crew: Crew,
    /// One for each thread.
    memories: Vec<Memory>,
    max_batch: usize,
    /// Multiply-adds of an item.
    work: u64,
}

struct Memory {
    values: Buffer,
    scratch: Buffer,
}

impl Executor {
    /// Packs the weights of a network and takes the memory that it runs in.
    ///
    /// # Errors
    /// When the network has nodes that cannot be run (it names all of them), when the options make no sense or the
    /// instruction set is not there, and when there are no more threads.
    pub fn new(graph: &Graph, options: Options) -> Result<Self, Error> {
        let options = options.checked()?;
        let kernels = options.instruction_set.kernels()?;
        let plan = Plan::new(graph, kernels, options.max_batch)?;
        let crew = Crew::new(options.threads).map_err(|error| Error::Thread(error.to_string()))?;
        let memories = (0..options.threads).map(|_| Memory {
            values: Buffer::zeroed(plan.memory),
            scratch: Buffer::zeroed(plan.scratch),
        });
        Ok(Self {
            memories: memories.collect(),
            plan,
            crew,
            max_batch: options.max_batch,
            work: graph.statistics().multiply_adds,
        })
    }

    /// Bytes of weights, values and scratch memory, of all threads: all that a run needs.
    pub fn memory_bytes(&self) -> u64 {
        let plan = &self.plan;
        let floats = plan.weights + self.memories.len() * (plan.memory + plan.scratch);
        (floats * size_of::<f32>()) as u64
    }

    /// Lets threads share however little there is to compute: tests of small networks need it.
    #[doc(hidden)]
    pub fn share_all(&mut self) {
        self.work = u64::MAX;
    }

    /// Numbers of an item's input.
    pub fn input_len(&self) -> usize {
        self.plan.input
    }

    /// Numbers of an item, by output.
    pub fn output_lens(&self) -> &[usize] {
        &self.plan.outputs
    }

    /// The names of nodes that no kernel computes: they run by the book, row-major and in double precision, which is slow.
    pub fn plain_nodes(&self) -> &[String] {
        &self.plan.plain_nodes
    }

    /// Runs `items` items; each output vector then has as many numbers as they yield, one item behind another.
    ///
    /// # Errors
    /// When input or outputs do not have the lengths that the items ask for. [`Error::Bug`] when a kernel panicked.
    pub fn run(&mut self, input: &[f32], items: usize, outputs: &mut [Vec<f32>]) -> Result<(), Error> {
        self.check(input, items, outputs)?;
        for (output, floats) in outputs.iter_mut().zip(&self.plan.outputs) {
            output.resize(floats * items, 0.0);
        }
        let cells: Vec<Cells<'_>> = outputs.iter_mut().map(|output| Cells::of(output)).collect();
        let batch = Batch { input, outputs: &cells };
        // Items go to threads whole; what would leave threads idle is shared step by step, if it is worth it.
        let members = self.crew.members();
        if self.work.saturating_mul(items as u64) < DIVIDED_WORK {
            return self.run_here(&batch, 0, items);
        }
        let whole = items / members * members;
        if whole > 0 {
            self.run_whole(&batch, whole)?;
        }
        let mut next = whole;
        while next < items {
            let count = (items - next).min(self.plan.chunk);
            match self.work < SHARED_WORK {
                true => self.run_here(&batch, next, count)?,
                false => self.run_shared(&batch, next, count)?,
            }
            next += count;
        }
        Ok(())
    }

    fn check(&self, input: &[f32], items: usize, outputs: &[Vec<f32>]) -> Result<(), Error> {
        if items > self.max_batch {
            return Err(Error::Batch {
                items,
                most: self.max_batch,
            });
        }
        let expected = self.plan.input * items;
        if input.len() != expected {
            return Err(Error::Input {
                items,
                expected,
                found: input.len(),
            });
        }
        if outputs.len() != self.plan.outputs.len() {
            return Err(Error::Outputs {
                expected: self.plan.outputs.len(),
                found: outputs.len(),
            });
        }
        Ok(())
    }

    /// The caller's thread runs all of it.
    fn run_here(&mut self, batch: &Batch<'_>, start: usize, items: usize) -> Result<(), Error> {
        let plan = &self.plan;
        let Some([memory, scratch]) = self.memories.first_mut().map(Memory::share) else {
            return Ok(());
        };
        let body = || {
            for first in (start..start + items).step_by(plan.chunk) {
                let items = plan.chunk.min(start + items - first);
                batch.with(plan, first, items, |input, outputs| {
                    let work = Work {
                        memory,
                        scratch,
                        items,
                        input,
                        outputs,
                    };
                    plan.run(&work, Share::WHOLE, || true);
                });
            }
        };
        caught(body).map_err(Error::Bug)
    }

    /// Each thread runs its share of the items.
    fn run_whole(&mut self, batch: &Batch<'_>, items: usize) -> Result<(), Error> {
        let plan = &self.plan;
        let members = self.crew.members();
        let memories: Vec<[Cells<'_>; 2]> = self.memories.iter_mut().map(Memory::share).collect();
        let body = |part: usize| {
            let range = Share { part, of: members }.range(items);
            let Some([memory, scratch]) = memories.get(part) else {
                return;
            };
            for first in range.clone().step_by(plan.chunk) {
                let count = plan.chunk.min(range.end - first);
                batch.with(plan, first, count, |input, outputs| {
                    let work = Work {
                        memory: *memory,
                        scratch: *scratch,
                        items: count,
                        input,
                        outputs,
                    };
                    plan.run(&work, Share::WHOLE, || true);
                });
            }
        };
        self.crew.run(&body).map_err(Error::Bug)
    }

    /// All threads run shares of each step.
    fn run_shared(&mut self, batch: &Batch<'_>, first: usize, count: usize) -> Result<(), Error> {
        let plan = &self.plan;
        let members = self.crew.members();
        let memories: Vec<[Cells<'_>; 2]> = self.memories.iter_mut().map(Memory::share).collect();
        let barrier = Barrier::new(members);
        let body = |part: usize| {
            let (Some([memory, _]), Some([_, scratch])) = (memories.first(), memories.get(part)) else {
                return;
            };
            let _guard = barrier.guard();
            let mut meeting = 0;
            batch.with(plan, first, count, |input, outputs| {
                let work = Work {
                    memory: *memory,
                    scratch: *scratch,
                    items: count,
                    input,
                    outputs,
                };
                plan.run(&work, Share { part, of: members }, || {
                    meeting += 1;
                    barrier.wait(meeting)
                });
            });
        };
        self.crew.run(&body).map_err(Error::Bug)
    }
}

impl Memory {
    fn share(&mut self) -> [Cells<'_>; 2] {
        [self.values.share(), self.scratch.share()]
    }
}

/// The call's input and outputs.
struct Batch<'a> {
    input: &'a [f32],
    outputs: &'a [Cells<'a>],
}

impl Batch<'_> {
    /// Those of some items.
    fn with(&self, plan: &Plan, first: usize, count: usize, then: impl FnOnce(&[f32], &[Cells<'_>])) {
        let input = self
            .input
            .get(first * plan.input..(first + count) * plan.input)
            .unwrap_or(&[]);
        let outputs = self.outputs.iter().zip(&plan.outputs);
        let outputs: Vec<Cells<'_>> = outputs
            .map(|(cells, floats)| cells.part(first * floats, count * floats))
            .collect();
        then(input, &outputs);
    }
}
