//! Dead letters as `millrace dlq` sees them: listed, shown, requeued. Knows no kind of transport.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io::Read;
use std::path::PathBuf;

use futures_util::future::BoxFuture;

use crate::dead_letter::DeadLetter;
use crate::message::Message;

/// A place where dead letters lie.
pub trait DeadLetterStore: fmt::Debug + Send + Sync {
    /// In words, for people.
    fn shown(&self) -> String;

    /// Whether each is a file with a name that nothing else has.
    fn are_files(&self) -> bool;

    /// Opens it to read them: they stay where they are.
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn OpenStore>, DeadLetterError>>;

    /// Why `--to` is refused; nothing where it is allowed.
    fn refuses_target(&self) -> Option<&'static str> {
        None
    }

    /// Where a message goes back to: `to` where it is given.
    ///
    /// # Errors
    /// Why it has nowhere to go.
    fn target(&self, dead_letter: &DeadLetter, to: Option<&str>) -> Result<String, String>;

    /// A way back for their messages.
    fn requeuer(&self) -> Box<dyn Requeuer>;
}

/// The dead letters that are there now.
pub trait OpenStore: Send {
    /// How many have not been read.
    fn n_left(&self) -> usize;

    /// The next; none at the end of those that were there at first.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Box<dyn HeldDeadLetter>>, DeadLetterError>>;

    /// Releases every dead letter that was not put back.
    fn close(self: Box<Self>) -> BoxFuture<'static, Result<(), DeadLetterError>>;
}

/// A dead letter that was read; it stays where it is.
pub trait HeldDeadLetter: Any + fmt::Debug + Send + Sync {
    /// Its content.
    fn dead_letter(&self) -> &DeadLetter;

    /// Its handle, which distinguishes it from the others.
    fn handle(&self) -> Handle;

    /// The original message as plugins saw it, without its body.
    ///
    /// # Errors
    /// The dead letter does not hold it in a readable form.
    fn message(&self) -> Result<Message, DeadLetterError>;

    /// Opens the body.
    ///
    /// # Errors
    /// It is gone, or may not be read.
    fn open_body(&self) -> Result<Box<dyn Read + '_>, DeadLetterError>;
}

/// A way back for messages of dead letters.
pub trait Requeuer: Send + Sync {
    /// Waits until it takes messages.
    fn open(&self) -> BoxFuture<'_, ()>;

    /// Puts a message back, and removes its dead letter when that is safe. Returns where it went.
    ///
    /// # Errors
    /// The dead letter stays.
    ///
    /// # Cancellation
    /// Loses nothing: at worst the message is in both places.
    fn put_back(&self, held: Box<dyn HeldDeadLetter>, to: String) -> BoxFuture<'_, Result<String, DeadLetterError>>;

    /// Closes it in good order.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// Distinguishes a dead letter from the others in its place, as far as possible.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Handle {
    /// Its own id, in a queue: several may have it.
    Id(String),
    /// Its file, in a folder.
    File(PathBuf),
}

/// Why dead letters cannot be read, or a message cannot go back.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct DeadLetterError(Box<dyn Error + Send + Sync>);

/// A dead letter of another place: a bug of ours.
#[derive(Debug, thiserror::Error)]
#[error("the dead letter is from another place")]
struct NotFromHere;

impl DeadLetterError {
    /// Wraps the error of a kind of place.
    pub fn new(source: impl Error + Send + Sync + 'static) -> Self {
        Self(Box::new(source))
    }
}

/// A dead letter as the type of its own place.
///
/// # Errors
/// When it is from another place.
pub(super) fn own<T: HeldDeadLetter>(held: Box<dyn HeldDeadLetter>) -> Result<T, DeadLetterError> {
    let held: Box<dyn Any> = held;
    match held.downcast() {
        Ok(own) => Ok(*own),
        Err(_) => Err(DeadLetterError::new(NotFromHere)),
    }
}
