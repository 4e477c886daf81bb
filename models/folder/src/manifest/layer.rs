//! One checked layer of the list: which keys its kind takes, and their bounds. Knows no shapes and no weights.

use toml::Spanned;

use super::keys_layer;
use super::raw::{Extent, RawLayer};
use super::{Diagnostic, MAX_EXTENT};
use crate::near::nearest;

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
    BatchNorm {
        name: String,
        eps: f64,
        affine: bool,
    },
    LayerNorm {
        name: String,
        eps: f64,
        affine: bool,
    },
    Linear {
        name: String,
        out: usize,
        bias: bool,
    },
    Relu,
    LeakyRelu {
        slope: f64,
    },
    /// Either may be infinite.
    Clip {
        low: f32,
        high: f32,
    },
    HardSwish,
    HardSigmoid,
    Gelu {
        approximate: bool,
    },
    Silu,
    Sigmoid,
    Softmax,
    MaxPool(Pool),
    AvgPool {
        pool: Pool,
        count_padding: bool,
    },
    AdaptiveAvgPool {
        out: [usize; 2],
    },
    GlobalMaxPool,
    Flatten,
    Dropout,
    Residual {
        body: Vec<Layer>,
        shortcut: Vec<Layer>,
    },
    Multiply {
        body: Vec<Layer>,
    },
    // Invariant: not empty.
    Concat {
        branches: Vec<Vec<Layer>>,
    },
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

/// The defaults of the keys, as in PyTorch.
pub(super) const EPS: f64 = 1e-5;
/// The most of ReLU6.
const SIX: f32 = 6.0;
/// Most branches of a concat layer; an Inception block has four.
pub(super) const MAX_BRANCHES: usize = 64;
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

/// Checks a list of layers, and the lists within it. A layer with a mistake is in the list with something in its place.
pub(super) fn check_list(raw: Vec<Spanned<RawLayer>>, diagnostics: &mut Vec<Diagnostic>) -> Vec<Layer> {
    check_nested(raw, "layer ", diagnostics)
}

fn check_nested(raw: Vec<Spanned<RawLayer>>, prefix: &str, diagnostics: &mut Vec<Diagnostic>) -> Vec<Layer> {
    let layers = raw.into_iter().enumerate().filter_map(|(index, layer)| {
        let at = layer.span().start;
        check_layer(layer.into_inner(), &format!("{prefix}{}", index + 1), at, diagnostics)
    });
    layers.collect()
}

fn check_layer(mut raw: RawLayer, place: &str, at: usize, diagnostics: &mut Vec<Diagnostic>) -> Option<Layer> {
    let kind_at = raw.kind.as_ref()?.span().start; // told already where it is missing
    let kind_name = raw.kind.take()?.into_inner();
    let name = raw.name.take();
    let label = match &name {
        Some(name) => format!("{place} ({kind_name} `{}`)", name.get_ref()),
        None => format!("{place} ({kind_name})"),
    };
    let fields = &mut Fields {
        raw: &mut raw,
        label: &label,
        at,
        diagnostics,
    };
    let kind = match kind_name.as_str() {
        "conv2d" => LayerKind::Conv2d(conv2d(name, fields)),
        "batch-norm" => LayerKind::BatchNorm {
            name: fields.named(name),
            eps: fields.eps(),
            affine: take(&mut fields.raw.affine).unwrap_or(AFFINE),
        },
        "layer-norm" => LayerKind::LayerNorm {
            name: fields.named(name),
            eps: fields.eps(),
            affine: take(&mut fields.raw.affine).unwrap_or(AFFINE),
        },
        "linear" => LayerKind::Linear {
            name: fields.named(name),
            out: fields.width(),
            bias: take(&mut fields.raw.bias).unwrap_or(BIAS),
        },
        "relu" => LayerKind::Relu,
        "leaky-relu" => LayerKind::LeakyRelu { slope: fields.slope() },
        "relu6" => LayerKind::Clip { low: 0.0, high: SIX },
        "clip" => fields.clip(),
        "hard-swish" => LayerKind::HardSwish,
        "hard-sigmoid" => LayerKind::HardSigmoid,
        "gelu" => LayerKind::Gelu {
            approximate: take(&mut fields.raw.approximate).unwrap_or(APPROXIMATE),
        },
        "silu" => LayerKind::Silu,
        "sigmoid" => LayerKind::Sigmoid,
        "softmax" => LayerKind::Softmax,
        "max-pool" => LayerKind::MaxPool(fields.pool(Dilated::Yes)),
        "avg-pool" => LayerKind::AvgPool {
            pool: fields.pool(Dilated::No),
            count_padding: take(&mut fields.raw.count_padding).unwrap_or(COUNT_PADDING),
        },
        "adaptive-avg-pool" => LayerKind::AdaptiveAvgPool {
            out: fields.extent("out"),
        },
        "global-avg-pool" => LayerKind::AdaptiveAvgPool { out: [1, 1] },
        "global-max-pool" => LayerKind::GlobalMaxPool,
        "flatten" => LayerKind::Flatten,
        "dropout" => {
            // Dropout does nothing at inference; `p` is taken so that a list can mirror its training code.
            take(&mut fields.raw.p);
            LayerKind::Dropout
        }
        "residual" => residual(fields, place),
        "multiply" => LayerKind::Multiply {
            body: body(fields, place),
        },
        "concat" => concat(fields, place),
        other => {
            let meant = match nearest(other, keys_layer::names()) {
                Some(meant) => format!(", did you mean `{meant}`?"),
                None => String::new(),
            };
            let message = format!(
                "{place}: unknown type `{other}`{meant}; known are {}",
                keys_layer::kinds()
            );
            diagnostics.push(Diagnostic::new(kind_at, message));
            return None;
        }
    };
    refuse_rest(&raw, &label, diagnostics);
    Some(Layer { label, at, kind })
}

fn conv2d(name: Option<Spanned<String>>, fields: &mut Fields<'_>) -> Conv2d {
    Conv2d {
        name: fields.named(name),
        out: fields.width(),
        window: Window {
            kernel: fields.extent("kernel"),
            stride: fields.extent_or("stride", [STRIDE; 2]),
            padding: fields.padding(),
            dilation: fields.extent_or("dilation", [DILATION; 2]),
        },
        groups: fields.groups(),
        bias: take(&mut fields.raw.bias).unwrap_or(BIAS),
    }
}

fn residual(fields: &mut Fields<'_>, place: &str) -> LayerKind {
    let body = body(fields, place);
    let shortcut = take(&mut fields.raw.shortcut).unwrap_or_default();
    LayerKind::Residual {
        body,
        shortcut: check_nested(shortcut, &format!("{place} shortcut "), fields.diagnostics),
    }
}

fn body(fields: &mut Fields<'_>, place: &str) -> Vec<Layer> {
    let body = take(&mut fields.raw.body);
    if body.is_none() {
        fields.missing("body");
    }
    check_nested(body.unwrap_or_default(), &format!("{place} body "), fields.diagnostics)
}

fn concat(fields: &mut Fields<'_>, place: &str) -> LayerKind {
    let Some(branches) = fields.raw.branches.take() else {
        fields.missing("branches");
        return LayerKind::Dropout; // a mistake is told: the list is not used
    };
    let (at, branches) = (branches.span().start, branches.into_inner());
    if !(1..=MAX_BRANCHES).contains(&branches.len()) {
        let what = format!(
            "`branches` has {} lists, not within 1 to {MAX_BRANCHES}",
            branches.len()
        );
        fields.wrong(at, &what);
    }
    let branches = branches.into_iter().enumerate().map(|(index, branch)| {
        let prefix = format!("{place} branch {} ", index + 1);
        check_nested(branch, &prefix, fields.diagnostics)
    });
    LayerKind::Concat {
        branches: branches.collect(),
    }
}

/// The keys of one layer that are not taken yet. What is wrong is a mistake, and has something that is right in its place.
struct Fields<'a> {
    raw: &'a mut RawLayer,
    label: &'a str,
    at: usize,
    diagnostics: &'a mut Vec<Diagnostic>,
}

#[derive(PartialEq)]
enum Dilated {
    Yes,
    No,
}

impl Fields<'_> {
    fn wrong(&mut self, at: usize, what: &str) {
        self.diagnostics
            .push(Diagnostic::new(at, format!("{}: {what}", self.label)));
    }

    fn missing(&mut self, key: &str) {
        if self.raw.unread.contains(&key) {
            return;
        }
        self.wrong(self.at, &format!("`{key}` is missing"));
    }

    fn named(&mut self, name: Option<Spanned<String>>) -> String {
        match name {
            Some(name) if !name.get_ref().is_empty() => return name.into_inner(),
            Some(name) => self.wrong(name.span().start, "`name` is empty"),
            None if self.raw.unread.contains(&"name") => {}
            None => self.wrong(
                self.at,
                "`name` is missing: what its weights' names begin with in the file",
            ),
        }
        String::new()
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
    fn extent(&mut self, key: &str) -> [usize; 2] {
        match self.slot(key).take() {
            Some(extent) => self.bounded(key, &extent, 1),
            None => {
                self.missing(key);
                [1; 2]
            }
        }
    }

    fn extent_or(&mut self, key: &str, default: [usize; 2]) -> [usize; 2] {
        match self.slot(key).take() {
            Some(extent) => self.bounded(key, &extent, 1),
            None => default,
        }
    }

    fn padding(&mut self) -> [usize; 2] {
        match self.raw.padding.take() {
            Some(extent) => self.bounded("padding", &extent, 0),
            None => [PADDING; 2],
        }
    }

    /// `out` as one number.
    fn width(&mut self) -> usize {
        let Some(out) = self.raw.out.take() else {
            self.missing("out");
            return 1;
        };
        if matches!(out.get_ref(), Extent::Two(_)) {
            self.wrong(out.span().start, "`out` is one number here");
            return 1;
        }
        let [width, _] = self.bounded("out", &out, 1);
        width
    }

    fn bounded(&mut self, key: &str, extent: &Spanned<Extent>, least: u32) -> [usize; 2] {
        let pair = match *extent.get_ref() {
            Extent::One(both) => [both, both],
            Extent::Two(pair) => pair,
        };
        if let Some(value) = pair.into_iter().find(|value| !(least..=MAX_EXTENT).contains(value)) {
            let what = format!("`{key}` is {value}, not within {least} to {MAX_EXTENT}");
            self.wrong(extent.span().start, &what);
            return [1; 2];
        }
        pair.map(|value| value as usize)
    }

    fn groups(&mut self) -> usize {
        match self.raw.groups.take() {
            Some(groups) if (1..=MAX_EXTENT).contains(groups.get_ref()) => return *groups.get_ref() as usize,
            Some(groups) => {
                let what = format!("`groups` is {}, not within 1 to {MAX_EXTENT}", groups.get_ref());
                self.wrong(groups.span().start, &what);
            }
            None => {}
        }
        GROUPS
    }

    fn eps(&mut self) -> f64 {
        match self.raw.eps.take() {
            Some(eps) if *eps.get_ref() > 0.0 && *eps.get_ref() < 1.0 => return *eps.get_ref(),
            Some(eps) => self.wrong(
                eps.span().start,
                &format!("`eps` is {}, not within 0 to 1", eps.get_ref()),
            ),
            None => {}
        }
        EPS
    }

    fn slope(&mut self) -> f64 {
        match self.raw.slope.take() {
            Some(slope) if slope.get_ref().is_finite() => return *slope.get_ref(),
            Some(slope) => self.wrong(slope.span().start, "`slope` is not a finite number"),
            None => {}
        }
        SLOPE
    }

    /// At least one of the two ends.
    fn clip(&mut self) -> LayerKind {
        let (at, low, high) = (self.at, self.raw.low.take(), self.raw.high.take());
        let is_open = low.is_none() && high.is_none();
        let mut end = |slot: Option<Spanned<f64>>, key: &str, open: f32| match slot {
            Some(number) if (*number.get_ref() as f32).is_finite() => *number.get_ref() as f32,
            Some(number) => {
                self.wrong(number.span().start, &format!("`{key}` is not a finite number"));
                open
            }
            None => open,
        };
        let (low, high) = (end(low, "low", f32::NEG_INFINITY), end(high, "high", f32::INFINITY));
        if is_open && !self.raw.unread.iter().any(|key| ["low", "high"].contains(key)) {
            self.wrong(at, "`low` or `high` is missing");
        } else if low > high {
            self.wrong(at, &format!("`low` is {low}, above `high`, which is {high}"));
        }
        LayerKind::Clip { low, high }
    }

    fn pool(&mut self, dilated: Dilated) -> Pool {
        let kernel = self.extent("kernel");
        let stride = self.extent_or("stride", kernel);
        let at = self
            .raw
            .padding
            .as_ref()
            .map_or(self.at, |padding| padding.span().start);
        let padding = self.padding();
        if kernel
            .iter()
            .zip(padding)
            .any(|(kernel, padding)| padding * 2 > *kernel)
        {
            self.wrong(at, "`padding` is more than half of `kernel`");
        }
        let dilation = match dilated {
            Dilated::Yes => self.extent_or("dilation", [DILATION; 2]),
            Dilated::No => [DILATION; 2],
        };
        let ceil = take(&mut self.raw.ceil).unwrap_or(CEIL);
        Pool {
            window: Window {
                kernel,
                stride,
                padding,
                dilation,
            },
            ceil,
        }
    }
}

fn take<T>(slot: &mut Option<Spanned<T>>) -> Option<T> {
    slot.take().map(Spanned::into_inner)
}

/// A mistake for each key that the layer's kind does not take.
fn refuse_rest(raw: &RawLayer, label: &str, diagnostics: &mut Vec<Diagnostic>) {
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
        ("low", start(&raw.low)),
        ("high", start(&raw.high)),
        ("approximate", start(&raw.approximate)),
        ("ceil", start(&raw.ceil)),
        ("count_padding", start(&raw.count_padding)),
        ("p", start(&raw.p)),
        ("body", start(&raw.body)),
        ("shortcut", start(&raw.shortcut)),
        ("branches", start(&raw.branches)),
    ];
    for (key, at) in rest.into_iter().filter_map(|(key, start)| Some((key, start?))) {
        diagnostics.push(Diagnostic::new(at, format!("{label}: this type takes no `{key}`")));
    }
}
