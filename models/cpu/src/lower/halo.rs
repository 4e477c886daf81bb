//! How convolutions are computed, and what padding their inputs therefore need.

use millrace_graph::{Convolution, Graph, Op, Operand, ValueId};

use crate::kernels::TILE;
use crate::layout::Halo;

use super::{map_sizes, transposed};

/// How a convolution is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// One loop over taps and input channels.
    Direct,
    /// No sums over channels.
    Depthwise,
    /// 36 products in place of 144.
    Winograd,
}

/// Channels in and out from which Winograd's method is faster.
const WINOGRAD_CHANNELS_MIN: usize = 32;

/// Pixels along an axis from which it is: tiles at the edge compute results that nobody needs.
const WINOGRAD_LENGTH_MIN: usize = 10;

/// How this convolution is computed.
pub(crate) fn method(graph: &Graph, convolution: &Convolution, input: ValueId, output: ValueId) -> Method {
    let (Some([inputs, ..]), Some([outputs, height, width])) = (map_sizes(graph, input), map_sizes(graph, output))
    else {
        return Method::Direct;
    };
    let window = &convolution.window;
    if convolution.groups == inputs && inputs == outputs && inputs > 1 {
        return Method::Depthwise;
    }
    let fits = window.kernel == [3, 3] && window.stride == [1, 1] && window.dilation == [1, 1];
    let wide = inputs >= WINOGRAD_CHANNELS_MIN && outputs >= WINOGRAD_CHANNELS_MIN;
    let large = height >= WINOGRAD_LENGTH_MIN && width >= WINOGRAD_LENGTH_MIN;
    match convolution.groups == 1 && fits && wide && large {
        true => Method::Winograd,
        false => Method::Direct,
    }
}

/// The padding that a convolution reads.
pub(crate) fn needed(graph: &Graph, convolution: &Convolution, input: ValueId, output: ValueId) -> Halo {
    let (Some([_, height, width]), Some([_, out_height, out_width])) =
        (map_sizes(graph, input), map_sizes(graph, output))
    else {
        return Halo::default();
    };
    let window = &convolution.window;
    let [top, left] = window.before;
    let winograd = method(graph, convolution, input, output) == Method::Winograd;
    let behind = |axis: usize, length: usize, results: usize, before: usize| {
        let at = |numbers: [usize; 2]| if axis == 0 { numbers[0] } else { numbers[1] };
        let reach = match winograd {
            true => results.div_ceil(TILE) * TILE + 2,
            false => results.saturating_sub(1) * at(window.stride) + (at(window.kernel) - 1) * at(window.dilation) + 1,
        };
        reach.saturating_sub(before + length)
    };
    Halo {
        top,
        left,
        bottom: behind(0, height, out_height, top),
        right: behind(1, width, out_width, left),
    }
}

/// The halo of each value: what all its readers need.
pub(crate) fn halos(graph: &Graph, lanes: usize) -> Vec<Halo> {
    let mut halos = vec![Halo::default(); graph.values().len()];
    for node in graph.nodes() {
        let Some(Operand::Value(input)) = node.inputs.first() else {
            continue;
        };
        let read = match &node.op {
            Op::Convolution(convolution) => needed(graph, convolution, *input, node.output),
            Op::TransposedConvolution(convolution) => transposed::needed(graph, convolution, *input, node.output),
            _ => continue,
        };
        if let Some(halo) = halos.get_mut(input.index()) {
            *halo = halo.union(read);
        }
    }
    // What is concatenated shares the planes of the whole.
    for node in graph.nodes().iter().rev() {
        if !is_channel_concat(graph, node, lanes) {
            continue;
        }
        let all: Vec<usize> = values(&node.inputs)
            .map(ValueId::index)
            .chain([node.output.index()])
            .collect();
        let union = all
            .iter()
            .filter_map(|index| halos.get(*index))
            .fold(Halo::default(), |sum, halo| sum.union(*halo));
        for index in all {
            if let Some(halo) = halos.get_mut(index) {
                *halo = union;
            }
        }
    }
    halos
}

/// Whether a node puts maps one behind another along the channels, each but the last in whole blocks.
pub(crate) fn is_channel_concat(graph: &Graph, node: &millrace_graph::Node, lanes: usize) -> bool {
    let Op::Concat { axis: 1 } = node.op else { return false };
    let all_maps = node
        .inputs
        .iter()
        .all(|input| matches!(input, Operand::Value(value) if map_sizes(graph, *value).is_some()));
    let before_last = node.inputs.len().saturating_sub(1);
    all_maps
        && values(&node.inputs)
            .take(before_last)
            .all(|value| map_sizes(graph, value).is_some_and(|[channels, ..]| channels.is_multiple_of(lanes)))
}

/// Those operands that are values.
pub(crate) fn values(operands: &[Operand]) -> impl Iterator<Item = ValueId> {
    operands.iter().filter_map(|operand| match operand {
        Operand::Value(value) => Some(*value),
        Operand::Constant(_) => None,
    })
}
