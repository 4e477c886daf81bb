//! A page of the book as Markdown: its blocks, its headings, its links. Knows nothing of what a block is for.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// A page.
#[derive(Debug, Default)]
pub struct Page {
    /// Its file's name.
    pub name: String,
    /// Its fenced blocks, in their order.
    pub blocks: Vec<Block>,
    /// Where its links lead, with their lines.
    pub links: Vec<(usize, String)>,
    /// What a link may name after `#`.
    pub anchors: BTreeSet<String>,
}

/// A fenced block.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    /// The line of its first fence, counted from 1.
    pub line: usize,
    /// The first word after the fence.
    pub language: String,
    /// The other words: `NAME=VALUE`, `NAME="WORDS"`, or `NAME` alone with an empty value.
    pub attributes: BTreeMap<String, String>,
    /// What is between the fences.
    pub text: String,
}

impl Block {
    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }
}

impl Page {
    /// Reads a page.
    ///
    /// # Errors
    /// Where a block has no fence, or its words cannot be read.
    pub fn read(name: &str, markdown: &str) -> Result<Self> {
        let mut page = Self {
            name: name.to_owned(),
            ..Self::default()
        };
        let mut open: Option<Block> = None;
        let mut heading: Option<String> = None;
        for (event, range) in Parser::new_ext(markdown, Options::ENABLE_TABLES).into_offset_iter() {
            let line = 1 + markdown.get(..range.start).unwrap_or_default().matches('\n').count();
            match event {
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                    let block = Block::begin(line, &info).with_context(|| format!("{name}:{line}"))?;
                    open = Some(block);
                }
                Event::Start(Tag::CodeBlock(CodeBlockKind::Indented)) => bail!("{name}:{line}: a block without fences"),
                Event::End(TagEnd::CodeBlock) => page.blocks.extend(open.take()),
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => page.add_anchor(&heading.take().unwrap_or_default()),
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push((line, dest_url.into_string()));
                }
                Event::Text(text) | Event::Code(text) => {
                    if let Some(block) = &mut open {
                        block.text += &text;
                    } else if let Some(heading) = &mut heading {
                        *heading += &text;
                    }
                }
                _ => {}
            }
        }
        Ok(page)
    }

    /// As mdBook and GitHub make them: letters, digits, `-` and `_`; a second one of a name has `-1` at its end.
    fn add_anchor(&mut self, heading: &str) {
        let kept = heading.trim().to_lowercase().replace(char::is_whitespace, "-");
        let anchor: String = kept
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
            .collect();
        let mut numbered = anchor.clone();
        for n in 1.. {
            if self.anchors.insert(numbered) {
                break;
            }
            numbered = format!("{anchor}-{n}");
        }
    }
}

impl Block {
    fn begin(line: usize, info: &str) -> Result<Self> {
        let (language, mut rest) = info.trim().split_once(' ').unwrap_or((info.trim(), ""));
        let mut attributes = BTreeMap::new();
        while !rest.trim().is_empty() {
            rest = rest.trim_start();
            let end = rest.find([' ', '=']).unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            let (value, after) = match after.strip_prefix('=') {
                None => ("", after),
                Some(quoted) if quoted.starts_with('"') => quoted
                    .strip_prefix('"')
                    .and_then(|inner| inner.split_once('"'))
                    .with_context(|| format!("no closing quote in `{info}`"))?,
                Some(word) => word.split_once(' ').unwrap_or((word, "")),
            };
            attributes.insert(name.to_owned(), value.to_owned());
            rest = after;
        }
        Ok(Self {
            line,
            language: language.to_owned(),
            attributes,
            text: String::new(),
        })
    }
}
