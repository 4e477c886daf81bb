//! A pickle as plain data. Nothing that it names is looked up and nothing is called: what Python would build from it stays
//! an [`Object`] that says what was to be called with what. Knows no tensors and no files.
//!
//! Values refer to nodes by number, so that nothing is copied however often it is used, and no depth of nesting reaches
//! the stack of this process.

use std::io::BufRead;

use super::machine;

/// A value: small ones themselves, others by the number of their node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// Passed over, such as a float or bytes: the name of its Python type.
    Other(&'static str),
    Node(usize),
}

/// The objects that a value refers to.
#[derive(Debug)]
pub(super) enum Node {
    Text(Box<str>),
    /// A list, or a set.
    List(Vec<Value>),
    Tuple(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    /// A class or a function.
    Global(Box<Global>),
    Object(Box<Object>),
    /// Something beside the pickle, by its id.
    Persistent(Value),
}

/// The name of a class or a function.
#[derive(Debug)]
pub(super) struct Global {
    pub(super) module: String,
    pub(super) name: String,
}

/// The object that a call would make, and the values that would be put into it.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) callable: Value,
    pub(super) arguments: Value,
    /// Whether the class itself would be called to make an empty object (`__new__`), and no function.
    pub(super) is_new: bool,
    /// The source of its attributes.
    pub(super) state: Option<Value>,
    /// Its values by key.
    pub(super) items: Vec<(Value, Value)>,
    /// Its values in order.
    pub(super) members: Vec<Value>,
}

/// A whole pickle.
#[derive(Debug)]
pub(super) struct Pickle {
    nodes: Vec<Node>,
    pub(super) root: Value,
}

impl Pickle {
    /// Reads one pickle to its end, and not beyond.
    ///
    /// # Errors
    /// Says at which byte the pickle is wrong, or what it has too much of.
    pub(super) fn read(input: &mut impl BufRead) -> Result<Self, String> {
        let (nodes, root) = machine::run(input)?;
        Ok(Self { nodes, root })
    }

    /// The objects that a value refers to.
    pub(super) fn node(&self, value: Value) -> Option<&Node> {
        match value {
            Value::Node(id) => self.nodes.get(id),
            _ => None,
        }
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = (Value, &Node)> {
        self.nodes.iter().enumerate().map(|(id, node)| (Value::Node(id), node))
    }

    pub(super) fn text(&self, value: Value) -> Option<&str> {
        match self.node(value) {
            Some(Node::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The members of a tuple or a list.
    pub(super) fn sequence(&self, value: Value) -> Option<&[Value]> {
        match self.node(value) {
            Some(Node::Tuple(members) | Node::List(members)) => Some(members),
            _ => None,
        }
    }

    pub(super) fn global(&self, value: Value) -> Option<&Global> {
        match self.node(value) {
            Some(Node::Global(global)) => Some(global),
            _ => None,
        }
    }

    /// The name of a value's Python type, for errors.
    pub(super) fn type_name(&self, value: Value) -> String {
        let name = match (value, self.node(value)) {
            (Value::None, _) => "None",
            (Value::Bool(_), _) => "bool",
            (Value::Int(_), _) => "int",
            (Value::Other(name), _) => name,
            (_, Some(Node::Text(_))) => "str",
            (_, Some(Node::List(_))) => "list",
            (_, Some(Node::Tuple(_))) => "tuple",
            (_, Some(Node::Dict(_))) => "dict",
            (_, Some(Node::Global(global))) => return global.told(),
            (_, Some(Node::Object(object))) => return self.class_name(object),
            (_, Some(Node::Persistent(_))) => "storage",
            (Value::Node(_), None) => "nothing",
        };
        name.to_owned()
    }

    /// The class of an object, or the function that would make it.
    pub(super) fn class_name(&self, object: &Object) -> String {
        // `copyreg._reconstructor(class, base, state)` makes an object of its first argument.
        let reconstructed = self
            .global(object.callable)
            .filter(|global| global.name == "_reconstructor")
            .and_then(|_| self.sequence(object.arguments)?.first())
            .and_then(|class| self.global(*class));
        match reconstructed.or_else(|| self.global(object.callable)) {
            Some(global) => global.told(),
            None => "an object".to_owned(),
        }
    }
}

impl Global {
    pub(super) fn is(&self, module: &str, name: &str) -> bool {
        self.module == module && self.name == name
    }

    /// `module.name`, of characters that are safe to print.
    pub(super) fn told(&self) -> String {
        let told = format!("{}.{}", self.module, self.name);
        told.escape_debug().take(100).collect()
    }
}
