//! A node as an operator sees it: its inputs, and its attributes by name with their defaults.

use crate::file::{Attribute, TensorView};
use crate::known::Tensor;
use crate::lower::value::Value;
use crate::problem::{Refusal, advise, refuse};
use crate::weights::Weights;

/// One use of an operator.
pub(crate) struct Call<'c, 'a> {
    pub(crate) operator: &'a str,
    /// Of the operator set that the node belongs to.
    pub(crate) version: i64,
    pub(crate) attributes: Vec<Attribute<'a>>,
    /// Nothing where an optional input is left out.
    pub(crate) inputs: Vec<Option<Value>>,
    /// For each output whether anything reads it.
    pub(crate) wanted: Vec<bool>,
    pub(crate) weights: &'c Weights<'c>,
}

/// What to do where numbers must be known that are not.
pub(crate) const CONSTANT: &str =
    "export with constant folding, or write it with numbers that do not depend on the input";

impl<'a> Call<'_, 'a> {
    pub(crate) fn attribute(&self, name: &str) -> Option<&Attribute<'a>> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    /// A whole number; 0 where the attribute is there and says nothing, as some writers leave zeros out.
    pub(crate) fn int(&self, name: &str) -> Result<Option<i64>, Refusal> {
        match self.attribute(name) {
            Some(attribute) => Ok(Some(attribute.int()?.unwrap_or(0))),
            None => Ok(None),
        }
    }

    pub(crate) fn int_or(&self, name: &str, default: i64) -> Result<i64, Refusal> {
        Ok(self.int(name)?.unwrap_or(default))
    }

    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, Refusal> {
        Ok(self.int(name)?.map_or(default, |number| number != 0))
    }

    pub(crate) fn float(&self, name: &str) -> Result<Option<f32>, Refusal> {
        match self.attribute(name) {
            Some(attribute) => Ok(Some(attribute.float()?.unwrap_or(0.0))),
            None => Ok(None),
        }
    }

    pub(crate) fn float_or(&self, name: &str, default: f32) -> Result<f32, Refusal> {
        Ok(self.float(name)?.unwrap_or(default))
    }

    pub(crate) fn text_or(&self, name: &str, default: &'a str) -> Result<&'a str, Refusal> {
        match self.attribute(name) {
            Some(attribute) => Ok(attribute.text()?.unwrap_or("")),
            None => Ok(default),
        }
    }

    pub(crate) fn ints(&self, name: &str) -> Result<Option<Vec<i64>>, Refusal> {
        match self.attribute(name) {
            Some(attribute) => Ok(Some(attribute.ints()?)),
            None => Ok(None),
        }
    }

    pub(crate) fn floats(&self, name: &str) -> Result<Option<Vec<f32>>, Refusal> {
        match self.attribute(name) {
            Some(attribute) => Ok(Some(attribute.floats()?)),
            None => Ok(None),
        }
    }

    pub(crate) fn tensor(&self, name: &str) -> Result<Option<TensorView<'a>>, Refusal> {
        match self.attribute(name) {
            Some(attribute) => Ok(attribute.tensor()?),
            None => Ok(None),
        }
    }

    /// An input that must be there.
    pub(crate) fn input(&self, index: usize) -> Result<&Value, Refusal> {
        self.optional(index)
            .ok_or_else(|| refuse(format!("input {index} is missing")))
    }

    pub(crate) fn optional(&self, index: usize) -> Option<&Value> {
        self.inputs.get(index).and_then(Option::as_ref)
    }

    /// The inputs that are there, at least one.
    pub(crate) fn all(&self) -> Result<Vec<Value>, Refusal> {
        match self.inputs.iter().cloned().collect::<Option<Vec<Value>>>() {
            Some(inputs) if !inputs.is_empty() => Ok(inputs),
            _ => Err(refuse("an input is missing")),
        }
    }

    /// An input that must be known where it is there.
    pub(crate) fn known(&self, index: usize, what: &str) -> Result<Option<&Tensor>, Refusal> {
        match self.optional(index) {
            None => Ok(None),
            Some(Value::Known(tensor)) => Ok(Some(tensor)),
            Some(_) => Err(advise(
                format!("its {what} is computed while the network runs"),
                CONSTANT,
            )),
        }
    }

    /// An input of whole numbers that must be known where it is there.
    pub(crate) fn known_ints(&self, index: usize, what: &str) -> Result<Option<Vec<i64>>, Refusal> {
        let Some(tensor) = self.known(index, what)? else {
            return Ok(None);
        };
        match tensor.data.ints() {
            Some(ints) => Ok(Some(ints.to_vec())),
            None => Err(refuse(format!(
                "its {what} depends on how many items a batch has, or is not whole"
            ))),
        }
    }

    /// An input of numbers that must be known where it is there.
    pub(crate) fn known_floats(&self, index: usize, what: &str) -> Result<Option<Vec<f32>>, Refusal> {
        let Some(tensor) = self.known(index, what)? else {
            return Ok(None);
        };
        match tensor.data.floats() {
            Some(floats) => Ok(Some(floats.to_vec())),
            None => Err(refuse(format!("its {what} depends on how many items a batch has"))),
        }
    }

    /// Axes that older versions have as an attribute and newer ones as an input.
    pub(crate) fn axes(&self, input: usize) -> Result<Option<Vec<i64>>, Refusal> {
        match self.ints("axes")? {
            Some(axes) => Ok(Some(axes)),
            None => self.known_ints(input, "axes"),
        }
    }

    pub(crate) fn is_wanted(&self, output: usize) -> bool {
        self.wanted.get(output).copied().unwrap_or(false)
    }

    /// All inputs, where all are known.
    pub(crate) fn all_known(&self) -> Option<Vec<&Tensor>> {
        self.inputs.iter().flatten().map(Value::known).collect()
    }
}

/// An axis that may count from the end.
pub(crate) fn axis(axis: i64, rank: usize) -> Result<usize, Refusal> {
    crate::known::index(axis, rank).ok_or_else(|| refuse(format!("axis {axis} is not one of {rank}")))
}

/// Axes that may count from the end: ascending, none twice.
pub(crate) fn sorted_axes(axes: &[i64], rank: usize) -> Result<Vec<usize>, Refusal> {
    let mut sorted: Vec<usize> = axes.iter().map(|at| axis(*at, rank)).collect::<Result<_, _>>()?;
    sorted.sort_unstable();
    match sorted.windows(2).any(|pair| pair.first() == pair.last()) {
        true => Err(refuse(format!("axes {axes:?} name one twice"))),
        false => Ok(sorted),
    }
}
