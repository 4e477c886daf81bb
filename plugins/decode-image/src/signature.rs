//! What a body is by its first bytes. What its sender says it is does not count.

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signature {
    /// The eight bytes of a PNG.
    Png,
    /// The three bytes of a JPEG.
    Jpeg,
    /// Anything else.
    Unknown,
}

/// Formats that are sent by mistake, to tell the sender what arrived.
const FAMILIAR: [(&[u8], &str); 12] = [
    (b"GIF8", "a GIF"),
    (b"BM", "a BMP"),
    (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "gzip"),
    (b"\0\0\x01\0", "an icon"),
    (b"\x80\x04\x95", "a Python pickle"),
    (b"iVBORw0KGgo", "a PNG in base64"),
    (b"/9j/", "a JPEG in base64"),
    (b"data:image/", "a data URL"),
];

/// The bytes of an unknown body that are shown.
const SHOWN_BYTES: usize = 8;

impl Signature {
    /// Looks at the first bytes.
    pub(crate) fn of(body: &[u8]) -> Self {
        if body.starts_with(b"\x89PNG\r\n\x1a\n") {
            Self::Png
        } else if body.starts_with(b"\xff\xd8\xff") {
            Self::Jpeg
        } else {
            Self::Unknown
        }
    }
}

/// The first bytes in hexadecimal, with the name of what they may be.
pub(crate) fn describe(body: &[u8]) -> String {
    let shown: Vec<String> = body
        .iter()
        .take(SHOWN_BYTES)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let shown = shown.join(" ");
    match name(body) {
        Some(name) => format!("{shown} ({name})"),
        None => shown,
    }
}

fn name(body: &[u8]) -> Option<&'static str> {
    if let Some((_, name)) = FAMILIAR.iter().find(|(begin, _)| body.starts_with(begin)) {
        return Some(name);
    }
    match (body.get(4..8), body.get(8..12)) {
        (_, Some(b"WEBP")) => Some("a WebP"),
        (Some(b"ftyp"), Some(b"avif")) => Some("an AVIF"),
        (Some(b"ftyp"), Some(b"heic" | b"heix" | b"mif1")) => Some("a HEIC"),
        _ if body
            .iter()
            .take(64)
            .all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n')) =>
        {
            Some("text")
        }
        _ => None,
    }
}
