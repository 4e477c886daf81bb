//! The body of a request: read to its end, bounded in bytes and in time. Knows no head and no message.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Body, Bytes};
use tokio::time::Instant;

use super::answer::Answer;
use super::head::too_large;

/// How long a body may take to begin.
const START: Duration = Duration::from_secs(5);

/// How many bytes of it must come in each second after that: less than any line that pictures are sent by.
const BYTES_PER_SECOND: u64 = 32 << 10;

/// Reads a body of at most `bytes_max`, until `deadline` at the latest.
///
/// # Errors
/// The answer: too large, too slow, or broken off.
pub(super) async fn read<B>(mut body: B, bytes_max: usize, deadline: Instant) -> Result<Vec<u8>, Answer>
where
    B: Body<Data = Bytes> + Unpin,
{
    let began = Instant::now();
    let expected = body
        .size_hint()
        .exact()
        .and_then(|n_bytes| usize::try_from(n_bytes).ok());
    let mut read = Vec::with_capacity(expected.unwrap_or(0).min(bytes_max));
    loop {
        let patience = START + Duration::from_secs(read.len() as u64 / BYTES_PER_SECOND);
        let until = deadline.min(began + patience);
        let Ok(frame) = tokio::time::timeout_at(until, body.frame()).await else {
            let why = "the body comes too slowly";
            return Err(Answer::refused(StatusCode::REQUEST_TIMEOUT, why));
        };
        let data = match frame {
            None => return Ok(read),
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(), // trailers say nothing here
            Some(Err(_)) => return Err(Answer::refused(StatusCode::BAD_REQUEST, "the body cannot be read")),
        };
        if read.len().saturating_add(data.len()) > bytes_max {
            return Err(too_large(bytes_max));
        }
        read.extend_from_slice(&data);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::StreamExt;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    /// A body of pieces, each after a pause.
    async fn check(pieces: &[(u64, usize)], bytes_max: usize, expected: Result<usize, u16>) {
        let pieces = futures_util::stream::iter(pieces.to_vec()).then(|(pause_s, n_bytes)| async move {
            tokio::time::sleep(Duration::from_secs(pause_s)).await;
            Ok::<_, Infallible>(Frame::data(Bytes::from(vec![0; n_bytes])))
        });
        let deadline = Instant::now() + Duration::from_secs(60);
        let read = read(StreamBody::new(Box::pin(pieces)), bytes_max, deadline).await;
        assert_eq!(
            read.map(|read| read.len()).map_err(|answer| answer.status.as_u16()),
            expected
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_bounded_in_bytes_and_time() {
        check(&[], 10, Ok(0)).await;
        check(&[(4, 5), (0, 5)], 10, Ok(10)).await;
        check(&[(0, 5), (0, 6)], 10, Err(413)).await;
        check(&[(6, 5)], 10, Err(408)).await;
        check(&[(4, 1), (4, 1)], 10, Err(408)).await;
        // What comes earns time for the rest, and none beyond the client's own patience.
        check(&[(4, 256 << 10), (8, 1)], 1 << 20, Ok((256 << 10) + 1)).await;
        check(&[(4, 4 << 20), (57, 1)], 8 << 20, Err(408)).await;
    }
}
