//! A socket that can be ended from outside, and that reports when it ended by itself. Knows no protocol.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::traffic::Traffic;

/// The socket. Cancelled, its token ends it at the next read; when it ends by itself, its token is cancelled.
pub(super) struct SocketHandle<S> {
    inner: S,
    cut: CancellationToken,
    // Boxed, since it must not move and the socket must.
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Whether it ended by itself: then its own error is the one to report.
    is_over: bool,
    /// Counts the bytes that are sent.
    traffic: Arc<Traffic>,
}

impl<S> SocketHandle<S> {
    pub(super) fn new(inner: S, cut: CancellationToken, traffic: Arc<Traffic>) -> Self {
        let cancelled = Box::pin(cut.clone().cancelled_owned());
        Self {
            inner,
            cut,
            cancelled,
            is_over: false,
            traffic,
        }
    }

    fn end(&mut self) {
        self.is_over = true;
        self.cut.cancel();
    }

    fn ended() -> io::Error {
        io::Error::new(io::ErrorKind::ConnectionAborted, "the host closed the connection")
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for SocketHandle<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.cut.is_cancelled() && !this.is_over {
            return Poll::Ready(Err(Self::ended()));
        }
        let n_before = out.filled().len();
        match Pin::new(&mut this.inner).poll_read(cx, out) {
            Poll::Ready(Ok(())) => {
                if out.filled().len() == n_before && out.remaining() > 0 {
                    this.end();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => {
                this.end();
                Poll::Ready(Err(error))
            }
            Poll::Pending => this.cancelled.as_mut().poll(cx).map(|()| Err(Self::ended())),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for SocketHandle<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write(cx, bytes);
        match written {
            Poll::Ready(Ok(n_bytes)) => this.traffic.goes(n_bytes),
            Poll::Ready(Err(_)) => this.end(),
            Poll::Pending => {}
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_socket_ends_when_it_is_told_to_and_tells_when_it_ends() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let cut = CancellationToken::new();
        let mut socket_handle = SocketHandle::new(ours, cut.clone(), Arc::default());
        theirs.write_all(b"ab").await.expect("a pipe");
        assert_eq!(socket_handle.read_u8().await.ok(), Some(b'a'));
        let (read, ()) = tokio::join!(
            async {
                socket_handle.read_u8().await.ok();
                socket_handle.read_u8().await
            },
            async { cut.cancel() }
        );
        assert_eq!(
            read.map_err(|error| error.kind()),
            Err(io::ErrorKind::ConnectionAborted)
        );

        let (ours, theirs) = tokio::io::duplex(64);
        let cut = CancellationToken::new();
        let mut socket_handle = SocketHandle::new(ours, cut.clone(), Arc::default());
        drop(theirs);
        assert_eq!(socket_handle.read(&mut [0; 8]).await.ok(), Some(0));
        assert!(cut.is_cancelled());
    }
}
