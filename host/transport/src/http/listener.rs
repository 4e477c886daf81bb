//! The connections of an address that requests come to, by the pipelines of this process that name it. Knows no request.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::debug;

use super::connection;
use super::routes::Routes;
use crate::shared_address::{self, ACCEPT_PAUSE, Addresses};

pub(super) static ADDRESSES: Addresses<Routes> =
    Addresses::new(|listener, routes, closing| tokio::spawn(accept(listener, routes, closing)));

/// Accepts connections until it is closing, and then waits for those that are there.
async fn accept(listener: TcpListener, routes: Arc<Routes>, mut closing: watch::Receiver<bool>) {
    // Dropping it ends its connections.
    let mut connections = JoinSet::new();
    let mut by_task = HashMap::new();
    loop {
        let n_max = routes.connections_max();
        tokio::select! {
            () = shared_address::is_closing(&mut closing) => break,
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
            Some(ended) = connections.join_next_with_id() => {
                by_task.remove(&shared_address::ended(ended));
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}
