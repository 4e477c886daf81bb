//! A few values out of a JSON text, without a tree of all the rest: what a stranger puts beside them costs no memory.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::Pointer;

/// What is at a place of a JSON text.
#[derive(Debug, Clone, PartialEq)]
pub enum Picked<'json> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A number.
    Number(Number),
    /// A text, as it lies in the JSON where nothing in it is escaped.
    Text(Cow<'json, str>),
    /// A list; what is in it has pointers of its own.
    List,
    /// A table; what is in it has pointers of its own.
    Table,
}

/// What is at each of the places; nothing where there is no such place. Of a name that is there twice the last counts.
///
/// The rest of the text is passed over, but must be JSON.
///
/// ```
/// use millrace_plugin::json::{Picked, Pointer, pick};
///
/// let places = [Pointer::new("/camera/id")?, Pointer::new("/lens")?];
/// let found = pick(br#"{"camera": {"id": "front"}, "image": "iVBORw0KGgo="}"#, &[&places[0], &places[1]]);
/// assert_eq!(found.unwrap(), [Some(Picked::Text("front".into())), None]);
/// # Ok::<(), String>(())
/// ```
///
/// # Errors
///
/// Where the text is not JSON.
pub fn pick<'json>(json: &'json [u8], places: &[&Pointer]) -> Result<Vec<Option<Picked<'json>>>, serde_json::Error> {
    let mut found = vec![None; places.len()];
    let mut reader = serde_json::Deserializer::from_slice(json);
    let level = Level {
        depth: 0,
        here: (0..places.len()).collect(),
        places,
        found: &mut found,
    };
    level.deserialize(&mut reader)?;
    reader.end()?;
    Ok(found)
}

/// One value on the way to some of the places. Never deeper than the longest of them.
struct Level<'call, 'json> {
    depth: usize,
    /// Which places are at or below this value.
    here: Vec<usize>,
    places: &'call [&'call Pointer],
    found: &'call mut [Option<Picked<'json>>],
}

impl<'json> Level<'_, 'json> {
    /// Tells what this value is to those places that end here.
    fn is(&mut self, value: &Picked<'json>) {
        for at in &self.here {
            let ends = self
                .places
                .get(*at)
                .is_some_and(|place| place.steps().len() == self.depth);
            if let Some(found) = self.found.get_mut(*at).filter(|_| ends) {
                *found = Some(value.clone());
            }
        }
    }

    /// Whether no place is below this value.
    fn ends(&self) -> bool {
        let ends = |at: &usize| {
            self.places
                .get(*at)
                .is_none_or(|place| place.steps().len() <= self.depth)
        };
        self.here.iter().all(ends)
    }

    /// The places below the child of that name. What a child of the same name said before is forgotten.
    fn below(&mut self, name: &str) -> Vec<usize> {
        let goes_on = |place: &&Pointer| place.steps().get(self.depth).is_some_and(|step| step == name);
        let below: Vec<usize> = self
            .here
            .iter()
            .copied()
            .filter(|at| self.places.get(*at).is_some_and(goes_on))
            .collect();
        for at in &below {
            if let Some(found) = self.found.get_mut(*at) {
                *found = None;
            }
        }
        below
    }

    fn child(&mut self, here: Vec<usize>) -> Level<'_, 'json> {
        Level {
            depth: self.depth + 1,
            here,
            places: self.places,
            found: self.found,
        }
    }
}

impl<'json> DeserializeSeed<'json> for Level<'_, 'json> {
    type Value = ();

    fn deserialize<D: Deserializer<'json>>(self, reader: D) -> Result<(), D::Error> {
        if self.here.is_empty() {
            IgnoredAny::deserialize(reader).map(|_| ())
        } else {
            reader.deserialize_any(self)
        }
    }
}

impl<'json> Visitor<'json> for Level<'_, 'json> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(mut self) -> Result<(), E> {
        self.is(&Picked::Null);
        Ok(())
    }

    fn visit_bool<E: Error>(mut self, value: bool) -> Result<(), E> {
        self.is(&Picked::Boolean(value));
        Ok(())
    }

    fn visit_i64<E: Error>(mut self, value: i64) -> Result<(), E> {
        self.is(&Picked::Number(value.into()));
        Ok(())
    }

    fn visit_u64<E: Error>(mut self, value: u64) -> Result<(), E> {
        self.is(&Picked::Number(value.into()));
        Ok(())
    }

    fn visit_f64<E: Error>(mut self, value: f64) -> Result<(), E> {
        self.is(&Number::from_f64(value).map_or(Picked::Null, Picked::Number));
        Ok(())
    }

    fn visit_borrowed_str<E: Error>(mut self, value: &'json str) -> Result<(), E> {
        self.is(&Picked::Text(Cow::Borrowed(value)));
        Ok(())
    }

    fn visit_str<E: Error>(mut self, value: &str) -> Result<(), E> {
        self.is(&Picked::Text(Cow::Owned(value.to_owned())));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'json>>(mut self, mut list: A) -> Result<(), A::Error> {
        self.is(&Picked::List);
        if self.ends() {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        let mut n_items = 0_usize;
        loop {
            let below = self.below(&n_items.to_string());
            if list.next_element_seed(self.child(below))?.is_none() {
                return Ok(());
            }
            n_items += 1;
        }
    }

    fn visit_map<A: MapAccess<'json>>(mut self, mut table: A) -> Result<(), A::Error> {
        self.is(&Picked::Table);
        if self.ends() {
            while table.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        while let Some(name) = table.next_key::<String>()? {
            let below = self.below(&name);
            table.next_value_seed(self.child(below))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, place: &str, expected: Option<Picked>) {
        let place = Pointer::new(place).unwrap();
        assert_eq!(
            pick(json.as_bytes(), &[&place]).unwrap(),
            [expected],
            "{place} of {json}"
        );
    }

    fn text(text: &str) -> Option<Picked<'_>> {
        Some(Picked::Text(text.into()))
    }

    #[test]
    fn a_place_is_found_or_is_not_there() {
        let json = r#"{"a": {"b": [10, "x", {"c": null}], "": true}, "a/b": -1.5, "d": "\u0041/"}"#;
        check(json, "", Some(Picked::Table));
        check(json, "/a/b", Some(Picked::List));
        check(json, "/a/b/0", Some(Picked::Number(10.into())));
        check(json, "/a/b/1", text("x"));
        check(json, "/a/b/2/c", Some(Picked::Null));
        check(json, "/a/", Some(Picked::Boolean(true)));
        check(json, "/a~1b", Number::from_f64(-1.5).map(Picked::Number));
        check(json, "/d", text("A/"));
        for place in ["/e", "/a/b/3", "/a/b/01", "/a/b/-", "/a/b/1/x", "/a/c/d"] {
            check(json, place, None);
        }
        check(r#""whole""#, "", text("whole"));
    }

    #[test]
    fn of_a_name_that_is_there_twice_the_last_counts() {
        check(r#"{"a": {"b": 1}, "a": {"b": "x"}}"#, "/a/b", text("x"));
        check(r#"{"a": {"b": 1}, "a": 2}"#, "/a/b", None);
    }

    #[test]
    fn several_places_are_found_at_once() {
        let places = ["/a", "/a/b", "/a/b", "/z"].map(|place| Pointer::new(place).unwrap());
        let places: Vec<&Pointer> = places.iter().collect();
        let found = pick(br#"{"a": {"b": "x"}}"#, &places).unwrap();
        assert_eq!(found, [Some(Picked::Table), text("x"), text("x"), None]);
    }

    #[test]
    fn what_nobody_asks_for_must_be_json_and_costs_no_stack() {
        let place = Pointer::new("/a").unwrap();
        for json in ["", "{", r#"{"a": 1} x"#, r#"{"a": 1, "b": [}"#, "[1, 2"] {
            assert!(pick(json.as_bytes(), &[&place]).is_err(), "{json}");
        }
        let deep = format!(r#"{{"b": {}{}, "a": 1}}"#, "[".repeat(100_000), "]".repeat(100_000));
        check(&deep, "/a", Some(Picked::Number(1.into())));
    }
}
