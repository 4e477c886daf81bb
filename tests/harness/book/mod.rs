//! The book, run: every page of `docs/` as a reader would follow it, in a folder of its own. What a block is for is
//! said by the words after its fence, which ARCHITECTURE.md lists. Knows the host by its command line alone.

mod expected;
mod page;
mod shell;

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use tempfile::TempDir;

use crate::broker::Broker;
use crate::samples::root;
use crate::{host, unique, wait_at_most};
pub use page::{Block, Page};
use shell::{Shell, quoted};

/// A host compiles its plugins and warms up its model first.
const READY_LIMIT: std::time::Duration = std::time::Duration::from_secs(120);

/// The pages that the book's table of contents names, in its order.
///
/// # Errors
/// When there is no such page, or it cannot be read.
pub fn pages() -> Result<Vec<Page>> {
    let contents = Page::read("SUMMARY.md", &std::fs::read_to_string(folder().join("SUMMARY.md"))?)?;
    contents.links.iter().map(|(_, name)| page(name)).collect()
}

/// One page.
///
/// # Errors
/// As [`pages`].
pub fn page(name: &str) -> Result<Page> {
    let text = std::fs::read_to_string(folder().join(name)).with_context(|| format!("docs/{name}"))?;
    Page::read(name, &text)
}

fn folder() -> PathBuf {
    root().join("docs")
}

/// What is wrong with the links of some pages: each leads to an address elsewhere, or to a page and a heading of these.
pub fn broken_links(pages: &[Page]) -> Vec<String> {
    let mut broken = Vec::new();
    for page in pages {
        for (line, link) in &page.links {
            if link.starts_with("https://") || link.starts_with("http://") {
                continue;
            }
            let (name, anchor) = link.split_once('#').unwrap_or((link, ""));
            let name = if name.is_empty() { &page.name } else { name };
            let why = match pages.iter().find(|page| page.name == name) {
                None => "no such page in SUMMARY.md",
                Some(target) if !anchor.is_empty() && !target.anchors.contains(anchor) => "no such heading",
                Some(_) => continue,
            };
            broken.push(format!("{}:{line}: {link}: {why}", page.name));
        }
    }
    broken
}

/// Follows a page from its top to its end.
///
/// # Errors
/// At the first block that is not as the page says, with what was found.
pub fn follow(page: &Page) -> Result<()> {
    let mut reader = Reader::sit_down(page)?;
    for block in &page.blocks {
        let place = || format!("docs/{}:{}", page.name, block.line);
        reader.follow(block).with_context(place)?;
    }
    Ok(())
}

/// Who follows a page.
struct Reader {
    // Before the folder: what runs in it ends first.
    shell: Shell,
    log: PathBuf,
    _folder: TempDir,
}

impl Reader {
    fn sit_down(page: &Page) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("millrace-book-").tempdir()?;
        let within = |name: &str| folder.path().join(name);
        for name in ["bin", "checkout/target", "checkout/tests", "run", "mill"] {
            std::fs::create_dir_all(within(name))?;
        }
        let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, within(name));
        link(&host::binary()?, "bin/millrace")?;
        link(&crate::samples::guests()?, "checkout/target/guests")?;
        for name in ["models", "plugins", "wit", "docs", "tests/models"] {
            link(&root().join(name), &format!("checkout/{name}"))?;
        }
        // The one that the system's packages are for, whatever else is in the path.
        let python = Path::new("/usr/bin/python3");
        if python.exists() {
            link(python, "bin/python3")?;
        }
        let path = std::env::var("PATH").unwrap_or_default();
        let text = |name: &str| within(name).display().to_string();
        let mut variables = vec![
            ("PATH", format!("{}:{path}", text("bin"))),
            ("MILLRACE", text("checkout")),
            ("XDG_RUNTIME_DIR", text("run")),
            // One for all pages: what plugins are made of is built once. What comes out lies beside each plugin.
            (
                "CARGO_BUILD_BUILD_DIR",
                host::target_folder()?.join("book-plugins").display().to_string(),
            ),
            ("CARGO_NET_OFFLINE", "true".to_owned()),
        ];
        if page.blocks.iter().any(|block| block.text.contains("AMQP_URL")) {
            variables.push(("AMQP_URL", vhost(&within("bin/rabbitmqctl"))?));
        }
        Ok(Self {
            shell: Shell::start(&within("mill"), &variables)?,
            log: within("host.log"),
            _folder: folder,
        })
    }

    fn follow(&mut self, block: &Block) -> Result<()> {
        if block.attribute("skip").is_some() {
            return Ok(());
        }
        if let Some(file) = block.attribute("file") {
            return self.write(block, file);
        }
        match block.language.as_str() {
            "console" => self.type_all(block),
            "toml" => toml::from_str::<toml::Table>(&block.text).map(drop).context("no TOML"),
            "json" => serde_json::from_str::<serde_json::Value>(&block.text)
                .map(drop)
                .context("no JSON"),
            "wit" => is_of_the_contract(&block.text),
            // A drawing.
            "text" => Ok(()),
            other => bail!(
                "a block of `{other}` is neither written (file=NAME) nor run, nor does it say why not (skip=\"WHY\")"
            ),
        }
    }

    /// Writes a file where the shell is, and has `millrace check` look at a `plugins.toml`.
    fn write(&mut self, block: &Block, file: &str) -> Result<()> {
        let inside = |part| matches!(part, Component::Normal(_));
        ensure!(Path::new(file).components().all(inside), "{file} leads away");
        let here = self.shell.run("pwd -P")?.lines.join("");
        let path = Path::new(&here).join(file);
        std::fs::create_dir_all(path.parent().context("no folder")?)?;
        let before = match (block.attribute("append"), block.attribute("after")) {
            (Some(_), _) => std::fs::read_to_string(&path).with_context(|| format!("{file} is not there"))?,
            (None, Some(head)) => {
                std::fs::read_to_string(Path::new(&here).join(head)).with_context(|| head.to_owned())?
            }
            (None, None) => String::new(),
        };
        std::fs::write(&path, before + &block.text)?;
        if path.file_name().is_none_or(|name| name != "plugins.toml") {
            return Ok(());
        }
        let code = code(block)?;
        let ended = self.shell.run(&format!("millrace check {}", quoted(file)))?;
        ensure!(
            ended.code == code,
            "`millrace check {file}` ended with {} and not {code}:\n{}",
            ended.code,
            ended.lines.join("\n")
        );
        Ok(())
    }

    fn type_all(&mut self, block: &Block) -> Result<()> {
        let steps = expected::steps(&block.text).map_err(|error| anyhow!(error))?;
        let n_steps = steps.len();
        for (at, step) in steps.into_iter().enumerate() {
            let code = if at + 1 == n_steps { code(block)? } else { 0 };
            let command = &step.command;
            let ended = if command.trim_end().ends_with('&') {
                self.start(command)
            } else {
                self.shell.run(command)
            };
            let ended = ended.with_context(|| format!("$ {command}"))?;
            // Shown where the test fails, and to whoever writes a page: `cargo test -- --nocapture PAGE`.
            println!("$ {command}\n{}", ended.lines.join("\n"));
            let as_expected = step.output.is_empty() || expected::is_as_expected(&step.output, &ended.lines);
            ensure!(
                ended.code == code && as_expected,
                "$ {command}\nended with {} (expected {code}) and printed:\n{}\n-- expected:\n{}\n-- the host's log:\n{}",
                ended.code,
                ended.lines.join("\n"),
                step.output.join("\n"),
                self.log_end()
            );
        }
        Ok(())
    }

    /// Starts a command in the background. Where it is a host, goes on when it serves, as who reads its log does.
    fn start(&mut self, command: &str) -> Result<shell::Ended> {
        let ended = self.shell.run_behind(command, &self.log)?;
        let Some((_, arguments)) = command.split_once("millrace run") else {
            return Ok(ended);
        };
        let mut words = arguments.split_whitespace();
        let file = words
            .next()
            .filter(|word| word.ends_with(".toml"))
            .unwrap_or("plugins.toml");
        let ask = format!("kill -0 $! && millrace status --json --file {}", quoted(file));
        let waited = wait_at_most(READY_LIMIT, "the host", || match self.shell.run(&ask) {
            Ok(told) if told.code == 0 => serves(&told.lines.join("\n")).then_some(Ok(())),
            Ok(told) if told.lines.iter().any(|line| line.contains("No such process")) => {
                Some(Err(anyhow!("the host ended")))
            }
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        });
        waited.and_then(|waited| waited).with_context(|| self.log_end())?;
        Ok(ended)
    }

    /// The last of what was written in the background.
    fn log_end(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.lines().collect();
        lines
            .get(lines.len().saturating_sub(30)..)
            .unwrap_or_default()
            .join("\n")
    }
}

/// Whether every pipeline of a host takes messages.
fn serves(status: &str) -> bool {
    let Ok(status) = serde_json::from_str::<serde_json::Value>(status) else {
        return false;
    };
    let pipelines = status.get("pipelines").and_then(|pipelines| pipelines.as_array());
    status.get("phase").is_some_and(|phase| phase == "running")
        && pipelines.is_some_and(|pipelines| {
            pipelines
                .iter()
                .all(|pipeline| pipeline.get("state").is_some_and(|state| state == "running"))
        })
}

/// The exit code that the block, or its last command, must have.
fn code(block: &Block) -> Result<i32> {
    let code = block.attribute("exit").unwrap_or("0");
    code.parse().with_context(|| format!("exit={code}"))
}

/// A part of the shared broker that no other page sees: its address, and a `rabbitmqctl` that is about it.
fn vhost(script: &Path) -> Result<String> {
    use std::os::unix::fs::PermissionsExt;
    let broker = Broker::shared()?;
    let name = unique("book");
    // It takes connections before it takes orders.
    broker.rabbitmqctl(&["await_startup"])?;
    broker.rabbitmqctl(&["add_vhost", &name])?;
    broker.rabbitmqctl(&["set_permissions", "--vhost", &name, "guest", ".*", ".*", ".*"])?;
    let real = broker.script("rabbitmqctl");
    std::fs::write(script, format!("#!/bin/sh\n{real} --vhost {} \"$@\"\n", quoted(&name)))?;
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755))?;
    let all = broker.url();
    let (address, _) = all.rsplit_once('/').context("an address without a vhost")?;
    Ok(format!("{address}/{name}"))
}

/// Whether every line of a block is one of the contract's, in its order; comments may be left out.
fn is_of_the_contract(text: &str) -> Result<()> {
    let contract = std::fs::read_to_string(root().join("wit/pipeline.wit"))?;
    let mut lines = contract.lines().map(str::trim);
    for line in text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
    {
        ensure!(
            lines.any(|found| found == line),
            "wit/pipeline.wit does not say, or not here: {line}"
        );
    }
    Ok(())
}
