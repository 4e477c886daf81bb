//! A plugin's settings: declared once, known to the host before the plugin is configured, and read so that a mistake is
//! told in the words of `plugins.toml`.

mod reading;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(crate) use reading::made;

/// What a plugin takes in its `settings` table. [`settings!`](crate::settings) writes it.
pub trait Settings: DeserializeOwned {
    /// Every key, in the order in which a person should read them.
    fn declared() -> Vec<Setting>;
}

/// The settings of a plugin that takes none.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

/// One key of a `settings` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key.
    pub name: String,
    /// What it does.
    pub help: String,
    /// What its value may be.
    pub kind: SettingKind,
    /// The texts that may be chosen from; any where there are none.
    pub choices: Vec<String>,
    /// What holds where the key is left out, as JSON.
    pub default: Option<String>,
    /// Whether the key must be there.
    pub required: bool,
    /// What the kind does not say, as a JSON Schema of the value: for editors.
    pub schema: Option<String>,
}

/// What a setting's value may be, in the words of TOML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingKind {
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer,
    /// A number; a whole one is taken too.
    Number,
    /// A text.
    Text,
    /// A list.
    Array,
    /// A table.
    Table,
}

/// A type that a setting may have.
pub trait SettingValue: DeserializeOwned + Serialize {
    /// What the host is told.
    const KIND: SettingKind;

    /// Whether leaving the key out is a value of its own.
    const IS_OPTIONAL: bool = false;

    /// The texts that may be chosen from; any where there are none.
    fn choices() -> &'static [&'static str] {
        &[]
    }

    /// What the kind does not say, as a JSON Schema: the bounds of a number, what is in a list or a table.
    fn schema() -> Option<String> {
        None
    }

    /// What holds where the key is left out and the declaration gives no default.
    fn absent() -> Option<Self> {
        None
    }
}

macro_rules! setting_values {
    ($($kind:ident: $($type:ty)+;)+) => {
        $($(impl SettingValue for $type {
            const KIND: SettingKind = SettingKind::$kind;
        })+)+
    };
}

setting_values! {
    Boolean: bool;
    Number: f32 f64;
    Text: String char;
}

macro_rules! integers {
    ($($type:ty)+) => {
        $(impl SettingValue for $type {
            const KIND: SettingKind = SettingKind::Integer;

            fn schema() -> Option<String> {
                Some(format!(r#"{{"minimum":{},"maximum":{}}}"#, <$type>::MIN, <$type>::MAX))
            }
        })+
    };
}

integers!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize);

impl<T: SettingValue> SettingValue for Vec<T> {
    const KIND: SettingKind = SettingKind::Array;

    fn schema() -> Option<String> {
        Some(format!(r#"{{"items":{{"type":"{}"}}}}"#, T::KIND.json_type()))
    }
}

impl<T, const N: usize> SettingValue for [T; N]
where
    [T; N]: DeserializeOwned + Serialize,
{
    const KIND: SettingKind = SettingKind::Array;
}

impl<T: DeserializeOwned + Serialize> SettingValue for BTreeMap<String, T> {
    const KIND: SettingKind = SettingKind::Table;
}

impl<T: SettingValue> SettingValue for Option<T> {
    const KIND: SettingKind = T::KIND;
    const IS_OPTIONAL: bool = true;

    fn choices() -> &'static [&'static str] {
        T::choices()
    }

    fn schema() -> Option<String> {
        T::schema()
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl SettingKind {
    /// The same in the words of JSON Schema.
    fn json_type(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Text => "string",
            Self::Array => "array",
            Self::Table => "object",
        }
    }
}

impl Settings for NoSettings {
    fn declared() -> Vec<Setting> {
        Vec::new()
    }
}

impl Setting {
    /// A key whose value has the type `T`; `default` is what holds where it is left out.
    pub fn of<T: SettingValue>(name: &str, help: &str, default: Option<T>) -> Self {
        let default = default.as_ref().and_then(|value| serde_json::to_string(value).ok());
        Self {
            name: name.to_owned(),
            // A doc comment's lines begin with a space.
            help: help
                .lines()
                .map(str::trim)
                .collect::<Vec<_>>()
                .join(" ")
                .trim()
                .to_owned(),
            kind: T::KIND,
            choices: T::choices().iter().map(|choice| (*choice).to_owned()).collect(),
            required: default.is_none() && !T::IS_OPTIONAL,
            schema: T::schema(),
            // An optional key that is left out is not there: JSON's `null` is nothing that TOML can say.
            default: default.filter(|json| json != "null"),
        }
    }
}

/// Declares a plugin's settings: a struct that reads the `settings` table of `plugins.toml`, and tells the host its keys.
///
/// The comment of a field is its help. A field with `= value` may be left out; so may one whose type is an [`Option`];
/// every other must be there. A key that is not declared is a mistake.
///
/// ```
/// millrace_plugin::settings! {
///     /// The `settings` table.
///     pub struct Settings {
///         /// Where results go.
///         pub destination: String = "results".to_owned(),
///         /// The least score that counts.
///         pub least: Option<f32>,
///         /// The labels to keep.
///         pub labels: Vec<String>,
///     }
/// }
/// let settings: Settings = millrace_plugin::testing::settings(r#"{"labels": ["cat"]}"#).unwrap();
/// assert_eq!((settings.destination.as_str(), settings.least), ("results", None));
/// let error = millrace_plugin::testing::settings::<Settings>("{}").unwrap_err();
/// assert_eq!(error, "missing field `labels`");
/// ```
#[macro_export]
macro_rules! settings {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $name:ident {
            $($(#[doc = $help:literal])+ $field_visibility:vis $field:ident: $type:ty $(= $default:expr)?),+ $(,)?
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone)]
        $visibility struct $name {
            $($(#[doc = $help])+ $field_visibility $field: $type,)+
        }

        impl<'de> $crate::serde::Deserialize<'de> for $name {
            fn deserialize<D: $crate::serde::Deserializer<'de>>(reader: D) -> ::core::result::Result<Self, D::Error> {
                #[derive($crate::serde::Deserialize)]
                #[serde(crate = "millrace_plugin::serde", deny_unknown_fields)]
                struct Given {
                    $(#[serde(default = "::core::option::Option::default")] $field: ::core::option::Option<$type>,)+
                }
                let given = <Given as $crate::serde::Deserialize>::deserialize(reader)?;
                $(let $field = match given.$field.or_else(|| $crate::__default!($type $(, $default)?)) {
                    ::core::option::Option::Some(value) => value,
                    ::core::option::Option::None => {
                        return Err($crate::serde::de::Error::missing_field(stringify!($field)));
                    }
                };)+
                Ok(Self { $($field),+ })
            }
        }

        impl $crate::Settings for $name {
            fn declared() -> ::std::vec::Vec<$crate::Setting> {
                ::std::vec![$($crate::Setting::of::<$type>(
                    stringify!($field),
                    concat!($($help, "\n"),+),
                    $crate::__default!($type $(, $default)?),
                )),+]
            }
        }
    };
}

/// What holds where a key is left out.
#[doc(hidden)]
#[macro_export]
macro_rules! __default {
    ($type:ty) => {
        <$type as $crate::SettingValue>::absent()
    };
    ($type:ty, $default:expr) => {
        ::core::option::Option::<$type>::Some($default)
    };
}

/// Declares an enum that is written as a text, as a type of settings.
///
/// ```
/// millrace_plugin::choice! {
///     /// Where north is.
///     pub enum North {
///         /// At the top.
///         Up = "up",
///         /// At the bottom.
///         Down = "down",
///     }
/// }
/// assert_eq!(millrace_plugin::serde_json::from_str::<North>(r#""down""#).unwrap(), North::Down);
/// let error = millrace_plugin::serde_json::from_str::<North>(r#""left""#).unwrap_err();
/// assert!(error.to_string().contains("expected `up` or `down`"));
/// ```
#[macro_export]
macro_rules! choice {
    (
        $(#[$attribute:meta])*
        $visibility:vis enum $name:ident {
            $($(#[$variant_attribute:meta])* $variant:ident = $text:literal),+ $(,)?
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $visibility enum $name {
            $($(#[$variant_attribute])* $variant,)+
        }

        impl<'de> $crate::serde::Deserialize<'de> for $name {
            fn deserialize<D: $crate::serde::Deserializer<'de>>(reader: D) -> ::core::result::Result<Self, D::Error> {
                let text = <::std::string::String as $crate::serde::Deserialize>::deserialize(reader)?;
                match text.as_str() {
                    $($text => Ok(Self::$variant),)+
                    other => Err($crate::serde::de::Error::unknown_variant(other, &[$($text),+])),
                }
            }
        }

        impl $crate::serde::Serialize for $name {
            fn serialize<S: $crate::serde::Serializer>(&self, writer: S) -> ::core::result::Result<S::Ok, S::Error> {
                writer.serialize_str(match self {
                    $(Self::$variant => $text,)+
                })
            }
        }

        impl $crate::SettingValue for $name {
            const KIND: $crate::SettingKind = $crate::SettingKind::Text;

            fn choices() -> &'static [&'static str] {
                &[$($text),+]
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Setting, SettingKind, Settings as _};

    crate::choice! {
        /// A choice.
        enum Side {
            /// Left.
            Left = "left",
            /// Right.
            Right = "right",
        }
    }

    crate::settings! {
        /// Of every kind.
        struct Settings {
            /// How wide,
            /// in pixels.
            width: u32 = 7,
            /// By name.
            labels: BTreeMap<String, String> = BTreeMap::new(),
            /// Where.
            side: Option<Side>,
            /// What for.
            purpose: String,
        }
    }

    fn check(json: &str, expected: &str) {
        let read: Result<Settings, String> = super::made(json, Ok);
        assert_eq!(read.unwrap_err(), expected, "{json}");
    }

    #[test]
    fn mistakes_name_their_key() {
        check(
            r#"{"purpose": "x", "wdith": 3}"#,
            "unknown field `wdith`, expected one of `width`, `labels`, `side`, `purpose`",
        );
        check(
            r#"{"purpose": "x", "width": "x"}"#,
            r#"`width`: invalid type: string "x", expected u32"#,
        );
        check(
            r#"{"purpose": "x", "labels": {"cat": 1}}"#,
            "`labels.cat`: invalid type: integer `1`, expected a string",
        );
        check(
            r#"{"purpose": "x", "side": "up"}"#,
            "`side`: unknown variant `up`, expected `left` or `right`",
        );
        check("{}", "missing field `purpose`");
    }

    #[test]
    fn all_mistakes_are_told() {
        check(
            r#"{"purpose": "x", "side": "up", "width": -1, "wdith": 3, "labels": 5}"#,
            "`width`: invalid value: integer `-1`, expected u32; `labels`: invalid type: integer `5`, expected a map; \
             `side`: unknown variant `up`, expected `left` or `right`; unknown field `wdith`, expected one of `width`, \
             `labels`, `side`, `purpose`",
        );
        // Without a value of its own there is nothing more to ask.
        check(
            r#"{"purpose": 1, "side": "up"}"#,
            "`side`: unknown variant `up`, expected `left` or `right`; `purpose`: invalid type: integer `1`, expected a \
             string",
        );
        check(
            r#"{"side": "up"}"#,
            "`side`: unknown variant `up`, expected `left` or `right`; missing field `purpose`",
        );
        let made = |json: &str, text: &'static str| super::made(json, |_: Settings| Err::<(), _>(text.to_owned()));
        let two = made(r#"{"purpose": "", "width": "x"}"#, "`purpose` is empty");
        let told = r#"`width`: invalid type: string "x", expected u32"#;
        assert_eq!(two, Err(format!("{told}; `purpose` is empty")));
        // What is said of a default that stands for a wrong value is nobody's mistake.
        let one = made(
            r#"{"purpose": "", "width": "x"}"#,
            "with `width` 7 there must be `labels`",
        );
        assert_eq!(one, Err(told.to_owned()));
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let settings: Settings = super::made(r#"{"purpose": "x"}"#, Ok).unwrap();
        assert_eq!(
            (
                settings.width,
                settings.labels.len(),
                settings.side,
                settings.purpose.as_str()
            ),
            (7, 0, None, "x")
        );
        let settings: Settings = super::made(r#"{"purpose": "", "side": "right", "width": 1}"#, Ok).unwrap();
        assert_eq!((settings.width, settings.side), (1, Some(Side::Right)));
    }

    #[test]
    fn the_host_is_told_every_key() {
        let setting = |name: &str, help: &str, kind, choices: &[&str], default: Option<&str>, required| Setting {
            name: name.to_owned(),
            help: help.to_owned(),
            kind,
            choices: choices.iter().map(|choice| (*choice).to_owned()).collect(),
            default: default.map(str::to_owned),
            required,
            schema: (kind == SettingKind::Integer).then(|| r#"{"minimum":0,"maximum":4294967295}"#.to_owned()),
        };
        let expected = [
            setting(
                "width",
                "How wide, in pixels.",
                SettingKind::Integer,
                &[],
                Some("7"),
                false,
            ),
            setting("labels", "By name.", SettingKind::Table, &[], Some("{}"), false),
            setting("side", "Where.", SettingKind::Text, &["left", "right"], None, false),
            setting("purpose", "What for.", SettingKind::Text, &[], None, true),
        ];
        assert_eq!(Settings::declared(), expected);
    }
}
