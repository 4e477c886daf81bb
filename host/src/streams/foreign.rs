//! Output that libraries write to stderr by themselves, as the loaders and drivers of a GPU do: captured, and logged as
//! lines of the log. Knows no library.
//!
//! Only while something is loaded that is known to talk, and not all the time: the last words of a process that aborts go
//! to stderr too, and nothing would be left to pass them on.

use std::io::{self, BufRead as _, BufReader, PipeReader, Read as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use filedescriptor::{FileDescriptor, StdioDescriptor};
use tracing::{debug, info};

/// Bytes of one logged line; the rest is the next line.
const LINE_MAX_BYTES: u64 = 1 << 10;

/// Logged lines of one capture.
const LINES_MAX: usize = 64;

/// While it lives, what is written to stderr past this room becomes lines of the log.
#[derive(Debug)]
#[must_use = "nothing is caught when it is dropped at once"]
pub struct Capture(());

/// How many captures live, and where stderr led before the first.
struct State {
    n_captures: usize,
    stderr: Option<FileDescriptor>,
}

static STATE: Mutex<State> = Mutex::new(State {
    n_captures: 0,
    stderr: None,
});

/// Catches what libraries write to stderr. What cannot be caught is left alone.
pub fn capture() -> Capture {
    let mut state = state();
    state.n_captures += 1;
    if state.n_captures == 1 {
        match redirect() {
            Ok(stderr) => state.stderr = Some(stderr),
            Err(error) => debug!(%error, "cannot capture what libraries write to stderr"),
        }
    }
    Capture(())
}

impl Drop for Capture {
    fn drop(&mut self) {
        let mut state = state();
        state.n_captures = state.n_captures.saturating_sub(1);
        if state.n_captures == 0
            && let Some(stderr) = state.stderr.take()
            && let Err(error) = FileDescriptor::redirect_stdio(&stderr, StdioDescriptor::Stderr)
        {
            // Our own lines go by a descriptor of their own.
            debug!(%error, "cannot restore stderr for libraries");
        }
    }
}

/// Leads stderr into a pipe, and gives where it led before.
fn redirect() -> io::Result<FileDescriptor> {
    let (reader, writer) = io::pipe()?;
    thread::Builder::new()
        .name("stderr".to_owned())
        .spawn(move || pass_on(reader))?;
    FileDescriptor::redirect_stdio(&writer, StdioDescriptor::Stderr).map_err(io::Error::other)
}

/// Reads until no writer is left.
fn pass_on(reader: PipeReader) {
    let mut reader = BufReader::new(reader);
    let (mut n_lines, mut n_left_out) = (0, 0_u64);
    loop {
        let mut line = Vec::new();
        match reader.by_ref().take(LINE_MAX_BYTES).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        match text.trim() {
            "" => {}
            text if n_lines < LINES_MAX => {
                n_lines += 1;
                info!(text, "a library wrote to stderr");
            }
            _ => n_left_out += 1,
        }
    }
    if n_left_out > 0 {
        info!(
            dropped = n_left_out,
            "dropped further lines that a library wrote to stderr"
        );
    }
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}
