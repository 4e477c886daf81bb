//! The standard streams: everything that the process writes to stdout or stderr goes through here. Knows no verb and no
//! message.
//!
//! The reader of the log may leave, stop reading, or let its disk fill up, and must not be able to end or stall the host
//! by that. So a line that cannot be written is lost, counted, and reported when it can be; and a host that runs
//! writes its log on a thread of its own, from a bounded queue.

mod descriptor;
mod foreign;
mod line;
mod queue;
mod sink;

use std::fmt::Display;
use std::io::{self, IsTerminal as _};
use std::sync::OnceLock;
use std::time::Duration;

pub use foreign::{Capture, capture};
pub use line::{Format, Severity};
pub use millrace_types::log_fields::millis;
pub use queue::Footer;

use descriptor::Descriptor;
use line::Style;
use queue::LogQueue;
use sink::Sink;

use crate::failpoints;

/// How long the end of the process waits for the readers of its log.
const END_LIMIT: Duration = Duration::from_secs(2);

/// How long a failpoint that aborts waits until the lines are written.
const ABORT_LIMIT: Duration = Duration::from_secs(1);

/// How long a thread that panicked waits until that is written: what follows may be the end of the process.
const PANIC_LIMIT: Duration = Duration::from_millis(100);

/// Whether a writer waits for the reader of stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StderrMode {
    /// The writer waits: for verbs whose output is read at the reader's own pace, such as in a pager.
    Direct,
    /// Without an end: for a host, whose work goes on.
    Queued,
}

/// Whether anybody reads what is printed: `head` leaves when it has enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// It was written.
    Reads,
    /// The reader reads no further.
    Left,
}

static LOG_QUEUE: OnceLock<LogQueue> = OnceLock::new();

/// Waits, for a bounded time, until what was said is written; when it is dropped, also by a panic.
#[derive(Debug)]
#[must_use = "what was written last is lost where the end is not awaited"]
pub struct AtEnd(());

/// Decides how diagnostics are written, for the whole process; the first call counts.
pub fn start(format: Format, delivery: StderrMode) -> AtEnd {
    let is_coloured = matches!(format, Format::Text) && colours(&io::stderr());
    let style = Style { format, is_coloured };
    LOG_QUEUE.get_or_init(|| LogQueue::new(Sink::new(Descriptor::stderr()), style, delivery));
    failpoints::before_abort(|| flush(ABORT_LIMIT));
    AtEnd(())
}

fn log_queue() -> &'static LogQueue {
    let style = Style {
        format: Format::Text,
        is_coloured: false,
    };
    LOG_QUEUE.get_or_init(|| LogQueue::new(Sink::new(Descriptor::stderr()), style, StderrMode::Direct))
}

/// Says a text that has its own beginning, such as the rendered mistakes of a file.
pub fn say(severity: Severity, text: impl Display) {
    let log_queue = log_queue();
    log_queue.push(log_queue.style().said(severity, &text.to_string()));
}

/// Says an error: `error: TEXT`.
pub fn error(text: impl Display) {
    let log_queue = log_queue();
    log_queue.push(log_queue.style().error(&text.to_string()));
}

/// Lines of the log that were not written.
pub fn n_lost() -> u64 {
    LOG_QUEUE.get().map_or(0, LogQueue::n_lost)
}

/// Waits until the lines are written, or waiting has no use any more.
pub fn flush(limit: Duration) {
    if let Some(log_queue) = LOG_QUEUE.get() {
        log_queue.flush(limit);
    }
}

/// Waits a moment, since the process may be about to end.
pub fn flush_panic() {
    flush(PANIC_LIMIT);
}

/// Shows something below the log while it lasts; where the log is not written by a thread of its own, nothing is shown.
pub fn show(footer: Box<dyn Footer>) {
    log_queue().set_footer(Some(footer));
}

/// Takes it away again.
pub fn hide() {
    let log_queue = log_queue();
    log_queue.set_footer(None);
    log_queue.flush(END_LIMIT);
}

/// A writer of log lines, one for each call of `write`; it never fails.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogWriter;

impl io::Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        log_queue().push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Prints lines to stdout, and waits for the reader. A reader that left is not an error.
///
/// # Errors
/// When they cannot be written.
pub fn print(text: impl Display) -> io::Result<Reader> {
    let text = format!("{text}\n");
    let text = match colours(&io::stdout()) {
        true => text,
        false => anstream::adapter::strip_str(&text).to_string(),
    };
    print_to(&Descriptor::stdout(), text.as_bytes())
}

fn print_to(output: &Descriptor, text: &[u8]) -> io::Result<Reader> {
    let mut rest = text;
    match output.write_all(&mut rest) {
        Ok(()) => Ok(Reader::Reads),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Left),
        Err(error) => {
            let text = format!("cannot write to stdout: {error}");
            Err(io::Error::new(error.kind(), text))
        }
    }
}

/// Whether a stream shows colours: a terminal, unless the environment says otherwise.
fn colours<S: anstream::stream::RawStream>(stream: &S) -> bool {
    anstream::AutoStream::choice(stream) != anstream::ColorChoice::Never
}

/// Whether stderr is a terminal.
pub fn is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Whether diagnostics show colours.
pub fn is_coloured() -> bool {
    log_queue().style().is_coloured
}

impl Drop for AtEnd {
    fn drop(&mut self) {
        flush(END_LIMIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_left_is_no_error_and_a_full_disk_is_one() {
        let (reader, writer) = io::pipe().unwrap();
        let output = Descriptor::of(std::fs::File::from(std::os::fd::OwnedFd::from(writer)));
        assert_eq!(print_to(&output, b"read\n").unwrap(), Reader::Reads);
        drop(reader);
        assert_eq!(print_to(&output, b"not read\n").unwrap(), Reader::Left);
        let full = Descriptor::of(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
        let error = print_to(&full, b"text\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot write to stdout: No space left on device (os error 28)"
        );
    }
}
