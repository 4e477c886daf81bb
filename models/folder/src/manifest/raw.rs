//! `model.toml` as it is written. Each key is read by its type, and reading goes on behind a mistake, so that all of them
//! are reported at once.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Diagnostic, MAX_LAYERS, MAX_NESTING};
use crate::near::nearest;

/// Longest piece of the file that a mistake repeats, in characters.
const FOUND_MAX_CHARS: usize = 40;
/// The file itself, among the tables.
const FILE: &str = "model.toml";

/// The whole file. Nothing that is required is sure to be there: a mistake says so.
#[derive(Debug, Default)]
pub(super) struct RawManifest {
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
    pub(super) licence: Option<String>,
    pub(super) provenance: Option<String>,
    pub(super) input: Option<RawInput>,
    pub(super) output: RawOutput,
    pub(super) weights: Option<RawWeights>,
    pub(super) samples: Option<RawSamples>,
    pub(super) accuracy: Option<RawAccuracy>,
    /// The network, first layer first.
    pub(super) layer: Option<Vec<Spanned<RawLayer>>>,
}

/// `[input]`
#[derive(Debug, Clone, Default)]
pub(crate) struct RawInput {
    pub(super) shape: Option<Spanned<Vec<u32>>>,
    pub(super) element: Option<Spanned<String>>,
    pub(super) scale: Option<Spanned<f64>>,
    pub(super) mean: Option<Spanned<Vec<f64>>>,
    pub(super) std: Option<Spanned<Vec<f64>>>,
}

/// `[output]`
#[derive(Debug, Default)]
pub(super) struct RawOutput {
    pub(super) name: Option<Spanned<String>>,
    pub(super) labels: Option<Spanned<Vec<String>>>,
    pub(super) activation: Option<Spanned<String>>,
}

/// `[weights]`
#[derive(Debug)]
pub(super) struct RawWeights {
    pub(super) file: Option<Spanned<String>>,
    pub(super) format: Option<Spanned<String>>,
    pub(super) sha256: Option<Spanned<String>>,
    pub(super) key: Option<Spanned<String>>,
    pub(super) layout: Option<Spanned<String>>,
    pub(super) ignore: Option<Spanned<Vec<String>>>,
}

impl RawWeights {
    /// Whether the file has the network in it, and not just weights.
    pub(super) fn is_onnx(&self) -> bool {
        match (&self.format, &self.file) {
            (Some(format), _) => format.get_ref() == "onnx",
            (None, Some(file)) => file.get_ref().ends_with(".onnx"),
            (None, None) => false,
        }
    }
}

/// `[samples]`
#[derive(Debug)]
pub(super) struct RawSamples {
    pub(super) file: Option<Spanned<String>>,
    pub(super) tolerance: Option<Spanned<f64>>,
}

/// `[accuracy]`
#[derive(Debug)]
pub(super) struct RawAccuracy {
    pub(super) held_out: Option<Spanned<f64>>,
    pub(super) items: Option<u64>,
}

/// `[[layer]]`: every key of every kind, so that a key in the wrong place has a line and a column.
#[derive(Debug)]
pub(super) struct RawLayer {
    pub(super) kind: Option<Spanned<String>>,
    pub(super) name: Option<Spanned<String>>,
    pub(super) out: Option<Spanned<Extent>>,
    pub(super) kernel: Option<Spanned<Extent>>,
    pub(super) stride: Option<Spanned<Extent>>,
    pub(super) padding: Option<Spanned<Extent>>,
    pub(super) dilation: Option<Spanned<Extent>>,
    pub(super) groups: Option<Spanned<u32>>,
    pub(super) bias: Option<Spanned<bool>>,
    pub(super) affine: Option<Spanned<bool>>,
    pub(super) eps: Option<Spanned<f64>>,
    pub(super) slope: Option<Spanned<f64>>,
    pub(super) low: Option<Spanned<f64>>,
    pub(super) high: Option<Spanned<f64>>,
    pub(super) approximate: Option<Spanned<bool>>,
    pub(super) ceil: Option<Spanned<bool>>,
    pub(super) count_padding: Option<Spanned<bool>>,
    pub(super) p: Option<Spanned<f64>>,
    pub(super) body: Option<Spanned<Vec<Spanned<RawLayer>>>>,
    pub(super) shortcut: Option<Spanned<Vec<Spanned<RawLayer>>>>,
    pub(super) branches: Option<Spanned<Vec<Vec<Spanned<RawLayer>>>>>,
    /// Keys that cannot be read, and are reported already.
    pub(super) unread: Vec<&'static str>,
}

/// `5` or `[5, 3]`: the same for both axes, or height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    One(u32),
    Two([u32; 2]),
}

/// Reads the text; what is wrong with it is added to `mistakes`.
pub(super) fn read(text: &str, diagnostics: &mut Vec<Diagnostic>) -> RawManifest {
    let (file, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        diagnostics.push(Diagnostic::new(at, error.message().to_owned()));
    }
    let mut reader = Reader {
        text,
        diagnostics,
        n_layers: 0,
        unread: Vec::new(),
    };
    reader.file(file.get_ref())
}

struct Reader<'a> {
    text: &'a str,
    diagnostics: &'a mut Vec<Diagnostic>,
    n_layers: usize,
    /// Keys of the current layer that cannot be read.
    unread: Vec<&'static str>,
}

/// A table, and which of its keys were asked for.
struct Table<'t> {
    keys: &'t DeTable<'t>,
    title: &'static str,
    at: usize,
    known: Vec<&'static str>,
}

/// The fault of a value: where, and the right form.
type Wrong = (std::ops::Range<usize>, &'static str);

/// A type of a value.
trait Readable: Sized {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong>;
}

impl Reader<'_> {
    fn file(&mut self, keys: &DeTable<'_>) -> RawManifest {
        let mut file = table(keys, FILE, 0);
        let licence = self.plain(&mut file, "licence");
        if let (Some((second, _)), Some(_)) = (keys.get_key_value("license"), &licence) {
            let message = "duplicate field `licence`: `license` is the same".to_owned();
            self.diagnostics.push(Diagnostic::new(second.span().start, message));
        }
        let license = self.plain(&mut file, "license");
        let weights = self.required_table(&mut file, "weights", "[weights]");
        let weights = weights.map(|of| self.weights(of));
        let has_layers = !weights.as_ref().is_some_and(RawWeights::is_onnx);
        let raw = RawManifest {
            name: self.plain(&mut file, "name"),
            description: self.plain(&mut file, "description"),
            licence: licence.or(license),
            provenance: self.plain(&mut file, "provenance"),
            input: match has_layers {
                true => self.required_table(&mut file, "input", "[input]"),
                false => self.table(&mut file, "input", "[input]"),
            }
            .map(|of| self.input(of, has_layers)),
            output: self
                .table(&mut file, "output", "[output]")
                .map_or_else(RawOutput::default, |of| self.output(of)),
            weights,
            samples: self.table(&mut file, "samples", "[samples]").map(|of| self.samples(of)),
            accuracy: self
                .table(&mut file, "accuracy", "[accuracy]")
                .map(|of| self.accuracy(of)),
            layer: self.layers(&mut file, "layer", 0).map(Spanned::into_inner),
        };
        if has_layers && !keys.contains_key("layer") {
            let message = "`layer` is missing: the network has at least one [[layer]]".to_owned();
            self.diagnostics.push(Diagnostic::new(0, message));
        }
        if let (false, Some((layers, _))) = (has_layers, keys.get_key_value("layer")) {
            let message = "an `.onnx` file has its layers in it: `layer` goes with weights alone".to_owned();
            self.diagnostics.push(Diagnostic::new(layers.span().start, message));
        }
        self.refuse_rest(&file);
        raw
    }

    fn input(&mut self, mut of: Table<'_>, has_layers: bool) -> RawInput {
        let (shape, element) = match has_layers {
            true => (self.required(&mut of, "shape"), self.required(&mut of, "element")),
            false => (self.value(&mut of, "shape"), self.value(&mut of, "element")),
        };
        let raw = RawInput {
            shape,
            element,
            scale: self.value(&mut of, "scale"),
            mean: self.value(&mut of, "mean"),
            std: self.value(&mut of, "std"),
        };
        self.refuse_rest(&of);
        raw
    }

    fn output(&mut self, mut of: Table<'_>) -> RawOutput {
        let raw = RawOutput {
            name: self.value(&mut of, "name"),
            labels: self.value(&mut of, "labels"),
            activation: self.value(&mut of, "activation"),
        };
        self.refuse_rest(&of);
        raw
    }

    fn weights(&mut self, mut of: Table<'_>) -> RawWeights {
        let raw = RawWeights {
            file: self.required(&mut of, "file"),
            format: self.value(&mut of, "format"),
            sha256: self.value(&mut of, "sha256"),
            key: self.value(&mut of, "key"),
            layout: self.value(&mut of, "layout"),
            ignore: self.value(&mut of, "ignore"),
        };
        self.refuse_rest(&of);
        raw
    }

    fn samples(&mut self, mut of: Table<'_>) -> RawSamples {
        let raw = RawSamples {
            file: self.required(&mut of, "file"),
            tolerance: self.value(&mut of, "tolerance"),
        };
        self.refuse_rest(&of);
        raw
    }

    fn accuracy(&mut self, mut of: Table<'_>) -> RawAccuracy {
        let raw = RawAccuracy {
            held_out: self.required(&mut of, "held_out"),
            items: self.plain(&mut of, "items"),
        };
        self.refuse_rest(&of);
        raw
    }

    /// A list of layers, and those within them.
    fn layers(
        &mut self,
        of: &mut Table<'_>,
        key: &'static str,
        depth: usize,
    ) -> Option<Spanned<Vec<Spanned<RawLayer>>>> {
        let list = of.get(key)?;
        let layers = self.list(list, key, depth)?;
        Some(Spanned::new(list.span(), layers))
    }

    /// Lists of layers that stand side by side.
    fn branches(&mut self, of: &mut Table<'_>, depth: usize) -> Option<Spanned<Vec<Vec<Spanned<RawLayer>>>>> {
        const KEY: &str = "branches";
        let lists = of.get(KEY)?;
        let DeValue::Array(items) = lists.get_ref() else {
            self.wrong((lists.span(), "a list of lists of layers"), KEY);
            return None;
        };
        let branches = items.iter().filter_map(|list| self.list(list, KEY, depth)).collect();
        Some(Spanned::new(lists.span(), branches))
    }

    fn list(&mut self, list: &Spanned<DeValue<'_>>, key: &'static str, depth: usize) -> Option<Vec<Spanned<RawLayer>>> {
        let DeValue::Array(items) = list.get_ref() else {
            self.wrong((list.span(), "a list of layers"), key);
            return None;
        };
        if depth > MAX_NESTING {
            let message = format!("residual layers nested more than {MAX_NESTING} deep");
            self.diagnostics.push(Diagnostic::new(list.span().start, message));
            return None;
        }
        let mut layers = Vec::new();
        for item in items.iter() {
            self.n_layers += 1;
            if self.n_layers == MAX_LAYERS + 1 {
                let message = format!("more than {MAX_LAYERS} layers");
                self.diagnostics.push(Diagnostic::new(item.span().start, message));
            }
            if self.n_layers > MAX_LAYERS {
                break;
            }
            match item.get_ref() {
                DeValue::Table(keys) => {
                    let layer = self.layer(table(keys, "[[layer]]", item.span().start), depth);
                    layers.push(Spanned::new(item.span(), layer));
                }
                _ => self.wrong((item.span(), "a layer, such as { type = \"relu\" }"), key),
            }
        }
        Some(layers)
    }

    fn layer(&mut self, mut of: Table<'_>, depth: usize) -> RawLayer {
        let around = std::mem::take(&mut self.unread);
        let of = &mut of;
        let kind = self.value(of, "type");
        if kind.is_none() && !of.keys.contains_key("type") {
            let message = "`type` is missing: which layer it is".to_owned();
            self.diagnostics.push(Diagnostic::new(of.at, message));
        }
        let mut raw = RawLayer {
            kind,
            name: self.value(of, "name"),
            out: self.value(of, "out"),
            kernel: self.value(of, "kernel"),
            stride: self.value(of, "stride"),
            padding: self.value(of, "padding"),
            dilation: self.value(of, "dilation"),
            groups: self.value(of, "groups"),
            bias: self.value(of, "bias"),
            affine: self.value(of, "affine"),
            eps: self.value(of, "eps"),
            slope: self.value(of, "slope"),
            low: self.value(of, "low"),
            high: self.value(of, "high"),
            approximate: self.value(of, "approximate"),
            ceil: self.value(of, "ceil"),
            count_padding: self.value(of, "count_padding"),
            p: self.value(of, "p"),
            body: self.layers(of, "body", depth + 1),
            shortcut: self.layers(of, "shortcut", depth + 1),
            branches: self.branches(of, depth + 1),
            unread: Vec::new(),
        };
        raw.unread = std::mem::replace(&mut self.unread, around);
        self.refuse_rest(of);
        raw
    }

    fn table<'t>(&mut self, of: &mut Table<'t>, key: &'static str, title: &'static str) -> Option<Table<'t>> {
        let value = of.get(key)?;
        match value.get_ref() {
            DeValue::Table(keys) => Some(table(keys, title, value.span().start)),
            _ => {
                self.wrong((value.span(), "a table"), key);
                None
            }
        }
    }

    fn required_table<'t>(&mut self, of: &mut Table<'t>, key: &'static str, title: &'static str) -> Option<Table<'t>> {
        if !of.keys.contains_key(key) {
            self.diagnostics
                .push(Diagnostic::new(0, format!("the table {title} is missing")));
        }
        self.table(of, key, title)
    }

    fn value<T: Readable>(&mut self, of: &mut Table<'_>, key: &'static str) -> Option<Spanned<T>> {
        let value = of.get(key)?;
        match T::read(value) {
            Ok(read) => Some(Spanned::new(value.span(), read)),
            Err(wrong) => {
                self.wrong(wrong, key);
                None
            }
        }
    }

    fn plain<T: Readable>(&mut self, of: &mut Table<'_>, key: &'static str) -> Option<T> {
        self.value(of, key).map(Spanned::into_inner)
    }

    fn required<T: Readable>(&mut self, of: &mut Table<'_>, key: &'static str) -> Option<Spanned<T>> {
        if !of.keys.contains_key(key) {
            let message = format!("`{key}` is missing from {}", of.title);
            self.diagnostics.push(Diagnostic::new(of.at, message));
        }
        self.value(of, key)
    }

    fn wrong(&mut self, (at, expected): Wrong, key: &'static str) {
        let found = self.text.get(at.clone()).unwrap_or_default().chars();
        let found: String = found
            .map(|letter| if letter.is_control() { ' ' } else { letter })
            .take(FOUND_MAX_CHARS)
            .collect();
        self.unread.push(key);
        let message = format!("`{key}` is {expected}, found `{found}`");
        self.diagnostics.push(Diagnostic::new(at.start, message));
    }

    /// A diagnostic for each key that the file may not have.
    fn refuse_rest(&mut self, of: &Table<'_>) {
        for key in of.keys.keys().filter(|key| !of.known.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref();
            let meant = match nearest(name, of.known.iter().copied()) {
                Some(meant) => format!(", did you mean `{meant}`?"),
                None => String::new(),
            };
            let message = format!("unknown field `{}` in {}{meant}", name.escape_debug(), of.title);
            self.diagnostics.push(Diagnostic::new(key.span().start, message));
        }
    }
}

fn table<'t>(keys: &'t DeTable<'t>, title: &'static str, at: usize) -> Table<'t> {
    Table {
        keys,
        title,
        at,
        known: Vec::new(),
    }
}

impl<'t> Table<'t> {
    fn get(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.known.push(key);
        self.keys.get(key)
    }
}

/// A whole number, by the way it is written: `0x10` too.
fn whole(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

impl Readable for String {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let text = value.get_ref().as_str();
        text.map(str::to_owned).ok_or((value.span(), "a text in quotes"))
    }
}

impl Readable for bool {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        value.get_ref().as_bool().ok_or((value.span(), "true or false"))
    }
}

impl Readable for f64 {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let number = match value.get_ref() {
            DeValue::Float(number) => number.as_str().parse().ok(),
            number => whole(number).map(|number| number as f64),
        };
        number.ok_or((value.span(), "a number"))
    }
}

impl Readable for u32 {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let number = whole(value.get_ref()).and_then(|number| number.try_into().ok());
        number.ok_or((value.span(), "a whole number from 0 to 4294967295"))
    }
}

impl Readable for u64 {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let number = whole(value.get_ref()).and_then(|number| number.try_into().ok());
        number.ok_or((value.span(), "a whole number of at least 0"))
    }
}

impl<T: Readable> Readable for Vec<T> {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        match value.get_ref() {
            DeValue::Array(items) => items.iter().map(T::read).collect(),
            _ => Err((value.span(), "a list")),
        }
    }
}

impl Readable for Extent {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let wrong = || (value.span(), "a whole number, or two of them as [height, width]");
        match value.get_ref() {
            DeValue::Array(_) => match Vec::read(value)?.as_slice() {
                [height, width] => Ok(Self::Two([*height, *width])),
                _ => Err(wrong()),
            },
            _ => u32::read(value).map(Self::One).map_err(|_| wrong()),
        }
    }
}
