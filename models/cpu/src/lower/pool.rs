//! Pools and means over maps.

use millrace_graph::{Adaptive, Node, Pool, PoolKind, Reduction, ValueId};

use crate::kernels::{Span, Windows};
use crate::layout::Map;
use crate::steps::PoolStep;

use super::{Lowering, Refusal};

impl Lowering<'_> {
    pub(super) fn pool(&mut self, node: &Node, pool: &Pool) -> Result<(), Refusal> {
        let input = self.value(node, 0)?;
        let [_, height, width] = self.map_sizes(input).ok_or("its input is no map of each item")?;
        let [_, out_height, out_width] = self.map_sizes(node.output).ok_or("its result is no map of each item")?;
        let window = &pool.window;
        let spans = |axis: usize, length: usize, results: usize| -> Vec<Span> {
            let at = |numbers: [usize; 2]| if axis == 0 { numbers[0] } else { numbers[1] };
            let (stride, dilation, before) = (at(window.stride), at(window.dilation), at(window.before));
            let counted = match pool.kind {
                PoolKind::AverageWithPadding { counted } => Some(at(counted)),
                PoolKind::Max | PoolKind::Average => None,
            };
            (0..results)
                .map(|result| {
                    let taps = (0..at(window.kernel)).map(|tap| result * stride + tap * dilation);
                    let inside = |place: &usize| *place >= before && *place < before + length;
                    let mut within = taps.clone().filter(inside);
                    let start = within.next();
                    let count = start.map_or(0, |_| 1 + within.count());
                    let divisor = counted.map_or(count, |counted| {
                        taps.filter(|place| *place < before + length + counted).count()
                    });
                    Span {
                        start: start.unwrap_or(before) - before,
                        count,
                        divisor,
                    }
                })
                .collect()
        };
        let rows = spans(0, height, out_height);
        let columns = spans(1, width, out_width);
        let windows = Windows::new(rows, columns, window.dilation, [height, width])
            .ok_or("a window of it lies in the padding alone")?;
        self.push_pool(node, input, windows, pool.kind != PoolKind::Max)
    }

    pub(super) fn adaptive_average(&mut self, node: &Node, adaptive: &Adaptive) -> Result<(), Refusal> {
        let input = self.value(node, 0)?;
        let [_, height, width] = self.map_sizes(input).ok_or("its input is no map of each item")?;
        let [out_height, out_width] = adaptive.out;
        let spans = |length: usize, results: usize| -> Vec<Span> {
            let part = |result: usize| {
                let (start, end) = (result * length / results, ((result + 1) * length).div_ceil(results));
                Span {
                    start,
                    count: end - start,
                    divisor: end - start,
                }
            };
            (0..results).map(part).collect()
        };
        let windows = Windows::new(
            spans(height, out_height),
            spans(width, out_width),
            [1, 1],
            [height, width],
        )
        .ok_or("it averages nothing")?;
        self.push_pool(node, input, windows, true)
    }

    /// Means over height and width; other reductions are left to the plain way.
    pub(super) fn reduce(&mut self, node: &Node, reduction: Reduction, axes: &[usize]) -> Result<(), Refusal> {
        let input = self.value(node, 0)?;
        let average = match reduction {
            Reduction::Mean => true,
            Reduction::Max => false,
            _ => return Err(format!("{reduction:?} is not lowered yet")),
        };
        let (Some([channels, height, width]), [2, 3]) = (self.map_sizes(input), axes) else {
            return Err("only over height and width of a map yet".to_owned());
        };
        let whole = |length: usize| {
            vec![Span {
                start: 0,
                count: length,
                divisor: length,
            }]
        };
        let windows =
            Windows::new(whole(height), whole(width), [1, 1], [height, width]).ok_or("it averages nothing")?;
        if self.map_sizes(node.output).is_some() {
            return self.push_pool(node, input, windows, average);
        }
        let lanes = self.kernels.lanes();
        let to = Map {
            lanes,
            ..Map::planar(channels, 1, 1)
        };
        let output = self.new_map(to);
        self.set_map(node.output, output, to);
        self.push_pool_to(input, windows, average, (output, to))
    }

    fn push_pool(&mut self, node: &Node, input: ValueId, windows: Windows, average: bool) -> Result<(), Refusal> {
        // The input first: its conversion, where it needs one, comes before.
        self.blocked_map(input)?;
        let to = self.output_map(node)?;
        self.push_pool_to(input, windows, average, to)
    }

    fn push_pool_to(
        &mut self,
        input: ValueId,
        windows: Windows,
        average: bool,
        (output, to): (crate::step::Place, Map),
    ) -> Result<(), Refusal> {
        let (place, from) = self.blocked_map(input)?;
        let step = PoolStep {
            kernels: self.kernels,
            input: place,
            from,
            output,
            to,
            windows,
            average,
        };
        self.push(step, &[place, output]);
        Ok(())
    }
}
