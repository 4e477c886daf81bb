//! Dead letters as `millrace dlq` asks for them: listed, looked at, put back. Knows no kind of transport.

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

    /// Takes them in hand, to be looked at: they stay where they are.
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn OpenStore>, DeadLetterError>>;

    /// Why nobody may say where they go back to; nothing where one may.
    fn refuses_target(&self) -> Option<&'static str> {
        None
    }

    /// Where a message goes back to, unless somebody says `to`.
    ///
    /// # Errors
    /// Why nowhere.
    fn target(&self, dead_letter: &DeadLetter, to: Option<&str>) -> Result<String, String>;

    /// A way back for their messages.
    fn way_back(&self) -> Box<dyn WayBack>;
}

/// The letters that are there now.
pub trait OpenStore: Send {
    /// How many have not been looked at.
    fn n_left(&self) -> usize;

    /// The next; none at the end of those that were there at first.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Box<dyn HeldDeadLetter>>, DeadLetterError>>;

    /// Lets go of every letter that is not dealt with.
    fn close(self: Box<Self>) -> BoxFuture<'static, Result<(), DeadLetterError>>;
}

/// A letter that was looked at; it stays where it is.
pub trait HeldDeadLetter: Any + fmt::Debug + Send + Sync {
    /// What it says.
    fn dead_letter(&self) -> &DeadLetter;

    /// What tells it from the others.
    fn handle(&self) -> Handle;

    /// The message that it was, as plugins saw it, without its body.
    ///
    /// # Errors
    /// What it had cannot be read from the letter.
    fn message(&self) -> Result<Message, DeadLetterError>;

    /// Opens the body.
    ///
    /// # Errors
    /// It is gone, or may not be read.
    fn open_body(&self) -> Result<Box<dyn Read + '_>, DeadLetterError>;
}

/// A way back for messages of dead letters.
pub trait WayBack: Send + Sync {
    /// Waits until it takes messages.
    fn open(&self) -> BoxFuture<'_, ()>;

    /// Puts a message back; its letter is let go of when that is safe. Says where it went.
    ///
    /// # Errors
    /// The letter stays.
    ///
    /// # Cancellation
    /// Loses nothing: at worst the message is in both places.
    fn put_back(&self, held: Box<dyn HeldDeadLetter>, to: String) -> BoxFuture<'_, Result<String, DeadLetterError>>;

    /// Closes it in good order.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// What tells a letter from the others in its place, as well as can be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Handle {
    /// Its own id, in a queue: several may have it.
    Id(String),
    /// Its file, in a folder.
    File(PathBuf),
}

/// Why letters cannot be looked at, or a message cannot go back.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct DeadLetterError(Box<dyn Error + Send + Sync>);

/// A letter of another place: a bug of ours.
#[derive(Debug, thiserror::Error)]
#[error("the dead letter is from another place")]
struct NotFromHere;

impl DeadLetterError {
    /// Wraps what a kind of place has to say.
    pub fn new(source: impl Error + Send + Sync + 'static) -> Self {
        Self(Box::new(source))
    }
}

/// A letter as its own place knows it.
///
/// # Errors
/// When it is another's.
pub(super) fn own<T: HeldDeadLetter>(held: Box<dyn HeldDeadLetter>) -> Result<T, DeadLetterError> {
    let held: Box<dyn Any> = held;
    match held.downcast() {
        Ok(own) => Ok(*own),
        Err(_) => Err(DeadLetterError::new(NotFromHere)),
    }
}
