//! A TCP relay between the host and the broker that behaves, on command, as a bad network does. Knows no protocol.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// What is read at once.
const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks between reading and writing: a megabyte, as the buffers of a long line hold.
const CHUNKS: usize = 64;

/// A relay on a port of its own. It runs on a thread of its own, so that a test that blocks does not stop it; dropping
/// it closes everything.
pub struct Relay {
    port: u16,
    orders: watch::Sender<Orders>,
    n_carried: Arc<AtomicUsize>,
    // Invariant: present until it is dropped, which must not wait where a test is asynchronous.
    runtime: Option<Runtime>,
}

/// How one direction of every connection behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flow {
    /// What comes goes.
    #[default]
    Pass,
    /// Nothing arrives and nobody is told; what waits arrives when the hole is closed, as TCP sends lost packets again.
    Hole,
    /// What comes is thrown away; the connection is reset when this ends, because bytes are missing.
    Swallow,
    /// Everything arrives so much later.
    Delay(Duration),
    /// So many bytes a second.
    Throttle(u32),
    /// One byte at a time, each in a packet of its own.
    Slice,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the host.
    ToBroker,
    /// From the broker.
    ToHost,
}

#[derive(Debug, Clone, Copy, Default)]
struct Orders {
    to_broker: Flow,
    to_host: Flow,
    /// Connections that were made before the last of these are over.
    n_ends: u64,
    /// Whether the last end was a reset.
    reset: bool,
}

/// Bytes are missing: the connection cannot go on.
struct Broken;

impl Relay {
    /// Listens on a free port and carries every connection to `port`.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start(port: u16) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("relay")
            .enable_all()
            .build()?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let own_port = listener.local_addr()?.port();
        let (orders, receiver) = watch::channel(Orders::default());
        let n_carried = Arc::new(AtomicUsize::new(0));
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        runtime.spawn(accept(listener, to, receiver, Arc::clone(&n_carried)));
        Ok(Self {
            port: own_port,
            orders,
            n_carried,
            runtime: Some(runtime),
        })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address for clients that log in as guest.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// Connections that were carried so far: tells whether a fault made anybody connect again.
    pub fn n_carried(&self) -> usize {
        self.n_carried.load(Ordering::SeqCst)
    }

    /// From now on both directions behave so, on living connections and on new ones.
    pub fn set(&self, flow: Flow) {
        self.orders.send_modify(|orders| {
            orders.to_broker = flow;
            orders.to_host = flow;
        });
    }

    /// From now on one direction behaves so.
    pub fn set_one(&self, direction: Direction, flow: Flow) {
        self.orders.send_modify(|orders| match direction {
            Direction::ToBroker => orders.to_broker = flow,
            Direction::ToHost => orders.to_host = flow,
        });
    }

    /// Closes every connection, in both directions; new ones are carried.
    pub fn cut(&self) {
        self.end(false);
    }

    /// Resets every connection (RST), as a machine does that has forgotten them; new ones are carried.
    pub fn reset(&self) {
        self.end(true);
    }

    fn end(&self, reset: bool) {
        self.orders.send_modify(|orders| {
            orders.n_ends += 1;
            orders.reset = reset;
        });
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, to: SocketAddr, orders: watch::Receiver<Orders>, n_carried: Arc<AtomicUsize>) {
    // An error of one accept (too many files) is that client's: it is gone already.
    loop {
        if let Ok((host, _)) = listener.accept().await {
            n_carried.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(carry(host, to, orders.clone()));
        }
    }
}

async fn carry(mut host: TcpStream, to: SocketAddr, orders: watch::Receiver<Orders>) {
    // Where there is no broker, the client's connection ends, as it would without us.
    let Ok(mut broker) = TcpStream::connect(to).await else {
        return;
    };
    for stream in [&host, &broker] {
        stream.set_nodelay(true).ok();
    }
    let n_ends = orders.borrow().n_ends;
    let mut ends = orders.clone();
    let reset = {
        let (from_host, to_host) = host.split();
        let (from_broker, to_broker) = broker.split();
        let ended = async {
            match ends.wait_for(|orders| orders.n_ends != n_ends).await {
                Ok(orders) => orders.reset,
                Err(_) => false,
            }
        };
        tokio::select! {
            reset = ended => reset,
            pumped = pump(from_host, to_broker, orders.clone(), |orders| orders.to_broker) => pumped.is_err(),
            pumped = pump(from_broker, to_host, orders.clone(), |orders| orders.to_host) => pumped.is_err(),
        }
    };
    if reset {
        for stream in [&host, &broker] {
            // Closing a socket that lingers for no time at all sends a reset.
            stream.set_zero_linger().ok();
        }
    }
}

/// Carries one direction until one side closes it.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut orders: watch::Receiver<Orders>,
    flow: fn(&Orders) -> Flow,
) -> Result<(), Broken> {
    let (sender, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS);
    let reading = async move {
        let mut buffer = vec![0_u8; CHUNK_BYTES];
        while let Ok(n @ 1..) = from.read(&mut buffer).await {
            let chunk = buffer.get(..n).unwrap_or_default().to_vec();
            if sender.send((Instant::now(), chunk)).await.is_err() {
                break;
            }
        }
    };
    let writing = async {
        let mut n_swallowed = 0;
        while let Some((read_at, chunk)) = chunks.recv().await {
            let mut rest = chunk.as_slice();
            while !rest.is_empty() {
                let now = flow(&orders.borrow_and_update());
                if n_swallowed > 0 && now != Flow::Swallow {
                    return Err(Broken);
                }
                let n = match now {
                    Flow::Pass => rest.len(),
                    Flow::Slice => 1,
                    Flow::Throttle(bytes_per_second) => {
                        // A hundred portions a second: a timer is no finer than a millisecond.
                        let portion = (bytes_per_second / 100).max(1);
                        tokio::time::sleep(Duration::from_secs(1) * portion / bytes_per_second.max(1)).await;
                        rest.len().min(usize::try_from(portion).unwrap_or(usize::MAX))
                    }
                    Flow::Delay(delay) => {
                        tokio::time::sleep_until(read_at + delay).await;
                        rest.len()
                    }
                    Flow::Hole => {
                        if orders.changed().await.is_err() {
                            return Ok(());
                        }
                        continue;
                    }
                    Flow::Swallow => {
                        n_swallowed += rest.len();
                        break;
                    }
                };
                let (part, after) = rest.split_at(n);
                if to.write_all(part).await.is_err() {
                    return Ok(());
                }
                rest = after;
            }
        }
        Ok(())
    };
    let ((), written) = tokio::join!(reading, writing);
    written
}
