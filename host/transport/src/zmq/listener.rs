//! The sockets that listen for clients, shared by the sources of this process that name one address. Knows no message.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinError, JoinHandle, JoinSet};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::address::Address;
use super::connection;

/// How long an address may be in use by a process that is just leaving.
const LET_GO: Duration = Duration::from_secs(2);

/// How long clients may take for answers that are on their way already, when the last source leaves.
const FAREWELL: Duration = Duration::from_secs(2);

/// The pause where no connection can be accepted: the process has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Clients amid their handshake. One more, and the oldest goes: a client finishes in milliseconds, and thousands that never do keep
/// nobody out.
const SHAKING_MAX: usize = 256;

/// The pause between two lines of the log about connections that are refused.
const REMINDER: Duration = Duration::from_secs(60);

/// The addresses of this process. A port belongs to a process, and only here can the old and the new source of a pipeline,
/// which know nothing of each other, share it.
// std Mutex: never held over an await.
static OPEN: Mutex<BTreeMap<SocketAddr, Shared>> = Mutex::new(BTreeMap::new());

#[derive(Debug)]
struct Shared {
    address: Arc<Address>,
    n_shares: usize,
    closing: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

/// A source's share of an address: the last one that leaves closes it. Dropped, it leaves at once.
#[derive(Debug)]
pub(super) struct AddressShare {
    /// Where it listens.
    pub(super) at: SocketAddr,
    pub(super) address: Arc<Address>,
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
            debug!(address = %self.at, "closing connections whose clients do not read their answers");
            last.accepting.abort();
        }
    }

    fn beside(at: SocketAddr) -> Option<Self> {
        let mut open = open();
        let shared = open.get_mut(&at)?;
        shared.n_shares += 1;
        Some(Self {
            at,
            address: Arc::clone(&shared.address),
            is_left: false,
        })
    }

    fn first(listener: TcpListener) -> io::Result<Self> {
        let at = listener.local_addr()?;
        let address = Arc::<Address>::default();
        let (closing, is_closing) = watch::channel(false);
        let accepting = tokio::spawn(Accepting::new(Arc::clone(&address), is_closing).run(listener));
        let shared = Shared {
            address: Arc::clone(&address),
            n_shares: 1,
            closing,
            accepting,
        };
        open().insert(at, shared);
        Ok(Self {
            at,
            address,
            is_left: false,
        })
    }

    /// What is to be closed, for the last one. Once for each share.
    fn give_up(&mut self) -> Option<Shared> {
        if std::mem::replace(&mut self.is_left, true) {
            return None;
        }
        let mut open = open();
        let shared = open.get_mut(&self.at)?;
        shared.n_shares = shared.n_shares.saturating_sub(1);
        if shared.n_shares > 0 {
            return None;
        }
        open.remove(&self.at)
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

/// The connections of one address.
struct Accepting {
    address: Arc<Address>,
    closing: watch::Receiver<bool>,
    // Dropping it ends them.
    connections: JoinSet<()>,
    by_task: HashMap<Id, IpAddr>,
    /// The oldest first.
    shaking: VecDeque<(AbortHandle, Arc<AtomicBool>)>,
    n_refused: u64,
    logged: Option<Instant>,
}

impl Accepting {
    fn new(address: Arc<Address>, closing: watch::Receiver<bool>) -> Self {
        Self {
            address,
            closing,
            connections: JoinSet::new(),
            by_task: HashMap::new(),
            shaking: VecDeque::new(),
            n_refused: 0,
            logged: None,
        }
    }

    /// Accepts connections until the address is closing, and then waits for those that are there.
    async fn run(mut self, listener: TcpListener) {
        let mut closing = self.closing.clone();
        loop {
            tokio::select! {
                () = is_closing(&mut closing) => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.accept(stream, peer.ip().to_canonical()),
                    Err(error) => {
                        debug!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(ended) = self.connections.join_next_with_id() => self.forget(ended),
            }
        }
        drop(listener);
        while self.connections.join_next().await.is_some() {}
    }

    fn accept(&mut self, stream: tokio::net::TcpStream, peer: IpAddr) {
        let Some(queue) = self.address.now() else { return };
        // Those that are over are no clients.
        while let Some(ended) = self.connections.try_join_next_with_id() {
            self.forget(ended);
        }
        self.shaking
            .retain(|(task, is_ready)| !task.is_finished() && !is_ready.load(Ordering::Relaxed));
        let n_max = queue.terms.connections_max;
        // Those amid their handshake have places of their own.
        let n_ready = self.connections.len().saturating_sub(self.shaking.len());
        let n_theirs = self.by_task.values().filter(|other| **other == peer).count();
        if n_ready >= n_max || (!peer.is_loopback() && n_theirs >= n_max / 2 + SHAKING_MAX) {
            self.note_refused(peer, n_max);
            return;
        }
        if self.shaking.len() >= SHAKING_MAX
            && let Some((oldest, _)) = self.shaking.pop_front()
        {
            oldest.abort();
        }
        let is_ready = Arc::new(AtomicBool::new(false));
        let serving = connection::serve(
            stream,
            Arc::clone(&self.address),
            queue,
            Arc::clone(&is_ready),
            self.closing.clone(),
        );
        let task = self.connections.spawn(serving);
        self.by_task.insert(task.id(), peer);
        self.shaking.push_back((task, is_ready));
    }

    /// Counts a connection that is closed at once; says so once a minute.
    fn note_refused(&mut self, peer: IpAddr, connections: usize) {
        self.n_refused += 1;
        if self.logged.is_none_or(|at| at.elapsed() >= REMINDER) {
            self.logged = Some(Instant::now());
            let n_refused = std::mem::take(&mut self.n_refused);
            warn!(%peer, connections, n_refused, "closing connections: as many are open as `connections` allows, half of them for one machine");
        }
    }

    fn forget(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                if !error.is_cancelled() {
                    debug!(%error, "a connection failed");
                }
                error.id()
            }
        };
        self.by_task.remove(&id);
    }
}
