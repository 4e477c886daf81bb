//! Failpoints from the environment, and their actions. Only in builds with debug assertions.

use std::future::poll_fn;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use super::{Failpoint, Fault};

/// Where the failpoints are written.
const VARIABLE: &str = "MILLRACE_FAILPOINTS";

/// How often a file is looked for.
const LOOK: Duration = Duration::from_millis(20);

/// What an abort does first: the log is not known here.
static BEFORE_ABORT: OnceLock<fn()> = OnceLock::new();

#[derive(Debug)]
struct Point {
    place: Failpoint,
    id: Option<String>,
    action: Action,
    hits: RangeInclusive<u64>,
    n_hits: AtomicU64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    Abort,
    Panic,
    Fault(Fault),
    Wait(Duration),
    While(PathBuf),
}

/// Names what an abort does first, such as writing the log to its end; the first call counts.
pub fn before_abort(flush: fn()) {
    BEFORE_ABORT.get_or_init(|| flush);
}

/// Passes a place that a message passes: waits without holding up others.
pub async fn pass(place: Failpoint, id: &str) {
    for action in due(points(), place, id) {
        match action {
            Action::Wait(pause) => sleep(pause).await,
            Action::While(file) => {
                log_wait(place, id, &file);
                while file.exists() {
                    sleep(LOOK).await;
                }
            }
            action => drop(act(place, &action)),
        }
    }
}

/// Waits on a thread of its own: this crate knows no runtime.
async fn sleep(pause: Duration) {
    #[derive(Default)]
    struct Slept {
        is_over: bool,
        waker: Option<Waker>,
    }
    fn lock(slept: &Mutex<Slept>) -> MutexGuard<'_, Slept> {
        slept.lock().unwrap_or_else(PoisonError::into_inner)
    }
    let slept = Arc::new(Mutex::new(Slept::default()));
    let sleeper = Arc::clone(&slept);
    std::thread::spawn(move || {
        std::thread::sleep(pause);
        let mut slept = lock(&sleeper);
        slept.is_over = true;
        slept.waker.take().into_iter().for_each(Waker::wake);
    });
    poll_fn(|context| {
        let mut slept = lock(&slept);
        if slept.is_over {
            return Poll::Ready(());
        }
        slept.waker = Some(context.waker().clone());
        Poll::Pending
    })
    .await;
}

/// Passes a place on a thread of its own; gives the failure that is to be made up there.
pub fn hit(place: Failpoint) -> Option<Fault> {
    let mut last = None;
    for action in due(points(), place, "") {
        last = act(place, &action).or(last);
    }
    last
}

#[expect(clippy::panic, reason = "panicking is what it is for")]
fn act(place: Failpoint, action: &Action) -> Option<Fault> {
    match action {
        Action::Abort => {
            // The path to here is what the test looks for.
            if let Some(flush) = BEFORE_ABORT.get() {
                flush();
            }
            std::process::abort()
        }
        Action::Panic => panic!("the failpoint {place:?} panics"),
        Action::Fault(fault) => return Some(*fault),
        Action::Wait(pause) => std::thread::sleep(*pause),
        Action::While(file) => {
            log_wait(place, "", file);
            while file.exists() {
                std::thread::sleep(LOOK);
            }
        }
    }
    None
}

/// Says that a place was reached where something waits: a test takes its next step then, and not after a guess.
fn log_wait(place: Failpoint, id: &str, file: &std::path::Path) {
    if file.exists() {
        tracing::info!(?place, id, "waiting at a failpoint");
    }
}

/// Counts a hit of every point at this place, and gives what those do whose turn it is.
fn due(points: &[Point], place: Failpoint, id: &str) -> Vec<Action> {
    let is_meant = |point: &&Point| point.place == place && point.id.as_deref().is_none_or(|only| only == id);
    points
        .iter()
        .filter(is_meant)
        .filter(|point| point.hits.contains(&(point.n_hits.fetch_add(1, Ordering::SeqCst) + 1)))
        .map(|point| point.action.clone())
        .collect()
}

fn points() -> &'static [Point] {
    static POINTS: OnceLock<Vec<Point>> = OnceLock::new();
    POINTS.get_or_init(|| {
        let text = std::env::var(VARIABLE).unwrap_or_default();
        let points = text.split(',').map(str::trim).filter(|point| !point.is_empty());
        points
            .map(|point| {
                parse(point).unwrap_or_else(|| {
                    // A misspelt failpoint would be a test that tests nothing.
                    tracing::error!(point, "{VARIABLE} cannot be read");
                    std::process::abort()
                })
            })
            .collect()
    })
}

fn parse(text: &str) -> Option<Point> {
    let (place, action) = text.split_once('=')?;
    let (place, id) = match place.split_once('(') {
        Some((place, id)) => (place, Some(id.strip_suffix(')')?.to_owned())),
        None => (place, None),
    };
    let (action, hits) = match action.rsplit_once('@') {
        Some((action, hits)) => (action, range(hits)?),
        None => (action, 1..=u64::MAX),
    };
    let action = match action.split_once(':') {
        Some(("wait", pause)) => Action::Wait(humantime::parse_duration(pause).ok()?),
        Some(("while", file)) => Action::While(file.into()),
        Some(_) => return None,
        None => match action {
            "abort" => Action::Abort,
            "panic" => Action::Panic,
            "fail" => Action::Fault(Fault::Fail),
            "lost" => Action::Fault(Fault::Lost),
            _ => return None,
        },
    };
    Some(Point {
        place: Failpoint::named(place)?,
        id,
        action,
        hits,
        n_hits: AtomicU64::new(0),
    })
}

fn range(text: &str) -> Option<RangeInclusive<u64>> {
    match text.split_once("..") {
        Some((first, "")) => Some(first.parse().ok()?..=u64::MAX),
        Some((first, last)) => Some(first.parse().ok()?..=last.parse().ok()?),
        None => text.parse().ok().map(|only| only..=only),
    }
}

impl Failpoint {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "load" => Self::Load,
            "delivered" => Self::Delivered,
            "preprocess" => Self::Preprocess,
            "call" => Self::Call,
            "queued" => Self::Queued,
            "model" => Self::Model,
            "published" => Self::Published,
            "confirmed" => Self::Confirmed,
            "copy" => Self::Copy,
            "copied" => Self::Copied,
            "settled" => Self::Settled,
            "stall" => Self::Stall,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_acts_at_its_hits_on_its_message_alone() {
        let points =
            ["preprocess(a)=abort@2", "preprocess=fail@1..2", "model=wait:100ms"].map(|text| parse(text).unwrap());
        let (fail, abort) = (Action::Fault(Fault::Fail), Action::Abort);
        assert_eq!(due(&points, Failpoint::Preprocess, "b"), std::slice::from_ref(&fail));
        assert_eq!(due(&points, Failpoint::Preprocess, "a"), [fail]);
        assert_eq!(due(&points, Failpoint::Preprocess, "a"), [abort]);
        assert_eq!(due(&points, Failpoint::Preprocess, "a"), []);
        for _ in 0..3 {
            assert_eq!(
                due(&points, Failpoint::Model, ""),
                [Action::Wait(Duration::from_millis(100))]
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_no_point() {
        for text in [
            "",
            "preprocess",
            "nowhere=abort",
            "model=explode",
            "model=abort@x",
            "model(a=abort",
            "model=wait:x",
        ] {
            assert!(parse(text).is_none(), "{text:?}");
        }
    }
}
