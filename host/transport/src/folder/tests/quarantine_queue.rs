//! Files that may have crashed a host: quarantined with a count that lasts, one at a time, and forgiven when they return.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use super::*;
use crate::Quarantine::{self, Due, Inside};
use crate::folder::quarantine::{ApartFiles, take_next};
use crate::isolation::IsolationLock;

/// What a killed host leaves: a file in a slot of its home, and a lock that nobody holds.
fn leave(folder: &TempDir, slot: &str, name: &str) {
    let claim_dir = folder.path().join(".millrace").join(format!("killed-{slot}"));
    std::fs::create_dir_all(claim_dir.join(slot)).expect("a home");
    std::fs::write(claim_dir.join("lock"), "").expect("a lock");
    std::fs::write(claim_dir.join(slot).join(name), name).expect("a file");
}

/// The slots that files lie in, by name: `taken.1/cat.png`.
fn slots(folder: &TempDir) -> Vec<String> {
    let mut slots: Vec<String> = claimed(folder)
        .iter()
        .map(|path| {
            let mut parts = path.iter().rev().map(|part| part.to_string_lossy().into_owned());
            let (name, slot) = (parts.next().expect("a name"), parts.next().expect("a slot"));
            format!("{slot}/{name}")
        })
        .collect();
    slots.sort();
    slots
}

/// The next quarantined file, where one is there now.
async fn next_quarantined(source: &mut FolderSource) -> Option<(Message, FileAck)> {
    let queue = ApartFiles::new(Arc::clone(&source.shared));
    let found = queue.next_file().await.expect("no error");
    found.map(|(message, ack_handle)| (message.expect("a readable message"), ack_handle))
}

async fn quarantined(source: &mut FolderSource) -> (Message, FileAck) {
    next_quarantined(source).await.expect("a quarantined file")
}

/// Whether the source hands out nothing, and does not end.
async fn hands_out_nothing(source: &mut FolderSource) -> bool {
    let next = tokio::time::timeout(Duration::from_millis(100), source.next_file());
    next.await.is_err()
}

fn quarantine(taken: &(Message, FileAck)) -> (&str, u32, Quarantine) {
    (taken.0.key.as_str(), taken.0.attempt, taken.1.quarantine())
}

#[tokio::test]
async fn what_a_dead_host_left_is_suspected_by_where_it_lay() {
    let rows = [
        ("taken.1", 1, Due { crash_count: 1 }),
        ("taken.3", 3, Due { crash_count: 1 }),
        ("waiting.2", 2, Quarantine::None),
        ("apart.1.1", 1, Inside { crash_count: 1 }),
        ("apart.3.2", 2, Inside { crash_count: 3 }),
        ("alone.1.1", 1, Due { crash_count: 2 }),
        ("alone.4294967295.1", 1, Due { crash_count: u32::MAX }),
    ];
    for (slot, attempt, expected) in rows {
        let folder = inbox();
        leave(&folder, slot, "cat.png");
        let mut source = open(&folder);
        let taken = match expected {
            Inside { .. } => quarantined(&mut source).await,
            _ => next(&mut source).await,
        };
        assert_eq!(quarantine(&taken), ("cat.png", attempt, expected), "{slot}");
        assert_eq!(taken.0.redelivered, expected != Quarantine::None, "{slot}");
        settle(taken.1, Disposition::Ack).await;
        assert!(next_delivery(&mut source).await.is_none(), "{slot}");
    }
}

#[tokio::test]
async fn a_new_file_is_no_suspect() {
    let folder = inbox();
    put(&folder, "cat.png", b"abc");
    let taken = next(&mut open(&folder)).await;
    assert_eq!(quarantine(&taken), ("cat.png", 1, Quarantine::None));
}

#[tokio::test]
async fn a_count_of_deaths_is_in_the_path_before_the_file_runs() {
    let folder = inbox();
    leave(&folder, "taken.1", "cat.png");
    let mut source = open(&folder);
    let (_, ack_handle) = next(&mut source).await;
    assert_eq!(slots(&folder), ["taken.1/cat.png"]);
    settle(ack_handle, Disposition::Quarantine { crash_count: 1 }).await;
    assert_eq!(slots(&folder), ["apart.1.1/cat.png"]);
    assert!(hands_out_nothing(&mut source).await);
    let taken = quarantined(&mut source).await;
    assert_eq!(quarantine(&taken), ("cat.png", 1, Inside { crash_count: 1 }));
    assert_eq!(slots(&folder), ["alone.1.1/cat.png"]);
    settle(taken.1, Disposition::Ack).await;
    assert!(next_delivery(&mut source).await.is_none());
    assert_eq!(names(folder.path().join("done")), ["cat.png"]);
}

#[tokio::test]
async fn a_raised_count_is_not_lost_before_it_is_durable() {
    let folder = inbox();
    leave(&folder, "alone.1.1", "cat.png");
    let mut source = open(&folder);
    let (_, ack_handle) = next(&mut source).await;
    // Were it killed here, the next host would raise it to the same count.
    assert_eq!(slots(&folder), ["alone.1.1/cat.png"]);
    settle(ack_handle, Disposition::Return).await;
    let taken = next(&mut source).await;
    assert_eq!(quarantine(&taken), ("cat.png", 1, Due { crash_count: 2 }));
    settle(taken.1, Disposition::Quarantine { crash_count: 2 }).await;
    assert_eq!(slots(&folder), ["apart.2.1/cat.png"]);
}

#[tokio::test]
async fn the_source_hands_out_ordinary_files_alone_and_ends_when_nothing_is_in_quarantine() {
    let folder = inbox();
    for name in ["a.png", "b.png"] {
        leave(&folder, "apart.1.1", name);
    }
    put(&folder, "c.png", b"abc");
    let mut source = open(&folder);
    let ordinary = next(&mut source).await;
    assert_eq!(quarantine(&ordinary), ("c.png", 1, Quarantine::None));
    settle(ordinary.1, Disposition::Ack).await;
    assert!(hands_out_nothing(&mut source).await);
    for name in ["a.png", "b.png"] {
        let taken = quarantined(&mut source).await;
        assert_eq!(quarantine(&taken), (name, 1, Inside { crash_count: 1 }));
        assert!(hands_out_nothing(&mut source).await, "{name} is in flight");
        settle(taken.1, Disposition::Reject(reason(ReasonClass::AttemptsSpent))).await;
    }
    assert!(next_quarantined(&mut source).await.is_none());
    assert!(next_delivery(&mut source).await.is_none());
}

#[tokio::test]
async fn the_quarantine_queue_tells_when_there_is_one_and_hands_it_out_to_who_is_alone() {
    let folder = inbox();
    leave(&folder, "taken.1", "cat.png");
    let mut source = open(&folder);
    let mut queue = source.quarantine().expect("a folder tells a redelivery");
    let (_, ack_handle) = next(&mut source).await;
    let mut waiting = tokio::spawn(async move {
        queue.waiting().await;
        queue
    });
    let early = tokio::time::timeout(Duration::from_millis(50), &mut waiting).await;
    assert!(early.is_err(), "nothing is in quarantine yet");
    settle(ack_handle, Disposition::Quarantine { crash_count: 1 }).await;
    let queue = tokio::time::timeout(DEADLINE, waiting).await;
    let mut queue = queue.expect("in time").expect("no panic");
    let alone = IsolationLock::default().exclusive().await;
    let taken = queue.take(&alone).await.expect("a quarantined file");
    assert_eq!(
        (taken.message.key.as_str(), taken.quarantine),
        ("cat.png", Inside { crash_count: 1 })
    );
    assert!(queue.take(&alone).await.is_none());
}

#[test]
fn a_quarantined_file_that_cannot_be_read_stays_apart_and_nobody_waits_for_it() {
    let folder = inbox();
    leave(&folder, "apart.2.1", "cat.png");
    let path = claimed(&folder).pop().expect("the claim");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).expect("its rights");
    let inbox = folder.path().to_owned();
    without_privileges(move || {
        let config = config(&inbox, 4);
        let source = FolderSource::open_blocking(&config, MESSAGE_BYTES_MAX, Until::Empty, quick()).expect("a source");
        let took = take_next(&source.shared).expect("no error");
        assert!(took.is_none() && path.exists(), "{took:?}");
        let step = || source.scanner.lock().expect("a scanner").step();
        let ended = std::iter::repeat_with(step).find(|step| !matches!(step, Ok(Step::Wait(_))));
        assert!(matches!(ended, Some(Err(FolderError::Unreadable { .. }))), "{ended:?}");
    });
    assert_eq!(slots(&folder), ["apart.2.1/cat.png"]);
}

#[tokio::test]
async fn a_quarantined_file_that_nobody_saw_stays_apart() {
    let folder = inbox();
    leave(&folder, "apart.2.1", "cat.png");
    let (_, mut ack_handle) = quarantined(&mut open(&folder)).await;
    ack_handle.is_handed_out = false;
    drop(ack_handle);
    assert_eq!(slots(&folder), ["apart.2.1/cat.png"]);
}

#[tokio::test]
async fn a_dead_letter_that_cannot_be_written_leaves_a_quarantined_file_apart() {
    let folder = inbox();
    leave(&folder, "apart.2.1", "cat.png");
    let mut source = open(&folder);
    let (_, ack_handle) = quarantined(&mut source).await;
    std::fs::remove_dir(folder.path().join("dead")).expect("an empty folder");
    put(&folder, "dead", b"in the way");
    let cut = CancellationToken::new();
    cut.cancel();
    let settlement = Settlement {
        disposition: &Disposition::Reject(reason(ReasonClass::AttemptsSpent)),
        otherwise: &Disposition::Quarantine { crash_count: 2 },
        results: &[],
        message: &Message::default(),
        hold: &Hold::new("tests", cut, Duration::from_millis(30)),
        dead_letter: &|_| Envelope::default(),
    };
    assert_eq!(
        ack_handle.end_claim(settlement).await.expect("no error"),
        Settled::Returned
    );
    assert_eq!(slots(&folder), ["apart.2.1/cat.png"]);
    let taken = quarantined(&mut source).await;
    assert_eq!(quarantine(&taken), ("cat.png", 1, Inside { crash_count: 2 }));
}

#[tokio::test]
async fn a_suspect_that_returns_is_an_ordinary_file_again() {
    let folder = inbox();
    leave(&folder, "apart.2.1", "cat.png");
    let mut source = open(&folder);
    settle(quarantined(&mut source).await.1, Disposition::Return).await;
    assert_eq!((names(&folder), slots(&folder)), (vec!["cat.png".to_owned()], vec![]));
    let taken = next(&mut source).await;
    assert_eq!(quarantine(&taken), ("cat.png", 1, Quarantine::None));
    settle(taken.1, Disposition::Ack).await;
}

#[tokio::test]
async fn a_suspect_that_a_plugin_wants_again_is_one_no_more_and_is_counted() {
    // One crash beside other files is no attempt; proven ones are.
    for (slot, attempt) in [("apart.1.1", 2), ("apart.2.1", 4)] {
        let folder = inbox();
        leave(&folder, slot, "cat.png");
        let mut source = open(&folder);
        settle(
            quarantined(&mut source).await.1,
            Disposition::Retry(reason(ReasonClass::Retried)),
        )
        .await;
        let taken = next(&mut source).await;
        assert_eq!(quarantine(&taken), ("cat.png", attempt, Quarantine::None));
        settle(taken.1, Disposition::Return).await;
        // With a history it does not go back into the folder.
        assert_eq!(slots(&folder), [format!("waiting.{attempt}/cat.png")]);
    }
}

#[tokio::test]
async fn a_suspect_that_was_dropped_by_a_living_host_is_not_counted_again() {
    let folder = inbox();
    for name in ["a.png", "b.png"] {
        leave(&folder, "apart.1.1", name);
    }
    let mut source = open(&folder);
    let mut queue = source.quarantine().expect("a folder tells a redelivery");
    drop(quarantined(&mut source).await);
    assert_eq!(slots(&folder), ["apart.1.1/a.png", "apart.1.1/b.png"]);
    for _ in 0..2 {
        tokio::time::timeout(DEADLINE, queue.waiting())
            .await
            .expect("one in time");
        let (_, ack_handle) = quarantined(&mut source).await;
        assert_eq!(ack_handle.quarantine(), Inside { crash_count: 1 });
        settle(ack_handle, Disposition::Ack).await;
    }
    assert!(next_delivery(&mut source).await.is_none());
}
