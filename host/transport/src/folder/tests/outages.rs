//! A source's folder that is away, and one that another takes the place of.

use std::time::Instant;

use super::*;
use crate::SourceHealth;

fn watched(folder: &TempDir) -> FolderSource {
    let timing = Timing {
        rescan: Duration::from_millis(20),
        ..quick()
    };
    open_with(folder, Until::Stopped, timing)
}

/// Deletes a folder and makes it anew.
fn renew(path: &Path) {
    std::fs::remove_dir_all(path).expect("a folder");
    std::fs::create_dir(path).expect("a new folder");
}

/// Looks for messages until the health is so; there are none.
async fn wait_for(source: &mut FolderSource, is_so: impl Fn(&SourceHealth) -> bool) {
    let (health, until) = (source.health(), Instant::now() + DEADLINE);
    while !is_so(&health) {
        assert!(Instant::now() < until, "{health:?}");
        let next = tokio::time::timeout(Duration::from_millis(10), source.next_file()).await;
        assert!(next.is_err(), "{next:?}");
    }
}

#[tokio::test]
async fn a_folder_that_is_replaced_is_taken_from_and_what_was_in_flight_goes_with_the_other() {
    type Replace = fn(&Path, &Path);
    let deleted: Replace = |path, _| renew(path);
    // As when a file system is mounted over it.
    let covered: Replace = |path, away| {
        std::fs::rename(path, away.join("it")).expect("a rename");
        std::fs::create_dir(path).expect("a new folder");
    };
    let claims_deleted: Replace = |path, _| std::fs::remove_dir_all(path.join(".millrace")).expect("a folder");
    for replace in [deleted, covered, claims_deleted] {
        let (folder, away) = (inbox(), inbox());
        let mut source = watched(&folder);
        for name in ["acked.png", "retried.png", "rejected.png", "late.png"] {
            put(&folder, name, name.as_bytes());
        }
        let mut taken = Vec::new();
        for _ in 0..4 {
            taken.push(next(&mut source).await);
        }
        let position = taken.iter().position(|(message, _)| message.key == "retried.png");
        let (_, retried) = taken.remove(position.expect("the file"));
        settle(retried, Disposition::Retry(reason(ReasonClass::Retried))).await;
        replace(folder.path(), away.path());
        put(&folder, "acked.png", b"of the same name");
        let (message, ack_handle) = next(&mut source).await;
        assert_eq!(message.body.as_slice(), b"of the same name");
        for (message, ack_handle) in taken {
            let disposition = match message.key.as_str() {
                "rejected.png" => Disposition::Reject(reason(ReasonClass::Refused)),
                _ => Disposition::Ack,
            };
            let hold = hold();
            let settled = end(ack_handle, &disposition, &hold).await.expect("no error");
            assert!(matches!(settled, Settled::Lost(_)), "{settled:?}");
        }
        settle(ack_handle, Disposition::Ack).await;
        assert_eq!(names(folder.path().join("done")), ["acked.png"]);
        assert_eq!(names(folder.path().join("dead")), Vec::<String>::new());
        assert_eq!(source.shared.state().n_open(), 0);
        wait_for(&mut source, SourceHealth::is_open).await;
    }
}

#[tokio::test]
async fn a_folder_that_is_replaced_while_no_more_may_be_in_flight_is_taken_from() {
    let folder = inbox();
    let mut source = watched(&folder);
    for name in ["1.png", "2.png", "3.png", "4.png"] {
        put(&folder, name, b"abc");
    }
    let mut taken = Vec::new();
    for _ in 0..4 {
        taken.push(next(&mut source).await.1);
    }
    std::fs::remove_dir_all(folder.path()).expect("a folder");
    wait_for(&mut source, |health| !health.is_open()).await;
    std::fs::create_dir(folder.path()).expect("a new folder");
    wait_for(&mut source, SourceHealth::is_open).await;
    put(&folder, "new.png", b"abc");
    for ack_handle in taken {
        let settled = end(ack_handle, &Disposition::Ack, &hold()).await.expect("no error");
        assert!(matches!(settled, Settled::Lost(_)), "{settled:?}");
    }
    let (message, ack_handle) = next(&mut source).await;
    assert_eq!(message.key, "new.png");
    settle(ack_handle, Disposition::Ack).await;
}

#[tokio::test]
async fn what_went_with_a_folder_comes_again_with_it() {
    let (folder, away) = (inbox(), inbox());
    let mut source = watched(&folder);
    put(&folder, "cat.png", b"abc");
    let (_, ack_handle) = next(&mut source).await;
    std::fs::rename(folder.path(), away.path().join("it")).expect("a rename");
    std::fs::create_dir(folder.path()).expect("a new folder");
    wait_for(&mut source, |health| !health.is_open()).await;
    wait_for(&mut source, SourceHealth::is_open).await;
    let settled = end(ack_handle, &Disposition::Ack, &hold()).await.expect("no error");
    assert!(matches!(settled, Settled::Lost(_)), "{settled:?}");
    std::fs::remove_dir_all(folder.path()).expect("a folder");
    std::fs::rename(away.path().join("it"), folder.path()).expect("a rename");
    let (message, ack_handle) = next(&mut source).await;
    assert_eq!((message.key.as_str(), message.redelivered), ("cat.png", true));
    settle(ack_handle, Disposition::Ack).await;
}

#[tokio::test]
async fn what_waits_for_another_attempt_outlives_an_outage() {
    let (folder, away) = (inbox(), inbox());
    let mut source = watched(&folder);
    put(&folder, "cat.png", b"abc");
    let (_, ack_handle) = next(&mut source).await;
    settle(ack_handle, Disposition::Retry(reason(ReasonClass::Retried))).await;
    std::fs::rename(folder.path(), away.path().join("it")).expect("a rename");
    // Its time comes while the folder is away.
    let claim = loop {
        let due = source.shared.state().pop_due();
        match due {
            Some(claim) => break claim,
            None => tokio::task::yield_now().await,
        }
    };
    super::super::take::take_up(&source.shared, claim).expect_err("the folder is away");
    wait_for(&mut source, |health| !health.is_open()).await;
    std::fs::rename(away.path().join("it"), folder.path()).expect("a rename");
    let (message, ack_handle) = next(&mut source).await;
    assert_eq!((message.key.as_str(), message.attempt), ("cat.png", 2));
    settle(ack_handle, Disposition::Ack).await;
}

#[tokio::test]
async fn an_idle_source_says_that_its_folder_is_away() {
    let (folder, away) = (inbox(), inbox());
    let mut source = watched(&folder);
    wait_for(&mut source, SourceHealth::is_open).await;
    assert_eq!(source.health().waiting(), None);
    for n in 0..2 {
        std::fs::rename(folder.path(), away.path().join("it")).expect("a rename");
        if n > 0 {
            std::fs::write(folder.path(), "not a folder").expect("a file");
        }
        wait_for(&mut source, |health| !health.is_open()).await;
        let waiting = source.health().waiting().expect("its cause").what;
        let expected = format!("cannot open `{}`: ", folder.path().display());
        assert!(waiting.starts_with(&expected), "{waiting}");
        if n > 0 {
            std::fs::remove_file(folder.path()).expect("the file");
        }
        std::fs::rename(away.path().join("it"), folder.path()).expect("a rename");
        wait_for(&mut source, SourceHealth::is_open).await;
        assert_eq!(source.health().waiting(), None);
    }
}

#[test]
fn a_folder_that_no_file_can_be_moved_out_of_is_an_outage() {
    without_privileges(|| {
        let folder = inbox();
        let source = watched(&folder);
        let step = || source.scanner.lock().expect("a scanner").step();
        let permit = |mode| {
            let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(folder.path(), permissions).expect("a folder");
        };
        step().expect("nothing there");
        permit(0o500);
        let error = step().expect_err("it is read-only").to_string();
        assert_eq!(error, format!("cannot take files from `{}`", folder.path().display()));
        permit(0o700);
        step().expect("nothing there");
    });
}
