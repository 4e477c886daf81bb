//! Pictures as the tensors that a model takes: found in folders, decoded and resized as before training. Knows no model's meaning.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use millrace_models::{Element, Tensor, TensorData, TensorType};
use millrace_plugin::image::{Alpha, Decoder, Filter, Fit, Limits, Normalisation, Target, Turn};

use super::known;

/// The largest file that is read as a picture.
const FILE_MAX_BYTES: u64 = 256 << 20;
/// Most pictures of a folder, and how deep they lie.
const PICTURES_MAX: usize = 100_000;
const DEPTH_MAX: usize = 8;
/// The endings of pictures' names.
const ENDINGS: [&str; 6] = ["png", "jpg", "jpeg", "webp", "gif", "jfif"];

/// How a picture becomes what a model takes.
#[derive(Debug, Clone, Args)]
pub(super) struct TransformArguments {
    /// As torchvision's Resize(PIXELS) and CenterCrop: the shorter side gets so many pixels, and the model's size is cut out of
    /// the centre [default: the whole picture is stretched to the model's size]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=16384))]
    resize: Option<u32>,
    /// How it is resized; all but `nearest` are antialiased, with the numbers of Pillow
    #[arg(long, value_enum, value_name = "FILTER", default_value_t = Interpolation::Bilinear)]
    interpolation: Interpolation,
    /// For a model that takes floats: the normalisation of a well-known training set, such as `imagenet`, `half`, `clip` or `none`
    #[arg(long, value_name = "NAME")]
    normalisation: Option<String>,
}

/// A filter of Pillow's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Interpolation {
    Nearest,
    Box,
    Bilinear,
    Hamming,
    Bicubic,
    Lanczos,
}

impl TransformArguments {
    /// For a model that may take bytes, and then normalises them itself.
    pub(super) fn of_floats(self, element: Element) -> Self {
        match element {
            Element::Byte => Self {
                normalisation: None,
                ..self
            },
            Element::Float => self,
        }
    }
}

/// Makes tensors of one type out of pictures.
pub(super) struct Eye {
    decoder: Decoder,
    target: Target,
    shorter_side: Option<u32>,
    filter: Filter,
    normalisation: Option<Normalisation>,
}

impl Eye {
    /// For a model's input.
    ///
    /// # Errors
    /// When it is not a picture, or needs a normalisation that is not named.
    pub(super) fn of(input: &TensorType, arguments: &TransformArguments) -> anyhow::Result<Self> {
        let wants = millrace_plugin::TensorType {
            shape: input.shape.clone(),
            element: match input.element {
                Element::Byte => millrace_plugin::Element::Byte,
                Element::Float => millrace_plugin::Element::Float,
            },
        };
        let target = Target::of(&wants).map_err(|_| {
            anyhow::anyhow!(
                "the model takes {input}, which is not a picture: a picture is [3, height, width] or [1, height, width]"
            )
        })?;
        let normalisation = match (input.element, &arguments.normalisation) {
            (Element::Byte, None) => None,
            (Element::Byte, Some(_)) => {
                bail!(
                    "--normalisation is for models that take floats: this model takes bytes and normalises them itself"
                )
            }
            (Element::Float, None) => bail!(
                "the model takes floats, but does not declare how pictures are normalised: name it with --normalisation, such as `imagenet`, or write `mean` and `std` under [input] of a model.toml (`millrace model import` does)"
            ),
            (Element::Float, Some(name)) => {
                let known = known::normalisation(name)
                    .map_err(|known| anyhow::anyhow!("--normalisation: no `{}`; {known}", name.escape_debug()))?;
                Some(Normalisation::new(known.mean, known.std).map_err(anyhow::Error::msg)?)
            }
        };
        Ok(Self {
            // As `Image.open(file).convert("RGB")`, which is what networks are trained with.
            decoder: Decoder::default().with_alpha(Alpha::Ignore).with_turn(Turn::Ignore),
            target,
            shorter_side: arguments.resize,
            filter: match arguments.interpolation {
                Interpolation::Nearest => Filter::Nearest,
                Interpolation::Box => Filter::Box,
                Interpolation::Bilinear => Filter::Bilinear,
                Interpolation::Hamming => Filter::Hamming,
                Interpolation::Bicubic => Filter::Bicubic,
                Interpolation::Lanczos => Filter::Lanczos,
            },
            normalisation,
        })
    }

    /// A picture's tensor.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub(super) fn see(&self, path: &Path) -> anyhow::Result<Tensor> {
        let shown = || format!("`{}`", path.display());
        let bytes = read(path).with_context(shown)?;
        let picture = self.decoder.decode(&bytes).with_context(shown)?;
        let picture = self.target.coloured(picture);
        let (width, height) = self.target.size();
        let picture = match self.shorter_side {
            Some(side) => picture
                .shorter_side(side, self.filter, &Limits::default())
                .with_context(shown)?
                .centred(width, height),
            None => picture.fit(width, height, Fit::Stretch, self.filter),
        };
        let tensor = match &self.normalisation {
            Some(normalisation) => self.target.normalised(&picture, normalisation),
            None => self.target.tensor(&picture),
        };
        let tensor = tensor.with_context(shown)?;
        let data = match tensor.data() {
            millrace_plugin::TensorData::Bytes(bytes) => TensorData::Bytes(bytes.clone()),
            millrace_plugin::TensorData::Floats(floats) => TensorData::Floats(floats.clone()),
        };
        Tensor::new(tensor.shape().to_vec(), data).with_context(shown)
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        bail!("it has more than {FILE_MAX_BYTES} bytes, the most that a picture may have");
    }
    Ok(bytes)
}

/// The pictures of a folder and its subfolders, by name; or the one picture at the path.
///
/// # Errors
/// When it cannot be read, holds none or too many.
pub(super) fn find(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if path.is_dir() {
        collect(path, 0, &mut found)?;
    } else {
        found.push(path.to_owned());
    }
    found.sort();
    if found.is_empty() {
        bail!(
            "`{}` holds no picture: a name that ends with .{}",
            path.display(),
            ENDINGS.join(", .")
        );
    }
    Ok(found)
}

fn collect(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let cannot = || format!("cannot read the folder `{}`", folder.display());
    for entry in std::fs::read_dir(folder).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        if path.is_dir() {
            if depth < DEPTH_MAX {
                collect(&path, depth + 1, found)?;
            }
            continue;
        }
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)) {
            found.push(path);
        }
        if found.len() > PICTURES_MAX {
            bail!("more than {PICTURES_MAX} pictures: name a smaller folder");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(normalisation: Option<&str>) -> TransformArguments {
        TransformArguments {
            resize: Some(9),
            interpolation: Interpolation::Bicubic,
            normalisation: normalisation.map(str::to_owned),
        }
    }

    fn input(shape: &[u32], element: Element) -> TensorType {
        TensorType {
            shape: shape.to_vec(),
            element,
        }
    }

    #[test]
    fn a_picture_becomes_what_the_model_takes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grey.png");
        let mut encoder = png::Encoder::new(File::create(&path).unwrap(), 12, 10);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.write_header().unwrap().write_image_data(&[51; 120]).unwrap();

        let bytes = Eye::of(&input(&[3, 8, 8], Element::Byte), &arguments(None)).unwrap();
        assert_eq!(bytes.see(&path).unwrap().data(), &TensorData::Bytes(vec![51; 192]));
        let floats = Eye::of(&input(&[1, 8, 8], Element::Float), &arguments(Some("none"))).unwrap();
        assert_eq!(floats.see(&path).unwrap().data(), &TensorData::Floats(vec![0.2; 64]));

        std::fs::write(&path, "no picture").unwrap();
        let error = format!("{:#}", bytes.see(&path).unwrap_err());
        assert!(
            error.contains("grey.png`: ") && error.contains("begins with"),
            "{error}"
        );
    }

    #[test]
    fn what_is_missing_is_told() {
        let check = |input: TensorType, normalisation: Option<&str>, expected: &str| {
            let error = Eye::of(&input, &arguments(normalisation)).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(
            input(&[7], Element::Float),
            None,
            "takes float [7], which is not a picture",
        );
        check(input(&[3, 8, 8], Element::Float), None, "name it with --normalisation");
        check(
            input(&[3, 8, 8], Element::Float),
            Some("imgnet"),
            "no `imgnet`; there is `imagenet`",
        );
        check(
            input(&[3, 8, 8], Element::Byte),
            Some("imagenet"),
            "takes bytes and normalises",
        );
    }

    #[test]
    fn folders_are_gone_through_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b/2.JPG", "b/1.png", "a.webp", "notes.txt"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = find(folder.path()).unwrap();
        let names: Vec<_> = found
            .iter()
            .map(|path| path.strip_prefix(folder.path()).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names, ["a.webp", "b/1.png", "b/2.JPG"]);
        assert!(find(&folder.path().join("b/none")).is_ok(), "told when it is read");
        std::fs::create_dir(folder.path().join("c")).unwrap();
        let error = find(&folder.path().join("c")).unwrap_err().to_string();
        assert!(error.contains("holds no picture"), "{error}");
    }
}
