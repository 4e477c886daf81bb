//! The template of a JSON result, and the template filled in.

use std::collections::BTreeMap;

use millrace_plugin::serde::ser::{Serialize, Serializer};
use millrace_plugin::serde_json::Value;

use crate::facts::{Facts, Needs};
use crate::text::Text;

/// One value of a template.
#[derive(Debug)]
pub(crate) enum Node {
    /// A number or boolean.
    Constant(Value),
    /// A text that is one placeholder: what it stands for keeps its type.
    Placeholder(usize),
    Text(Text),
    List(Vec<Node>),
    Table(BTreeMap<String, Node>),
}

/// A template with what its placeholders stand for.
#[derive(Debug)]
pub(crate) struct Filled<'a> {
    node: &'a Node,
    facts: &'a Facts,
}

impl Node {
    /// Reads a value; `place` is where in the settings it stands.
    pub(crate) fn new(value: &Value, place: &str, needs: &mut Needs) -> Result<Self, String> {
        Ok(match value {
            Value::String(text) => {
                let text = Text::new(text, place, needs)?;
                text.only_placeholder().map_or(Self::Text(text), Self::Placeholder)
            }
            Value::Array(items) => Self::List(
                items
                    .iter()
                    .enumerate()
                    .map(|(at, item)| Self::new(item, &format!("{place}[{at}]"), needs))
                    .collect::<Result<_, _>>()?,
            ),
            Value::Object(fields) => Self::Table(
                fields
                    .iter()
                    .map(|(key, value)| {
                        let place = format!("{place}.{key}");
                        if key.contains(['{', '}']) {
                            return Err(format!("`{place}`: placeholders stand in values, not in keys"));
                        }
                        Ok((key.clone(), Self::new(value, &place, needs)?))
                    })
                    .collect::<Result<_, _>>()?,
            ),
            other => Self::Constant(other.clone()),
        })
    }

    /// What is to be written.
    pub(crate) fn filled<'a>(&'a self, facts: &'a Facts) -> Filled<'a> {
        Filled { node: self, facts }
    }
}

impl Serialize for Filled<'_> {
    fn serialize<S: Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
        let facts = self.facts;
        match self.node {
            Node::Constant(value) => value.serialize(writer),
            Node::Placeholder(number) => facts.found(*number).serialize(writer),
            Node::Text(text) => writer.serialize_str(&text.plain(facts)),
            Node::List(items) => writer.collect_seq(items.iter().map(|item| item.filled(facts))),
            Node::Table(fields) => writer.collect_map(fields.iter().map(|(key, value)| (key, value.filled(facts)))),
        }
    }
}
