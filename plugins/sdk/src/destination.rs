//! Names of destinations as settings: the host knows them as such, and finds those that a pipeline does not declare.

use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Serialize};

use crate::{SettingKind, SettingValue};

/// What marks a text of the settings as the name of a destination, in the JSON Schema of the setting.
const FORMAT: &str = r#"{"format":"millrace-destination"}"#;

/// Names of destinations, as a type that a setting may have: one name, a list of them, a table whose values are names, or a
/// [`LabelPattern`](crate::LabelPattern). A name that the pipeline of the router does not declare is then a mistake that
/// `millrace check` finds, and not a dead letter.
///
/// ```
/// use std::collections::BTreeMap;
///
/// use millrace_plugin::Destination;
///
/// millrace_plugin::settings! {
///     /// The `settings` table.
///     struct Settings {
///         /// Where results go.
///         results: Destination = Destination("results".to_owned()),
///         /// Destinations by label.
///         labels: Destination<BTreeMap<String, String>>,
///         /// Where copies go; left out, there are none.
///         copies: Option<Destination>,
///     }
/// }
/// let settings: Settings = millrace_plugin::testing::settings(r#"{"labels": {"cat": "cats"}}"#).unwrap();
/// assert_eq!((settings.results.as_str(), settings.labels["cat"].as_str()), ("results", "cats"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Destination<T = String>(pub T);

impl<T> Deref for Destination<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Destination<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: SettingValue> SettingValue for Destination<T> {
    const KIND: SettingKind = T::KIND;
    const IS_OPTIONAL: bool = T::IS_OPTIONAL;

    fn choices() -> &'static [&'static str] {
        T::choices()
    }

    fn schema() -> Option<String> {
        match T::KIND {
            SettingKind::Text => Some(FORMAT.to_owned()),
            SettingKind::Array => Some(format!(r#"{{"items":{FORMAT}}}"#)),
            SettingKind::Table => Some(format!(r#"{{"additionalProperties":{FORMAT}}}"#)),
            SettingKind::Boolean | SettingKind::Integer | SettingKind::Number => T::schema(),
        }
    }

    fn absent() -> Option<Self> {
        T::absent().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Destination;
    use crate::{LabelPattern, SettingValue};

    #[test]
    fn the_host_is_told_what_is_a_destination() {
        #[track_caller]
        fn check<T: SettingValue>(expected: &str) {
            assert_eq!(T::schema().as_deref(), Some(expected));
        }
        check::<Destination>(r#"{"format":"millrace-destination"}"#);
        check::<Option<Destination>>(r#"{"format":"millrace-destination"}"#);
        check::<Destination<LabelPattern>>(r#"{"format":"millrace-destination"}"#);
        check::<Destination<Vec<String>>>(r#"{"items":{"format":"millrace-destination"}}"#);
        check::<Destination<BTreeMap<String, String>>>(r#"{"additionalProperties":{"format":"millrace-destination"}}"#);
        assert_eq!(LabelPattern::schema(), None, "a routing key is made by one, too");
    }
}
