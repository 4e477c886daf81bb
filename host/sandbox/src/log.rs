//! The log of a plugin during one call, bounded: lines of its `log` import and of its standard output and error.

use std::sync::Arc;

use millrace_types::disposition::PluginIdentity;
use millrace_types::quota::LineQuota;
use tracing::{Level, debug, error, info, trace, warn};

use super::text::{TEXT_MAX_BYTES, sanitize, sanitize_to};

/// Lines of one call that reach the host's log; what is more is counted.
const LINES_PER_CALL: usize = 64;

/// How the lines begin that follow a panic's message.
const NOTES: [&str; 2] = ["note: ", "stack backtrace:"];

/// Lines of one plugin that reach the host's log within a second, over all its calls: a plugin that says one line about
/// each of thousands of messages fills a disk as surely as one that says thousands about one.
pub(super) const LINES_PER_SECOND: u32 = 256;

/// The log of one instance, counted again for each call.
#[derive(Debug)]
pub(super) struct CallLog {
    plugin: Arc<PluginIdentity>,
    quota: Arc<LineQuota>,
    // Empty outside of a message's call: at load, and while an instance is configured ahead of its first message.
    message_id: Arc<str>,
    lines: usize,
    dropped: u64,
    stdout: Partial,
    stderr: Partial,
    last_error: Option<String>,
    panic: Option<Panic>,
}

/// The panic message of a standard library of Rust, or of its interpreter's: `thread .. panicked at FILE:LINE:COLUMN:`,
/// then the message, which may have several lines, then notes.
#[derive(Debug)]
struct Panic {
    text: String,
    is_whole: bool,
}

/// The line that a stream has begun. Invariant: at most [`TEXT_MAX_BYTES`] and a few bytes.
#[derive(Debug, Default)]
struct Partial(Vec<u8>);

impl CallLog {
    /// A log that belongs to a plugin's instance.
    pub(super) fn new(plugin: Arc<PluginIdentity>, quota: Arc<LineQuota>) -> Self {
        Self {
            plugin,
            quota,
            message_id: Arc::from(""),
            lines: 0,
            dropped: 0,
            stdout: Partial::default(),
            stderr: Partial::default(),
            last_error: None,
            panic: None,
        }
    }

    /// Begins a call: the bounds start again.
    pub(super) fn begin(&mut self, message_id: &str) {
        if *self.message_id != *message_id {
            self.message_id = Arc::from(message_id);
        }
        (self.lines, self.dropped) = (0, 0);
        (self.last_error, self.panic) = (None, None);
    }

    /// Ends a call: logs partial lines, and how many lines were dropped.
    pub(super) fn end(&mut self) {
        if let Some(line) = self.stdout.take() {
            self.line(Level::INFO, &line);
        }
        if let Some(line) = self.stderr.take() {
            self.stderr_line(&line);
        }
        if let Some(dropped) = self.quota.dropped(std::mem::take(&mut self.dropped)) {
            let (plugin, version, message_id) = self.fields();
            warn!(plugin, version, message_id, dropped, "plugin logged too much");
        }
    }

    /// Takes a line of the `log` import.
    pub(super) fn line(&mut self, level: Level, text: &str) {
        let wanted = is_wanted(level);
        let is_logged = wanted && self.lines < LINES_PER_CALL && self.quota.spend();
        if wanted && !is_logged {
            self.dropped = self.dropped.saturating_add(1);
        }
        // The last error is kept in any case: a panic is the last thing that a call says.
        if !is_logged && level != Level::ERROR {
            return;
        }
        let text = sanitize(text);
        if is_logged {
            self.lines = self.lines.saturating_add(1);
            let (plugin, version, message_id) = self.fields();
            match level {
                Level::ERROR => error!(plugin, version, message_id, text, "plugin log"),
                Level::WARN => warn!(plugin, version, message_id, text, "plugin log"),
                Level::INFO => info!(plugin, version, message_id, text, "plugin log"),
                Level::DEBUG => debug!(plugin, version, message_id, text, "plugin log"),
                _ => trace!(plugin, version, message_id, text, "plugin log"),
            }
        }
        if level == Level::ERROR {
            self.last_error = Some(text);
        }
    }

    /// Takes what the guest writes to its standard output.
    pub(super) fn stdout(&mut self, bytes: &[u8]) {
        for line in self.stdout.lines(bytes) {
            self.line(Level::INFO, &line);
        }
    }

    /// Takes what the guest writes to its standard error.
    pub(super) fn stderr(&mut self, bytes: &[u8]) {
        for line in self.stderr.lines(bytes) {
            self.stderr_line(&line);
        }
    }

    /// The words of a panic, or the last line at error level: why the guest trapped, as its author would say it.
    pub(super) fn last_words(&self) -> Option<&str> {
        let panic = self.panic.as_ref().map(|panic| panic.text.as_str());
        panic.or(self.last_error.as_deref())
    }

    /// The last line is not always the one with the reason: a stack may follow it, and what a runtime says when it ends.
    fn stderr_line(&mut self, line: &str) {
        match &mut self.panic {
            None if line.contains("panicked at ") => {
                // An interpreter in Rust panics over an exception after it has printed it.
                let before = self.last_error.iter().map(|line| format!("{line}; "));
                self.panic = Some(Panic {
                    text: sanitize_to(
                        &format!("{}{}", before.collect::<String>(), sanitize(line)),
                        TEXT_MAX_BYTES,
                    ),
                    is_whole: false,
                });
            }
            Some(panic) => panic.go_on(line),
            None => {}
        }
        let before = self.last_error.take();
        self.line(Level::ERROR, line);
        if before.is_some() && is_aside(line) {
            self.last_error = before;
        }
    }

    fn fields(&self) -> (&str, &str, &str) {
        (&self.plugin.name, self.plugin.version(), &self.message_id)
    }
}

/// Whether a line says where and not why: a frame of a stack, the head of a list, an interpreter's own end.
fn is_aside(line: &str) -> bool {
    line.starts_with([' ', '\t']) || line.ends_with(':') || line.starts_with("Redirecting call to abort()")
}

impl Panic {
    fn go_on(&mut self, line: &str) {
        self.is_whole |= NOTES.iter().any(|note| line.starts_with(note)) || self.text.len() >= TEXT_MAX_BYTES;
        if !self.is_whole {
            self.text = sanitize_to(&format!("{} {}", self.text, sanitize(line.trim())), TEXT_MAX_BYTES);
        }
    }
}

/// Whether a level is logged; lines that are not are not counted.
fn is_wanted(level: Level) -> bool {
    match level {
        Level::ERROR => tracing::enabled!(Level::ERROR),
        Level::WARN => tracing::enabled!(Level::WARN),
        Level::INFO => tracing::enabled!(Level::INFO),
        Level::DEBUG => tracing::enabled!(Level::DEBUG),
        _ => tracing::enabled!(Level::TRACE),
    }
}

impl Partial {
    /// Adds bytes, and takes out the lines that they end; a line that is too long is cut, as a line of the log is.
    fn lines(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut pieces = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            let room = TEXT_MAX_BYTES.saturating_add(1).saturating_sub(self.0.len());
            self.0.extend(piece.iter().take(room));
            // A line over the quota is not even made: it is counted as dropped.
            if pieces.peek().is_some() && lines.len() <= LINES_PER_CALL {
                lines.extend(self.take());
            } else if pieces.peek().is_some() {
                self.0.clear();
            }
        }
        lines
    }

    /// Takes out what there is of a line; none when there is nothing.
    fn take(&mut self) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let line = String::from_utf8_lossy(&self.0).trim_end_matches('\r').to_owned();
        self.0.clear();
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> CallLog {
        let plugin = PluginIdentity {
            name: "crop".to_owned(),
            digest: "0".repeat(64),
        };
        CallLog::new(Arc::new(plugin), Arc::new(LineQuota::new(LINES_PER_SECOND)))
    }

    /// Lines are counted only at a level that is logged.
    fn listening(test: impl FnOnce()) {
        tracing::subscriber::with_default(tracing_subscriber::fmt().with_writer(std::io::sink).finish(), test);
    }

    #[test]
    fn streams_are_cut_into_lines() {
        let mut partial = Partial::default();
        assert_eq!(partial.lines(b"one\ntw"), ["one"]);
        assert_eq!(partial.lines(b"o\r\n\nthree"), ["two"]);
        assert_eq!(partial.take().as_deref(), Some("three"));
        assert_eq!(partial.take(), None);
    }

    #[test]
    fn a_stream_without_line_ends_is_bounded() {
        let mut partial = Partial::default();
        for _ in 0..100 {
            assert!(partial.lines(&[b'x'; 4096]).is_empty());
        }
        assert!(partial.0.len() <= TEXT_MAX_BYTES + 1, "kept {}", partial.0.len());
    }

    #[test]
    fn a_call_keeps_64_lines_and_the_last_error() {
        listening(|| {
            let mut log = log();
            log.begin("m-1");
            for n in 0..100 {
                log.line(Level::INFO, &n.to_string());
            }
            log.line(Level::ERROR, "panicked at src/lib.rs:12:5: boom");
            assert_eq!((log.lines, log.dropped), (64, 37));
            assert_eq!(log.last_words(), Some("panicked at src/lib.rs:12:5: boom"));
            log.end();
            log.begin("m-2");
            assert_eq!((log.lines, log.dropped, log.last_words()), (0, 0, None));
        });
    }

    #[test]
    fn lines_that_nobody_hears_are_not_counted() {
        listening(|| {
            let mut log = log();
            (0..100).for_each(|_| log.line(Level::TRACE, "step"));
            assert_eq!((log.lines, log.dropped), (0, 0));
        });
    }

    /// The standard error of a runtime, and the words of it with the reason.
    #[test]
    fn the_words_that_say_why_are_kept() {
        #[track_caller]
        fn check(says: &str, expected: &str) {
            let mut log = log();
            log.begin("m-1");
            log.stderr(says.as_bytes());
            log.end();
            assert_eq!(log.last_words(), Some(expected));
        }
        check(
            "\nthread '<unnamed>' (1) panicked at src/lib.rs:12:5:\nboom\nnote: run with `RUST_BACKTRACE=1`\n",
            "thread '<unnamed>' (1) panicked at src/lib.rs:12:5: boom",
        );
        // QuickJS is within Rust.
        check(
            "thread 'x' panicked at interpreter.rs:51:31:\nFailed to call 'route': Value(Exception(\n\
             Exception { message: Some(\"no\") })\n)\nnote: run with `RUST_BACKTRACE=1`\nmore\n",
            "thread 'x' panicked at interpreter.rs:51:31: Failed to call 'route': Value(Exception( \
             Exception { message: Some(\"no\") }) )",
        );
        // Python.
        check(
            "Traceback (most recent call last):\n  File \"/app.py\", line 18, in inner\n    return 1 / n\n           \
             ~~^~~\nZeroDivisionError: division by zero\n",
            "ZeroDivisionError: division by zero",
        );
        check(
            "Traceback (most recent call last):\n  File \"/app.py\"\nValueError: no\nthread 'x' panicked at \
             lib.rs:1:2:\nPython function threw\nnote: run with\n",
            "ValueError: no; thread 'x' panicked at lib.rs:1:2: Python function threw",
        );
        // StarlingMonkey.
        check(
            "TypeError: body.pixels is undefined\nStack:\n  inner@threshold.js:20:10\nRedirecting call to abort() to \
             mozalloc_abort\n",
            "TypeError: body.pixels is undefined",
        );
        // Nothing but a head.
        check("Stack:\n", "Stack:");
        check(
            &format!("{}\n", "x".repeat(5000)),
            &format!("{}...", "x".repeat(TEXT_MAX_BYTES)),
        );
    }

    #[test]
    fn a_panic_of_many_lines_is_bounded() {
        let mut log = log();
        log.stderr(b"panicked at src/lib.rs:1:1:\n");
        for _ in 0..1000 {
            log.stderr(b"one more line of it\n");
        }
        let words = log.last_words().unwrap();
        assert!(words.len() <= TEXT_MAX_BYTES + 3 && words.ends_with("..."), "{words}");
    }
}
