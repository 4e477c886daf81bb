//! What the scenarios put in: pictures and texts, each with an id and a body of its own. Knows no transport.

use std::io::Cursor;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow};
use image::{ImageFormat, RgbImage};
use millrace_tests::samples::{Sample, pictures};

/// A message to put in.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    /// Lower-case letters, digits and `-`: every transport can carry it.
    pub(super) id: String,
    pub(super) body: Vec<u8>,
    pub(super) headers: Vec<(String, String)>,
    /// What the picture shows; nothing for a text.
    pub(super) label: String,
}

impl Sent {
    /// A picture that the shipped model knows.
    pub(super) fn picture(id: &str) -> Result<Self> {
        let samples = samples()?;
        let at = id.bytes().map(usize::from).sum::<usize>() % samples.len();
        let sample = samples.get(at).context("no sample")?;
        let mut picture = image::load_from_memory(&sample.png)?.to_rgb8();
        sign(&mut picture, id);
        let mut body = Cursor::new(Vec::new());
        picture.write_to(&mut body, ImageFormat::Png)?;
        Ok(Self {
            id: id.to_owned(),
            body: body.into_inner(),
            headers: Vec::new(),
            label: sample.label.clone(),
        })
    }

    /// What no decoder takes.
    pub(super) fn text(id: &str) -> Self {
        Self::of(id, format!("no picture, but {id}").into_bytes())
    }

    /// A message with this body.
    pub(super) fn of(id: &str, body: Vec<u8>) -> Self {
        Self {
            id: id.to_owned(),
            body,
            headers: Vec::new(),
            label: String::new(),
        }
    }

    /// The same with a header.
    pub(super) fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// The sample pictures, read once.
fn samples() -> Result<&'static [Sample]> {
    static SAMPLES: OnceLock<Result<Vec<Sample>, String>> = OnceLock::new();
    let samples = SAMPLES.get_or_init(|| pictures().map_err(|error| format!("{error:#}")));
    samples.as_deref().map_err(|error| anyhow!("{error}"))
}

/// So many pictures, numbered behind a word.
pub(super) fn numbered(word: &str, n: usize) -> Result<Vec<Sent>> {
    (0..n).map(|n| Sent::picture(&format!("{word}-{n}"))).collect()
}

/// Writes an id into the lowest bits of a picture: its body is its own, and it shows what it showed.
fn sign(picture: &mut RgbImage, id: &str) {
    let bits = id.bytes().flat_map(|byte| (0..8).map(move |bit| (byte >> bit) & 1));
    for (value, bit) in picture.iter_mut().zip(bits) {
        *value = (*value & !1) | bit;
    }
}
