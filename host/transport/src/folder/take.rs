//! A claim that begins to be in flight, and the reading of its file. Knows neither where it was found nor its outcome; all
//! of it blocks.

use std::io;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tracing::{debug, warn};

use super::ack::FileAck;
use super::claim_dir::{Claim, ClaimPhase};
use super::content::{Content, hex, is_shortage, read_content};
use super::shared::Shared;
use super::{FolderError, Found};
use crate::message::Message;
use crate::{Malformed, Quarantine};

/// Moves a claim that waited to the place of running ones; `None` where its file is gone.
pub(super) fn take_up(shared: &Shared, mut claim: Claim) -> Result<Option<Claim>, FolderError> {
    let (path, attempt) = (claim.path(), claim.attempt);
    let phase = match claim.quarantine {
        Quarantine::None => ClaimPhase::Running,
        // Its path keeps the crash count until the higher one is durable.
        Quarantine::Due { .. } => claim.phase(),
        Quarantine::Inside { crash_count } => ClaimPhase::RunningQuarantined { crash_count },
    };
    let error = match claim.advance(phase, attempt) {
        Ok(()) => return Ok(Some(claim)),
        Err(error) => error,
    };
    let is_gone = error.kind() == io::ErrorKind::NotFound && shared.is_gone(&claim);
    if is_gone {
        warn!(file = %path.display(), "another process removed the claimed file: there is no message to process");
        drop(claim);
    } else {
        shared.wait(claim, shared.timing.retry_delay(attempt));
    }
    shared.let_go();
    match is_gone {
        true => Ok(None),
        false => Err(FolderError::at("take up", &path)(error)),
    }
}

/// Reads the file of a claim in flight; `None` when it went back: it is still written, or cannot be read.
pub(super) fn read(shared: &Arc<Shared>, claim: Claim) -> Result<Option<Found>, FolderError> {
    let path = claim.path();
    let mut message = envelope(shared, &claim);
    let mut ack = FileAck::new(Arc::clone(shared), claim);
    let text = match read_content(&path, shared.max_message_bytes) {
        Ok(Content::Body(body, look)) => {
            message.id = hex(&Sha256::digest(&body));
            message.body = Arc::new(body);
            ack.was_read(look, Some(message.id.clone()));
            return Ok(Some((Ok(message), ack)));
        }
        Ok(Content::StillWritten) => {
            debug!(file = %path.display(), "file is still being written");
            ack.put_back();
            return Ok(None);
        }
        Ok(Content::TooLarge(bytes, look)) => {
            message.id = hex(&Sha256::digest(format!("{bytes} {}", message.key)));
            ack.was_read(look, None);
            format!(
                "the file has {bytes} bytes, more than the {} that `max_message` allows",
                shared.max_message_bytes
            )
        }
        Ok(Content::NoFile) => {
            ack.no_file();
            return Ok(None);
        }
        // The process or the machine has no room for it: the next file would do no better.
        Err(error) if is_shortage(&error) => {
            ack.put_back();
            return Err(FolderError::at("read", &path)(error));
        }
        Err(error) => {
            ack.unreadable(&error);
            return Ok(None);
        }
    };
    Ok(Some((Err(Malformed { message, text }), ack)))
}

fn envelope(shared: &Shared, claim: &Claim) -> Message {
    Message {
        source: shared.source.clone(),
        key: claim.name().to_string_lossy().into_owned(),
        file: Some(claim.name().to_owned()),
        attempt: claim.attempt,
        redelivered: claim.redelivered,
        content_type: mime_guess::from_path(claim.name()).first_raw().map(str::to_owned),
        ..Message::default()
    }
}
