//! What is asked of a message and its prediction: what the placeholders need, found once for each message.

use millrace_plugin::json::{Picked, Pointer, pick};
use millrace_plugin::{LabelPattern, Message, Prediction, Refusal, Score};

use crate::found::Found;
use crate::placeholder::Placeholder;

/// What the templates ask for, each once.
#[derive(Debug)]
pub(crate) struct Needs {
    placeholders: Vec<Placeholder>,
    /// How many of the best classes.
    n_classes: u32,
    top_k: u32,
}

/// What the placeholders stand for, in one message.
#[derive(Debug)]
pub(crate) struct Facts {
    /// By the numbers of the placeholders.
    found: Vec<Found>,
    /// Where classes are asked for.
    best: Option<Score>,
}

impl Needs {
    pub(crate) fn new(top_k: u32) -> Self {
        Self {
            placeholders: Vec::new(),
            n_classes: 0,
            top_k,
        }
    }

    /// Asks for that many of the best classes.
    pub(crate) fn classes(&mut self, k: u32) {
        self.n_classes = self.n_classes.max(k);
    }

    /// Asks for a placeholder, which is known by its number from then on.
    pub(crate) fn number_of(&mut self, placeholder: Placeholder) -> usize {
        self.classes(match &placeholder {
            Placeholder::Label | Placeholder::Index | Placeholder::Score => 1,
            Placeholder::Margin => 2,
            Placeholder::Top(k) => k.unwrap_or(self.top_k),
            Placeholder::ScoreOf(_) => u32::MAX,
            _ => 0,
        });
        match self.placeholders.iter().position(|known| *known == placeholder) {
            Some(number) => number,
            None => {
                self.placeholders.push(placeholder);
                self.placeholders.len() - 1
            }
        }
    }
}

impl Facts {
    /// Finds what is asked for.
    pub(crate) fn new(needs: &Needs, message: &Message, prediction: &Prediction) -> Result<Self, Refusal> {
        let classes = classes(needs.n_classes, prediction)?;
        let mut fields = fields(&needs.placeholders, message)?.into_iter();
        let mut found = Vec::new();
        for placeholder in &needs.placeholders {
            found.push(match placeholder {
                Placeholder::Id => Found::Text(message.id()),
                Placeholder::CorrelationId => message.correlation_id().into(),
                Placeholder::ReplyTo => message.reply_to().into(),
                Placeholder::Source => Found::Text(message.source()),
                Placeholder::Key => Found::Text(message.key()),
                Placeholder::Attempt => Found::Count(message.attempt()),
                Placeholder::Redelivered => Found::Boolean(message.redelivered()),
                Placeholder::ContentType => message.content_type().into(),
                Placeholder::Header(name) => message.header(name).into(),
                Placeholder::Body(_) => fields.next().unwrap_or(Found::Nothing),
                Placeholder::Model => Found::Text(prediction.model()),
                Placeholder::Output(index) => output(prediction, *index)?,
                other => of_classes(other, &classes, needs.top_k)?,
            });
        }
        Ok(Self {
            found,
            best: classes.into_iter().next(),
        })
    }

    /// What a placeholder stands for.
    pub(crate) fn found(&self, number: usize) -> &Found {
        self.found.get(number).unwrap_or(&Found::Nothing)
    }

    /// Where the result goes.
    pub(crate) fn destination(&self, pattern: &LabelPattern) -> String {
        match (pattern.fixed(), &self.best) {
            (None, Some(best)) => pattern.fill(best),
            (name, _) => name.unwrap_or_default().to_owned(),
        }
    }
}

/// The best classes, best first; not even one only where none is asked for.
fn classes(k: u32, prediction: &Prediction) -> Result<Vec<Score>, Refusal> {
    let classes = if k == 0 { Vec::new() } else { prediction.top(k) };
    if classes.is_empty() && k > 0 {
        let model = prediction.model();
        return Err(Refusal::reject(format!(
            "the model `{model}` gives no scores: the template asks for classes"
        )));
    }
    Ok(classes)
}

/// What a placeholder of the classes stands for.
fn of_classes(placeholder: &Placeholder, classes: &[Score], top_k: u32) -> Result<Found, Refusal> {
    let best = classes.first();
    Ok(match placeholder {
        Placeholder::Label => best.map(|class| class.label.clone()).into(),
        Placeholder::Index => best.map_or(Found::Nothing, |class| Found::Count(class.index)),
        Placeholder::Score => best.map_or(Found::Nothing, |class| Found::Score(class.score)),
        // A model with one class has no second.
        Placeholder::Margin => match classes {
            [best, second, ..] => Found::Score(best.score - second.score),
            _ => Found::Nothing,
        },
        Placeholder::ScoreOf(label) => match classes.iter().find(|class| class.label == *label) {
            Some(class) => Found::Score(class.score),
            None => {
                return Err(Refusal::reject(format!(
                    "the model has no class `{label}`, which the template asks for"
                )));
            }
        },
        Placeholder::Top(k) => {
            let k = usize::try_from(k.unwrap_or(top_k)).unwrap_or(usize::MAX);
            Found::Classes(classes.iter().take(k).cloned().collect())
        }
        _ => Found::Nothing,
    })
}

/// What the placeholders of the body stand for, in their order.
fn fields(placeholders: &[Placeholder], message: &Message) -> Result<Vec<Found>, Refusal> {
    let places: Vec<&Pointer> = placeholders.iter().filter_map(Placeholder::place).collect();
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let body = message.body();
    let picked = pick(&body, &places).map_err(|error| Refusal::reject(format!("the body is not JSON: {error}")))?;
    picked
        .into_iter()
        .zip(places)
        .map(|(picked, place)| field(picked, place))
        .collect()
}

fn field(picked: Option<Picked>, place: &Pointer) -> Result<Found, Refusal> {
    match picked {
        None | Some(Picked::Null) => Ok(Found::Nothing),
        Some(Picked::Boolean(boolean)) => Ok(Found::Boolean(boolean)),
        Some(Picked::Number(number)) => Ok(Found::Number(number)),
        Some(Picked::Text(text)) => Ok(Found::Text(text.into_owned())),
        Some(Picked::List | Picked::Table) => Err(Refusal::reject(format!(
            "`{place}` of the body is a list or table; a template takes a text, number or boolean"
        ))),
    }
}

fn output(prediction: &Prediction, index: u32) -> Result<Found, Refusal> {
    match prediction.output(index) {
        Some(tensor) => Ok(tensor.into_parts().1.into()),
        None => Err(Refusal::reject(format!(
            "the model `{}` has no output {index}, which the template asks for",
            prediction.model()
        ))),
    }
}
