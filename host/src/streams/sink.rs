//! Where lines end: a descriptor that may fail and work again. A line that was begun is finished before the next, so
//! that each is whole. Knows no queue.

use super::descriptor::Descriptor;
use super::line::Style;

/// A descriptor, and what it has cost.
#[derive(Debug)]
pub(super) struct Sink {
    output: Descriptor,
    // The rest of a line that was cut off in its middle.
    rest: Vec<u8>,
    // Lines that were lost and are not reported yet, and the reason for the last.
    n_lost: u64,
    why: String,
}

/// How much of some bytes was written.
#[derive(Debug, PartialEq, Eq)]
enum Put {
    All,
    /// The rest is kept, and comes first when the way is free.
    Begun,
    Nothing,
}

impl Sink {
    pub(super) fn new(output: Descriptor) -> Self {
        Self {
            output,
            rest: Vec::new(),
            n_lost: 0,
            why: String::new(),
        }
    }

    /// Writes a line, after the report of those that were lost; returns whether it was not lost itself.
    pub(super) fn write(&mut self, line: &[u8], style: Style) -> bool {
        let is_kept = self.catch_up(style) && self.put(line) != Put::Nothing;
        self.n_lost += u64::from(!is_kept);
        is_kept
    }

    /// Counts lines that were lost on their way here.
    pub(super) fn lost(&mut self, n_lines: u64, why: &str) {
        self.n_lost += n_lines;
        why.clone_into(&mut self.why);
    }

    /// Whether there is something to be written that no other line may precede.
    pub(super) fn owes(&self) -> bool {
        self.n_lost > 0 || !self.rest.is_empty()
    }

    /// Finishes what was begun and reports the lines that were lost; whether the way is free.
    pub(super) fn catch_up(&mut self, style: Style) -> bool {
        let rest = std::mem::take(&mut self.rest);
        let mut left = rest.as_slice();
        if let Err(error) = self.output.write_all(&mut left) {
            self.why = error.to_string();
            left.clone_into(&mut self.rest);
            return false;
        }
        if self.n_lost == 0 {
            return true;
        }
        let told = self.put(&style.lost(self.n_lost, &self.why));
        if told != Put::Nothing {
            self.n_lost = 0;
        }
        told == Put::All
    }

    fn put(&mut self, bytes: &[u8]) -> Put {
        let mut left = bytes;
        let Err(error) = self.output.write_all(&mut left) else {
            return Put::All;
        };
        self.why = error.to_string();
        if left.len() == bytes.len() {
            return Put::Nothing;
        }
        left.clone_into(&mut self.rest);
        Put::Begun
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::io::{Read as _, Write as _};
    use std::os::fd::OwnedFd;

    use super::super::line::Format;
    use super::*;

    const STYLE: Style = Style {
        format: Format::Json,
        is_coloured: false,
    };

    #[test]
    fn what_a_full_disk_costs_is_told_when_there_is_room_again() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut sink = Sink::new(Descriptor::of(full));
        for _ in 0..3 {
            assert!(!sink.write(b"a line\n", STYLE));
        }
        assert!(sink.owes() && !sink.catch_up(STYLE));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        sink.output = Descriptor::of(File::create(&path).unwrap());
        assert!(sink.write(b"another\n", STYLE) && !sink.owes());
        let log = std::fs::read_to_string(path).unwrap();
        let (told, line) = log.split_once('\n').unwrap();
        let told: serde_json::Value = serde_json::from_str(told).unwrap();
        assert_eq!(
            (told["message"].as_str(), told["lines"].as_u64()),
            (Some("log lines were lost"), Some(3))
        );
        assert_eq!(told["why"], "No space left on device (os error 28)");
        assert_eq!(line, "another\n");
    }

    #[test]
    fn a_line_that_was_begun_is_finished_before_the_next() {
        // A rest that could not be written stands for one: what a device takes before it is full cannot be chosen.
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"{\"beg").unwrap();
        let mut sink = Sink::new(Descriptor::of(File::from(OwnedFd::from(writer))));
        sink.rest = b"un\":1}\n".to_vec();
        sink.n_lost = 2;
        assert!(sink.write(b"next\n", STYLE));
        drop(sink);
        let mut log = String::new();
        reader.read_to_string(&mut log).unwrap();
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!((lines.len(), lines[0], lines[2]), (3, "{\"begun\":1}", "next"), "{log}");
        assert!(lines[1].contains("\"lines\":2"), "{log}");
    }

    #[test]
    fn a_reader_that_left_costs_the_lines_and_nothing_else() {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut sink = Sink::new(Descriptor::of(File::from(OwnedFd::from(writer))));
        assert!(sink.write(b"read\n", STYLE));
        drop(reader);
        assert!(!sink.write(b"not read\n", STYLE));
        assert!(sink.owes() && sink.why.contains("Broken pipe"), "{sink:?}");
    }
}
