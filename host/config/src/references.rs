//! The names of plugins and models in a pipeline: each must be in the file. Knows nothing of what they do.

use millrace_schema::Form;
use millrace_types::plugins::Plugins;
use toml::Spanned;
use toml::de::DeValue;

use super::Name;
use super::check::Checker;
use super::diagnostics::{Diagnostic, did_you_mean};
use super::keys::NAME;
use super::links::{Use, UseKind};
use super::report::Report;
use super::table::{Key, Read, Table, Unreadable};
use super::values::{Text, takes_texts, texts};

/// A plugin, or several that a message passes one after the other.
pub(super) const CHAIN: Form = Form::Either(&[Form::Text(NAME), Form::List(&Form::Text(NAME), 1, Some(CHAIN_MAX))]);

/// Plugins that a message passes before the model, or after it: each costs a call.
const CHAIN_MAX: usize = 8;

/// The name of a plugin or a model.
struct Reference(Text);

/// The names of plugins that a message passes one after the other.
struct References(Vec<Spanned<Reference>>);

/// The plugins of both chains.
pub(super) fn plugins(pipeline: &Table<'_>, checker: &Checker<'_, '_>) -> Option<Plugins<Name>> {
    let names = |key| {
        let References(references) = pipeline.peek(key, checker.report).into_given()?;
        let names = references
            .iter()
            .map(|reference| Name::new(&reference.get_ref().0.value));
        names.collect::<Option<Vec<Name>>>()
    };
    // The last of the first chain, and the first of the last, are those next to the model.
    let (mut before, mut after) = (names("preprocess")?, names("route")?.into_iter());
    let preprocess = before.pop()?;
    Some(Plugins {
        before,
        preprocess,
        route: after.next()?,
        after: after.collect(),
    })
}

impl Checker<'_, '_> {
    /// Checks a chain of plugins that a message passes one after the other: transformers, and beside the model the
    /// preprocessor or the router.
    pub(super) fn chain(&mut self, pipeline: &Table<'_>, name: &'static str, kind: UseKind) -> Option<()> {
        let key: Key<References> = pipeline.key(name, self.report);
        self.required(&key, name, pipeline.span(), "the name of a plugin");
        let given = key.given()?;
        let References(references) = given.get_ref();
        let n = references.len();
        if n == 0 || n > CHAIN_MAX {
            let message = format!("a chain of {n} plugins: it must have at least one, and at most {CHAIN_MAX}");
            self.report.diagnostic(Diagnostic::at(given.span(), message));
            return None;
        }
        let own = if kind == UseKind::Preprocess { n - 1 } else { 0 };
        for (place, reference) in references.iter().enumerate() {
            let kind = if place == own { kind } else { UseKind::Transform };
            self.reference(pipeline, reference, kind);
        }
        Some(())
    }

    /// The model of a pipeline.
    pub(super) fn model(&mut self, pipeline: &Table<'_>) -> Option<Name> {
        let key: Key<Reference> = pipeline.key("model", self.report);
        self.required(&key, "model", pipeline.span(), "the name of a model");
        self.reference(pipeline, key.given()?, UseKind::Model)
    }

    fn reference(&mut self, pipeline: &Table<'_>, given: &Spanned<Reference>, kind: UseKind) -> Option<Name> {
        let text = &given.get_ref().0;
        let known = pipeline.outer().names_in(kind.noun());
        let known: Vec<&str> = known.into_iter().map(|(name, _)| name).collect();
        if known.contains(&text.value.as_str()) {
            self.links.uses.push(Use {
                name: text.value.clone(),
                kind,
                span: given.span(),
            });
            return Name::new(&text.value);
        }
        let kind = kind.noun();
        if known.is_empty() && self.report.meant.contains(&(0, kind)) {
            return None;
        }
        let message = format!("there is no {kind} {}", text.quoted());
        self.report
            .diagnostic(match did_you_mean(&text.value, known.iter().copied()) {
                Some(meant) => Diagnostic::at(given.span(), format!("{message}, did you mean `{meant}`?")),
                None if Name::new(&text.value).is_some() && text.is_plain() => {
                    Diagnostic::at(given.span(), message).hint(format!("add `[{kind}.{}]`", text.value))
                }
                None => Diagnostic::at(given.span(), message).hint(format!("add `[{kind}.NAME]`")),
            });
        None
    }
}

impl<'t> Read<'t> for Reference {
    const EXPECTED: &'static str = "one name in a string";

    fn read(value: &'t Spanned<DeValue<'t>>, report: &mut Report<'_>) -> Result<Self, Unreadable> {
        Text::read(value, report).map(Self)
    }

    fn takes(form: &Form) -> bool {
        Text::takes(form)
    }
}

impl<'t> Read<'t> for References {
    const EXPECTED: &'static str = "a name or a list of names";

    fn read(value: &'t Spanned<DeValue<'t>>, report: &mut Report<'_>) -> Result<Self, Unreadable> {
        texts(value, "a name", report).map(|texts| {
            let references = texts
                .into_iter()
                .map(|text| Spanned::new(text.span(), Reference(text.into_inner())));
            Self(references.collect())
        })
    }

    fn takes(form: &Form) -> bool {
        takes_texts(form)
    }
}
