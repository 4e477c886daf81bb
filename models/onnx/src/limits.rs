//! How much of everything a file may have. The largest exported image networks stay below a tenth of each.

/// Bytes of the file itself and of each file of weights beside it.
pub(crate) const FILE_BYTES: u64 = 8 << 30;
/// Numbers in all initialisers together: 4 GiB as they are kept.
pub(crate) const WEIGHTS: usize = 1 << 30;
/// Nodes of all graphs and functions.
pub(crate) const NODES: usize = 100_000;
/// Nodes, their inputs, outputs and attributes, once functions are written out.
pub(crate) const STEPS: usize = 4_000_000;
/// Attributes of all nodes.
pub(crate) const ATTRIBUTES: usize = 500_000;
/// Attributes of one node, and of one function.
pub(crate) const OWN_ATTRIBUTES: usize = 64;
/// Names of inputs and outputs of all nodes.
pub(crate) const NAMES: usize = 1_000_000;
/// Initialisers.
pub(crate) const INITIALIZERS: usize = 100_000;
/// Inputs, outputs, functions, imported operator sets, entries of metadata: each.
pub(crate) const ENTRIES: usize = 10_000;
/// Bytes of a name.
pub(crate) const NAME_BYTES: usize = 16 << 10;
/// Bytes of a value of the metadata that is kept.
pub(crate) const METADATA_BYTES: usize = 1 << 20;
/// Axes of a tensor.
pub(crate) const RANK: usize = 12;
/// Graphs within graphs, and functions within functions.
pub(crate) const DEPTH: usize = 16;
/// Numbers that may be computed at load beside those of the initialisers, four times over.
pub(crate) const FOLDED: usize = 1 << 24;
/// How often each number of the file may be computed with at load: standardising a weight takes a dozen operators.
pub(crate) const FOLDED_PER_NUMBER: usize = 32;
/// Steps that computing with constants by the graph's operators may take.
pub(crate) const FOLDED_WORK: u64 = 1 << 29;
/// Problems that are reported one by one.
pub(crate) const PROBLEMS: usize = 100;
/// The oldest operator set that is read.
pub(crate) const OLDEST_OPSET: i64 = 7;
/// The newest operator set whose operators are known.
pub(crate) const NEWEST_OPSET: i64 = 26;
