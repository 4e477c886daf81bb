//! Normalisations.

use millrace_graph::{Binary, ConstantId, GroupNorm, LayerNorm, Op, Reduction, Unary};

use crate::known::{self, Kind, Tensor};
use crate::lower::call::{self, Call};
use crate::lower::emit::{Emitter, MIXES};
use crate::lower::ops::{Answer, one};
use crate::lower::value::Value;
use crate::problem::{Refusal, advise, refuse};

/// Refuses outputs beyond the first: they are for training.
fn only_first(call: &Call<'_, '_>) -> Result<(), Refusal> {
    match call.wanted.iter().skip(1).any(|wanted| *wanted) {
        true => Err(advise(
            "outputs beyond the first are used",
            "export the network in evaluation mode",
        )),
        false => Ok(()),
    }
}

fn is_number(tensor: &Tensor, length: usize) -> bool {
    tensor.data.len() == length && tensor.data.kind() == Kind::Float
}

/// With statistics that are known: a factor and a shift for each channel.
pub(crate) fn batch_norm(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    const EXPORT: &str = "call `model.eval()` before the export";
    let x = call.input(0)?;
    // Before operator set 14 the other outputs say it.
    let is_training = match call.version {
        ..14 => call.wanted.len() > 1,
        _ => call.flag("training_mode", false)?,
    };
    if is_training {
        // Networks that standardise their weights say it so.
        return match x {
            Value::Known(weight) if !call.wanted.iter().skip(1).any(|wanted| *wanted) => standardised(em, call, weight),
            _ => Err(advise("it is in training mode", EXPORT)),
        };
    }
    if !call.flag("spatial", true)? {
        return Err(refuse("`spatial = 0` is not supported"));
    }
    if call.wanted.iter().skip(1).any(|wanted| *wanted) {
        return Err(advise("outputs beyond the first are used", EXPORT));
    }
    let epsilon = f64::from(call.float_or("epsilon", 1e-5)?);
    let mut numbers = Vec::new();
    for (input, what) in [(1, "scale"), (2, "shift"), (3, "mean"), (4, "variance")] {
        numbers.push(
            call.known_floats(input, what)?
                .ok_or_else(|| refuse(format!("it has no {what}")))?,
        );
    }
    let [scale, shift, mean, variance] = &numbers[..] else {
        return Err(refuse("it has too few inputs"));
    };
    let channels = em.shape(x)?.0.get(1).map_or(0, |axis| axis.size);
    if let Some(numbers) = numbers.iter().find(|numbers| numbers.len() != channels) {
        return Err(refuse(format!(
            "its input has {channels} channels, and its statistics are of {}",
            numbers.len()
        )));
    }
    let both = scale
        .iter()
        .zip(shift)
        .zip(mean.iter().zip(variance))
        .map(|((scale, shift), (mean, variance))| {
            let factor = f64::from(*scale) / (f64::from(*variance) + epsilon).sqrt();
            (factor as f32, (f64::from(*shift) - f64::from(*mean) * factor) as f32)
        });
    let (factor, shift): (Vec<f32>, Vec<f32>) = both.unzip();
    let op = Op::Scale {
        factor: em.vector(factor)?,
        shift: em.vector(shift)?,
    };
    let operand = em.operand(x)?;
    one(em.value(op, &[operand], Kind::Float)?)
}

/// Known numbers less their mean, divided by their deviation, for each channel (axis 1).
fn standardised(em: &mut Emitter, call: &Call<'_, '_>, x: &Tensor) -> Answer {
    let channels = x
        .dims
        .get(1)
        .copied()
        .filter(|channels| *channels > 0)
        .ok_or_else(|| refuse("its input has no channels"))?;
    let scale = call.known_floats(1, "scale")?.filter(|scale| scale.len() == channels);
    let shift = call.known_floats(2, "shift")?.filter(|shift| shift.len() == channels);
    let (scale, shift) = scale
        .zip(shift)
        .ok_or_else(|| refuse("its scale or shift is of another number of channels"))?;
    let data = x
        .data
        .floats()
        .ok_or_else(|| refuse("its input depends on how many items a batch has"))?;
    em.budget.spend(&x.dims)?;
    let inner = x
        .dims
        .iter()
        .skip(2)
        .copied()
        .fold(1_usize, usize::saturating_mul)
        .max(1);
    let epsilon = f64::from(call.float_or("epsilon", 1e-5)?);
    let mut sums = vec![(0.0_f64, 0.0_f64, 0.0_f64); channels];
    for (block, channel) in data.chunks(inner).zip((0..channels).cycle()) {
        if let Some((count, sum, _)) = sums.get_mut(channel) {
            *count += block.len() as f64;
            *sum += block.iter().map(|x| f64::from(*x)).sum::<f64>();
        }
    }
    for (block, channel) in data.chunks(inner).zip((0..channels).cycle()) {
        if let Some((count, sum, squares)) = sums.get_mut(channel) {
            let mean = *sum / *count;
            *squares += block.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>();
        }
    }
    let affine: Vec<(f64, f64)> = sums
        .iter()
        .zip(scale.iter().zip(&shift))
        .map(|((count, sum, squares), (scale, shift))| {
            let factor = f64::from(*scale) / (squares / count + epsilon).sqrt();
            (factor, f64::from(*shift) - sum / count * factor)
        })
        .collect();
    let blocks = data.chunks(inner).zip(affine.iter().cycle());
    let result =
        blocks.flat_map(|(block, (factor, shift))| block.iter().map(move |x| (f64::from(*x) * factor + shift) as f32));
    one(Value::Known(Tensor::floats(x.dims.clone(), result.collect())))
}

/// Over the last axes; a scale or shift that is computed is applied behind.
pub(crate) fn layer_norm(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    only_first(call)?;
    let x = call.input(0)?;
    let shape = em.shape(x)?;
    let first = call::axis(call.int_or("axis", -1)?, shape.rank())?;
    let dims: Vec<usize> = shape.0.iter().skip(first).map(|axis| axis.size).collect();
    let mut known = Vec::new();
    for input in [1, 2] {
        known.push(match call.optional(input) {
            Some(Value::Known(tensor)) => {
                let tensor = known::expand(tensor, &dims, &mut em.budget)?;
                if !is_number(&tensor, dims.iter().copied().fold(1, usize::saturating_mul)) {
                    return Err(refuse(format!(
                        "its scale or shift has shape {:?}; the axes are {dims:?}",
                        tensor.dims
                    )));
                }
                Some(em.constant(&tensor)?)
            }
            _ => None,
        });
    }
    let [scale, shift] = known[..] else {
        return Err(refuse("it has too few inputs"));
    };
    let is_known = |input: usize| call.optional(input).is_none_or(|value| value.known().is_some());
    let later = !is_known(1) || !is_known(2);
    let op = LayerNorm {
        axes: dims.len(),
        epsilon: call.float_or("epsilon", 1e-5)?.into(),
        scale: scale.filter(|_| !later),
        shift: shift.filter(|_| !later),
    };
    let operand = em.operand(x)?;
    let mut result = em.emit(Op::LayerNorm(op), &[operand])?;
    if later {
        for (input, binary) in [(1, Binary::Mul), (2, Binary::Add)] {
            if let Some(value) = call.optional(input) {
                let other = em.operand(value)?;
                result = em.binary(binary, result, other)?;
            }
        }
    }
    one(em.given(result, Kind::Float)?)
}

/// `x / sqrt(mean of squares + epsilon) · scale` over the last axes.
pub(crate) fn root_mean_square(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = call.input(0)?;
    let rank = em.shape(x)?.rank();
    let first = call::axis(call.int_or("axis", -1)?, rank)?;
    let operand = em.operand(x)?;
    let squares = em.binary(Binary::Mul, operand, operand)?;
    let op = Op::Reduce {
        reduction: Reduction::Mean,
        axes: (first..rank).collect(),
        keep: true,
    };
    let mean = em.emit(op, &[squares])?;
    let epsilon = em.number(call.float_or("epsilon", 1e-5)?)?;
    let sum = em.binary(Binary::Add, mean, epsilon)?;
    let root = em.unary(Unary::Sqrt, sum)?;
    let mut result = em.binary(Binary::Div, operand, root)?;
    if let Some(scale) = call.optional(1) {
        let scale = em.operand(scale)?;
        result = em.binary(Binary::Mul, result, scale)?;
    }
    one(em.given(result, Kind::Float)?)
}

/// Group norm, and instance norm, which has as many groups as channels.
pub(crate) fn group_norm(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = call.input(0)?;
    let channels = em.shape(x)?.0.get(1).map_or(0, |axis| axis.size);
    let is_instance = call.operator == "InstanceNormalization";
    let groups = match is_instance {
        true => Some(channels),
        false => call.int("num_groups")?.and_then(|groups| usize::try_from(groups).ok()),
    };
    let groups = groups.filter(|groups| *groups > 0 && *groups <= channels);
    let groups = groups.ok_or_else(|| refuse("`num_groups` is missing, or more than there are channels"))?;
    let mut vector = |input: usize, what: &str| -> Result<Option<ConstantId>, Refusal> {
        let Some(numbers) = call.known_floats(input, what)? else {
            return Ok(None);
        };
        // In operator set 18 there is a number for each group.
        let each = match numbers.len() {
            length if length == channels => 1,
            length if length == groups => channels / groups,
            length => {
                return Err(refuse(format!(
                    "its {what} has {length} numbers for {channels} channels"
                )));
            }
        };
        let numbers = numbers
            .iter()
            .flat_map(|number| std::iter::repeat_n(*number, each))
            .collect();
        em.vector(numbers).map(Some)
    };
    let op = GroupNorm {
        groups,
        epsilon: call.float_or("epsilon", 1e-5)?.into(),
        scale: vector(1, "scale")?,
        shift: vector(2, "shift")?,
    };
    let operand = em.operand(x)?;
    one(em.value(Op::GroupNorm(op), &[operand], Kind::Float)?)
}

/// `x` divided by its norm along an axis; 0 where that is 0.
pub(crate) fn lp_norm(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = call.input(0)?;
    let axis = call::axis(call.int_or("axis", -1)?, em.shape(x)?.rank())?;
    let reduction = match call.int_or("p", 2)? {
        1 => Reduction::L1,
        2 => Reduction::L2,
        p => return Err(refuse(format!("p = {p} is not supported; 1 and 2 are"))),
    };
    let operand = em.operand(x)?;
    let norm = em.emit(
        Op::Reduce {
            reduction,
            axes: vec![axis],
            keep: true,
        },
        &[operand],
    )?;
    let least = em.number(f32::MIN_POSITIVE)?;
    let norm = em.binary(Binary::Max, norm, least)?;
    let result = em.binary(Binary::Div, operand, norm)?;
    one(em.given(result, Kind::Float)?)
}

/// `(x - mean) / (deviation + 1e-9)` along axes.
pub(crate) fn mean_variance(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = call.input(0)?;
    let shape = em.shape(x)?;
    let axes = call.ints("axes")?.unwrap_or_else(|| vec![0, 2, 3]);
    let axes = call::sorted_axes(&axes, shape.rank())?;
    if axes
        .iter()
        .filter_map(|axis| shape.0.get(*axis))
        .any(|axis| axis.batched)
    {
        return Err(advise("it normalises over the items of a batch", MIXES));
    }
    let operand = em.operand(x)?;
    let mean = |em: &mut Emitter, operand| {
        let op = Op::Reduce {
            reduction: Reduction::Mean,
            axes: axes.clone(),
            keep: true,
        };
        em.emit(op, &[operand])
    };
    let average = mean(em, operand)?;
    let centred = em.binary(Binary::Sub, operand, average)?;
    let squares = em.binary(Binary::Mul, centred, centred)?;
    let variance = mean(em, squares)?;
    let deviation = em.unary(Unary::Sqrt, variance)?;
    let epsilon = em.number(1e-9)?;
    let divisor = em.binary(Binary::Add, deviation, epsilon)?;
    let result = em.binary(Binary::Div, centred, divisor)?;
    one(em.given(result, Kind::Float)?)
}
