//! One request and its answer. Knows no socket.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use hyper::StatusCode;
use hyper::body::{Body, Bytes};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::http::request::Parts;
use tokio::time::Instant;

use super::ack::HttpAck;
use super::answer::{Answer, SOON_S};
use super::body;
use super::head::{Head, MESSAGE_ID};
use super::request_queue::{self, RequestQueue};
use super::routes::Routes;
use crate::{Delivery, Quarantine};

/// Answers a request; `is_unread` says that its body was not read to its end.
///
/// # Cancellation
/// The client is gone: a message that the pipeline has goes on, and its acknowledgement is void.
pub(super) async fn answer<B>(routes: &Routes, parts: Parts, body: B, is_unread: &AtomicBool) -> Answer
where
    B: Body<Data = Bytes> + Unpin,
{
    is_unread.store(!body.is_end_stream(), Ordering::Relaxed);
    let Some(requests) = routes.of(parts.uri.path()).await else {
        return Answer::refused(StatusCode::NOT_FOUND, "no pipeline takes messages at this path");
    };
    let counting = requests.counts.begin();
    let answer = exchange(routes, &requests, &parts, body, is_unread).await;
    let mut answer = answer.unwrap_or_else(|refused| refused);
    if !routes.leads_somewhere(&requests.terms.path) {
        // The pipeline is stopping: another request would come too late.
        answer = answer.with(CONNECTION, HeaderValue::from_static("close"));
    }
    counting.answered(answer.status);
    answer
}

async fn exchange<B>(
    routes: &Routes,
    requests: &RequestQueue,
    parts: &Parts,
    body: B,
    is_unread: &AtomicBool,
) -> Result<Answer, Answer>
where
    B: Body<Data = Bytes> + Unpin,
{
    let terms = &requests.terms;
    let (deadline, until) = (
        Instant::now() + terms.answer_within,
        SystemTime::now() + terms.answer_within,
    );
    let head = Head::read(parts, terms)?;
    let slot = requests.slot()?;
    let body = body::read(body, terms.body_bytes_max, deadline).await?;
    is_unread.store(false, Ordering::Relaxed);
    let message = head.message(&terms.path, body, until);
    let id = message.id.clone();
    let (ack, comes) = HttpAck::new(slot);
    let mut delivery = Some(Delivery {
        message,
        malformed: None,
        quarantine: Quarantine::None,
        ack: Box::new(ack),
    });
    while let Some(waits) = delivery {
        // By what serves the path now: the pipeline may have got another source meanwhile.
        let requests = routes.of(&terms.path).await.filter(|requests| requests.is_open());
        let requests = requests.ok_or_else(|| request_queue::closed().about(&id))?;
        delivery = requests.submit(waits).map_err(|busy| busy.about(&id))?;
    }
    match tokio::time::timeout_at(deadline, comes).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(request_queue::closed().about(&id)),
        Err(_) => Err(late(&id)),
    }
}

/// The answer that comes when there is none in time.
fn late(id: &str) -> Answer {
    let why = format!(
        "the pipeline did not finish this message within `answer_within`. Results may have been sent; with the same \
         `{MESSAGE_ID}` and body they have the same ids"
    );
    Answer::later(StatusCode::GATEWAY_TIMEOUT, &why, SOON_S).about(id)
}
