//! The pickle machine: reads instructions and makes nodes. It calls nothing; what it takes is bounded by the constants
//! below.

use std::collections::HashMap;
use std::io::BufRead;

use super::pickle::{Global, Node, Object, Value};
use crate::weights::AGAIN;

/// Most values on the stack, in containers and in the memo, all counted that ever were: 128 MiB of them.
const MAX_VALUES: usize = 8 << 20;
/// Most texts, containers and objects.
const MAX_NODES: usize = 2 << 20;
/// Longest text that is kept, in bytes: a name is shorter, and what is longer is passed over.
const MAX_TEXT_BYTES: u64 = 4096;
/// Bytes of all texts that are kept.
const MAX_TEXTS_BYTES: usize = 64 << 20;
/// The newest protocol.
const MAX_PROTOCOL: u8 = 5;

/// Runs the instructions of one pickle to its end, and not beyond: its nodes, and the value that it makes.
pub(super) fn run(input: &mut impl BufRead) -> Result<(Vec<Node>, Value), String> {
    let mut machine = Machine {
        input,
        at: 0,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        n_values: 0,
        text_bytes: 0,
    };
    let root = machine
        .run()
        .map_err(|what| format!("byte {} of its pickle: {what}", machine.at.saturating_sub(1)))?;
    Ok((machine.nodes, root))
}

/// A stack, marks on it, and a memo.
struct Machine<'a, R> {
    input: &'a mut R,
    /// Bytes read.
    at: u64,
    nodes: Vec<Node>,
    stack: Vec<Value>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
    n_values: usize,
    text_bytes: usize,
}

impl<R: BufRead> Machine<'_, R> {
    fn run(&mut self) -> Result<Value, String> {
        loop {
            let op = self.byte()?;
            match op {
                b'.' => return self.pop(),
                b'(' => {
                    self.count_value()?;
                    self.marks.push(self.stack.len());
                }
                b'0' => drop(self.pop_or_mark()?),
                b'1' => drop(self.pop_to_mark()?),
                b'2' => {
                    let top = self.top()?;
                    self.push(top)?;
                }
                b'N' | b'I' | b'J' | b'K' | b'L' | b'M' | b'F' | b'G' | 0x88..=0x8b => self.constant(op)?,
                b'S' | b'T' | b'U' | b'V' | b'X' | b'B' | b'C' | 0x8c..=0x8e | 0x96 => self.text(op)?,
                b']' | b'}' | b')' | b'l' | b'd' | b't' | 0x85..=0x87 | 0x8f | 0x91 => self.collect(op)?,
                b'a' | b'e' | b's' | b'u' | 0x90 => self.put_in(op)?,
                b'g' | b'h' | b'j' | b'p' | b'q' | b'r' | 0x94 => self.remember(op)?,
                b'c' | b'i' | b'o' | b'R' | b'b' | b'P' | b'Q' | 0x81 | 0x92 | 0x93 => self.make(op)?,
                0x82 => self.extension(1)?,
                0x83 => self.extension(2)?,
                0x84 => self.extension(4)?,
                0x95 => drop(self.number(8)?), // a frame: only a hint for readers
                0x97 => self.push(Value::Other("a buffer"))?,
                0x98 => {} // the buffer is read-only
                0x80 => match self.byte()? {
                    0..=MAX_PROTOCOL => {}
                    newer => return Err(format!("protocol {newer}, known are those up to {MAX_PROTOCOL}")),
                },
                other => return Err(format!("{other:#04x} is no instruction of a pickle")),
            }
        }
    }

    fn constant(&mut self, op: u8) -> Result<(), String> {
        let value = match op {
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'J' => Value::Int(i64::from(i32::from_le_bytes(self.bytes()?))),
            b'K' => Value::Int(i64::from(self.byte()?)),
            b'M' => Value::Int(i64::from(u16::from_le_bytes(self.bytes()?))),
            b'G' => {
                self.bytes::<8>()?;
                Value::Other("float")
            }
            b'F' => {
                self.line()?;
                Value::Other("float")
            }
            b'I' | b'L' => match self.line()?.as_deref() {
                Some("00") if op == b'I' => Value::Bool(false),
                Some("01") if op == b'I' => Value::Bool(true),
                Some(digits) => {
                    let number = digits.strip_suffix('L').unwrap_or(digits).parse();
                    number.map_or(Value::Other("int"), Value::Int)
                }
                None => Value::Other("int"),
            },
            // A long: so many bytes, the lowest first, with a sign.
            _ => {
                let length = self.number(if op == 0x8a { 1 } else { 4 })?;
                self.long(length)?
            }
        };
        self.push(value)
    }

    fn long(&mut self, length: u64) -> Result<Value, String> {
        if length > 8 {
            self.skip(length)?;
            return Ok(Value::Other("int"));
        }
        let (mut bytes, mut last) = ([0; 8], 0);
        for byte in bytes.iter_mut().take(length as usize) {
            *byte = self.byte()?;
            last = *byte;
        }
        if last >= 0x80 {
            bytes.iter_mut().skip(length as usize).for_each(|byte| *byte = 0xff);
        }
        Ok(Value::Int(i64::from_le_bytes(bytes)))
    }

    fn text(&mut self, op: u8) -> Result<(), String> {
        let length = match op {
            b'S' | b'V' => {
                let line = self.line()?;
                let Some(line) = line else {
                    return self.push(Value::Other("str"));
                };
                // Python quotes what protocol 0 calls a string; names have nothing in them that would be escaped.
                let unquoted = if op == b'S' {
                    line.trim_matches(['\'', '"'])
                } else {
                    &line
                };
                return self.push_text(unquoted.into());
            }
            b'U' | b'C' | 0x8c => self.number(1)?,
            b'T' | b'X' | b'B' => self.number(4)?,
            _ => self.number(8)?,
        };
        let is_bytes = matches!(op, b'B' | b'C' | 0x8e | 0x96);
        if is_bytes || length > MAX_TEXT_BYTES {
            self.skip(length)?;
            return self.push(Value::Other(if is_bytes { "bytes" } else { "str" }));
        }
        let mut text = vec![0; length as usize];
        self.input.read_exact(&mut text).map_err(|error| self.failed(&error))?;
        self.at += length;
        self.push_text(String::from_utf8_lossy(&text).into())
    }

    fn push_text(&mut self, text: Box<str>) -> Result<(), String> {
        self.text_bytes += text.len();
        if self.text_bytes > MAX_TEXTS_BYTES {
            return Err(format!("more than {MAX_TEXTS_BYTES} bytes of texts beside the tensors"));
        }
        self.push_node(Node::Text(text))
    }

    fn collect(&mut self, op: u8) -> Result<(), String> {
        let node = match op {
            b']' | 0x8f => Node::List(Vec::new()),
            b'}' => Node::Dict(Vec::new()),
            b')' => Node::Tuple(Vec::new()),
            b'l' | 0x91 => Node::List(self.pop_to_mark()?),
            b'd' => Node::Dict(pairs(&self.pop_to_mark()?)?),
            b't' => Node::Tuple(self.pop_to_mark()?),
            _ => {
                let length = usize::from(op - 0x84);
                let mut members = Vec::with_capacity(length);
                for _ in 0..length {
                    members.push(self.pop()?);
                }
                members.reverse();
                Node::Tuple(members)
            }
        };
        self.push_node(node)
    }

    /// Puts values into the container below them; into what is none, nothing.
    fn put_in(&mut self, op: u8) -> Result<(), String> {
        let values = match op {
            b'a' => vec![self.pop()?],
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                vec![key, value]
            }
            _ => self.pop_to_mark()?,
        };
        let is_keyed = matches!(op, b's' | b'u');
        let of = match self.top()? {
            Value::Node(id) => self.nodes.get_mut(id),
            _ => None,
        };
        match (of, is_keyed) {
            (Some(Node::List(members)), false) => members.extend(values),
            (Some(Node::Object(object)), false) => object.members.extend(values),
            (Some(Node::Dict(items)), true) => items.extend(pairs(&values)?),
            (Some(Node::Object(object)), true) => object.items.extend(pairs(&values)?),
            _ => {}
        }
        Ok(())
    }

    fn remember(&mut self, op: u8) -> Result<(), String> {
        let index = match op {
            b'h' | b'q' => self.number(1)?,
            b'j' | b'r' => self.number(4)?,
            0x94 => self.memo.len() as u64,
            _ => {
                let line = self.line()?.unwrap_or_default();
                line.parse().map_err(|_| "the memo has numbers for names".to_owned())?
            }
        };
        if matches!(op, b'g' | b'h' | b'j') {
            let value = self.memo.get(&index).copied();
            return self.push(value.ok_or("it uses what it did not remember")?);
        }
        let top = self.top()?;
        self.count_value()?;
        self.memo.insert(index, top);
        Ok(())
    }

    fn make(&mut self, op: u8) -> Result<(), String> {
        let mut is_new = matches!(op, 0x81 | 0x92);
        let (callable, arguments) = match op {
            b'P' => {
                let id = self.line()?.unwrap_or_default();
                self.push_text(id.into())?;
                let id = self.pop()?;
                return self.push_node(Node::Persistent(id));
            }
            b'Q' => {
                let id = self.pop()?;
                return self.push_node(Node::Persistent(id));
            }
            b'b' => return self.set_state(),
            b'c' | 0x93 => {
                let node = self.named(op)?;
                return self.push_node(node);
            }
            b'i' => {
                let node = self.named(b'c')?;
                let arguments = self.pop_to_mark()?;
                self.push_node(node)?;
                let callable = self.pop()?;
                self.push_node(Node::Tuple(arguments))?;
                (callable, self.pop()?)
            }
            b'o' => {
                let mut arguments = self.pop_to_mark()?;
                if arguments.is_empty() {
                    return Err("an object without a class".to_owned());
                }
                let callable = arguments.remove(0);
                self.push_node(Node::Tuple(arguments))?;
                (callable, self.pop()?)
            }
            0x92 => {
                self.pop()?; // arguments by name
                let arguments = self.pop()?;
                (self.pop()?, arguments)
            }
            _ => {
                let arguments = self.pop()?;
                (self.pop()?, arguments)
            }
        };
        // Protocols before 2 make objects by a function.
        is_new |= matches!(self.nodes_at(callable), Some(Node::Global(global)) if global.name == "__newobj__");
        self.push_node(Node::Object(Box::new(Object {
            callable,
            arguments,
            is_new,
            state: None,
            items: Vec::new(),
            members: Vec::new(),
        })))
    }

    /// A class or a function, by its two names.
    fn named(&mut self, op: u8) -> Result<Node, String> {
        let (module, name) = if op == b'c' {
            (self.line()?, self.line()?)
        } else {
            let (name, module) = (self.pop()?, self.pop()?);
            let text = |value| match self.nodes_at(value) {
                Some(Node::Text(text)) => Some(text.to_string()),
                _ => None,
            };
            (text(module), text(name))
        };
        match (module, name) {
            (Some(module), Some(name)) => Ok(Node::Global(Box::new(Global { module, name }))),
            _ => Err("a class without a name".to_owned()),
        }
    }

    fn set_state(&mut self) -> Result<(), String> {
        let state = self.pop()?;
        if let Value::Node(id) = self.top()?
            && let Some(Node::Object(object)) = self.nodes.get_mut(id)
        {
            object.state = Some(state);
        }
        Ok(())
    }

    fn extension(&mut self, bytes: u32) -> Result<(), String> {
        self.number(bytes)?;
        self.push(Value::Other("an extension"))
    }

    fn nodes_at(&self, value: Value) -> Option<&Node> {
        match value {
            Value::Node(id) => self.nodes.get(id),
            _ => None,
        }
    }

    fn push_node(&mut self, node: Node) -> Result<(), String> {
        if self.nodes.len() == MAX_NODES {
            return Err(format!("more than {MAX_NODES} Python objects beside the tensors"));
        }
        self.nodes.push(node);
        self.push(Value::Node(self.nodes.len() - 1))
    }

    fn push(&mut self, value: Value) -> Result<(), String> {
        self.count_value()?;
        self.stack.push(value);
        Ok(())
    }

    fn count_value(&mut self) -> Result<(), String> {
        self.n_values += 1;
        match self.n_values > MAX_VALUES {
            true => Err(format!("more than {MAX_VALUES} Python values beside the tensors")),
            false => Ok(()),
        }
    }

    /// The height of the stack that the innermost mark protects.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Value, String> {
        let top = self.stack.get(self.floor()..).and_then(<[Value]>::last);
        top.copied().ok_or_else(underflow)
    }

    fn pop(&mut self) -> Result<Value, String> {
        match self.stack.len() > self.floor() {
            true => self.stack.pop().ok_or_else(underflow),
            false => Err(underflow()),
        }
    }

    fn pop_or_mark(&mut self) -> Result<(), String> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.marks.pop().ok_or_else(underflow)?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn byte(&mut self) -> Result<u8, String> {
        let [byte] = self.bytes()?;
        Ok(byte)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(|error| self.failed(&error))?;
        self.at += N as u64;
        Ok(bytes)
    }

    /// An unsigned number of so many bytes.
    fn number(&mut self, bytes: u32) -> Result<u64, String> {
        let mut number = 0;
        for shift in 0..bytes {
            number |= u64::from(self.byte()?) << (8 * shift);
        }
        Ok(number)
    }

    fn skip(&mut self, length: u64) -> Result<(), String> {
        let mut left = length;
        while left > 0 {
            let there = self.input.fill_buf().map_err(|error| error.to_string())?.len();
            if there == 0 {
                return Err(format!("it ends in the middle: {AGAIN}"));
            }
            let step = left.min(there as u64);
            self.input.consume(step as usize);
            self.at += step;
            left -= step;
        }
        Ok(())
    }

    /// The rest of a line; nothing where it is too long to be kept.
    fn line(&mut self) -> Result<Option<String>, String> {
        let mut line = Vec::new();
        let mut is_long = false;
        loop {
            match self.byte()? {
                b'\n' => break,
                _ if is_long => {}
                byte => line.push(byte),
            }
            is_long |= line.len() as u64 > MAX_TEXT_BYTES;
        }
        let text = String::from_utf8_lossy(&line);
        Ok((!is_long).then(|| text.trim_end_matches('\r').to_owned()))
    }

    fn failed(&self, error: &std::io::Error) -> String {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => format!("it ends in the middle: {AGAIN}"),
            _ => error.to_string(),
        }
    }
}

fn pairs(values: &[Value]) -> Result<Vec<(Value, Value)>, String> {
    match values.as_chunks::<2>() {
        (pairs, []) => Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect()),
        _ => Err("a key without a value".to_owned()),
    }
}

fn underflow() -> String {
    "it uses a value that is not there".to_owned()
}
