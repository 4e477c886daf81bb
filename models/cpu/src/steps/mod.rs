//! The steps, one file for each kind.

mod convert;
mod dense;
mod depthwise;
mod edge;
mod elementwise;
mod group_norm;
mod grouped;
mod matmul;
mod norm;
mod plain;
mod pool;
mod resample;
mod strided;
mod winograd;

pub(crate) use convert::Convert;
pub(crate) use dense::{DenseParts, DenseStep, ResidualPart, Section};
pub(crate) use depthwise::DepthwiseStep;
pub(crate) use edge::{ConstantStep, InputStep, OutputStep};
pub(crate) use elementwise::{Computation, MapStep, RowsStep, Side, Spread};
pub(crate) use group_norm::GroupNormStep;
pub(crate) use grouped::{GroupedStep, Phase};
pub(crate) use matmul::{MatMulParts, MatMulStep, Product, Sizes};
pub(crate) use norm::{NormStep, RowNorm};
pub(crate) use plain::{PlainInput, PlainStep};
pub(crate) use pool::PoolStep;
pub(crate) use resample::ResampleStep;
pub(crate) use strided::StridedStep;
pub(crate) use winograd::{WinogradParts, WinogradStep};
