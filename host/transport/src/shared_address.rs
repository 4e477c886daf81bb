//! The addresses that this process listens at, each shared by the sources that name it. Knows no protocol.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinHandle};
use tokio::time::Instant;
use tracing::debug;

/// How long an address may be in use by a process that is just leaving.
const LET_GO: Duration = Duration::from_secs(2);

/// How long clients may take for answers that are on their way already, when the last source leaves.
const FAREWELL: Duration = Duration::from_secs(2);

/// The pause where no connection can be accepted: the process has no more file descriptors.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the connections of an address until it is closing.
type Accept<T> = fn(TcpListener, Arc<T>, watch::Receiver<bool>) -> JoinHandle<()>;

/// The addresses of one protocol. A port belongs to a process, and only here can the old and the new source of a pipeline,
/// which know nothing of each other, share it; `T` is what they share there.
pub(crate) struct Addresses<T> {
    // std Mutex: never held over an await.
    open: Mutex<BTreeMap<SocketAddr, Shared<T>>>,
    accept: Accept<T>,
}

struct Shared<T> {
    on: Arc<T>,
    n_shares: usize,
    closing: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

/// A source's share of an address: the last one that leaves closes it. Dropped, it leaves at once.
pub(crate) struct AddressShare<T: 'static> {
    /// Where it listens.
    pub(crate) at: SocketAddr,
    /// What is shared there.
    pub(crate) on: Arc<T>,
    addresses: &'static Addresses<T>,
    is_left: bool,
}

impl<T: Default> Addresses<T> {
    pub(crate) const fn new(accept: Accept<T>) -> Self {
        Self {
            open: Mutex::new(BTreeMap::new()),
            accept,
        }
    }

    /// Listens at an address, together with who does already; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address is in use, not this machine's, or not allowed.
    pub(crate) async fn share(&'static self, at: SocketAddr) -> io::Result<AddressShare<T>> {
        let until = Instant::now() + LET_GO;
        loop {
            if let Some(share) = self.beside(at) {
                return Ok(share);
            }
            match TcpListener::bind(at).await {
                Ok(listener) => return self.first(listener),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                    tokio::time::sleep(LET_GO / 20).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn beside(&'static self, at: SocketAddr) -> Option<AddressShare<T>> {
        let mut open = self.open();
        let shared = open.get_mut(&at)?;
        shared.n_shares += 1;
        Some(AddressShare {
            at,
            on: Arc::clone(&shared.on),
            addresses: self,
            is_left: false,
        })
    }

    fn first(&'static self, listener: TcpListener) -> io::Result<AddressShare<T>> {
        let at = listener.local_addr()?;
        let on = Arc::<T>::default();
        let (closing, is_closing) = watch::channel(false);
        let accepting = (self.accept)(listener, Arc::clone(&on), is_closing);
        let shared = Shared {
            on: Arc::clone(&on),
            n_shares: 1,
            closing,
            accepting,
        };
        self.open().insert(at, shared);
        Ok(AddressShare {
            at,
            on,
            addresses: self,
            is_left: false,
        })
    }
}

impl<T> Addresses<T> {
    fn open(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Shared<T>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> AddressShare<T> {
    /// Leaves; the last one waits, for a moment, until what was answered is written.
    pub(crate) async fn leave(mut self) {
        let Some(mut last) = self.give_up() else { return };
        last.closing.send_replace(true);
        if tokio::time::timeout(FAREWELL, &mut last.accepting).await.is_err() {
            debug!(address = %self.at, "closing connections whose clients do not read their answers");
            last.accepting.abort();
        }
    }

    /// What is to be closed, for the last one. Once for each share.
    fn give_up(&mut self) -> Option<Shared<T>> {
        if std::mem::replace(&mut self.is_left, true) {
            return None;
        }
        let mut open = self.addresses.open();
        let shared = open.get_mut(&self.at)?;
        shared.n_shares = shared.n_shares.saturating_sub(1);
        if shared.n_shares > 0 {
            return None;
        }
        open.remove(&self.at)
    }
}

impl<T> Drop for AddressShare<T> {
    fn drop(&mut self) {
        if let Some(last) = self.give_up() {
            last.accepting.abort();
        }
    }
}

impl<T> fmt::Debug for AddressShare<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AddressShare").field(&self.at).finish()
    }
}

/// Waits until a listener is closing, or gone.
///
/// # Cancellation
/// Safe.
pub(crate) async fn is_closing(closing: &mut watch::Receiver<bool>) {
    drop(closing.wait_for(|is_closing| *is_closing).await);
}

/// The task of a connection that ended.
pub(crate) fn ended(ended: Result<(Id, ()), JoinError>) -> Id {
    match ended {
        Ok((id, ())) => id,
        Err(error) => {
            if !error.is_cancelled() {
                debug!(%error, "a connection failed");
            }
            error.id()
        }
    }
}
