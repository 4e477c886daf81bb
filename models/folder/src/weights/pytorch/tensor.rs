//! How PyTorch writes a tensor into a pickle: a call that would rebuild it from a storage. Reads no bytes of any.

use super::pickle::{Node, Object, Pickle, Value};
use crate::weights::number::Number;

/// Most axes of a tensor.
const MAX_AXES: usize = 64;

/// A tensor as a view of a storage.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) storage: String,
    /// The type of its numbers; where no weight has it, its name.
    pub(super) number: Result<Number, String>,
    pub(super) element_bytes: usize,
    /// In numbers from the beginning of the storage.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    // Invariant: as many as `shape` has.
    pub(super) strides: Vec<usize>,
    /// Numbers of the storage that may be looked at.
    pub(super) reach: usize,
}

/// A storage as the pickle names it.
#[derive(Debug)]
pub(super) struct Storage {
    pub(super) key: String,
    /// Nothing for one without a type.
    pub(super) element: Option<Kind>,
    pub(super) numbers: usize,
    pub(super) view_offset: usize,
}

/// A type of numbers, and the bytes of one.
pub(super) type Kind = (Result<Number, String>, usize);

/// The value that a call rebuilds.
pub(super) enum Rebuilt {
    /// A tensor, or why it cannot be read.
    Tensor(Result<View, String>),
    /// The meaning of another value.
    Same(Value),
    /// No tensor.
    Other,
}

/// The value that `object` rebuilds, by the function that it would call.
pub(super) fn rebuilt(pickle: &Pickle, object: &Object) -> Rebuilt {
    rebuilt_by(pickle, object.callable, object.arguments)
}

fn rebuilt_by(pickle: &Pickle, callable: Value, arguments: Value) -> Rebuilt {
    let Some(function) = pickle.global(callable) else {
        return Rebuilt::Other;
    };
    let arguments = pickle.sequence(arguments).unwrap_or_default();
    match (function.module.as_str(), function.name.as_str()) {
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
            arguments.first().map_or(Rebuilt::Other, |of| Rebuilt::Same(*of))
        }
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Rebuilt::Tensor(view(pickle, arguments, None)),
        ("torch._utils", "_rebuild_tensor_v3") => {
            let dtype = arguments.get(6).and_then(|dtype| pickle.global(*dtype));
            let dtype = dtype.and_then(|dtype| of_dtype(&dtype.name));
            Rebuilt::Tensor(view(pickle, arguments, dtype))
        }
        // A subclass of a tensor is made of a plain one by (function, class, arguments, state).
        ("torch._tensor", "_rebuild_from_type" | "_rebuild_from_type_v2") => match arguments {
            [callable, _, arguments, ..]
                if pickle
                    .global(*callable)
                    .is_some_and(|inner| inner.module == "torch._utils") =>
            {
                rebuilt_by(pickle, *callable, *arguments)
            }
            _ => Rebuilt::Other,
        },
        ("torch._utils" | "torch._tensor", name) if name.starts_with("_rebuild") => {
            Rebuilt::Tensor(Err(format!("it is of a kind that is not read ({})", function.told())))
        }
        _ => Rebuilt::Other,
    }
}

/// `(storage, offset, shape, strides, ..)`
fn view(pickle: &Pickle, arguments: &[Value], dtype: Option<Kind>) -> Result<View, String> {
    let [storage, offset, shape, strides, ..] = arguments else {
        return Err("it has no storage, offset, shape and strides".to_owned());
    };
    let storage = match pickle.node(*storage) {
        Some(Node::Persistent(id)) => self::storage(pickle, *id)?,
        _ => return Err(format!("its storage is of {}", pickle.type_name(*storage))),
    };
    let lengths = |value: Value| {
        let axes = pickle.sequence(value).filter(|axes| axes.len() <= MAX_AXES)?;
        axes.iter().map(|axis| whole(*axis)).collect::<Option<Vec<usize>>>()
    };
    let (Some(offset), Some(shape), Some(strides)) = (whole(*offset), lengths(*shape), lengths(*strides)) else {
        return Err("its offset, shape or strides are no whole numbers".to_owned());
    };
    if shape.len() != strides.len() {
        return Err(format!("its shape {shape:?} and its strides {strides:?} do not fit"));
    }
    let in_bytes = storage.element.is_none();
    if let (Some((_, of_tensor)), Some((_, of_storage))) = (&dtype, &storage.element)
        && of_tensor != of_storage
    {
        return Err("its numbers are not those of its storage".to_owned());
    }
    let untyped = || "its numbers are of no type that is known".to_owned();
    let (number, element_bytes) = dtype.or(storage.element).ok_or_else(untyped)?;
    Ok(View {
        storage: storage.key,
        number,
        element_bytes,
        offset: offset
            .checked_add(storage.view_offset)
            .ok_or("its offset is too large")?,
        shape,
        strides,
        reach: match in_bytes {
            true => storage.numbers / element_bytes,
            false => storage.numbers,
        },
    })
}

/// `('storage', type, key, device, numbers[, view])`
pub(super) fn storage(pickle: &Pickle, id: Value) -> Result<Storage, String> {
    let Some([tag, of, key, _, numbers, view @ ..]) = pickle.sequence(id) else {
        return Err("its storage has no name and no length".to_owned());
    };
    if pickle.text(*tag) != Some("storage") {
        return Err(format!(
            "it is kept as {}, and not in a storage",
            pickle.type_name(*tag)
        ));
    }
    let class = match pickle.global(*of) {
        Some(global) => &global.name,
        None => pickle.text(*of).ok_or("its storage has no type")?,
    };
    let element = match class.strip_suffix("Storage") {
        Some("Untyped" | "_Untyped") => None,
        Some(of) => Some(of_storage(of).ok_or_else(|| format!("its storage is a {}", class.escape_debug()))?),
        None => return Err(format!("its storage is a {}", class.escape_debug())),
    };
    let key = match (*key, pickle.text(*key)) {
        (_, Some(text)) => text.to_owned(),
        (Value::Int(number), _) => number.to_string(),
        _ => return Err("its storage has no name".to_owned()),
    };
    let mut storage = Storage {
        key,
        element,
        numbers: whole(*numbers).ok_or("its storage has no length")?,
        view_offset: 0,
    };
    // Old files name a part of a storage: (name, offset, length).
    if let Some([_, offset, length]) = view.first().and_then(|view| pickle.sequence(*view)) {
        let part = whole(*offset).zip(whole(*length));
        let part = part.and_then(|(offset, length)| Some((offset, offset.checked_add(length)?)));
        let part = part.filter(|(_, end)| *end <= storage.numbers);
        (storage.view_offset, storage.numbers) = part.ok_or("it is a part of a storage that has no such part")?;
    }
    Ok(storage)
}

impl View {
    /// How many numbers it has, and from where to where in its storage they are, all in numbers. Nothing where that is
    /// beyond the storage.
    pub(super) fn extent(&self) -> Option<(usize, std::ops::Range<usize>)> {
        let numbers = self
            .shape
            .iter()
            .try_fold(1_usize, |product, axis| product.checked_mul(*axis))?;
        if numbers == 0 {
            return Some((0, 0..0));
        }
        let mut axes = self.shape.iter().zip(&self.strides);
        let last = axes.try_fold(self.offset, |at, (axis, stride)| {
            at.checked_add(axis.checked_sub(1)?.checked_mul(*stride)?)
        })?;
        let end = last.checked_add(1).filter(|end| *end <= self.reach)?;
        Some((numbers, self.offset..end))
    }

    /// Brings the bytes of its extent into row-major order.
    pub(super) fn gather(&self, bytes: Vec<u8>, numbers: usize) -> Option<Vec<u8>> {
        let mut expected = 1_usize;
        let is_in_order = self.shape.iter().zip(&self.strides).rev().all(|(axis, stride)| {
            let fits = *axis == 1 || *stride == expected;
            expected = expected.saturating_mul(*axis);
            fits
        });
        if is_in_order || numbers == 0 {
            return Some(bytes);
        }
        let mut gathered = Vec::with_capacity(numbers.checked_mul(self.element_bytes)?);
        let mut index = vec![0_usize; self.shape.len()];
        let mut at = 0_usize;
        for _ in 0..numbers {
            let start = at.checked_mul(self.element_bytes)?;
            gathered.extend_from_slice(bytes.get(start..start.checked_add(self.element_bytes)?)?);
            // Like the wheels of a counter, the last one first.
            for ((place, axis), stride) in index.iter_mut().zip(&self.shape).zip(&self.strides).rev() {
                *place += 1;
                at += stride;
                if *place < *axis {
                    break;
                }
                at -= stride * *axis;
                *place = 0;
            }
        }
        Some(gathered)
    }
}

fn whole(value: Value) -> Option<usize> {
    match value {
        Value::Int(number) => usize::try_from(number).ok(),
        _ => None,
    }
}

fn of_storage(class: &str) -> Option<Kind> {
    Some(match class {
        "Float" => (Ok(Number::F32), 4),
        "Double" => (Ok(Number::F64), 8),
        "Half" => (Ok(Number::F16), 2),
        "BFloat16" => (Ok(Number::Bf16), 2),
        "Byte" => (Ok(Number::U8), 1),
        "Char" => (Err("int8".to_owned()), 1),
        "Bool" => (Err("bool".to_owned()), 1),
        "Short" => (Err("int16".to_owned()), 2),
        "Int" => (Err("int32".to_owned()), 4),
        "Long" => (Err("int64".to_owned()), 8),
        "ComplexFloat" => (Err("complex64".to_owned()), 8),
        "ComplexDouble" => (Err("complex128".to_owned()), 16),
        "QInt8" | "QUInt8" | "QUInt4x2" | "QUInt2x4" => (Err("quantized numbers".to_owned()), 1),
        "QInt32" => (Err("quantized numbers".to_owned()), 4),
        _ => return None,
    })
}

fn of_dtype(name: &str) -> Option<Kind> {
    Some(match name {
        "float32" => (Ok(Number::F32), 4),
        "float64" => (Ok(Number::F64), 8),
        "float16" => (Ok(Number::F16), 2),
        "bfloat16" => (Ok(Number::Bf16), 2),
        "uint8" => (Ok(Number::U8), 1),
        "uint16" => (Err(name.to_owned()), 2),
        "uint32" => (Err(name.to_owned()), 4),
        "uint64" => (Err(name.to_owned()), 8),
        _ if name.starts_with("float8") || name.starts_with("float4") => (Err(name.to_owned()), 1),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shape: &[usize], strides: &[usize], offset: usize, reach: usize, expected: Option<&[u8]>) {
        let view = View {
            storage: String::new(),
            number: Ok(Number::U8),
            element_bytes: 1,
            offset,
            shape: shape.to_vec(),
            strides: strides.to_vec(),
            reach,
        };
        let storage: Vec<u8> = (0..reach as u8).collect();
        let found = view
            .extent()
            .and_then(|(numbers, range)| view.gather(storage[range].to_vec(), numbers));
        assert_eq!(found.as_deref(), expected, "{shape:?} {strides:?}");
    }

    #[test]
    fn a_view_is_read_in_its_own_order() {
        check(&[2, 3], &[3, 1], 0, 6, Some(&[0, 1, 2, 3, 4, 5]));
        check(&[2, 2], &[2, 1], 2, 6, Some(&[2, 3, 4, 5]));
        check(&[3, 2], &[1, 3], 0, 6, Some(&[0, 3, 1, 4, 2, 5]));
        check(&[2, 1, 2], &[3, 7, 1], 1, 6, Some(&[1, 2, 4, 5]));
        check(&[2, 2], &[0, 1], 4, 6, Some(&[4, 5, 4, 5]));
        check(&[], &[], 5, 6, Some(&[5]));
        check(&[0, 4], &[4, 1], 0, 0, Some(&[]));
        check(&[2, 3], &[3, 1], 1, 6, None);
        check(&[usize::MAX, 2], &[1, 1], 0, 6, None);
        check(&[2], &[usize::MAX], 1, 6, None);
    }
}
