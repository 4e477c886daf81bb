//! The mistakes of a `plugins.toml`, and how they are shown. Knows nothing of keys or their meaning.

use std::collections::BTreeMap;
use std::fmt;
use std::io::IsTerminal;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::{ValidParts, secrets};

/// Bytes of the file, counted from its beginning.
pub type Span = Range<usize>;

/// Quoted text is cut here, so that a message stays one line.
const QUOTED_CHARS_MAX: usize = 80;

/// And a path here: Linux takes none that is longer.
const PATH_CHARS_MAX: usize = 4_096;

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The offending text; none where it is about the whole file.
    pub span: Option<Span>,
    /// The problem: one line, lower case, no final stop.
    pub message: String,
    /// A hint.
    pub hint: Option<String>,
    /// Another place that the mistake refers to, and what it is.
    pub context: Option<(Span, String)>,
    /// Whether it is about the machine, which cannot tell now whether the file is right.
    pub is_machines: bool,
}

/// Something that can be run but is hardly meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning(pub Diagnostic);

/// Every mistake of a file, in the order of the file.
///
/// Its `Display` is the plain rendering; [`ConfigErrors::render`] can colour it.
#[derive(Debug, Clone)]
pub struct ConfigErrors {
    source: Arc<SourceText>,
    valid_parts: Arc<ValidParts>,
    // Invariant: sorted by span when it leaves this module.
    diagnostics: Vec<Diagnostic>,
}

/// How text for people is rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rendering {
    /// ASCII without escape sequences.
    Plain,
    /// For a terminal.
    Coloured,
}

/// The text of a file without its secrets, and where its keys are.
#[derive(Debug, Clone, Default)]
pub(crate) struct SourceText {
    /// The path as the user gave it.
    display_path: String,
    text: String,
    /// Secret parts of `text`. Invariant: in order, disjoint, on character boundaries.
    secrets: Vec<Span>,
    /// Values by dotted key; tables by where their name is written.
    places: BTreeMap<String, Span>,
    // Where the names themselves are, for what is wrong with a name.
    names: BTreeMap<String, Span>,
}

impl Diagnostic {
    /// A mistake at a place of the file.
    pub fn at(span: impl Into<Option<Span>>, message: impl Into<String>) -> Self {
        Self {
            span: span.into(),
            message: message.into(),
            hint: None,
            context: None,
            is_machines: false,
        }
    }

    /// Something that this machine lacks, and the file cannot be checked without; `advice` says what to do.
    pub fn of_machine(message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            is_machines: true,
            ..Self::at(None, message).hint(advice)
        }
    }

    /// Adds advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds another place that belongs to it.
    #[must_use]
    pub fn context(mut self, span: Span, label: impl Into<String>) -> Self {
        self.context = Some((span, label.into()));
        self
    }
}

impl ConfigErrors {
    pub(crate) fn new(source: Arc<SourceText>, valid_parts: ValidParts, diagnostics: Vec<Diagnostic>) -> Self {
        let mut errors = Self {
            source,
            valid_parts: Arc::new(valid_parts),
            diagnostics,
        };
        errors.sort();
        errors
    }

    /// Adds what a later check found.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
        self.sort();
    }

    /// The parts that later checks can look at, so that they too report with the first run.
    pub fn valid_parts(&self) -> Arc<ValidParts> {
        Arc::clone(&self.valid_parts)
    }

    /// Where a key is in the file, as [`Config::locate`](super::Config::locate) says.
    pub fn locate(&self, key: &str) -> Option<Span> {
        self.source.locate(key)
    }

    /// Where the name of a key is in the file.
    pub fn locate_name(&self, key: &str) -> Option<Span> {
        self.source.locate_name(key)
    }

    /// The mistakes, in the order of the file.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// Whether nothing is known to be wrong with the file: this machine lacks what it takes to check it.
    pub fn are_machines(&self) -> bool {
        !self.is_empty() && self.diagnostics.iter().all(|diagnostic| diagnostic.is_machines)
    }

    /// Turns a collection into a result.
    ///
    /// # Errors
    /// Itself, where anything was pushed.
    pub fn into_result(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }

    /// All mistakes with file, line, column, the offending line and hints, and a last line that counts them.
    pub fn render(&self, rendering: Rendering) -> String {
        let mut text = self.source.render(Level::ERROR, &self.diagnostics, rendering);
        let n = self
            .diagnostics
            .iter()
            .filter(|diagnostic| !diagnostic.is_machines)
            .count();
        let (path, plural) = (&self.source.display_path, if n == 1 { "" } else { "s" });
        let last = match self.are_machines() {
            true => format!("cannot check {path}: the file itself may be right"),
            false => format!("{n} mistake{plural} in {path}"),
        };
        text.push_str(&format!("\n\n{last}"));
        text
    }

    fn sort(&mut self) {
        self.diagnostics
            .sort_by_key(|diagnostic| diagnostic.span.as_ref().map_or((0, 0), |span| (span.start, span.end)));
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Rendering::Plain))
    }
}

impl std::error::Error for ConfigErrors {}

impl Rendering {
    /// Coloured where stderr is a terminal and the user did not say `NO_COLOR`.
    pub fn of_stderr() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if std::io::stderr().is_terminal() && !unwanted {
            Self::Coloured
        } else {
            Self::Plain
        }
    }
}

impl SourceText {
    pub(crate) fn new(display_path: &Path, text: &str) -> Self {
        let secrets = url_passwords(text);
        Self {
            display_path: display_path.display().to_string(),
            text: text.to_owned(),
            secrets,
            places: BTreeMap::new(),
            names: BTreeMap::new(),
        }
    }

    /// Hides a part of the text from now on.
    pub(crate) fn hide(&mut self, secret: Span) {
        if self.text.get(secret.clone()).is_none() {
            return;
        }
        let mut whole = secret;
        self.secrets.retain(|other| {
            let is_apart = other.end <= whole.start || whole.end <= other.start;
            if !is_apart {
                whole = whole.start.min(other.start)..whole.end.max(other.end);
            }
            is_apart
        });
        self.secrets.push(whole);
        self.secrets.sort_by_key(|span| span.start);
    }

    pub(crate) fn place(&mut self, key: String, span: Span) {
        self.places.insert(key, span);
    }

    pub(crate) fn name(&mut self, key: String, span: Span) {
        self.names.insert(key, span);
    }

    /// Where the name of a dotted key is.
    pub(crate) fn locate_name(&self, key: &str) -> Option<Span> {
        self.names.get(key).cloned()
    }

    /// Where a dotted key is, or else the nearest table above it.
    pub(crate) fn locate(&self, key: &str) -> Option<Span> {
        let mut key = key;
        loop {
            if let Some(span) = self.places.get(key) {
                return Some(span.clone());
            }
            key = key.rsplit_once('.')?.0;
        }
    }

    pub(crate) fn render_warnings(&self, warnings: &[Warning], rendering: Rendering) -> String {
        let warnings: Vec<Diagnostic> = warnings.iter().map(|Warning(warning)| warning.clone()).collect();
        self.render(Level::WARNING, &warnings, rendering)
    }

    fn render(&self, level: Level<'_>, diagnostics: &[Diagnostic], rendering: Rendering) -> String {
        let shown = self.shown();
        let diagnostics: Vec<Diagnostic> = diagnostics.iter().map(|it| self.without_secrets(it)).collect();
        let renderer = match rendering {
            Rendering::Plain => Renderer::plain(),
            Rendering::Coloured => Renderer::styled().decor_style(DecorStyle::Unicode),
        };
        // One report each: mistakes of one report would run together.
        let reports = diagnostics
            .iter()
            .map(|diagnostic| renderer.render(&[self.group(&level, diagnostic, &shown)]));
        reports.collect::<Vec<String>>().join("\n\n")
    }

    fn group<'a>(&'a self, level: &Level<'a>, diagnostic: &'a Diagnostic, shown: &'a str) -> Group<'a> {
        let title = level.clone().primary_title(diagnostic.message.as_str());
        let mut group = match &diagnostic.span {
            None if diagnostic.is_machines => Group::with_title(title),
            None => title.element(Origin::path(self.display_path.as_str())),
            Some(span) => {
                let mut snippet = Snippet::source(shown)
                    .path(self.display_path.as_str())
                    .annotation(AnnotationKind::Primary.span(self.shown_span(shown, span)));
                if let Some((span, label)) = &diagnostic.context {
                    snippet = snippet.annotation(
                        AnnotationKind::Context
                            .span(self.shown_span(shown, span))
                            .label(label.as_str()),
                    );
                }
                title.element(snippet)
            }
        };
        if let Some(hint) = &diagnostic.hint {
            group = group.element(Level::HELP.message(hint.as_str()));
        }
        group
    }

    /// A diagnostic that quotes no secret.
    fn without_secrets(&self, diagnostic: &Diagnostic) -> Diagnostic {
        let secrets: Vec<&str> = self
            .secrets
            .iter()
            .filter_map(|span| self.text.get(span.clone()))
            .collect();
        let mut shown = diagnostic.clone();
        shown.message = secrets::without(&shown.message, &secrets);
        shown.hint = shown.hint.map(|hint| secrets::without(&hint, &secrets));
        shown.context = shown
            .context
            .map(|(span, label)| (span, secrets::without(&label, &secrets)));
        shown
    }

    /// The text with each secret as `***`, whatever its length.
    fn shown(&self) -> String {
        cut_out(&self.text, &self.secrets)
    }

    fn shown_span(&self, text: &str, span: &Span) -> Span {
        let shown = self.shown_offset(span.start)..self.shown_offset(span.end.max(span.start));
        // Later checks may push any span, and half a character cannot be pointed at.
        text.floor_char_boundary(shown.start)..text.ceil_char_boundary(shown.end)
    }

    fn shown_offset(&self, offset: usize) -> usize {
        let mut shown = offset.min(self.text.len());
        for secret in self.secrets.iter().rev() {
            if offset >= secret.end {
                shown = shown - secret.len() + HIDDEN.len();
            } else if offset > secret.start {
                shown -= offset - secret.start;
            }
        }
        shown
    }
}

/// The placeholder of a secret.
pub const HIDDEN: &str = "***";

/// Text of the user in a message: in backticks, one line, bounded.
pub(crate) fn quoted(text: &str) -> String {
    quoted_up_to(text, QUOTED_CHARS_MAX)
}

/// The same for a path: its end says most.
pub(crate) fn quoted_path(path: &Path) -> String {
    quoted_up_to(&path.display().to_string(), PATH_CHARS_MAX)
}

fn quoted_up_to(text: &str, chars_max: usize) -> String {
    let text = cut_out(text, &url_passwords(text));
    let mut shown = String::new();
    for c in text.chars().take(chars_max) {
        if c.is_control() {
            shown.extend(c.escape_default())
        } else {
            shown.push(c)
        }
    }
    let cut = if text.chars().nth(chars_max).is_some() {
        ".."
    } else {
        ""
    };
    format!("`{shown}{cut}`")
}

/// The candidate that was probably meant.
pub fn did_you_mean<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Jaro-Winkler favours a common beginning, which typing mistakes keep; 0.8 takes `prefetc` and `plugins`
    // and leaves unrelated words of the same length alone.
    const SIMILAR: f64 = 0.8;
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(text, candidate), candidate))
        .filter(|(similarity, _)| *similarity > SIMILAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// The text with [`HIDDEN`] in place of each secret.
fn cut_out(text: &str, secrets: &[Span]) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut from = 0;
    for secret in secrets {
        shown.push_str(text.get(from..secret.start).unwrap_or_default());
        shown.push_str(HIDDEN);
        from = secret.end;
    }
    shown.push_str(text.get(from..).unwrap_or_default());
    shown
}

/// Passwords of everything that looks like a URL, whatever key it is in and whether or not the file can be parsed.
fn url_passwords(text: &str) -> Vec<Span> {
    let mut found = Vec::new();
    for (scheme, separator) in text.match_indices("://") {
        let start = scheme + separator.len();
        let rest = text.get(start..).unwrap_or_default();
        let end = rest
            .find(|c: char| c.is_whitespace() || c == '"' || c == '\'')
            .unwrap_or(rest.len());
        let Some(user_info) = rest
            .get(..end)
            .and_then(|url| url.rfind('@'))
            .and_then(|at| rest.get(..at))
        else {
            continue;
        };
        let Some((user, password)) = user_info.split_once(':') else {
            continue;
        };
        let is_variable = password.starts_with("${") && password.find('}') == Some(password.len() - 1);
        if !is_variable {
            found.push(start + user.len() + 1..start + user_info.len());
        }
    }
    // A URL within a URL belongs to the outer one.
    found.dedup_by(|inner, outer| inner.start < outer.end);
    found
}
