//! One checked layer of the list: which keys its kind takes, and their bounds. Knows no shapes and no weights.

use toml::Spanned;

use super::keys_layer;
use super::raw::{Extent, RawLayer};
use super::{MAX_EXTENT, MAX_LAYERS, MAX_NESTING, Mistake};

/// A layer that has every key it needs and none that it does not take.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    /// For errors, such as ``layer 3 (conv2d `conv2`)``.
    pub(crate) label: String,
    /// Where it starts in `model.toml`, in bytes.
    pub(crate) at: usize,
    pub(crate) kind: LayerKind,
}

#[derive(Debug, Clone)]
pub(crate) enum LayerKind {
    Conv2d(Conv2d),
    BatchNorm { name: String, eps: f64, affine: bool },
    Linear { name: String, out: usize, bias: bool },
    Relu,
    LeakyRelu { slope: f64 },
    Gelu { approximate: bool },
    Silu,
    Sigmoid,
    Softmax,
    MaxPool(Pool),
    AvgPool { pool: Pool, count_padding: bool },
    AdaptiveAvgPool { out: [usize; 2] },
    GlobalMaxPool,
    Flatten,
    Dropout,
    Residual { body: Vec<Layer>, shortcut: Vec<Layer> },
}

#[derive(Debug, Clone)]
pub(crate) struct Conv2d {
    /// The beginning of its weights' names.
    pub(crate) name: String,
    pub(crate) out: usize,
    pub(crate) window: Window,
    // Invariant: not 0.
    pub(crate) groups: usize,
    pub(crate) bias: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Pool {
    pub(crate) window: Window,
    /// Whether windows that hang over the end count.
    pub(crate) ceil: bool,
}

/// How a window moves over height and width.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    // Invariant: kernel, stride and dilation are not 0; nothing exceeds `MAX_EXTENT`.
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) padding: [usize; 2],
    pub(crate) dilation: [usize; 2],
}

/// What the keys say where they are absent, as in PyTorch.
pub(super) const EPS: f64 = 1e-5;
pub(super) const SLOPE: f64 = 0.01;
pub(super) const STRIDE: usize = 1;
pub(super) const PADDING: usize = 0;
pub(super) const DILATION: usize = 1;
pub(super) const GROUPS: usize = 1;
pub(super) const BIAS: bool = true;
pub(super) const AFFINE: bool = true;
pub(super) const APPROXIMATE: bool = false;
pub(super) const CEIL: bool = false;
pub(super) const COUNT_PADDING: bool = true;

/// Checks a list of layers, and the lists within it.
pub(super) fn check_list(raw: Vec<Spanned<RawLayer>>) -> Result<Vec<Layer>, Mistake> {
    let mut count = 0;
    check_nested(raw, "layer ", 0, &mut count)
}

fn check_nested(
    raw: Vec<Spanned<RawLayer>>,
    prefix: &str,
    depth: usize,
    count: &mut usize,
) -> Result<Vec<Layer>, Mistake> {
    let mut layers = Vec::new();
    for (index, layer) in raw.into_iter().enumerate() {
        let at = layer.span().start;
        *count += 1;
        if *count > MAX_LAYERS {
            return Err(Mistake::new(at, format!("more than {MAX_LAYERS} layers")));
        }
        if depth > MAX_NESTING {
            return Err(Mistake::new(
                at,
                format!("residual layers nested more than {MAX_NESTING} deep"),
            ));
        }
        layers.push(check_layer(
            layer.into_inner(),
            &format!("{prefix}{}", index + 1),
            at,
            depth,
            count,
        )?);
    }
    Ok(layers)
}

fn check_layer(mut raw: RawLayer, place: &str, at: usize, depth: usize, count: &mut usize) -> Result<Layer, Mistake> {
    let kind_name = raw.kind.get_ref().clone();
    let name = raw.name.take();
    let label = match &name {
        Some(name) => format!("{place} ({kind_name} `{}`)", name.get_ref()),
        None => format!("{place} ({kind_name})"),
    };
    let named = |name: Option<Spanned<String>>| match name {
        Some(name) if !name.get_ref().is_empty() => Ok(name.into_inner()),
        Some(name) => Err(Mistake::new(name.span().start, format!("{label}: `name` is empty"))),
        None => Err(Mistake::new(
            at,
            format!("{label}: `name` is missing: what its weights' names begin with in the file"),
        )),
    };
    let fields = &mut Fields {
        raw: &mut raw,
        label: &label,
        at,
    };
    let kind = match kind_name.as_str() {
        "conv2d" => LayerKind::Conv2d(conv2d(named(name)?, fields)?),
        "batch-norm" => LayerKind::BatchNorm {
            name: named(name)?,
            eps: fields.eps()?,
            affine: take(&mut fields.raw.affine).unwrap_or(AFFINE),
        },
        "linear" => LayerKind::Linear {
            name: named(name)?,
            out: fields.width()?,
            bias: take(&mut fields.raw.bias).unwrap_or(BIAS),
        },
        "relu" => LayerKind::Relu,
        "leaky-relu" => LayerKind::LeakyRelu { slope: fields.slope()? },
        "gelu" => LayerKind::Gelu {
            approximate: take(&mut fields.raw.approximate).unwrap_or(APPROXIMATE),
        },
        "silu" => LayerKind::Silu,
        "sigmoid" => LayerKind::Sigmoid,
        "softmax" => LayerKind::Softmax,
        "max-pool" => LayerKind::MaxPool(fields.pool(Dilated::Yes)?),
        "avg-pool" => LayerKind::AvgPool {
            pool: fields.pool(Dilated::No)?,
            count_padding: take(&mut fields.raw.count_padding).unwrap_or(COUNT_PADDING),
        },
        "adaptive-avg-pool" => LayerKind::AdaptiveAvgPool {
            out: fields.extent("out")?,
        },
        "global-avg-pool" => LayerKind::AdaptiveAvgPool { out: [1, 1] },
        "global-max-pool" => LayerKind::GlobalMaxPool,
        "flatten" => LayerKind::Flatten,
        "dropout" => {
            // Dropout does nothing at inference; `p` is taken so that a list can mirror its training code.
            take(&mut fields.raw.p);
            LayerKind::Dropout
        }
        "residual" => residual(fields, place, depth, count)?,
        other => {
            let message = format!("{place}: unknown type `{other}`; known are {}", keys_layer::kinds());
            return Err(Mistake::new(raw.kind.span().start, message));
        }
    };
    refuse_rest(&raw, &label)?;
    Ok(Layer { label, at, kind })
}

fn conv2d(name: String, fields: &mut Fields<'_>) -> Result<Conv2d, Mistake> {
    let kernel = fields.extent("kernel")?;
    Ok(Conv2d {
        name,
        out: fields.width()?,
        window: Window {
            kernel,
            stride: fields.extent_or("stride", [STRIDE; 2])?,
            padding: fields.padding()?,
            dilation: fields.extent_or("dilation", [DILATION; 2])?,
        },
        groups: fields.groups()?,
        bias: take(&mut fields.raw.bias).unwrap_or(BIAS),
    })
}

fn residual(fields: &mut Fields<'_>, place: &str, depth: usize, count: &mut usize) -> Result<LayerKind, Mistake> {
    let Some(body) = take(&mut fields.raw.body) else {
        return Err(fields.missing("body"));
    };
    let shortcut = take(&mut fields.raw.shortcut).unwrap_or_default();
    Ok(LayerKind::Residual {
        body: check_nested(body, &format!("{place} body "), depth + 1, count)?,
        shortcut: check_nested(shortcut, &format!("{place} shortcut "), depth + 1, count)?,
    })
}

/// The keys of one layer that are not taken yet.
struct Fields<'a> {
    raw: &'a mut RawLayer,
    label: &'a str,
    at: usize,
}

#[derive(PartialEq)]
enum Dilated {
    Yes,
    No,
}

impl Fields<'_> {
    fn missing(&self, key: &str) -> Mistake {
        Mistake::new(self.at, format!("{}: `{key}` is missing", self.label))
    }

    fn slot(&mut self, key: &str) -> &mut Option<Spanned<Extent>> {
        match key {
            "kernel" => &mut self.raw.kernel,
            "stride" => &mut self.raw.stride,
            "padding" => &mut self.raw.padding,
            "dilation" => &mut self.raw.dilation,
            _ => &mut self.raw.out,
        }
    }

    /// Two numbers of at least 1.
    fn extent(&mut self, key: &str) -> Result<[usize; 2], Mistake> {
        match self.slot(key).take() {
            Some(extent) => self.bounded(key, &extent, 1),
            None => Err(self.missing(key)),
        }
    }

    fn extent_or(&mut self, key: &str, default: [usize; 2]) -> Result<[usize; 2], Mistake> {
        match self.slot(key).take() {
            Some(extent) => self.bounded(key, &extent, 1),
            None => Ok(default),
        }
    }

    fn padding(&mut self) -> Result<[usize; 2], Mistake> {
        match self.raw.padding.take() {
            Some(extent) => self.bounded("padding", &extent, 0),
            None => Ok([PADDING; 2]),
        }
    }

    /// `out` as one number.
    fn width(&mut self) -> Result<usize, Mistake> {
        let Some(out) = self.raw.out.take() else {
            return Err(self.missing("out"));
        };
        match out.get_ref() {
            Extent::One(_) => self.bounded("out", &out, 1).map(|[width, _]| width),
            Extent::Two(_) => Err(Mistake::new(
                out.span().start,
                format!("{}: `out` is one number here", self.label),
            )),
        }
    }

    fn bounded(&self, key: &str, extent: &Spanned<Extent>, least: u32) -> Result<[usize; 2], Mistake> {
        let pair = match *extent.get_ref() {
            Extent::One(both) => [both, both],
            Extent::Two(pair) => pair,
        };
        for value in pair {
            if value < least || value > MAX_EXTENT {
                let message = format!("{}: `{key}` is {value}, not within {least} to {MAX_EXTENT}", self.label);
                return Err(Mistake::new(extent.span().start, message));
            }
        }
        Ok(pair.map(|value| value as usize))
    }

    fn groups(&mut self) -> Result<usize, Mistake> {
        match self.raw.groups.take() {
            None => Ok(GROUPS),
            Some(groups) if (1..=MAX_EXTENT).contains(groups.get_ref()) => Ok(*groups.get_ref() as usize),
            Some(groups) => {
                let message = format!(
                    "{}: `groups` is {}, not within 1 to {MAX_EXTENT}",
                    self.label,
                    groups.get_ref()
                );
                Err(Mistake::new(groups.span().start, message))
            }
        }
    }

    fn eps(&mut self) -> Result<f64, Mistake> {
        match self.raw.eps.take() {
            None => Ok(EPS),
            Some(eps) if *eps.get_ref() > 0.0 && *eps.get_ref() < 1.0 => Ok(*eps.get_ref()),
            Some(eps) => {
                let message = format!("{}: `eps` is {}, not within 0 to 1", self.label, eps.get_ref());
                Err(Mistake::new(eps.span().start, message))
            }
        }
    }

    fn slope(&mut self) -> Result<f64, Mistake> {
        match self.raw.slope.take() {
            None => Ok(SLOPE),
            Some(slope) if slope.get_ref().is_finite() => Ok(*slope.get_ref()),
            Some(slope) => Err(Mistake::new(
                slope.span().start,
                format!("{}: `slope` is not a finite number", self.label),
            )),
        }
    }

    fn pool(&mut self, dilated: Dilated) -> Result<Pool, Mistake> {
        let kernel = self.extent("kernel")?;
        let stride = self.extent_or("stride", kernel)?;
        let at = self
            .raw
            .padding
            .as_ref()
            .map_or(self.at, |padding| padding.span().start);
        let padding = self.padding()?;
        if kernel
            .iter()
            .zip(padding)
            .any(|(kernel, padding)| padding * 2 > *kernel)
        {
            let message = format!("{}: `padding` is more than half of `kernel`", self.label);
            return Err(Mistake::new(at, message));
        }
        let dilation = match dilated {
            Dilated::Yes => self.extent_or("dilation", [DILATION; 2])?,
            Dilated::No => [DILATION; 2],
        };
        let ceil = take(&mut self.raw.ceil).unwrap_or(CEIL);
        Ok(Pool {
            window: Window {
                kernel,
                stride,
                padding,
                dilation,
            },
            ceil,
        })
    }
}

fn take<T>(slot: &mut Option<Spanned<T>>) -> Option<T> {
    slot.take().map(Spanned::into_inner)
}

/// An error for the first key that the layer's kind does not take.
fn refuse_rest(raw: &RawLayer, label: &str) -> Result<(), Mistake> {
    fn start<T>(slot: &Option<Spanned<T>>) -> Option<usize> {
        slot.as_ref().map(|value| value.span().start)
    }
    let rest = [
        ("out", start(&raw.out)),
        ("kernel", start(&raw.kernel)),
        ("stride", start(&raw.stride)),
        ("padding", start(&raw.padding)),
        ("dilation", start(&raw.dilation)),
        ("groups", start(&raw.groups)),
        ("bias", start(&raw.bias)),
        ("affine", start(&raw.affine)),
        ("eps", start(&raw.eps)),
        ("slope", start(&raw.slope)),
        ("approximate", start(&raw.approximate)),
        ("ceil", start(&raw.ceil)),
        ("count_padding", start(&raw.count_padding)),
        ("p", start(&raw.p)),
        ("body", start(&raw.body)),
        ("shortcut", start(&raw.shortcut)),
    ];
    match rest.into_iter().find_map(|(key, start)| Some((key, start?))) {
        Some((key, at)) => Err(Mistake::new(at, format!("{label}: this type takes no `{key}`"))),
        None => Ok(()),
    }
}
