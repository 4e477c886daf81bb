//! What bytes are by how they begin. What their sender says they are does not count.

/// Formats of pictures, with what they begin with and their content type.
const PICTURES: [(&[u8], &str); 7] = [
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
];

/// What the pickles of old protocols begin with, which have no mark: a global name, a table, a list.
const OLD_PICKLES: [&[u8]; 6] = [
    b"cnumpy",
    b"ccopy_reg\n",
    b"c__builtin__\n",
    b"cbuiltins\n",
    b"(dp0\n",
    b"(lp0\n",
];

/// What a PNG, a JPEG and a `data:` URL begin with where nothing is around them.
const ENCODED: [&[u8]; 3] = [b"iVBORw0KGgo", b"/9j/", b"data:image/"];

/// The content type of a picture.
pub(crate) fn content_type(bytes: &[u8]) -> Option<&'static str> {
    // WebP's mark comes after a length.
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        return Some("image/webp");
    }
    PICTURES
        .iter()
        .find(|(begin, _)| bytes.starts_with(begin))
        .map(|(_, name)| *name)
}

/// Says that bytes are a pickle, where they are one.
pub(crate) fn pickle(bytes: &[u8]) -> Option<String> {
    let protocol = match bytes {
        [0x80, protocol @ 2..=5, ..] => Some(*protocol),
        _ if OLD_PICKLES.iter().any(|begin| bytes.starts_with(begin)) => None,
        _ => return None,
    };
    let protocol = protocol
        .map(|protocol| format!(" (protocol {protocol})"))
        .unwrap_or_default();
    Some(format!(
        "begins with a pickle{protocol}, which this host does not read: it can run code; send the picture's own bytes"
    ))
}

/// What a body is that is not JSON.
pub(crate) fn of(body: &[u8]) -> Option<String> {
    if let Some(pickle) = pickle(body) {
        return Some(format!("it {pickle}"));
    }
    // Of any pickle with a mark, the first three characters of its base64.
    if let [b'g', b'A', b'I'..=b'X', ..] = body {
        return Some("in base64, it begins with a pickle, which this host does not read: it can run code".to_owned());
    }
    if ENCODED.iter().any(|begin| body.starts_with(begin)) {
        return Some("it is base64 alone; in JSON it would be a text at a place that `image` points to".to_owned());
    }
    let what = match content_type(body)? {
        "image/png" => "a PNG",
        "image/jpeg" => "a JPEG",
        _ => "a picture",
    };
    Some(format!("it is {what} itself, which needs no json-image"))
}
