//! A stream's file descriptor, written to without a buffer. Knows no line.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::time::Duration;

/// Between two tries at a stream that does not block and takes nothing now.
const PAUSE: Duration = Duration::from_millis(10);

/// A copy of a standard stream: what libraries do to the stream itself does not touch it.
#[derive(Debug)]
pub(super) struct Descriptor(Option<File>);

impl Descriptor {
    pub(super) fn stdout() -> Self {
        Self::copy(&io::stdout())
    }

    pub(super) fn stderr() -> Self {
        Self::copy(&io::stderr())
    }

    #[cfg(test)]
    pub(super) fn of(file: File) -> Self {
        Self(Some(file))
    }

    fn copy(stream: &impl AsFd) -> Self {
        // A closed stream, or one that no descriptor is left for, cannot be written to.
        Self(stream.as_fd().try_clone_to_owned().ok().map(File::from))
    }

    /// Writes all of it; `bytes` becomes what is left. Waits for a reader that takes nothing now, also where the
    /// descriptor was set not to.
    pub(super) fn write_all(&self, bytes: &mut &[u8]) -> io::Result<()> {
        let mut file = self.0.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        while !bytes.is_empty() {
            match file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n_written) => *bytes = bytes.get(n_written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(PAUSE),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
