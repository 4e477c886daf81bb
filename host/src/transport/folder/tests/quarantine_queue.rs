//! Files that a host may have died of: set apart with a count that lasts, one at a time, and forgiven when they return.

use super::*;
use crate::transport::Quarantine::{self, Due, Inside};

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
        let taken = next(&mut source).await;
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
    let taken = next(&mut source).await;
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
async fn suspects_are_handed_out_one_at_a_time_beside_ordinary_files() {
    let folder = inbox();
    for name in ["a.png", "b.png"] {
        leave(&folder, "apart.1.1", name);
    }
    put(&folder, "c.png", b"abc");
    let mut source = open(&folder);
    let first = next(&mut source).await;
    let ordinary = next(&mut source).await;
    assert!(matches!(first.1.quarantine(), Inside { crash_count: 1 }));
    assert_eq!(quarantine(&ordinary), ("c.png", 1, Quarantine::None));
    settle(ordinary.1, Disposition::Ack).await;
    let second = tokio::time::timeout(Duration::from_millis(100), source.next_file()).await;
    assert!(second.is_err(), "two quarantined messages are in flight");
    settle(first.1, Disposition::Ack).await;
    let second = next(&mut source).await;
    assert!(matches!(second.1.quarantine(), Inside { crash_count: 1 }));
    settle(second.1, Disposition::Reject(reason(ReasonClass::AttemptsSpent))).await;
    assert!(next_delivery(&mut source).await.is_none());
}

#[tokio::test]
async fn a_suspect_that_returns_is_an_ordinary_file_again() {
    let folder = inbox();
    leave(&folder, "apart.2.1", "cat.png");
    let mut source = open(&folder);
    settle(next(&mut source).await.1, Disposition::Return).await;
    assert_eq!((names(&folder), slots(&folder)), (vec!["cat.png".to_owned()], vec![]));
    let taken = next(&mut source).await;
    assert_eq!(quarantine(&taken), ("cat.png", 1, Quarantine::None));
    settle(taken.1, Disposition::Ack).await;
}

#[tokio::test]
async fn a_suspect_that_a_plugin_wants_again_is_one_no_more_and_is_counted() {
    let folder = inbox();
    leave(&folder, "apart.1.1", "cat.png");
    let mut source = open(&folder);
    settle(
        next(&mut source).await.1,
        Disposition::Retry(reason(ReasonClass::Retried)),
    )
    .await;
    let taken = next(&mut source).await;
    assert_eq!(quarantine(&taken), ("cat.png", 2, Quarantine::None));
    settle(taken.1, Disposition::Return).await;
    // With a history it does not go back into the folder.
    assert_eq!(slots(&folder), ["waiting.2/cat.png"]);
}

#[tokio::test]
async fn a_suspect_that_was_dropped_by_a_living_host_is_not_counted_again() {
    let folder = inbox();
    for name in ["a.png", "b.png"] {
        leave(&folder, "apart.1.1", name);
    }
    let mut source = open(&folder);
    drop(next(&mut source).await);
    assert_eq!(slots(&folder), ["apart.1.1/a.png", "apart.1.1/b.png"]);
    for _ in 0..2 {
        let (_, ack_handle) = next(&mut source).await;
        assert_eq!(ack_handle.quarantine(), Inside { crash_count: 1 });
        settle(ack_handle, Disposition::Ack).await;
    }
    assert!(next_delivery(&mut source).await.is_none());
}
