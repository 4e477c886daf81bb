//! NumPy's `.npy`: a magic word, a version, the length of a header, the header, and the elements.
//! See <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use crate::array::{Array, Kind};
use crate::literal;

/// How a file begins.
pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";
/// What NumPy itself reads without being told that the file is trusted.
const HEADER_MAX_BYTES: usize = 10_000;

/// Reads the header.
pub(crate) fn read(body: &[u8]) -> Result<Array<'_>, String> {
    let torn = || "it ends within its header".to_owned();
    let rest = body.strip_prefix(MAGIC).ok_or("it does not begin with `\\x93NUMPY`")?;
    let ([major, minor], rest) = rest.split_first_chunk().ok_or_else(torn)?;
    let (n_bytes, rest) = match (major, minor) {
        (1, 0) => rest
            .split_first_chunk()
            .map(|(length, rest)| (u32::from(u16::from_le_bytes(*length)), rest)),
        (2 | 3, 0) => rest
            .split_first_chunk()
            .map(|(length, rest)| (u32::from_le_bytes(*length), rest)),
        _ => return Err(format!("its version is {major}.{minor}, 1.0 to 3.0 are known")),
    }
    .ok_or_else(torn)?;
    let n_bytes = usize::try_from(n_bytes).unwrap_or(usize::MAX);
    if n_bytes > HEADER_MAX_BYTES {
        return Err(format!(
            "its header has {n_bytes} bytes, the limit is {HEADER_MAX_BYTES}"
        ));
    }
    let (header, data) = rest.split_at_checked(n_bytes).ok_or_else(torn)?;
    let header = literal::read(header)?;
    if header.fortran_order {
        return Err("it is in Fortran order: save `numpy.ascontiguousarray(array)`".to_owned());
    }
    Ok(Array {
        kind: kind(&header.descr)?,
        shape: header.shape,
        data,
    })
}

fn kind(descr: &str) -> Result<Kind, String> {
    match descr {
        "|u1" => Ok(Kind::U8),
        "<f2" => Ok(Kind::F16),
        "<f4" => Ok(Kind::F32),
        "<f8" => Ok(Kind::F64),
        _ if descr.starts_with('>') => Err(format!(
            "it is big-endian (`{}`): save `array.astype('<f4')`",
            descr.escape_debug()
        )),
        _ => Err(format!(
            "its elements are `{}`; known are `|u1`, `<f2`, `<f4` and `<f8`",
            descr.escape_debug()
        )),
    }
}
