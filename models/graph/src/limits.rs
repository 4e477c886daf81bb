//! The bounds of a network: checked where numbers enter, so that nothing behind can overflow or grow without end.

/// Most numbers of a value, for each item: a quarter of a gigabyte of `f32`. A padded map counts with its padding.
pub const MAX_VALUE_ELEMENTS: usize = 1 << 26;
/// Most bytes of all constants together.
pub const MAX_CONSTANT_BYTES: u64 = 4 << 30;
/// Most constants.
pub const MAX_CONSTANTS: usize = 1 << 17;
/// Most steps of arithmetic for an item, all nodes together: 24 times those of ResNet-152 at 224x224.
pub const MAX_WORK: u64 = 1 << 38;
/// Most nodes.
pub const MAX_NODES: usize = 1 << 16;
/// Most outputs of the network.
pub const MAX_OUTPUTS: usize = 1 << 10;
/// Most axes of a value or a constant.
pub const MAX_AXES: usize = 8;
/// Most numbers under one window: backends unfold a few hundred windows at a time. A 7x7 one over 2,048 channels has
/// 100,352.
pub const MAX_WINDOW_ELEMENTS: usize = 1 << 17;
/// The largest stride, dilation or padding: what executors add and multiply them with stays far from an overflow.
pub const MAX_WINDOW_STEP: usize = 1 << 20;
/// The largest height or width of a resized map.
pub const MAX_RESIZED: usize = 1 << 16;
/// Most bytes of the name of a node, a value or a constant; the rest is cut off.
pub const MAX_NAME_BYTES: usize = 256;
