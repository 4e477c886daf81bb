//! What a body is by its first bytes. What its sender says it is does not count.

use std::fmt;

crate::choice! {
    /// A format that pictures come in.
    pub enum Format {
        /// Every colour type and depth, interlaced or not.
        Png = "png",
        /// Baseline and progressive, grey, colour and CMYK.
        Jpeg = "jpeg",
        /// Lossy and lossless.
        WebP = "webp",
        /// Interlaced or not.
        Gif = "gif",
    }
}

/// Formats that are sent by mistake, to tell the sender what arrived.
const FAMILIAR: [(&[u8], &str); 14] = [
    (b"\x89PNG\r\n\x1a\n", "a PNG"),
    (b"\xff\xd8\xff", "a JPEG"),
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

impl Format {
    /// The formats whose decoders this crate was built with.
    pub const AVAILABLE: &[Self] = &[
        #[cfg(feature = "png")]
        Self::Png,
        #[cfg(feature = "jpeg")]
        Self::Jpeg,
        #[cfg(feature = "webp")]
        Self::WebP,
        #[cfg(feature = "gif")]
        Self::Gif,
    ];

    /// What a body is by its first bytes.
    pub fn of(body: &[u8]) -> Option<Self> {
        if body.starts_with(b"\x89PNG\r\n\x1a\n") {
            Some(Self::Png)
        } else if body.starts_with(b"\xff\xd8\xff") {
            Some(Self::Jpeg)
        } else if body.starts_with(b"RIFF") && body.get(8..12) == Some(b"WEBP") {
            Some(Self::WebP)
        } else if body.starts_with(b"GIF87a") || body.starts_with(b"GIF89a") {
            Some(Self::Gif)
        } else {
            None
        }
    }

    /// Formats as words, such as "PNG, JPEG or GIF", or "PNG or raw RGB".
    pub(crate) fn list(formats: &[Self], end: &str) -> String {
        let mut names: Vec<String> = formats.iter().map(ToString::to_string).collect();
        if end == "or" {
            match names.pop() {
                Some(last) if names.is_empty() => last,
                Some(last) => format!("{} or {last}", names.join(", ")),
                None => "known".to_owned(),
            }
        } else {
            format!("{} {end}", names.join(", ")).trim_start().to_owned()
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::WebP => "WebP",
            Self::Gif => "GIF",
        })
    }
}

/// Whether the first bytes are those of a file that is known, so that they are no pixels but by an accident of one in
/// millions. Two bytes, printable text, or dark pixels may well be pixels.
pub(crate) fn is_file(body: &[u8]) -> bool {
    if Format::of(body).is_some() {
        return true;
    }
    match body.first_chunk() {
        // Of a bitmap, which has two bytes of its own, the length follows.
        Some(&[b'B', b'M', a, b, c, d]) => u32::from_le_bytes([a, b, c, d]) as usize == body.len(),
        _ => match name(body) {
            Some("a BMP" | "gzip" | "an icon" | "text" | "a Python pickle") | None => false,
            Some(_) => true,
        },
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
