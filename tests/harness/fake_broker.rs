//! A broker that answers publishes as a test says, late, in any order, many at once, or not at all, and that delivers
//! properties as bytes, also those that no library would write. Speaks just enough of AMQP for one host.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail, ensure};

use crate::wait_for;
use crate::wire::{
    BODY, Bytes, FRAME_MAX, HEADER, HEARTBEAT, METHOD, content, correlation_id, frame, long, method, read_frame, short,
};

/// The flags of the properties that a [`Letter`] may have, in the order in which they are written.
pub const CONTENT_TYPE: u16 = 0x8000;
/// As [`CONTENT_TYPE`].
pub const HEADERS: u16 = 0x2000;
/// As [`CONTENT_TYPE`].
pub const MESSAGE_ID: u16 = 0x80;

/// The broker. The thread that listens ends when it is dropped, those of the connections end with them.
pub struct FakeBroker {
    port: u16,
    shared: Arc<Shared>,
}

/// A message to deliver.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Which of the properties follow.
    pub flags: u16,
    /// The properties, as they go over the wire.
    pub properties: Vec<u8>,
    /// The body.
    pub body: Vec<u8>,
}

/// A message that the host published.
#[derive(Debug, Clone)]
pub struct Publish {
    /// Which of the channels in confirm mode it came by, in the order in which they were opened.
    pub channel: usize,
    /// What its confirm is to name.
    pub tag: u64,
    /// The correlation id.
    pub id: String,
    /// Where it goes.
    pub routing_key: String,
    header: Vec<u8>,
    body: Vec<u8>,
}

/// What the broker says to publishes.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// It has this one.
    Ack(u64),
    /// It has this one and all before it.
    AckUpTo(u64),
    /// It does not take this one.
    Nack(u64),
    /// No queue takes this one. A confirm is to follow.
    Return(u64),
}

struct Shared {
    queue: String,
    is_over: AtomicBool,
    // Whoever writes to a socket holds it, so that frames do not mix.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What is not delivered yet.
    letters: Vec<Letter>,
    /// The channels in confirm mode.
    outlets: Vec<Outlet>,
    publishes: Vec<Publish>,
    /// The delivery tags that were acknowledged, and those that were given back.
    acked: Vec<u64>,
    given_back: Vec<u64>,
}

struct Outlet {
    stream: TcpStream,
    channel: u16,
    n_published: u64,
}

impl FakeBroker {
    /// Listens; delivers the letters to the first consumer of a queue, tagged from 1 on.
    ///
    /// # Errors
    /// When there is no port.
    pub fn start(queue: &str, letters: Vec<Letter>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let state = State {
            letters,
            ..State::default()
        };
        let shared = Arc::new(Shared {
            queue: queue.to_owned(),
            is_over: AtomicBool::new(false),
            state: Mutex::new(state),
        });
        let its = Arc::clone(&shared);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if its.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let its = Arc::clone(&its);
                std::thread::spawn(move || {
                    if let Err(error) = serve(stream, &its) {
                        eprintln!("a connection to the fake broker ended: {error:#}");
                    }
                });
            }
        });
        Ok(Self { port, shared })
    }

    /// The address for clients.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// Waits until so many were published, and gives all that were.
    ///
    /// # Errors
    /// When fewer are.
    pub fn wait_publishes(&self, n: usize) -> Result<Vec<Publish>> {
        wait_for(&format!("{n} publishes"), || {
            let publishes = self.publishes();
            (publishes.len() >= n).then_some(publishes)
        })
    }

    /// Everything that was published so far.
    pub fn publishes(&self) -> Vec<Publish> {
        self.shared.state().publishes.clone()
    }

    /// Says something to the publishes of a channel.
    ///
    /// # Errors
    /// When there is no such channel, or its connection is gone.
    pub fn answer(&self, channel: usize, answer: Answer) -> Result<()> {
        let mut state = self.shared.state();
        let State { outlets, publishes, .. } = &mut *state;
        let outlet = outlets.get_mut(channel).context("no such channel")?;
        let bytes = match answer {
            Answer::Ack(tag) => confirm(outlet.channel, 80, tag, 0),
            Answer::AckUpTo(tag) => confirm(outlet.channel, 80, tag, 1),
            Answer::Nack(tag) => confirm(outlet.channel, 120, tag, 0),
            Answer::Return(tag) => {
                let mut all = publishes.iter();
                let publish = all.find(|publish| publish.channel == channel && publish.tag == tag);
                returned(outlet.channel, publish.context("no such publish")?)
            }
        };
        Ok(outlet.stream.write_all(&bytes)?)
    }

    /// The delivery tags that the host acknowledged so far, in its order.
    pub fn acked(&self) -> Vec<u64> {
        self.shared.state().acked.clone()
    }

    /// Waits until so many deliveries were acknowledged, and gives all that were.
    ///
    /// # Errors
    /// When fewer are.
    pub fn wait_acked(&self, n: usize) -> Result<Vec<u64>> {
        wait_for(&format!("{n} acknowledgements"), || {
            let acked = self.acked();
            (acked.len() >= n).then_some(acked)
        })
    }

    /// The delivery tags that the host gave back so far.
    pub fn given_back(&self) -> Vec<u64> {
        self.shared.state().given_back.clone()
    }
}

impl Drop for FakeBroker {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread that listens; where that fails, it ends with the process.
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok();
    }
}

impl Letter {
    /// A message with a content type and a message id.
    pub fn new(content_type: &str, id: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            flags: CONTENT_TYPE | MESSAGE_ID,
            properties: [short(content_type.as_bytes()), short(id.as_bytes())].concat(),
            body: body.into(),
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic of a thread that held the lock is told by itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves one connection to its end.
fn serve(mut stream: TcpStream, shared: &Shared) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut greeting = [0; 8];
    stream.read_exact(&mut greeting)?;
    ensure!(&greeting == b"AMQP\0\0\x09\x01", "no AMQP: {greeting:?}");
    let start = [&[0, 9], long(&[]).as_slice(), &long(b"PLAIN"), &long(b"en_US")].concat();
    stream.write_all(&method(0, 10, 10, &start))?;
    // The publishes whose header or body is still to come, by channel, with their length.
    let mut coming = BTreeMap::new();
    while let Some((kind, channel, payload)) = read_frame(&mut stream)? {
        let mut state = shared.state();
        match kind {
            METHOD => {
                let mut arguments = Bytes(&payload);
                let id = (arguments.number(2)?, arguments.number(2)?);
                if id == (60, 40) {
                    coming.insert(channel, (state.begin(channel, &stream, &mut arguments)?, 0));
                    continue;
                }
                let answer = state.method(channel, id, &mut arguments, &stream)?;
                stream.write_all(&answer)?;
                if id == (60, 20) {
                    for (tag, letter) in (1..).zip(state.letters_of(&payload, &shared.queue)?) {
                        stream.write_all(&delivery(channel, tag, &shared.queue, &letter))?;
                    }
                }
            }
            HEADER => {
                let (publish, length) = coming.get_mut(&channel).context("a header of nothing")?;
                *length = usize::try_from(Bytes(payload.get(4..).unwrap_or_default()).number(8)?)?;
                publish.id = correlation_id(&payload)?;
                publish.header = payload;
            }
            BODY => {
                let (publish, _) = coming.get_mut(&channel).context("a body of nothing")?;
                publish.body.extend(payload);
            }
            HEARTBEAT => stream.write_all(&frame(HEARTBEAT, 0, &[]))?,
            _ => bail!("a frame of kind {kind}"),
        }
        let is_complete =
            |(publish, length): &mut (Publish, usize)| !publish.header.is_empty() && publish.body.len() == *length;
        if coming.get_mut(&channel).is_some_and(is_complete)
            && let Some((publish, _)) = coming.remove(&channel)
        {
            state.publishes.push(publish);
        }
    }
    Ok(())
}

impl State {
    /// A publish whose header and body are to come.
    fn begin(&mut self, channel: u16, stream: &TcpStream, arguments: &mut Bytes<'_>) -> Result<Publish> {
        let peer = stream.peer_addr()?;
        let is_it =
            |outlet: &Outlet| outlet.channel == channel && outlet.stream.peer_addr().is_ok_and(|its| its == peer);
        // The last one: numbers of channels are used again.
        let at = self.outlets.iter().rposition(is_it).context("not in confirm mode")?;
        let outlet = self.outlets.get_mut(at).context("no such outlet")?;
        outlet.n_published += 1;
        arguments.take(2)?;
        let _exchange = arguments.short()?;
        Ok(Publish {
            channel: at,
            tag: outlet.n_published,
            id: String::new(),
            routing_key: arguments.short()?,
            header: Vec::new(),
            body: Vec::new(),
        })
    }

    /// What is to be delivered to a consumer that begins: all of it, if it is one of this queue.
    fn letters_of(&mut self, consume: &[u8], queue: &str) -> Result<Vec<Letter>> {
        let consumed = Bytes(consume.get(6..).unwrap_or_default()).short()?;
        Ok(match consumed == queue {
            true => std::mem::take(&mut self.letters),
            false => Vec::new(),
        })
    }

    /// What is answered to a method; nothing where none is due.
    fn method(
        &mut self,
        channel: u16,
        id: (u64, u64),
        arguments: &mut Bytes<'_>,
        stream: &TcpStream,
    ) -> Result<Vec<u8>> {
        let answer = |class, id, arguments: &[u8]| method(channel, class, id, arguments);
        Ok(match id {
            // connection: start-ok, tune-ok, open, close
            (10, 11) => {
                let frame_max = u32::try_from(FRAME_MAX)?.to_be_bytes();
                answer(10, 30, &[&[0, 0], frame_max.as_slice(), &[0, 0]].concat())
            }
            (10, 31) => Vec::new(),
            (10, 40) => answer(10, 41, &short(b"")),
            (10, 50) => answer(10, 51, &[]),
            // channel: open, close, close-ok
            (20, 10) => answer(20, 11, &long(b"")),
            (20, 40) => answer(20, 41, &[]),
            (20, 41) => Vec::new(),
            // exchange.declare, queue.declare
            (40, 10) => answer(40, 11, &[]),
            (50, 10) => {
                arguments.take(2)?;
                let queue = arguments.short()?;
                answer(50, 11, &[short(queue.as_bytes()).as_slice(), &[0; 8]].concat())
            }
            // basic: qos, consume, cancel, ack, reject, nack
            (60, 10) => answer(60, 11, &[]),
            (60, 20) => answer(60, 21, &short(b"consumer")),
            (60, 30) => {
                let tag = arguments.short()?;
                match arguments.number(1)? {
                    0 => answer(60, 31, &short(tag.as_bytes())),
                    _ => Vec::new(),
                }
            }
            (60, 80) => {
                let tag = arguments.number(8)?;
                ensure!(arguments.number(1)? == 0, "the host acknowledged more than one at once");
                self.acked.push(tag);
                Vec::new()
            }
            (60, 90 | 120) => {
                self.given_back.push(arguments.number(8)?);
                Vec::new()
            }
            // confirm.select
            (85, 10) => {
                self.outlets.push(Outlet {
                    stream: stream.try_clone()?,
                    channel,
                    n_published: 0,
                });
                answer(85, 11, &[])
            }
            other => bail!("method {other:?}"),
        })
    }
}

fn delivery(channel: u16, tag: u64, queue: &str, letter: &Letter) -> Vec<u8> {
    let arguments = [
        short(b"consumer").as_slice(),
        &tag.to_be_bytes(),
        &[0],
        &short(b""),
        &short(queue.as_bytes()),
    ]
    .concat();
    let length = (letter.body.len() as u64).to_be_bytes();
    let header = [
        &[0, 60, 0, 0],
        length.as_slice(),
        &letter.flags.to_be_bytes(),
        &letter.properties,
    ];
    let deliver = method(channel, 60, 60, &arguments);
    [deliver, content(channel, &header.concat(), &letter.body)].concat()
}

fn returned(channel: u16, publish: &Publish) -> Vec<u8> {
    let arguments = [
        312_u16.to_be_bytes().as_slice(),
        &short(b"NO_ROUTE"),
        &short(b""),
        &short(publish.routing_key.as_bytes()),
    ]
    .concat();
    let method = method(channel, 60, 50, &arguments);
    [method, content(channel, &publish.header, &publish.body)].concat()
}

fn confirm(channel: u16, id: u8, tag: u64, bits: u8) -> Vec<u8> {
    method(channel, 60, id, &[tag.to_be_bytes().as_slice(), &[bits]].concat())
}
