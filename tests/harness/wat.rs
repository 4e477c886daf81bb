//! Guests as WebAssembly text: what no language can say, and no compiler would. Knows the contract's types from a guest
//! that was compiled.

use std::path::Path;

use anyhow::Result;

use crate::samples::guest;

/// An allocator that takes what comes next and gives nothing back.
const ALLOCATOR: &str = r#"
  (global $next (mut i32) (i32.const 4096))
  (func $allocate (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at
      (i32.and (i32.add (global.get $next) (i32.sub (local.get $align) (i32.const 1)))
               (i32.sub (i32.const 0) (local.get $align))))
    (global.set $next (i32.add (local.get $at) (local.get $size)))
    (local.get $at))
"#;
/// A call must give back the message that it was lent.
const GIVE_BACK: &str = r#"
  (import "millrace:pipeline/types@0.1.0" "[resource-drop]message" (func $give-back (param i32)))
"#;
const REALLOC: &str = r#"
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (call $allocate (local.get 2) (local.get 3)))
"#;
const CONFIGURE: &str = r#"
  (func (export "millrace:pipeline/plugin@0.1.0#configure") (param i32 i32) (result i32) (i32.const 1024))
"#;
/// An empty list: zeros, at an address that nobody writes to.
const SETTINGS: &str = r#"
  (func (export "millrace:pipeline/plugin@0.1.0#settings") (result i32) (i32.const 1040))
"#;

/// A core module that is a preprocessor: `fields` are its own, and must export `preprocess`. What it
/// does not export of memory, allocator, `configure` and `settings`, it is given.
///
/// # Errors
/// When the text is wrong.
pub fn preprocessor(fields: &str) -> Result<Vec<u8>> {
    preprocessor_importing("", fields)
}

/// As [`preprocessor`], with imports of its own.
///
/// # Errors
/// When the text is wrong.
pub fn preprocessor_importing(imports: &str, fields: &str) -> Result<Vec<u8>> {
    let lacks = |what: &str| !fields.contains(what);
    let mut text = format!("(module\n{GIVE_BACK}{imports}");
    if lacks("(memory (export") {
        text += "(memory (export \"memory\") 2)\n";
    }
    text += ALLOCATOR;
    text += if lacks("\"cabi_realloc\"") { REALLOC } else { "" };
    text += if lacks("#configure\"") { CONFIGURE } else { "" };
    text += if lacks("#settings\"") { SETTINGS } else { "" };
    text += &fields.replace("\"preprocess\"", "\"millrace:pipeline/preprocess@0.1.0#preprocess\"");
    let mut module = wat::parse_str(text + ")")?;
    module.extend(component_types(&guest("wasm32-unknown-unknown", "hostile")?)?);
    Ok(module)
}

/// A component.
///
/// # Errors
/// When the text is wrong.
pub fn component(text: &str) -> Result<Vec<u8>> {
    Ok(wat::parse_str(text)?)
}

/// The sections of a core module that say which world it targets.
fn component_types(path: &Path) -> Result<Vec<u8>> {
    let module = std::fs::read(path)?;
    let mut sections = Vec::new();
    for payload in wasmparser::Parser::new(0).parse_all(&module) {
        if let wasmparser::Payload::CustomSection(section) = payload?
            && section.name().starts_with("component-type")
        {
            let mut content = leb128(section.name().len());
            content.extend(section.name().bytes());
            content.extend(section.data());
            sections.push(0);
            sections.extend(leb128(content.len()));
            sections.extend(content);
        }
    }
    Ok(sections)
}

fn leb128(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}
