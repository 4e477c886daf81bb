//! Convolutions and transposed convolutions, in one dimension and two.

use millrace_graph::{Axis, Convolution, Op, Operand, Shape, TransposedConvolution, Window};

use crate::known::{self, Kind, Tensor};
use crate::lower::call::Call;
use crate::lower::emit::Emitter;
use crate::lower::ops::{Answer, one};
use crate::lower::value::Value;
use crate::problem::{Refusal, advise, refuse};

/// The attributes that say how a window moves, for one dimension or two.
pub(super) struct Moves {
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
    /// Nothing where they follow from the sizes.
    pub(super) pads: Option<([usize; 2], [usize; 2])>,
    /// Where they do, whether the odd one is at the end.
    pub(super) odd_at_end: bool,
}

/// The axes of a map, in as many dimensions.
pub(super) struct Map {
    pub(super) operand: Operand,
    pub(super) size: [usize; 2],
    /// Whether it has one dimension only: its height is 1 then.
    pub(super) flat: bool,
}

/// A number for each spatial dimension, as height and width.
pub(super) fn pair(name: &str, numbers: &[i64], flat: bool, first: usize) -> Result<[usize; 2], Refusal> {
    let wrong = || {
        refuse(format!(
            "attribute `{name}` is {:?}",
            numbers.iter().take(8).collect::<Vec<_>>()
        ))
    };
    let number = |number: &i64| usize::try_from(*number).map_err(|_| wrong());
    match (numbers, flat) {
        ([width], true) => Ok([first, number(width)?]),
        ([height, width], false) => Ok([number(height)?, number(width)?]),
        _ => Err(wrong()),
    }
}

impl Moves {
    pub(super) fn of(call: &Call<'_, '_>, kernel: &[usize], flat: bool) -> Result<Self, Refusal> {
        let of = |name: &str| match call.ints(name)? {
            Some(numbers) => pair(name, &numbers, flat, 1),
            None => Ok([1, 1]),
        };
        let declared: Vec<i64> = kernel.iter().map(|k| i64::try_from(*k).unwrap_or(-1)).collect();
        if let Some(shape) = call.ints("kernel_shape")?
            && shape != declared
        {
            return Err(refuse(format!(
                "its kernel is {kernel:?}, and attribute `kernel_shape` says otherwise"
            )));
        }
        let (pads, odd_at_end) = match call.text_or("auto_pad", "NOTSET")? {
            "NOTSET" | "" => (Some(pads(call, flat)?), true),
            "VALID" => (Some(([0, 0], [0, 0])), true),
            "SAME_UPPER" => (None, true),
            "SAME_LOWER" => (None, false),
            other => return Err(refuse(format!("auto_pad `{}` is not known", crate::shown(other)))),
        };
        let moves = Self {
            kernel: pair("kernel_shape", &declared, flat, 1)?,
            stride: of("strides")?,
            dilation: of("dilations")?,
            pads,
            odd_at_end,
        };
        let all = [moves.kernel, moves.stride, moves.dilation].concat();
        match all.iter().all(|number| (1..=1 << 20).contains(number)) {
            true => Ok(moves),
            false => Err(refuse("a kernel, stride or dilation is below 1 or beyond a million")),
        }
    }

    /// How far a window reaches.
    pub(super) fn reach(&self) -> [usize; 2] {
        let [height, width] = self.kernel;
        let [down, right] = self.dilation;
        [
            down.saturating_mul(height.saturating_sub(1)).saturating_add(1),
            right.saturating_mul(width.saturating_sub(1)).saturating_add(1),
        ]
    }

    /// The pads, where they follow from the size of the map.
    pub(super) fn pads_for(&self, size: [usize; 2]) -> ([usize; 2], [usize; 2]) {
        if let Some(pads) = self.pads {
            return pads;
        }
        let along = |size: usize, stride: usize, reach: usize| {
            let out = size.div_ceil(stride.max(1));
            let total = out
                .saturating_sub(1)
                .saturating_mul(stride)
                .saturating_add(reach)
                .saturating_sub(size);
            let (less, more) = (total / 2, total.div_ceil(2));
            if self.odd_at_end { (less, more) } else { (more, less) }
        };
        let ([height, width], [down, right], [tall, wide]) = (size, self.stride, self.reach());
        let ((above, below), (left, behind)) = (along(height, down, tall), along(width, right, wide));
        ([above, left], [below, behind])
    }

    /// Whether `auto_pad` would have to take lines away from the map, because strides skip more than the kernel reaches.
    fn auto_pad_cuts(&self, size: [usize; 2]) -> bool {
        let reach = self.reach();
        let mut along = size.iter().zip(&self.stride).zip(&reach);
        self.pads.is_none()
            && along.any(|((size, stride), reach)| {
                let last = size
                    .div_ceil((*stride).max(1))
                    .saturating_sub(1)
                    .saturating_mul(*stride);
                // One line is left over at the end in every runtime.
                last.saturating_add(*reach).saturating_add(1) < *size
            })
    }

    pub(super) fn window(&self, (before, after): ([usize; 2], [usize; 2])) -> Window {
        Window {
            kernel: self.kernel,
            stride: self.stride,
            dilation: self.dilation,
            before,
            after,
        }
    }
}

fn pads(call: &Call<'_, '_>, flat: bool) -> Result<([usize; 2], [usize; 2]), Refusal> {
    let Some(pads) = call.ints("pads")? else {
        return Ok(([0, 0], [0, 0]));
    };
    if pads.iter().any(|pad| *pad < 0) {
        return Err(advise("it has pads below 0", "cut the map by a Slice before it"));
    }
    let (before, after) = pads.split_at(pads.len() / 2);
    Ok((pair("pads", before, flat, 0)?, pair("pads", after, flat, 0)?))
}

impl Map {
    /// A value as a map: in one dimension it gets a height of 1.
    pub(super) fn of(em: &mut Emitter, value: &Value) -> Result<Self, Refusal> {
        let shape = em.shape(value)?;
        let operand = em.operand(value)?;
        match shape.0[..] {
            [items, channels, width] => {
                let shape = Shape(vec![items, channels, Axis::fixed(1), width]);
                Ok(Self {
                    operand: em.reshape(operand, shape)?,
                    size: [1, width.size],
                    flat: true,
                })
            }
            [_, _, height, width] => Ok(Self {
                operand,
                size: [height.size, width.size],
                flat: false,
            }),
            _ => Err(advise(
                format!(
                    "its input has {} axes: only one and two dimensions are supported",
                    shape.rank()
                ),
                "no network over volumes or video is supported",
            )),
        }
    }

    /// A result in as many dimensions as the map had.
    pub(super) fn back(&self, em: &mut Emitter, result: Operand, kind: Kind) -> Result<Value, Refusal> {
        let mut shape = em.shape_of(result);
        if self.flat {
            shape.0.remove(2);
        }
        let result = em.reshape(result, shape)?;
        em.given(result, kind)
    }
}

/// The weight, in two dimensions.
fn weight(call: &Call<'_, '_>, em: &mut Emitter, flat: bool) -> Result<Tensor, Refusal> {
    let Value::Known(weight) = call.input(1)? else {
        return Err(advise(
            "its weight is computed from the input",
            "convolutions whose weights depend on the picture are not supported",
        ));
    };
    match (&weight.dims[..], flat) {
        ([_, _, _, _], false) => Ok(weight.clone()),
        ([out, part, width], true) => Ok(known::reshape(weight, vec![*out, *part, 1, *width], &mut em.budget)?),
        (dims, _) => Err(refuse(format!(
            "its weight has shape {dims:?}, which does not go with its input"
        ))),
    }
}

fn bias(call: &Call<'_, '_>, em: &mut Emitter) -> Result<Option<millrace_graph::ConstantId>, Refusal> {
    match call.known(2, "bias")? {
        Some(bias) => em.constant(bias).map(Some),
        None => Ok(None),
    }
}

fn groups(call: &Call<'_, '_>) -> Result<usize, Refusal> {
    let groups = call.int_or("group", 1)?;
    usize::try_from(groups)
        .ok()
        .filter(|groups| *groups > 0)
        .ok_or_else(|| refuse(format!("it has {groups} groups")))
}

/// Refuses whole numbers: the standard has no such convolution.
fn of_numbers(call: &Call<'_, '_>) -> Result<(), Refusal> {
    match (call.input(0)?.kind(), call.input(1)?.kind()) {
        (Kind::Float, Kind::Float) => Ok(()),
        _ => Err(advise("it is of whole numbers", "cast its input to float32 before")),
    }
}

pub(crate) fn convolution(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    of_numbers(call)?;
    let map = Map::of(em, call.input(0)?)?;
    let weight = weight(call, em, map.flat)?;
    let kernel = weight.dims.get(if map.flat { 3.. } else { 2.. }).unwrap_or_default();
    let moves = Moves::of(call, kernel, map.flat)?;
    if moves.auto_pad_cuts(map.size) {
        return Err(advise(
            "`auto_pad` with strides that skip more than the kernel reaches: runtimes begin at different places",
            "export it with explicit `pads`",
        ));
    }
    let op = Convolution {
        weight: em.constant(&weight)?,
        bias: bias(call, em)?,
        window: moves.window(moves.pads_for(map.size)),
        groups: groups(call)?,
        residual: false,
        activation: None,
    };
    let result = em.emit(Op::Convolution(op), &[map.operand])?;
    one(map.back(em, result, Kind::Float)?)
}

pub(crate) fn transposed(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    of_numbers(call)?;
    let map = Map::of(em, call.input(0)?)?;
    let weight = weight(call, em, map.flat)?;
    let kernel = weight.dims.get(if map.flat { 3.. } else { 2.. }).unwrap_or_default();
    let moves = Moves::of(call, kernel, map.flat)?;
    let padding = match call.ints("output_padding")? {
        Some(numbers) if !numbers.is_empty() => pair("output_padding", &numbers, map.flat, 0)?,
        _ => [0, 0],
    };
    let shape = match call.ints("output_shape")? {
        // Some writers give the items and channels as well.
        Some(numbers) if !numbers.is_empty() => {
            let spatial = numbers.get(numbers.len().saturating_sub(if map.flat { 1 } else { 2 })..);
            Some(pair("output_shape", spatial.unwrap_or_default(), map.flat, 1)?)
        }
        _ => None,
    };
    let (pads, padding) = cut(&moves, &map, padding, shape)?;
    let op = TransposedConvolution {
        weight: em.constant(&weight)?,
        bias: bias(call, em)?,
        window: moves.window(pads),
        output_padding: padding,
        groups: groups(call)?,
    };
    let result = em.emit(Op::TransposedConvolution(op), &[map.operand])?;
    one(map.back(em, result, Kind::Float)?)
}

type Pads = ([usize; 2], [usize; 2]);

/// What is cut off the result, and what is added to its end.
fn cut(
    moves: &Moves,
    map: &Map,
    padding: [usize; 2],
    shape: Option<[usize; 2]>,
) -> Result<(Pads, [usize; 2]), Refusal> {
    let is_same = moves.pads.is_none();
    if let (None, Some(pads)) = (shape, moves.pads) {
        return Ok((pads, padding));
    }
    let (mut before, mut after, mut more) = ([0; 2], [0; 2], padding);
    let reach = moves.reach();
    for axis in 0..2 {
        let at = |numbers: &[usize; 2]| numbers.get(axis).copied().unwrap_or(0);
        let size = at(&map.size);
        if map.flat && axis == 0 {
            continue;
        }
        let full = at(&moves.stride)
            .saturating_mul(size.saturating_sub(1))
            .saturating_add(at(&reach))
            .saturating_add(at(&padding));
        // Without a shape, `SAME` makes it as many times larger as the stride says.
        let wanted = shape.map_or_else(|| size.saturating_mul(at(&moves.stride)), |shape| at(&shape));
        let total = full.saturating_sub(wanted);
        let (less, rest) = (total / 2, total.div_ceil(2));
        // So the standard says: the odd one is at the end for SAME_UPPER alone.
        let upper = is_same && moves.odd_at_end;
        let (start, end) = if upper { (less, rest) } else { (rest, less) };
        for (place, number) in [
            (before.get_mut(axis), start),
            (after.get_mut(axis), end),
            (
                more.get_mut(axis),
                at(&padding).saturating_add(wanted.saturating_sub(full)),
            ),
        ] {
            if let Some(place) = place {
                *place = number;
            }
        }
    }
    Ok(((before, after), more))
}
