//! The book: every command of it is run and every snippet used, as its pages say.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use millrace_tests::book::{Page, broken_links, follow, page, pages};

/// Blocks of the whole book that are not run. Each says why.
const SKIPPED_MAX: usize = 12;

macro_rules! followed {
    ($($test:ident: $file:literal,)*) => {
        const FOLLOWED: &[&str] = &[$($file),*];
        $(
            #[test]
            fn $test() -> Result<()> {
                follow(&page($file)?)
            }
        )*
    };
}

followed! {
    introduction: "introduction.md",
    first_plugin: "first-plugin.md",
    contract: "contract.md",
    testing: "testing.md",
    cases: "cases.md",
    limits: "limits.md",
    other_languages: "other-languages.md",
    trying_models: "trying-models.md",
    swapping: "swapping.md",
    dead_letters: "dead-letters.md",
    recipes: "recipes.md",
    from_python: "from-python.md",
    operating: "operating.md",
    performance: "performance.md",
    scaling: "scaling.md",
    plugins_toml: "plugins-toml.md",
    rabbitmq: "rabbitmq.md",
    folders: "folders.md",
    http: "http.md",
    sqlite: "sqlite.md",
    zeromq: "zeromq.md",
    model_folder: "model-folder.md",
    networks: "networks.md",
    exporting: "exporting.md",
}

#[test]
fn every_page_of_the_table_of_contents_is_followed() -> Result<()> {
    let pages = pages()?;
    let names: Vec<&str> = pages.iter().map(|page| page.name.as_str()).collect();
    assert_eq!(names, FOLLOWED, "SUMMARY.md and tests/it/book.rs name other pages");
    Ok(())
}

#[test]
fn every_link_leads_somewhere() -> Result<()> {
    let broken = broken_links(&pages()?);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

#[test]
fn what_is_not_run_is_little_and_says_why() -> Result<()> {
    let mut n_skipped = 0;
    for page in pages()? {
        for block in &page.blocks {
            if let Some(why) = block.attribute("skip") {
                println!("docs/{}:{}: not run: {why}", page.name, block.line);
                ensure!(why.len() > 10, "docs/{}:{}: no reason", page.name, block.line);
                n_skipped += 1;
            }
        }
    }
    ensure!(n_skipped <= SKIPPED_MAX, "{n_skipped} blocks are not run");
    Ok(())
}

/// Plugins of one name would be built into one place by two pages at once.
#[test]
fn no_two_pages_make_a_plugin_of_one_name() -> Result<()> {
    let mut makers = BTreeMap::new();
    for page in pages()? {
        for block in &page.blocks {
            for (_, after) in block
                .text
                .lines()
                .filter_map(|line| line.split_once("millrace plugin new "))
            {
                let name = after
                    .split_whitespace()
                    .find(|word| !word.starts_with('-'))
                    .unwrap_or_default();
                if let Some(other) = makers.insert(name.to_owned(), page.name.clone()) {
                    ensure!(other == page.name, "{other} and {} make a plugin `{name}`", page.name);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_wrong_page_is_told() -> Result<()> {
    let rows = [
        ("```console\n$ echo a\na\n$ echo b\n```", ""),
        ("```console\n$ echo a\nb\n```", "printed:\na\n-- expected:\nb"),
        ("```console\n$ false\n```", "ended with 1 (expected 0)"),
        ("```console exit=1\n$ true\n$ false\n```", ""),
        ("```console exit=1\n$ false\n$ true\n```", "$ false\nended with 1"),
        ("```console\nls\n```", "does not begin with `$ `"),
        ("```console\n$ exit 0\n```", "ended the shell"),
        ("```toml\na = \n```", "no TOML"),
        ("```json\n{a}\n```", "no JSON"),
        ("```rust\nfn main() {}\n```", "neither written"),
        ("```rust skip=\"a reason that is given\"\nfn main() {}\n```", ""),
        ("    let a = 1;", "without fences"),
        (
            "```text file=a/b\nx\n```\n```text file=a/b append\ny\n```\n```console\n$ cat a/b\nx\ny\n```",
            "",
        ),
        ("```text file=../b\nx\n```", "leads away"),
        (
            "```toml file=plugins.toml\n[pipeline.a]\n```",
            "`millrace check plugins.toml` ended with 2",
        ),
        ("```toml file=plugins.toml exit=2\n[pipeline.a]\n```", ""),
        ("```wit\nworld router {\nimport log;\n```", ""),
        ("```wit\nworld rooter {\n```", "does not say"),
        ("```console\n$ millrace run none.toml &\n```", "the host ended"),
    ];
    for (text, expected) in rows {
        let found = Page::read("wrong.md", text).and_then(|page| follow(&page));
        match found {
            Ok(()) => assert_eq!(expected, "", "was followed: {text}"),
            Err(error) => {
                let told = format!("{error:#}");
                assert!(!expected.is_empty() && told.contains(expected), "{text}\n-- {told}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_link_that_leads_nowhere_is_told() -> Result<()> {
    let rows = [
        ("[a](#a-b)", ""),
        ("[a](#a-b-1)", ""),
        ("[a](#a-b-2)", "no such heading"),
        ("[a](b.md)", ""),
        ("[a](b.md#run-it)", ""),
        ("[a](b.md#run)", "no such heading"),
        ("[a](c.md)", "no such page"),
        ("[a](../README.md)", "no such page"),
        ("[a](https://example.org)", ""),
        ("`[a](c.md)`", ""),
    ];
    for (text, expected) in rows {
        let pages = [
            Page::read("a.md", &format!("# A b\n\n## A, b!\n\n{text}\n"))?,
            Page::read("b.md", "## `Run` it\n")?,
        ];
        let broken = broken_links(&pages).join("\n");
        assert_eq!(broken.is_empty(), expected.is_empty(), "{text}: {broken}");
        assert!(broken.contains(expected), "{text}: {broken}");
    }
    Ok(())
}
