//! A broker that answers publishes as a test says, late, in any order, many at once, or not at all, that falls silent at
//! any step, and that delivers properties as bytes, also those that no library would write. Speaks just enough of AMQP
//! for one host.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail, ensure};

use crate::wait_for;
use crate::wire::{
    BODY, Bytes, FRAME_MAX, HEADER, HEARTBEAT, METHOD, content, correlation_id, frame, long, method, read_frame, short,
};

/// The flags of the properties that a [`StoredMessage`] may have, in the order in which they are written.
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
pub struct StoredMessage {
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

/// Where a broker falls silent: it takes what comes on that connection from then on, and answers nothing, not even by a
/// heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// It accepts the connection.
    Accept,
    /// It takes a method of this class and number.
    Method(u8, u8),
    /// It takes a declaration of a queue whose name ends so.
    Declare(&'static str),
}

struct Shared {
    queue: String,
    is_over: AtomicBool,
    // Whoever writes to a socket holds it, so that frames do not mix.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What is in the queue. Delivered, it stays there until it is acknowledged; the first has the tag 1.
    stored_messages: Vec<StoredMessage>,
    /// Who consumes the queue: where, and on which channel.
    consumer: Option<(TcpStream, u16)>,
    /// Every connection that was made, to be cut.
    streams: Vec<TcpStream>,
    silence: Option<Silence>,
    /// Connections that fell silent.
    n_silent: usize,
    /// Whether every publish is confirmed at once.
    confirms: bool,
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
    /// Listens; delivers the messages to the first consumer of a queue, tagged from 1 on.
    ///
    /// # Errors
    /// When there is no port.
    pub fn start(queue: &str, stored_messages: Vec<StoredMessage>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let state = State {
            stored_messages,
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

    /// Confirms every publish at once from now on.
    pub fn confirm_all(&self) {
        self.shared.state().confirms = true;
    }

    /// Falls silent at a step, on every connection that comes to it.
    pub fn fall_silent(&self, at: Silence) {
        let mut state = self.shared.state();
        state.silence = Some(at);
        state.n_silent = 0;
    }

    /// Ends every connection that there is.
    pub fn cut(&self) {
        self.shared.state().cut();
    }

    /// Speaks again to connections that are made from now on; those that are silent stay so.
    pub fn speak(&self) {
        self.shared.state().silence = None;
    }

    /// Connections that fell silent at the step.
    pub fn n_silent(&self) -> usize {
        self.shared.state().n_silent
    }

    /// Connections that were made so far.
    pub fn n_connections(&self) -> usize {
        self.shared.state().streams.len()
    }

    /// Puts a message into the queue.
    ///
    /// # Errors
    /// When the consumer's connection is gone.
    pub fn push(&self, stored: StoredMessage) -> Result<()> {
        let mut state = self.shared.state();
        let tag = u64::try_from(state.stored_messages.len())? + 1;
        let bytes = |channel| delivery(channel, tag, &self.shared.queue, &stored);
        if let Some((stream, channel)) = &mut state.consumer {
            // One that is gone is told again to the next.
            stream.write_all(&bytes(*channel)).ok();
        }
        state.stored_messages.push(stored);
        Ok(())
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

    /// The delivery tags that the host acknowledged so far, in its order; one that stands for all before it is all of them.
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

impl StoredMessage {
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
    shared.state().streams.push(stream.try_clone()?);
    let mut greeting = [0; 8];
    stream.read_exact(&mut greeting)?;
    ensure!(&greeting == b"AMQP\0\0\x09\x01", "no AMQP: {greeting:?}");
    if shared.state().falls_silent(Silence::Accept) {
        return swallow(&mut stream);
    }
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
                if state.is_silence(id, &payload)? {
                    drop(state);
                    return swallow(&mut stream);
                }
                if id == (60, 40) {
                    coming.insert(channel, (state.begin(channel, &stream, &mut arguments)?, 0));
                    continue;
                }
                let answer = state.method(channel, id, &mut arguments, &stream)?;
                stream.write_all(&answer)?;
                if id == (60, 20) {
                    for (tag, stored) in state.publishes_of(&payload, &shared.queue, (&stream, channel))? {
                        stream.write_all(&delivery(channel, tag, &shared.queue, &stored))?;
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
            if state.confirms {
                stream.write_all(&confirm(channel, 80, publish.tag, 0))?;
            }
            state.publishes.push(publish);
        }
    }
    Ok(())
}

/// Takes whatever comes, to the end of the connection.
fn swallow(stream: &mut TcpStream) -> Result<()> {
    let mut bytes = [0; 4096];
    // An error is its end, too.
    while stream.read(&mut bytes).is_ok_and(|n| n > 0) {}
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

    /// What is to be delivered to a consumer that begins, by tag: what is not acknowledged, if it is one of this queue.
    fn publishes_of(
        &mut self,
        consume: &[u8],
        queue: &str,
        (stream, channel): (&TcpStream, u16),
    ) -> Result<Vec<(u64, StoredMessage)>> {
        let consumed = Bytes(consume.get(6..).unwrap_or_default()).short()?;
        if consumed != queue {
            return Ok(Vec::new());
        }
        self.consumer = Some((stream.try_clone()?, channel));
        let all = (1..).zip(self.stored_messages.iter().cloned());
        Ok(all.filter(|(tag, _)| !self.acked.contains(tag)).collect())
    }

    fn falls_silent(&mut self, at: Silence) -> bool {
        let falls = self.silence == Some(at);
        self.n_silent += usize::from(falls);
        falls
    }

    /// Whether a method is the step at which the broker falls silent.
    fn is_silence(&mut self, (class, id): (u64, u64), payload: &[u8]) -> Result<bool> {
        if let (Some(Silence::Declare(end)), (50, 10)) = (self.silence, (class, id)) {
            let queue = Bytes(payload.get(6..).unwrap_or_default()).short()?;
            return Ok(queue.ends_with(end) && self.falls_silent(Silence::Declare(end)));
        }
        Ok(self.falls_silent(Silence::Method(u8::try_from(class)?, u8::try_from(id)?)))
    }

    fn cut(&mut self) {
        self.consumer = None;
        for stream in self.streams.drain(..) {
            // It may have ended by itself.
            stream.shutdown(Shutdown::Both).ok();
        }
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
                // A host gets a quarantined message only where one is counted.
                let is_sought = self.silence == Some(Silence::Method(60, 70)) && queue.ends_with(".quarantine");
                let n_ready = u32::from(is_sought).to_be_bytes();
                answer(
                    50,
                    11,
                    &[short(queue.as_bytes()).as_slice(), &n_ready, &[0; 4]].concat(),
                )
            }
            // basic: qos, consume, cancel, get, ack, reject, nack
            (60, 10) => answer(60, 11, &[]),
            (60, 20) => answer(60, 21, &short(b"consumer")),
            (60, 30) => {
                let tag = arguments.short()?;
                match arguments.number(1)? {
                    0 => answer(60, 31, &short(tag.as_bytes())),
                    _ => Vec::new(),
                }
            }
            (60, 70) => answer(60, 72, &short(b"")),
            (60, 80) => {
                let tag = arguments.number(8)?;
                let first = if arguments.number(1)? == 0 { tag } else { 1 };
                let is_out = |tag: &u64| !self.acked.contains(tag) && !self.given_back.contains(tag);
                ensure!(
                    is_out(&tag),
                    "the host acknowledged {tag}, which is not out: a broker closes the channel over that"
                );
                let acked: Vec<u64> = (first..=tag).filter(is_out).collect();
                self.acked.extend(acked);
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

fn delivery(channel: u16, tag: u64, queue: &str, stored: &StoredMessage) -> Vec<u8> {
    let arguments = [
        short(b"consumer").as_slice(),
        &tag.to_be_bytes(),
        &[0],
        &short(b""),
        &short(queue.as_bytes()),
    ]
    .concat();
    let length = (stored.body.len() as u64).to_be_bytes();
    let header = [
        &[0, 60, 0, 0],
        length.as_slice(),
        &stored.flags.to_be_bytes(),
        &stored.properties,
    ];
    let deliver = method(channel, 60, 60, &arguments);
    [deliver, content(channel, &header.concat(), &stored.body)].concat()
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
