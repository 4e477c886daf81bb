//! What a body is by its first bytes.

use crate::npy;

/// What begins a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signature {
    Npy,
    Safetensors,
    Other,
}

/// What people send in place of a tensor, and what is to be said about it.
const OTHERS: [(&[u8], &str); 7] = [
    (b"\x89PNG", "it is a PNG: decode-image reads it"),
    (b"\xff\xd8\xff", "it is a JPEG: decode-image reads it"),
    (
        b"PK\x03\x04",
        "it is a zip archive, as .npz and .pt files are: send one array with `numpy.save`",
    ),
    (b"\x80\x02", PICKLE),
    (b"\x80\x03", PICKLE),
    (b"\x80\x04", PICKLE),
    (b"\x80\x05", PICKLE),
];

const PICKLE: &str = "it looks like a pickle, which this host does not read: it can run code";

/// Bytes of a safetensors file before its header.
const LENGTH_BYTES: usize = 8;

impl Signature {
    pub(crate) fn of(body: &[u8]) -> Self {
        if body.starts_with(npy::MAGIC) {
            return Self::Npy;
        }
        match body.split_first_chunk::<LENGTH_BYTES>() {
            // A raw tensor may begin with any bytes, but hardly with its own length and a brace.
            Some((length, rest)) if rest.starts_with(b"{") && u64::from_le_bytes(*length) <= rest.len() as u64 => {
                Self::Safetensors
            }
            _ => Self::Other,
        }
    }
}

/// How a body begins that is neither.
pub(crate) fn describe(body: &[u8]) -> String {
    match OTHERS.iter().find(|(begin, _)| body.starts_with(begin)) {
        Some((_, text)) => (*text).to_owned(),
        None => {
            let bytes: Vec<String> = body.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
            format!("it begins with {}", bytes.join(" "))
        }
    }
}
