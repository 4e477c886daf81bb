//! Finds the tensors in a pickle, each under the dotted path of what it lies in. Whatever stands beside them is passed
//! over, and remembered by name for the case that weights are missing.

use std::collections::{BTreeMap, BTreeSet};

use super::pickle::{Node, Object, Pickle, Value};
use super::tensor::{Rebuilt, View, rebuilt};

/// Deepest nesting that is looked into.
pub(super) const MAX_DEPTH: usize = 64;
/// Most containers that are looked into, each as often as it is reached.
const MAX_VISITS: usize = 1 << 20;
/// Most tensors that are listed.
const MAX_TENSORS: usize = 1 << 17;
/// Longest name that a tensor may have.
pub(super) const MAX_NAME_BYTES: usize = 1024;
/// Kinds of objects that are remembered by name.
const MAX_PASSED: usize = 6;
/// Longest name of a key that is neither text nor a whole number.
const MAX_KEY_CHARS: usize = 60;
/// The tables of a whole module's attributes.
const MODULE_TABLES: [&str; 3] = ["_parameters", "_buffers", "_modules"];

/// The objects of a pickle.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Tensors, or why one cannot be read.
    pub(super) tensors: BTreeMap<String, Result<View, String>>,
    /// Classes of objects that were passed over, and the first place of each.
    pub(super) passed: Vec<(String, String)>,
    /// How many tensors lie within what was passed over.
    pub(super) n_hidden: usize,
    /// Whether something lies deeper than is looked.
    pub(super) is_too_deep: bool,
}

/// Looks through a whole pickle.
///
/// # Errors
/// When it has too much in it.
pub(super) fn tensors(pickle: &Pickle) -> Result<Found, String> {
    let mut walk = Walk {
        pickle,
        found: Found::default(),
        reached: BTreeSet::new(),
        path: Vec::new(),
        n_visits: 0,
    };
    walk.look(pickle.root, "")?;
    let is_hidden = |(value, node): &(Value, &Node)| {
        let is_tensor = match node {
            Node::Object(object) => matches!(rebuilt(pickle, object), Rebuilt::Tensor(_)),
            _ => false,
        };
        is_tensor && !walk.reached.contains(&number(*value))
    };
    walk.found.n_hidden = pickle.nodes().filter(is_hidden).count();
    Ok(walk.found)
}

struct Walk<'a> {
    pickle: &'a Pickle,
    found: Found,
    /// Objects that were read as tensors.
    reached: BTreeSet<usize>,
    /// The values around the current one: a container may hold itself.
    path: Vec<Value>,
    n_visits: usize,
}

impl<'a> Walk<'a> {
    fn look(&mut self, value: Value, name: &str) -> Result<(), String> {
        let Some(node) = self.pickle.node(value) else {
            return Ok(());
        };
        if matches!(node, Node::Text(_) | Node::Global(_) | Node::Persistent(_)) {
            return Ok(());
        }
        self.n_visits += 1;
        if self.n_visits > MAX_VISITS {
            return Err(format!(
                "its Python objects hold each other more than {MAX_VISITS} times"
            ));
        }
        if self.path.contains(&value) {
            return Ok(());
        }
        if self.path.len() == MAX_DEPTH || name.len() > MAX_NAME_BYTES {
            self.found.is_too_deep = true;
            return Ok(());
        }
        self.path.push(value);
        match node {
            Node::List(members) | Node::Tuple(members) => self.members(members, name)?,
            Node::Dict(items) => self.items(items, name)?,
            Node::Object(object) => self.object(value, object, name)?,
            Node::Text(_) | Node::Global(_) | Node::Persistent(_) => {}
        }
        self.path.pop();
        Ok(())
    }

    fn members(&mut self, members: &[Value], name: &str) -> Result<(), String> {
        for (index, member) in members.iter().enumerate().filter(|(_, member)| is_node(**member)) {
            self.look(*member, &within(name, &index.to_string()))?;
        }
        Ok(())
    }

    fn items(&mut self, items: &[(Value, Value)], name: &str) -> Result<(), String> {
        for (key, value) in items.iter().filter(|(_, value)| is_node(*value)) {
            self.look(*value, &within(name, &self.key(*key)))?;
        }
        Ok(())
    }

    fn object(&mut self, value: Value, object: &Object, name: &str) -> Result<(), String> {
        match rebuilt(self.pickle, object) {
            Rebuilt::Tensor(view) => {
                self.reached.insert(number(value));
                return self.add(name, view);
            }
            Rebuilt::Same(value) => return self.look(value, name),
            Rebuilt::Other => {}
        }
        if let Some(attributes) = self.module(object) {
            return self.tables(attributes, name);
        }
        self.items(&object.items, name)?;
        self.members(&object.members, name)?;
        let arguments = self.pickle.sequence(object.arguments).unwrap_or_default();
        let function = self.pickle.global(object.callable);
        let is_plain = |of: &str| function.is_some_and(|function| function.is("collections", of));
        match function.map(|function| function.name.as_str()) {
            // Old protocols write an ordered dictionary as a list of pairs.
            Some("OrderedDict") if is_plain("OrderedDict") => {
                let pairs = arguments
                    .first()
                    .and_then(|list| self.pickle.sequence(*list))
                    .unwrap_or_default();
                let pair = |pair: &Value| match self.pickle.sequence(*pair) {
                    Some([key, value]) => Some((*key, *value)),
                    _ => None,
                };
                let pairs: Vec<_> = pairs.iter().filter_map(pair).collect();
                return self.items(&pairs, name);
            }
            Some("defaultdict") if is_plain("defaultdict") => return Ok(()),
            Some("deque") if is_plain("deque") => return Ok(()),
            // Old protocols write an object of a class by (class, base, what it holds).
            Some("_reconstructor") => {
                if let Some(base @ Value::Node(_)) = arguments.get(2) {
                    self.look(*base, name)?;
                }
            }
            // A tuple with names for its members is made of them.
            _ if object.is_new => {
                let skipped = usize::from(function.is_some_and(|function| function.name == "__newobj__"));
                self.members(arguments.get(skipped..).unwrap_or_default(), name)?;
            }
            _ => {}
        }
        self.pass(object, name);
        Ok(())
    }

    /// The attributes of a module that was saved whole.
    fn module(&self, object: &Object) -> Option<&'a [(Value, Value)]> {
        let pickle: &'a Pickle = self.pickle;
        let attributes = match pickle.node(object.state?)? {
            Node::Dict(items) => items,
            _ => return None,
        };
        let has = |table: &str| attributes.iter().any(|(key, _)| pickle.text(*key) == Some(table));
        MODULE_TABLES
            .iter()
            .all(|table| has(table))
            .then_some(attributes.as_slice())
    }

    /// The `state_dict()` of the module: parameters, buffers that are kept, and those of the modules in it.
    fn tables(&mut self, attributes: &[(Value, Value)], name: &str) -> Result<(), String> {
        let attribute = |of: &str| {
            let found = attributes.iter().find(|(key, _)| self.pickle.text(*key) == Some(of));
            found.map(|(_, value)| *value)
        };
        let passing = attribute("_non_persistent_buffers_set");
        let tables: Vec<(&str, Value)> = MODULE_TABLES
            .iter()
            .filter_map(|of| Some((*of, attribute(of)?)))
            .collect();
        let passing = self.set(passing);
        for (table, value) in tables {
            let items = match self.pickle.node(value) {
                Some(Node::Dict(items)) => items,
                Some(Node::Object(object)) => &object.items,
                _ => continue,
            };
            for (key, value) in items.iter().filter(|(_, value)| is_node(*value)) {
                let key = self.key(*key);
                if table != "_buffers" || !passing.contains(&key) {
                    self.look(*value, &within(name, &key))?;
                }
            }
        }
        Ok(())
    }

    /// The members of a set: old protocols write `set([..])`.
    fn set(&self, value: Option<Value>) -> BTreeSet<String> {
        let members = match value.and_then(|value| self.pickle.node(value)) {
            Some(Node::List(members)) => members.as_slice(),
            Some(Node::Object(object)) => {
                let first = self.pickle.sequence(object.arguments).and_then(<[Value]>::first);
                first.and_then(|list| self.pickle.sequence(*list)).unwrap_or_default()
            }
            _ => &[],
        };
        members.iter().map(|member| self.key(*member)).collect()
    }

    fn add(&mut self, name: &str, view: Result<View, String>) -> Result<(), String> {
        if self.found.tensors.len() == MAX_TENSORS {
            return Err(format!("more than {MAX_TENSORS} tensors"));
        }
        let before = self.found.tensors.insert(name.to_owned(), view);
        if before.is_some() {
            let twice = Err("two tensors of the file have this name".to_owned());
            self.found.tensors.insert(name.to_owned(), twice);
        }
        Ok(())
    }

    fn pass(&mut self, object: &Object, name: &str) {
        let class = self.pickle.class_name(object);
        let passed = &mut self.found.passed;
        if passed.len() < MAX_PASSED && !passed.iter().any(|(known, _)| *known == class) {
            let shown: String = name.escape_debug().take(MAX_KEY_CHARS * 2).collect();
            passed.push((class, shown));
        }
    }

    /// A key as a part of a name.
    fn key(&self, key: Value) -> String {
        match (key, self.pickle.node(key)) {
            (_, Some(Node::Text(text))) => text.to_string(),
            (Value::Int(number), _) => number.to_string(),
            (Value::None, _) => "None".to_owned(),
            (Value::Bool(true), _) => "True".to_owned(),
            (Value::Bool(false), _) => "False".to_owned(),
            (_, Some(Node::Tuple(members))) => {
                let flat = members.iter().take(8).map(|member| match self.pickle.node(*member) {
                    Some(Node::Tuple(_)) => "..".to_owned(),
                    _ => self.key(*member),
                });
                let told = format!("({})", flat.collect::<Vec<_>>().join(", "));
                told.chars().take(MAX_KEY_CHARS).collect()
            }
            _ => format!("<{}>", self.pickle.type_name(key)),
        }
    }
}

fn is_node(value: Value) -> bool {
    matches!(value, Value::Node(_))
}

fn number(value: Value) -> usize {
    match value {
        Value::Node(id) => id,
        _ => usize::MAX,
    }
}

fn within(name: &str, key: &str) -> String {
    match name.is_empty() {
        true => key.to_owned(),
        false => format!("{name}.{key}"),
    }
}
