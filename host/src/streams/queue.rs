//! From everybody who says something to the one place where it is written: at once, or by a thread of its own from a
//! bounded queue. Knows no format.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use super::StderrMode;
use super::line::Style;
use super::sink::Sink;

/// Bytes of lines that wait for a reader of stderr that does not read: some thousand lines. What comes then is dropped.
const QUEUE_MAX_BYTES: usize = 1 << 20;

/// How often a stream that fails is tried again while there is nothing to write, and a footer is drawn.
const RETRY: Duration = Duration::from_secs(1);
const REDRAW: Duration = Duration::from_millis(100);

/// Why lines are lost before they come to the stream.
const NOT_READ: &str = "the reader of stderr is too slow";

/// Something that is shown below what is written, and drawn again.
pub trait Footer: Send {
    fn draw(&mut self);

    /// Takes it away while something is written.
    fn aside(&mut self, write: &mut dyn FnMut());

    /// Takes it away for good.
    fn finish(&mut self);
}

/// Where diagnostics are written.
pub(super) struct LogQueue {
    shared: Arc<Shared>,
    // The thread that writes; `None` where the caller writes.
    writer: Option<ThreadId>,
}

struct Shared {
    style: Style,
    n_lost: AtomicU64,
    queue: Mutex<Queue>,
    changed: Condvar,
    written: Condvar,
    // The writer locks it, and never while `queue` is locked.
    sink: Mutex<Sink>,
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<Entry>,
    // Invariant: the bytes of the lines in `entries`; at most QUEUE_MAX_BYTES, or of one line alone.
    n_bytes: usize,
    // Lines that there was no room for since the last one that there was room for.
    n_dropped: u64,
    is_writing: bool,
}

enum Entry {
    Line(Vec<u8>),
    Dropped(u64),
    Footer(Option<Box<dyn Footer>>),
}

/// The next step of the writing thread.
enum Next {
    Write(Entry),
    /// Nothing came for a while.
    Idle,
}

impl LogQueue {
    pub(super) fn new(sink: Sink, style: Style, delivery: StderrMode) -> Self {
        let shared = Arc::new(Shared {
            style,
            n_lost: AtomicU64::new(0),
            queue: Mutex::default(),
            changed: Condvar::new(),
            written: Condvar::new(),
            sink: Mutex::new(sink),
        });
        let writer = match delivery {
            StderrMode::Direct => None,
            StderrMode::Queued => {
                let shared = Arc::clone(&shared);
                let thread = thread::Builder::new().name("log".to_owned());
                // Without a thread it is written all the same.
                thread
                    .spawn(move || shared.write())
                    .ok()
                    .map(|thread| thread.thread().id())
            }
        };
        Self { shared, writer }
    }

    pub(super) fn style(&self) -> Style {
        self.shared.style
    }

    pub(super) fn n_lost(&self) -> u64 {
        self.shared.n_lost.load(Ordering::Relaxed)
    }

    /// Writes a line, or has it written.
    pub(super) fn push(&self, line: Vec<u8>) {
        match self.writer {
            Some(_) => self.shared.push(line),
            None => self.shared.put(&line),
        }
    }

    /// Shows something below the log, or nothing.
    pub(super) fn set_footer(&self, footer: Option<Box<dyn Footer>>) {
        if self.writer.is_some() {
            self.shared.queue().entries.push_back(Entry::Footer(footer));
            self.shared.changed.notify_all();
        }
    }

    /// Waits until everything is written, for so long at the most. The writing thread itself does not wait.
    pub(super) fn flush(&self, limit: Duration) {
        if self.writer.is_some_and(|writer| writer != thread::current().id()) {
            self.shared.flush(limit);
        }
    }
}

impl std::fmt::Debug for LogQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Diagnostics")
            .field("writer", &self.writer)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn push(&self, line: Vec<u8>) {
        let mut queue = self.queue();
        if queue.n_bytes > 0 && queue.n_bytes + line.len() > QUEUE_MAX_BYTES {
            queue.n_dropped += 1;
            self.n_lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.log_dropped();
        queue.n_bytes += line.len();
        queue.entries.push_back(Entry::Line(line));
        drop(queue);
        self.changed.notify_all();
    }

    /// Writes a line here and now.
    fn put(&self, line: &[u8]) {
        if !self.sink().write(line, self.style) {
            self.n_lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes what comes, for as long as the process lives.
    fn write(&self) {
        let mut footer: Option<Box<dyn Footer>> = None;
        loop {
            let pause = if footer.is_some() { REDRAW } else { RETRY };
            match self.next(pause) {
                Next::Write(Entry::Line(line)) => aside(footer.as_deref_mut(), &mut || self.put(&line)),
                Next::Write(Entry::Dropped(n_lines)) => self.sink().lost(n_lines, NOT_READ),
                Next::Write(Entry::Footer(other)) => {
                    if let Some(mut before) = std::mem::replace(&mut footer, other) {
                        before.finish();
                    }
                }
                Next::Idle => {}
            }
            // The loss on a full disk is reported as soon as there is room, also when nothing else is to be written.
            if self.is_idle() && self.sink().owes() {
                aside(footer.as_deref_mut(), &mut || {
                    self.sink().catch_up(self.style);
                });
            }
            if let Some(footer) = &mut footer {
                footer.draw();
            }
        }
    }

    fn next(&self, pause: Duration) -> Next {
        let mut queue = self.queue();
        queue.is_writing = false;
        if queue.entries.is_empty() {
            queue.log_dropped();
            self.written.notify_all();
        }
        if queue.entries.is_empty() {
            queue = self
                .changed
                .wait_timeout(queue, pause)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let Some(entry) = queue.entries.pop_front() else {
            return Next::Idle;
        };
        if let Entry::Line(line) = &entry {
            queue.n_bytes = queue.n_bytes.saturating_sub(line.len());
        }
        queue.is_writing = true;
        Next::Write(entry)
    }

    fn is_idle(&self) -> bool {
        self.queue().entries.is_empty()
    }

    fn flush(&self, limit: Duration) {
        let end = Instant::now() + limit;
        let mut queue = self.queue();
        while !queue.entries.is_empty() || queue.is_writing {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            queue = self
                .written
                .wait_timeout(queue, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Each change is whole before anything in it could panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sink(&self) -> MutexGuard<'_, Sink> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Leaves a note of what was dropped, at its place among the lines.
    fn log_dropped(&mut self) {
        if self.n_dropped > 0 {
            let n_dropped = std::mem::take(&mut self.n_dropped);
            self.entries.push_back(Entry::Dropped(n_dropped));
        }
    }
}

fn aside(footer: Option<&mut (dyn Footer + 'static)>, write: &mut dyn FnMut()) {
    match footer {
        Some(footer) => footer.aside(write),
        None => write(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{BufRead as _, BufReader};
    use std::os::fd::OwnedFd;

    use super::super::descriptor::Descriptor;
    use super::super::line::Format;
    use super::*;

    const STYLE: Style = Style {
        format: Format::Text,
        is_coloured: false,
    };

    #[test]
    fn a_reader_that_does_not_read_holds_up_nobody_and_is_told_what_it_missed() {
        let (reader, writer) = std::io::pipe().unwrap();
        let sink = Sink::new(Descriptor::of(File::from(OwnedFd::from(writer))));
        let log = LogQueue::new(sink, STYLE, StderrMode::Queued);
        // More than the pipe and the queue take.
        let line = format!("{}\n", "x".repeat(1023));
        let n_lines = 4 * QUEUE_MAX_BYTES / line.len();
        for _ in 0..n_lines {
            log.push(line.clone().into_bytes());
        }
        let n_lost = log.n_lost();
        assert!(n_lost > 0 && n_lost < n_lines as u64, "{n_lost}");
        log.flush(Duration::from_millis(10)); // bounded
        let (mut n_read, mut told) = (0, None);
        for line in BufReader::new(reader).lines() {
            let line = line.unwrap();
            if line.contains("log lines were lost") {
                told = Some(line);
                break;
            }
            n_read += 1;
        }
        let told = told.unwrap();
        assert!(
            told.contains(&format!("lines={n_lost} ")) && told.contains(NOT_READ),
            "{told}"
        );
        assert_eq!(n_read + n_lost, n_lines as u64);
    }

    #[test]
    fn what_was_said_is_written_when_it_was_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let sink = Sink::new(Descriptor::of(File::create(&path).unwrap()));
        let log = LogQueue::new(sink, STYLE, StderrMode::Queued);
        let expected: String = (0..1000).map(|n| format!("line {n}\n")).collect();
        for line in expected.split_inclusive('\n') {
            log.push(line.as_bytes().to_vec());
        }
        log.flush(Duration::from_secs(60));
        assert_eq!(std::fs::read_to_string(path).unwrap(), expected);
        assert_eq!(log.n_lost(), 0);
    }
}
