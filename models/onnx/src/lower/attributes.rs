//! Which attributes each operator has, and of which type: all others are refused, since they would change what it computes.

use crate::file::Attribute;
use crate::problem::{Refusal, refuse};
use crate::shown::shown;

/// Operators, and their attributes in any version that is read: each with the letter of its type (see [`TYPES`]).
const KNOWN: &[(&str, &str)] = &[
    ("ArgMax ArgMin", "axis:i keepdims:i select_last_index:i"),
    (
        "AveragePool",
        "auto_pad:s ceil_mode:i count_include_pad:i dilations:I kernel_shape:I pads:I strides:I",
    ),
    ("BatchNormalization", "epsilon:f momentum:f spatial:i training_mode:i"),
    ("Cast", "round_mode:s saturate:i to:i"),
    ("CastLike", "round_mode:s saturate:i"),
    ("Celu Elu LeakyRelu Swish ThresholdedRelu", "alpha:f"),
    ("Clip", "max:f min:f"),
    ("Col2Im", "dilations:I pads:I strides:I"),
    (
        "Concat Flatten Gather GatherElements Hardmax LogSoftmax OneHot Scatter Softmax",
        "axis:i",
    ),
    ("ConcatFromSequence", "axis:i new_axis:i"),
    (
        "Constant",
        "sparse_value:p value:t value_float:f value_floats:F value_int:i value_ints:I value_string:s value_strings:S",
    ),
    ("ConstantOfShape", "value:t"),
    ("Conv", "auto_pad:s dilations:I group:i kernel_shape:I pads:I strides:I"),
    (
        "ConvTranspose",
        "auto_pad:s dilations:I group:i kernel_shape:I output_padding:I output_shape:I pads:I strides:I",
    ),
    ("CumSum", "exclusive:i reverse:i"),
    ("DepthToSpace", "blocksize:i mode:s"),
    ("Dropout", "ratio:f seed:i"),
    ("Einsum", "equation:s"),
    ("GatherND", "batch_dims:i"),
    ("Gelu", "approximate:s"),
    ("Gemm", "alpha:f beta:f transA:i transB:i"),
    ("GlobalLpPool", "p:i"),
    ("GroupNormalization", "epsilon:f num_groups:i stash_type:i"),
    ("HardSigmoid", "alpha:f beta:f"),
    ("IsInf", "detect_negative:i detect_positive:i"),
    ("If", "else_branch:g then_branch:g"),
    ("InstanceNormalization", "epsilon:f"),
    ("LRN", "alpha:f beta:f bias:f size:i"),
    ("LayerNormalization RMSNormalization", "axis:i epsilon:f stash_type:i"),
    ("LpNormalization", "axis:i p:i"),
    (
        "LpPool",
        "auto_pad:s ceil_mode:i dilations:I kernel_shape:I p:i pads:I strides:I",
    ),
    (
        "MaxPool",
        "auto_pad:s ceil_mode:i dilations:I kernel_shape:I pads:I storage_order:i strides:I",
    ),
    ("MeanVarianceNormalization Squeeze Unsqueeze", "axes:I"),
    ("Mod", "fmod:i"),
    ("Pad", "mode:s pads:I value:f"),
    (
        "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare",
        "axes:I keepdims:i noop_with_empty_axes:i",
    ),
    ("Reshape", "allowzero:i shape:I"),
    (
        "Resize",
        "antialias:i axes:I coordinate_transformation_mode:s cubic_coeff_a:f exclude_outside:i extrapolation_value:f keep_aspect_ratio_policy:s mode:s nearest_mode:s",
    ),
    ("ScatterElements", "axis:i reduction:s"),
    ("ScatterND", "reduction:s"),
    ("Selu", "alpha:f gamma:f"),
    ("Shape", "end:i start:i"),
    ("Shrink", "bias:f lambd:f"),
    ("Slice", "axes:I ends:I starts:I"),
    ("SpaceToDepth", "blocksize:i"),
    ("Split", "axis:i num_outputs:i split:I"),
    ("SplitToSequence", "axis:i keepdims:i"),
    ("TopK", "axis:i k:i largest:i sorted:i"),
    ("Transpose", "perm:I"),
    ("Trilu", "upper:i"),
    ("Upsample", "mode:s scales:F"),
];

/// The letter of a type, its code in files, and its name.
const TYPES: [(&str, i64, &str); 9] = [
    ("f", 1, "a number"),
    ("i", 2, "a whole number"),
    ("s", 3, "a text"),
    ("t", 4, "a tensor"),
    ("g", 5, "a graph"),
    ("F", 6, "numbers"),
    ("I", 7, "whole numbers"),
    ("S", 8, "texts"),
    ("p", 11, "a sparse tensor"),
];

/// Refuses attributes that an operator does not have.
pub(crate) fn check(operator: &str, attributes: &[Attribute<'_>]) -> Result<(), Refusal> {
    let own = KNOWN
        .iter()
        .find(|(operators, _)| operators.split(' ').any(|name| name == operator));
    let own = own.map_or("", |(_, attributes)| attributes);
    for attribute in attributes {
        let named = own
            .split(' ')
            .filter_map(|known| known.split_once(':'))
            .find(|(name, _)| *name == attribute.name);
        let Some((_, letter)) = named else {
            return Err(refuse(format!(
                "it has an attribute `{}`, which the operator does not have",
                shown(attribute.name)
            )));
        };
        let kind = TYPES.iter().find(|(own, _, _)| *own == letter);
        match kind {
            // Old writers do not say the type.
            Some((_, code, _)) if attribute.kind == *code || attribute.kind == 0 => {}
            Some((_, _, name)) => {
                return Err(refuse(format!(
                    "its attribute `{}` must be {name}",
                    shown(attribute.name)
                )));
            }
            None => {}
        }
    }
    Ok(())
}
