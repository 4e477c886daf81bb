//! The connections of an address that clients connect to. Knows no message.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::address::Address;
use super::connection;
use crate::shared_address::{self, ACCEPT_PAUSE, Addresses};

/// Clients amid their handshake. One more, and the oldest goes: a client finishes in milliseconds, and thousands that never do keep
/// nobody out.
const SHAKING_MAX: usize = 256;

/// The pause between two lines of the log about connections that are refused.
const REMINDER: Duration = Duration::from_secs(60);

pub(super) static ADDRESSES: Addresses<Address> =
    Addresses::new(|listener, address, closing| tokio::spawn(Accepting::new(address, closing).run(listener)));

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
                () = shared_address::is_closing(&mut closing) => break,
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
        self.by_task.remove(&shared_address::ended(ended));
    }
}
