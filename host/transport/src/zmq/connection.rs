//! One client of an address: its messages go to the pipeline, and their answers come back. Knows no source.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tracing::{debug, warn};

use super::ack::{NoAck, ReplyAck};
use super::address::Address;
use super::codec::{Frames, Incoming, ProtocolError, SocketType};
use super::counts::Counts;
use super::in_flight::{ANSWERS_MAX, Answered, Asked, Asker, Claim};
use super::message_queue::MessageQueue;
use super::reply::Reply;
use super::request::{BESIDE_BODY_BYTES, Request, Unreadable};
use super::wire::{self, Reader, WireError, Writer};
use crate::error_chain::ErrorChain;
use crate::message::Message;
use crate::shared_address;
use crate::{AckHandle, Delivery, HOLD_LIMIT, Quarantine};

/// What may come of a message before it has a slot.
const FREE_BYTES: usize = 8 << 10;

/// Answers to what never became a message, and wait to be written: the next message is not read meanwhile.
const OWN_ANSWERS_MAX: usize = 4;

/// How long, and how much, is read of a connection whose message is too large, so that its client reads why.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: u64 = 64 << 20;

/// Serves a client until it leaves; from `closing` on, until its answers are written.
pub(super) async fn serve(
    stream: TcpStream,
    address: Arc<Address>,
    queue: Arc<MessageQueue>,
    is_ready: Arc<AtomicBool>,
    mut closing: watch::Receiver<bool>,
) {
    let terms = &queue.terms;
    let socket = terms.socket;
    let bytes_max = terms.body_bytes_max.saturating_add(BESIDE_BODY_BYTES);
    drop(queue);
    let shaken = tokio::select! {
        shaken = wire::shake(stream, socket, bytes_max) => shaken,
        () = shared_address::is_closing(&mut closing) => return,
    };
    let (mut reader, mut writer, peer) = match shaken {
        Ok(shaken) => shaken,
        Err(error) => {
            debug!(error = %ErrorChain(&error), "a connection that is no client's");
            return;
        }
    };
    is_ready.store(true, Ordering::Relaxed);
    let (answers, mut answered) = mpsc::channel(ANSWERS_MAX);
    let (own, mut own_answers) = mpsc::channel(OWN_ANSWERS_MAX);
    let client = Client {
        address,
        socket,
        is_delimited: peer == SocketType::Req,
        answers,
        own,
    };
    let ended = tokio::select! {
        ended = client.read(&mut reader) => ended,
        ended = write(&mut writer, &mut answered, &mut own_answers) => ended,
        () = shared_address::is_closing(&mut closing) => Err(WireError::Closed),
    };
    let is_told = matches!(ended, Err(WireError::Protocol(ProtocolError::TooLarge { .. })));
    if let Err(error) = &ended {
        debug!(error = %ErrorChain(error), "a connection ended");
    }
    // What is answered is written: a client that is to go may wait for it.
    answered.close();
    if let Err(error) = write_rest(&mut writer, &mut answered, &mut own_answers).await {
        debug!(error = %ErrorChain(&error), "the last answers of a connection are lost: its client sends its messages again");
        return;
    }
    if is_told {
        wire::linger(reader, writer, LINGER, LINGER_BYTES).await;
    }
}

/// Takes what a publisher sends until the connection is over.
pub(super) async fn receive(
    mut reader: Reader,
    mut writer: Writer,
    address: &Arc<Address>,
    socket: SocketType,
) -> WireError {
    let (answers, mut answered) = mpsc::channel(1);
    let (own, mut own_answers) = mpsc::channel(1);
    let client = Client {
        address: Arc::clone(address),
        socket,
        is_delimited: false,
        answers,
        own,
    };
    let ended = tokio::select! {
        ended = client.read(&mut reader) => ended,
        // Answers to pings: there are no others.
        ended = write(&mut writer, &mut answered, &mut own_answers) => ended,
    };
    ended.err().unwrap_or(WireError::Closed)
}

/// Writes answers as they come.
async fn write(
    writer: &mut Writer,
    answered: &mut mpsc::Receiver<Answered>,
    own: &mut mpsc::Receiver<Answered>,
) -> Result<(), WireError> {
    loop {
        tokio::select! {
            Some(answer) = answered.recv() => send(writer, answer).await?,
            Some(answer) = own.recv() => send(writer, answer).await?,
            () = writer.output() => writer.flush().await?,
        }
    }
}

/// Writes what is there, and waits for no more.
async fn write_rest(
    writer: &mut Writer,
    answered: &mut mpsc::Receiver<Answered>,
    own: &mut mpsc::Receiver<Answered>,
) -> Result<(), WireError> {
    writer.flush().await?;
    while let Ok(answer) = answered.try_recv() {
        send(writer, answer).await?;
    }
    while let Ok(answer) = own.try_recv() {
        send(writer, answer).await?;
    }
    Ok(())
}

async fn send(writer: &mut Writer, answer: Answered) -> Result<(), WireError> {
    let Answered {
        id,
        is_delimited,
        reply,
    } = answer;
    let (frames, _slot) = reply.frames(id, is_delimited);
    writer.send(frames).await
}

/// A client, as far as it sends.
struct Client {
    address: Arc<Address>,
    /// The type of our socket, which it has shaken hands with.
    socket: SocketType,
    /// Whether it takes no answer without a delimiter.
    is_delimited: bool,
    answers: mpsc::Sender<Answered>,
    own: mpsc::Sender<Answered>,
}

impl Client {
    /// Reads until the connection is over.
    async fn read(&self, reader: &mut Reader) -> Result<(), WireError> {
        let mut slot = None;
        loop {
            match reader.pop() {
                Ok(None) => {}
                Ok(Some(incoming)) => {
                    self.hear(incoming, slot.take()).await?;
                    reader.forgive();
                    continue;
                }
                Err(error) => return Err(self.refuse(error).await),
            }
            if reader.n_expected() > FREE_BYTES && slot.is_none() {
                slot = Some(self.early_slot().await?);
                reader.forgive();
            }
            reader.read().await?;
        }
    }

    async fn hear(&self, incoming: Incoming, slot: Option<OwnedSemaphorePermit>) -> Result<(), WireError> {
        match incoming {
            Incoming::Message(frames) => match self.socket {
                SocketType::Router => self.take_request(frames, slot).await,
                _ => self.take_unanswered(frames, slot).await,
            },
            Incoming::TooManyFrames => self.malformed("it has more frames than any message").await,
            // Only a publisher is subscribed to.
            _ => Ok(()),
        }
    }

    /// Says why a connection ends, where its client may not know it.
    async fn refuse(&self, error: WireError) -> WireError {
        if let WireError::Protocol(ProtocolError::TooLarge { bytes_max }) = error {
            // Its id is among what is not kept.
            let why = format!(
                "a message has more than the {bytes_max} bytes that are allowed: `max_message`, and its headers"
            );
            if let Err(error) = self.malformed(&why).await {
                return error;
            }
        }
        error
    }

    /// A slot for a message that has begun: it is in memory before it is complete. Where nobody takes messages it is not read on,
    /// for as long as a message may be held.
    async fn early_slot(&self) -> Result<OwnedSemaphorePermit, WireError> {
        let waiting = async {
            loop {
                if let Some(queue) = self.queue().await?
                    && let Some(slot) = queue.patient_slot().await
                {
                    return Ok(slot);
                }
            }
        };
        let waited = tokio::time::timeout(HOLD_LIMIT, waiting).await;
        waited.unwrap_or(Err(WireError::Slow("no pipeline takes its message")))
    }

    /// The pipeline that takes messages now.
    async fn queue(&self) -> Result<Option<Arc<MessageQueue>>, WireError> {
        let queue = self.address.open().await;
        match &queue {
            // The file says another socket by now: the client is to shake hands with that one.
            Some(queue) if queue.terms.socket != self.socket => Err(WireError::Closed),
            _ => Ok(queue),
        }
    }

    /// Takes a message that is answered. Whatever is returned from here on, its claim answers it.
    async fn take_request(&self, frames: Frames, slot: Option<OwnedSemaphorePermit>) -> Result<(), WireError> {
        let request = match Request::read(frames) {
            Ok(request) => request,
            Err(Unreadable { is_delimited, why }) => {
                return self.answer(Bytes::new(), is_delimited, Reply::malformed(&why)).await;
            }
        };
        let (id, is_delimited) = (Bytes::copy_from_slice(request.id.as_bytes()), request.is_delimited);
        let answers = self.answers.clone();
        let claim = match self.address.in_flight.ask(&request, Asker { answers, is_delimited }) {
            Asked::New(claim) => claim,
            Asked::Joined => {
                self.count(Counts::joined);
                return Ok(());
            }
            Asked::Taken => return self.answer(id, is_delimited, Reply::taken()).await,
        };
        let refused = match self.queue().await? {
            Some(queue) => self.submit_request(&queue, request, claim, slot).await,
            None => Some((claim, Reply::closed())),
        };
        if let Some((claim, reply)) = refused {
            let status = reply.status;
            self.count(|counts| counts.answered(status));
            claim.answer(reply);
        }
        Ok(())
    }

    /// Hands a message to the pipeline; gives back what is to be answered at once.
    async fn submit_request(
        &self,
        queue: &Arc<MessageQueue>,
        request: Request,
        claim: Claim,
        slot: Option<OwnedSemaphorePermit>,
    ) -> Option<(Claim, Reply)> {
        let slot = match slot {
            Some(slot) => slot,
            None => match queue.slot().await {
                Ok(slot) => slot,
                Err(reply) => return Some((claim, reply)),
            },
        };
        match request.message(&queue.terms.source, queue.terms.body_bytes_max) {
            Ok(message) => {
                let ack = ReplyAck::new(claim, Arc::clone(&queue.counts), slot);
                self.submit(queue, message, Box::new(ack)).await;
                None
            }
            Err(why) => Some((claim, Reply::malformed(&why))),
        }
    }

    /// Takes a message that nobody is told about.
    async fn take_unanswered(&self, frames: Frames, slot: Option<OwnedSemaphorePermit>) -> Result<(), WireError> {
        let slot = match slot {
            Some(slot) => slot,
            None => self.early_slot().await?,
        };
        let Some(queue) = self.queue().await? else {
            return Ok(());
        };
        let terms = &queue.terms;
        let read = Request::read_unanswered(frames);
        match read.and_then(|request| request.message(&terms.source, terms.body_bytes_max)) {
            Ok(message) => {
                let ack = NoAck::new(&queue.lines, slot);
                self.submit(&queue, message, Box::new(ack)).await;
            }
            Err(why) => self.lose(&why),
        }
        Ok(())
    }

    /// Hands a message over; to the successor, where the pipeline got another source meanwhile. Where neither takes it, its
    /// acknowledgement says so.
    async fn submit(&self, queue: &Arc<MessageQueue>, message: Message, ack: Box<dyn AckHandle>) {
        let delivery = Delivery {
            message,
            malformed: None,
            quarantine: Quarantine::None,
            ack,
        };
        if let Some(delivery) = queue.submit(delivery)
            && let Ok(Some(queue)) = self.queue().await
        {
            drop(queue.submit(delivery));
        }
    }

    /// Of what never became a message.
    async fn malformed(&self, why: &str) -> Result<(), WireError> {
        match self.socket {
            SocketType::Router => {
                self.answer(Bytes::new(), self.is_delimited, Reply::malformed(why))
                    .await
            }
            _ => {
                self.lose(why);
                Ok(())
            }
        }
    }

    async fn answer(&self, id: Bytes, is_delimited: bool, reply: Reply) -> Result<(), WireError> {
        let status = reply.status;
        self.count(|counts| counts.answered(status));
        let answered = Answered {
            id,
            is_delimited,
            reply,
        };
        self.own.send(answered).await.map_err(|_| WireError::Closed)
    }

    fn lose(&self, why: &str) {
        self.count(Counts::lost);
        if let Some(queue) = self.address.now()
            && queue.lines.may_log()
        {
            let source = &queue.terms.source;
            warn!(source, why, "message lost: it cannot be read, and nobody is told");
        }
    }

    fn count(&self, add: impl FnOnce(&Counts)) {
        if let Some(queue) = self.address.now() {
            add(&queue.counts);
        }
    }
}
