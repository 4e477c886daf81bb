//! Resize and Upsample of every version.

use millrace_graph::{Axis, Coordinates, Interpolation, Op, Operand, Rounding, Shape};

use crate::known::Tensor;
use crate::lower::call::{self, Call};
use crate::lower::emit::Emitter;
use crate::lower::ops::antialias::{self, Filter};
use crate::lower::ops::layout::length;
use crate::lower::ops::{Answer, one};
use crate::problem::{Refusal, advise, refuse};

/// What becomes of an axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) out: usize,
    pub(super) scale: f32,
}

impl Target {
    fn same(axis: Axis) -> Self {
        Self {
            out: axis.size,
            scale: 1.0,
        }
    }

    fn keeps(self, axis: Axis) -> bool {
        self.out == axis.size && self.scale == 1.0
    }
}

/// What to do about the modes that no network of PyTorch's has.
pub(super) const MODES: &str = "export with `align_corners=False` or `True`, as PyTorch does";

pub(crate) fn resize(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = call.input(0)?;
    let shape = em.shape(x)?;
    let targets = targets(call, &shape)?;
    let is_old = call.operator == "Upsample" || call.version < 11;
    let coordinates = match is_old {
        true => Coordinates::Asymmetric,
        false => coordinates(call)?,
    };
    let mut result = em.operand(x)?;
    let changed: Vec<usize> = (0..shape.rank())
        .filter(|at| {
            shape
                .0
                .get(*at)
                .zip(targets.get(*at))
                .is_some_and(|(axis, target)| !target.keeps(*axis))
        })
        .collect();
    if call.flag("antialias", false)? {
        for axis in changed {
            let Some(target) = targets.get(axis) else { continue };
            let filter = Filter::of(how(call, is_old, Some(target))?, call.flag("exclude_outside", false)?)?;
            result = antialias::along(em, result, axis, *target, (filter, coordinates))?;
        }
        return one(em.given(result, x.kind())?);
    }
    let mut rest = &changed[..];
    while let [first, others @ ..] = rest {
        let way = how(call, is_old, targets.get(*first))?;
        // Every way is one of single axes: two at a time are what the graph's operator takes.
        let second = others.first().copied();
        let fits = match second {
            Some(second) => how(call, is_old, targets.get(second))? == way,
            None => false,
        };
        let axes = match second.filter(|_| fits) {
            Some(second) => {
                rest = others.get(1..).unwrap_or_default();
                [*first, second]
            }
            None => {
                rest = others;
                beside(em, result, *first)?
            }
        };
        let kept = second.filter(|second| fits && axes.contains(second));
        let chosen = axes.map(|axis| match axis == *first || Some(axis) == kept {
            true => targets.get(axis).copied(),
            false => em.shape_of(result).0.get(axis).copied().map(Target::same),
        });
        result = along(em, result, axes, chosen, (way, coordinates))?;
    }
    one(em.given(result, x.kind())?)
}

/// An axis beside the one that is resized, which stays as it is.
fn beside(em: &Emitter, x: Operand, axis: usize) -> Result<[usize; 2], Refusal> {
    let shape = em.shape_of(x);
    let is_free = |at: &usize| *at != axis && shape.0.get(*at).is_some_and(|axis| !axis.batched);
    let other = (0..shape.rank())
        .rev()
        .find(is_free)
        .ok_or_else(|| refuse("its input has too few axes"))?;
    Ok([axis.min(other), axis.max(other)])
}

/// Two axes to other lengths.
fn along(
    em: &mut Emitter,
    x: Operand,
    axes: [usize; 2],
    targets: [Option<Target>; 2],
    (interpolation, coordinates): (Interpolation, Coordinates),
) -> Result<Operand, Refusal> {
    let [Some(first), Some(second)] = targets else {
        return Err(refuse("its axis is beyond the last"));
    };
    let rank = em.shape_of(x).rank();
    let order: Vec<usize> = (0..rank).filter(|axis| !axes.contains(axis)).chain(axes).collect();
    let back: Vec<usize> = (0..rank)
        .filter_map(|axis| order.iter().position(|at| *at == axis))
        .collect();
    let op = millrace_graph::Resize {
        out: [first.out, second.out],
        scale: [first.scale, second.scale],
        interpolation,
        coordinates,
    };
    let x = em.transpose(x, &order)?;
    let result = em.emit(Op::Resize(op), &[x])?;
    em.transpose(result, &back)
}

fn how(call: &Call<'_, '_>, is_old: bool, target: Option<&Target>) -> Result<Interpolation, Refusal> {
    Ok(match call.text_or("mode", "nearest")? {
        "nearest" if is_old => {
            let is_smaller = target.is_some_and(|target| target.scale < 1.0);
            Interpolation::Nearest(if is_smaller { Rounding::Ceil } else { Rounding::Floor })
        }
        "nearest" => Interpolation::Nearest(match call.text_or("nearest_mode", "round_prefer_floor")? {
            "round_prefer_floor" | "" => Rounding::PreferFloor,
            "round_prefer_ceil" => Rounding::PreferCeil,
            "floor" => Rounding::Floor,
            "ceil" => Rounding::Ceil,
            other => return Err(refuse(format!("nearest_mode `{}` is not known", crate::shown(other)))),
        }),
        "linear" | "bilinear" => Interpolation::Linear,
        "cubic" if !is_old => Interpolation::Cubic {
            coefficient: call.float_or("cubic_coeff_a", -0.75)?,
            exclude_outside: call.flag("exclude_outside", false)?,
        },
        other => return Err(refuse(format!("mode `{}` is not known", crate::shown(other)))),
    })
}

fn coordinates(call: &Call<'_, '_>) -> Result<Coordinates, Refusal> {
    Ok(match call.text_or("coordinate_transformation_mode", "half_pixel")? {
        "half_pixel" => Coordinates::HalfPixel,
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        other @ ("tf_half_pixel_for_nn" | "tf_crop_and_resize") => {
            return Err(advise(
                format!("coordinate_transformation_mode `{other}` is not supported"),
                MODES,
            ));
        }
        other => {
            return Err(refuse(format!(
                "coordinate_transformation_mode `{}` is not known",
                crate::shown(other)
            )));
        }
    })
}

/// What becomes of each axis.
fn targets(call: &Call<'_, '_>, shape: &Shape) -> Result<Vec<Target>, Refusal> {
    let rank = shape.rank();
    let is_old = call.operator == "Upsample" || call.version < 11;
    let scales = match call.floats("scales")? {
        Some(scales) => Some(scales),
        None => call
            .known_floats(if is_old { 1 } else { 2 }, "scales")?
            .filter(|scales| !scales.is_empty()),
    };
    let sizes = match is_old {
        true => None,
        false => call.known(3, "sizes")?.filter(|sizes| sizes.data.len() > 0),
    };
    let axes = match call.ints("axes")? {
        Some(axes) => axes
            .iter()
            .map(|at| call::axis(*at, rank))
            .collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    let mut targets: Vec<Target> = shape.0.iter().copied().map(Target::same).collect();
    let found: Vec<Target> = match (scales, sizes) {
        (Some(scales), None) => by_scales(shape, &axes, &scales)?,
        (None, Some(sizes)) => by_sizes(call, shape, &axes, sizes)?,
        _ => return Err(refuse("it has neither scales nor sizes, or both")),
    };
    if found.len() != axes.len() {
        return Err(refuse(format!(
            "it has {} scales or sizes for {} axes",
            found.len(),
            axes.len()
        )));
    }
    for (at, target) in axes.iter().zip(found) {
        let axis = shape.0.get(*at).copied().unwrap_or(Axis::fixed(1));
        if axis.batched && !target.keeps(axis) {
            return Err(refuse("it changes the number of items of a batch"));
        }
        if target.out == 0 || !(target.scale.is_finite() && target.scale > 0.0) {
            return Err(refuse("a scale or size is 0 or below"));
        }
        if let Some(place) = targets.get_mut(*at) {
            *place = target;
        }
    }
    Ok(targets)
}

fn by_scales(shape: &Shape, axes: &[usize], scales: &[f32]) -> Result<Vec<Target>, Refusal> {
    let target = |(at, scale): (&usize, &f32)| {
        let axis = shape.0.get(*at).copied().unwrap_or(Axis::fixed(1));
        let out = (axis.size as f32 * scale).floor();
        match (0.0..1e9).contains(&out) {
            true => Ok(Target {
                out: out as usize,
                scale: *scale,
            }),
            false => Err(refuse(format!("scale {scale} is impossible"))),
        }
    };
    axes.iter().zip(scales).map(target).collect()
}

fn by_sizes(call: &Call<'_, '_>, shape: &Shape, axes: &[usize], sizes: &Tensor) -> Result<Vec<Target>, Refusal> {
    let sizes = sizes.data.sizes().ok_or_else(|| refuse("its sizes are not whole"))?;
    let lengths: Option<Vec<Axis>> = sizes.iter().map(|size| length(*size)).collect();
    let lengths = lengths.ok_or_else(|| refuse("a size is below 0"))?;
    let own = |at: &usize| shape.0.get(*at).copied().unwrap_or(Axis::fixed(1));
    let scale = |(at, out): (&usize, &Axis)| out.size as f32 / own(at).size as f32;
    let scales: Vec<f32> = axes.iter().zip(&lengths).map(scale).collect();
    let common = match call.text_or("keep_aspect_ratio_policy", "stretch")? {
        "stretch" | "" => None,
        "not_larger" => scales.iter().copied().reduce(f32::min),
        "not_smaller" => scales.iter().copied().reduce(f32::max),
        other => {
            return Err(refuse(format!(
                "keep_aspect_ratio_policy `{}` is not known",
                crate::shown(other)
            )));
        }
    };
    let targets = axes
        .iter()
        .zip(&lengths)
        .zip(&scales)
        .map(|((at, out), scale)| match common {
            None => Target {
                out: out.size,
                scale: *scale,
            },
            Some(common) => Target {
                out: (own(at).size as f32 * common).round() as usize,
                scale: common,
            },
        });
    Ok(targets.collect())
}
