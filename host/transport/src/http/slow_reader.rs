//! A stream whose peer must read: an answer that its client does not read ends the connection. Knows no HTTP.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long a peer may take until it reads.
const START: Duration = Duration::from_secs(10);

/// How many bytes it must read in each second after that.
const BYTES_PER_SECOND: u64 = 32 << 10;

/// A stream that does not wait forever until it can write.
#[derive(Debug)]
pub(super) struct SlowReader<S> {
    stream: S,
    // From when the peer let us wait until it sends something itself.
    slow: Option<Slow>,
}

#[derive(Debug)]
struct Slow {
    since: Instant,
    n_written: u64,
    until: Pin<Box<Sleep>>,
}

impl<S> SlowReader<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, slow: None }
    }

    /// The stream.
    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    /// What comes of a write.
    fn wrote(&mut self, written: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(n_bytes)) => {
                if let Some(slow) = &mut self.slow {
                    slow.n_written += n_bytes as u64;
                    let patience = START + Duration::from_secs(slow.n_written / BYTES_PER_SECOND);
                    slow.until.as_mut().reset(slow.since + patience);
                }
                Poll::Ready(Ok(n_bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let slow = self.slow.get_or_insert_with(|| Slow {
                    since: Instant::now(),
                    n_written: 0,
                    until: Box::pin(tokio::time::sleep(START)),
                });
                ready!(slow.until.as_mut().poll(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for SlowReader<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let n_before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > n_before {
            self.slow = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for SlowReader<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_must_read_as_fast_as_a_slow_line_and_no_faster() {
        let (near, _far) = tokio::io::duplex(1024);
        let mut patient = SlowReader::new(near);
        let began = Instant::now();
        let error = patient.write_all(&[0; 4096]).await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, 10));

        // A peer that reads, however long it takes, gets all of it.
        let (near, mut far) = tokio::io::duplex(1024);
        let mut patient = SlowReader::new(near);
        let n_bytes = 4 << 20;
        let writing = async move { patient.write_all(&vec![0; n_bytes]).await };
        let reading = async {
            let mut chunk = vec![0; 64 << 10];
            for _ in 0..n_bytes / chunk.len() {
                tokio::time::sleep(Duration::from_secs(1)).await;
                far.read_exact(&mut chunk).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(writing, reading);
        written.unwrap();
    }
}
