//! An address that requests come to, shared by the pipelines of this process that name it. Knows no request.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tracing::debug;

use super::connection;
use super::routes::Routes;

/// How long an address may be in use by a process that is just leaving.
const LET_GO: Duration = Duration::from_secs(2);

/// How long clients may take for answers that are written already, when the last pipeline leaves.
const FAREWELL: Duration = Duration::from_secs(2);

/// The pause where no connection can be accepted: the process has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The addresses of this process. A port belongs to a process, and only here can the old and the new source of a pipeline,
/// which know nothing of each other, share it.
// std Mutex: never held over an await.
static OPEN: Mutex<BTreeMap<SocketAddr, Shared>> = Mutex::new(BTreeMap::new());

#[derive(Debug)]
struct Shared {
    routes: Arc<Routes>,
    n_shares: usize,
    closing: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

/// A pipeline's share of an address: the last one that leaves closes it. Dropped, it leaves at once.
#[derive(Debug)]
pub(super) struct AddressShare {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// The paths there.
    pub(super) routes: Arc<Routes>,
    is_left: bool,
}

impl AddressShare {
    /// Listens at an address, together with who does already; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address is in use, not this machine's, or not allowed.
    pub(super) async fn at(address: SocketAddr) -> io::Result<Self> {
        let until = Instant::now() + LET_GO;
        loop {
            if let Some(share) = Self::beside(address) {
                return Ok(share);
            }
            match TcpListener::bind(address).await {
                Ok(listener) => return Self::first(listener),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                    tokio::time::sleep(LET_GO / 20).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Leaves; the last one waits, for a moment, until what was answered is written.
    pub(super) async fn leave(mut self) {
        let Some(mut last) = self.give_up() else { return };
        last.closing.send_replace(true);
        if tokio::time::timeout(FAREWELL, &mut last.accepting).await.is_err() {
            debug!(address = %self.address, "closing connections whose clients do not read their answers");
            last.accepting.abort();
        }
    }

    fn beside(address: SocketAddr) -> Option<Self> {
        let mut open = open();
        let shared = open.get_mut(&address)?;
        shared.n_shares += 1;
        Some(Self {
            address,
            routes: Arc::clone(&shared.routes),
            is_left: false,
        })
    }

    fn first(listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let routes = Arc::<Routes>::default();
        let (closing, is_closing) = watch::channel(false);
        let accepting = tokio::spawn(accept(listener, Arc::clone(&routes), is_closing));
        let shared = Shared {
            routes: Arc::clone(&routes),
            n_shares: 1,
            closing,
            accepting,
        };
        open().insert(address, shared);
        Ok(Self {
            address,
            routes,
            is_left: false,
        })
    }

    /// What is to be closed, for the last one. Once for each share.
    fn give_up(&mut self) -> Option<Shared> {
        if std::mem::replace(&mut self.is_left, true) {
            return None;
        }
        let mut open = open();
        let shared = open.get_mut(&self.address)?;
        shared.n_shares = shared.n_shares.saturating_sub(1);
        if shared.n_shares > 0 {
            return None;
        }
        open.remove(&self.address)
    }
}

impl Drop for AddressShare {
    fn drop(&mut self) {
        if let Some(last) = self.give_up() {
            last.accepting.abort();
        }
    }
}

fn open() -> MutexGuard<'static, BTreeMap<SocketAddr, Shared>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until a listener is closing, or gone.
///
/// # Cancellation
/// Safe.
pub(super) async fn is_closing(closing: &mut watch::Receiver<bool>) {
    drop(closing.wait_for(|is_closing| *is_closing).await);
}

/// Accepts connections until it is closing, and then waits for those that are there.
async fn accept(listener: TcpListener, routes: Arc<Routes>, mut closing: watch::Receiver<bool>) {
    // Dropping it ends its connections.
    let mut connections = JoinSet::new();
    let mut by_task = HashMap::new();
    loop {
        let n_max = routes.connections_max();
        tokio::select! {
            () = is_closing(&mut closing) => break,
            // Beyond the limit they wait in the system's queue, which is bounded too.
            accepted = listener.accept(), if connections.len() < n_max => match accepted {
                Ok((stream, peer)) => {
                    let peer = peer.ip().to_canonical();
                    let n_theirs = by_task.values().filter(|other| **other == peer).count();
                    if !peer.is_loopback() && n_theirs >= n_max / 2 {
                        debug!(%peer, "too many connections from this peer: closing another");
                        continue;
                    }
                    let task = connections.spawn(connection::serve(stream, Arc::clone(&routes), closing.clone()));
                    by_task.insert(task.id(), peer);
                }
                Err(error) => {
                    debug!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next_with_id() => forget(&mut by_task, ended),
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

fn forget(
    by_task: &mut HashMap<tokio::task::Id, IpAddr>,
    ended: Result<(tokio::task::Id, ()), tokio::task::JoinError>,
) {
    let id = match ended {
        Ok((id, ())) => id,
        Err(error) => {
            debug!(%error, "a connection failed");
            error.id()
        }
    };
    by_task.remove(&id);
}
