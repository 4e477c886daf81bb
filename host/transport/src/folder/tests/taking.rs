//! What is taken, by whom, and when.

use std::sync::Arc;

use futures_util::FutureExt as _;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_that_share_a_folder_take_each_file_once() {
    const N_FILES: usize = 300;
    let folder = inbox();
    for index in 0..N_FILES {
        put(&folder, format!("{index:03}.png"), index.to_string().as_bytes());
    }
    let hosts = [open(&folder), open(&folder), open(&folder)].map(|mut source| {
        tokio::spawn(async move {
            let mut keys = Vec::new();
            while let Some((message, ack_handle)) = next_delivery(&mut source).await {
                keys.push(message.expect("a message").key);
                tokio::spawn(settle(ack_handle, Disposition::Ack));
            }
            keys
        })
    });
    let mut all = Vec::new();
    for host in hosts {
        let keys = host.await.expect("a host");
        assert!(!keys.is_empty(), "a host got nothing: they did not compete");
        all.extend(keys);
    }
    all.sort();
    assert_eq!(
        all,
        (0..N_FILES).map(|index| format!("{index:03}.png")).collect::<Vec<_>>()
    );
    assert_eq!(names(folder.path().join("done")).len(), N_FILES);
}

#[tokio::test]
async fn the_claims_of_a_killed_host_are_taken_up_and_marked() {
    let folder = inbox();
    for name in ["a.png", "b.png"] {
        put(&folder, name, name.as_bytes());
    }
    let mut killed = open(&folder);
    let (first, ack_handle) = next(&mut killed).await;
    let mut watching = open_with(
        &folder,
        Until::Stopped,
        Timing {
            rescan: Duration::from_millis(50),
            ..quick()
        },
    );
    let (second, second_ack_handle) = next(&mut watching).await;
    assert_eq!(
        (first.key.as_str(), second.key.as_str()),
        ("a.png", "b.png"),
        "a living host's claim is its own"
    );
    settle(second_ack_handle, Disposition::Ack).await;

    // What the system does to a killed host: its lock is free, its files lie where they were.
    drop(killed);
    drop(ack_handle);
    let (message, ack_handle) = next(&mut watching).await;
    assert_eq!(
        (message.key.as_str(), message.attempt, message.redelivered),
        ("a.png", 1, true)
    );
    settle(ack_handle, Disposition::Return).await;
    drop(watching);

    let mut source = open(&folder);
    let (message, ack_handle) = next(&mut source).await;
    assert!(message.redelivered, "a return forgets the mark");
    settle(ack_handle, Disposition::Ack).await;
    assert!(next_delivery(&mut source).await.is_none());
    drop(source);
    assert_eq!(
        read_dir(folder.path().join(".millrace")).expect("a folder").count(),
        0,
        "a home stays"
    );
}

#[tokio::test]
async fn a_message_that_was_dropped_unsettled_comes_again() {
    let folder = inbox();
    put(&folder, "cat.png", b"abc");
    let mut source = open(&folder);
    drop(next(&mut source).await);
    let (message, ack_handle) = next(&mut source).await;
    assert_eq!((message.key.as_str(), message.redelivered), ("cat.png", true));
    settle(ack_handle, Disposition::Ack).await;
    assert!(next_delivery(&mut source).await.is_none());
}

#[tokio::test]
async fn a_file_that_nobody_has_seen_goes_back_when_the_source_is_dropped() {
    let folder = inbox();
    put(&folder, "cat.png", b"abc");
    let mut source = open_with(&folder, Until::Stopped, quick());
    // Polled once: the step begins, and is then left alone.
    let polled = tokio::time::timeout(Duration::ZERO, source.next_file()).await;
    if let Ok(delivered) = polled {
        let (_, ack_handle) = delivered.expect("no error").expect("a message");
        settle(ack_handle, Disposition::Return).await;
    }
    let step = Arc::downgrade(&source.scanner);
    drop(source);
    let until = tokio::time::Instant::now() + DEADLINE;
    // The step goes on by itself, and may begin only now.
    while step.strong_count() > 0 || names(&folder) != ["cat.png"] || !claimed(&folder).is_empty() {
        assert!(tokio::time::Instant::now() < until, "the file is still claimed");
        tokio::task::yield_now().await;
    }
    let (message, ack_handle) = next(&mut open(&folder)).await;
    assert!(!message.redelivered);
    settle(ack_handle, Disposition::Ack).await;
}

#[tokio::test]
async fn a_cancelled_call_loses_nothing() {
    const N_FILES: usize = 50;
    let folder = inbox();
    for index in 0..N_FILES {
        put(&folder, format!("{index}.png"), b"abc");
    }
    let mut source = open(&folder);
    let mut n_seen = 0;
    let mut n_cancelled = 0;
    let until = tokio::time::Instant::now() + DEADLINE;
    loop {
        assert!(tokio::time::Instant::now() < until);
        // Polled once and dropped: what the call began goes on in another thread.
        match source.next_file().now_or_never() {
            None => {
                n_cancelled += 1;
                tokio::task::yield_now().await;
            }
            Some(Ok(Some((message, ack_handle)))) => {
                assert!(!message.expect("a message").redelivered);
                n_seen += 1;
                settle(ack_handle, Disposition::Ack).await;
            }
            Some(Ok(None)) => break,
            Some(Err(error)) => panic!("{error}"),
        }
    }
    assert_eq!(n_seen, N_FILES);
    assert!(n_cancelled > 0);
}

#[tokio::test]
async fn no_more_than_the_prefetch_is_in_flight() {
    let folder = inbox();
    for index in 0..6 {
        put(&folder, format!("{index}.png"), b"abc");
    }
    let mut source = open(&folder);
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(next(&mut source).await.1);
    }
    let mut fifth = Box::pin(source.next_file());
    assert!(
        tokio::time::timeout(Duration::from_millis(50), &mut fifth)
            .await
            .is_err()
    );
    assert_eq!(names(&folder), ["4.png", "5.png"]);
    settle(held.pop().expect("an acknowledgement"), Disposition::Ack).await;
    let fifth = tokio::time::timeout(DEADLINE, fifth)
        .await
        .expect("in time")
        .expect("no error")
        .expect("a message");
    assert_eq!(fifth.0.expect("a message").key, "4.png");
    held.push(fifth.1);
    for ack_handle in held {
        settle(ack_handle, Disposition::Return).await;
    }
}

#[tokio::test]
async fn a_file_that_is_still_written_is_waited_for() {
    let folder = inbox();
    let path = folder.path().join("cat.png");
    let timing = Timing {
        quiet: Duration::from_millis(400),
        ..quick()
    };
    std::fs::write(&path, b"a").expect("a file");
    let mut source = open_with(&folder, Until::Empty, timing);
    let writer = tokio::spawn(async move {
        // Slower than a copy, and never as long without a sign of life as the rule allows.
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(40)).await;
            let mut file = File::options()
                .append(true)
                .open(&path)
                .expect("the file is still there");
            std::io::Write::write_all(&mut file, b"a").expect("a write");
        }
    });
    let (message, ack_handle) = next(&mut source).await;
    assert!(writer.is_finished());
    assert_eq!(message.body.len(), 11);
    settle(ack_handle, Disposition::Ack).await;
}

#[tokio::test]
async fn a_file_from_the_future_is_taken_when_it_looks_the_same_for_a_while() {
    let folder = inbox();
    put(&folder, "cat.png", b"abc");
    let file = File::options()
        .write(true)
        .open(folder.path().join("cat.png"))
        .expect("the file");
    file.set_modified(SystemTime::now() + Duration::from_secs(3600))
        .expect("its time");
    drop(file);
    let (message, ack_handle) = next(&mut open(&folder)).await;
    assert_eq!(message.key, "cat.png");
    settle(ack_handle, Disposition::Ack).await;
}

#[tokio::test]
async fn a_file_that_is_too_large_is_malformed_and_not_read() {
    let folder = inbox();
    put(&folder, "fits.png", &[0; MESSAGE_BYTES_MAX]);
    put(&folder, "large.png", &[0; MESSAGE_BYTES_MAX + 1]);
    let mut source = open(&folder);
    let (message, ack_handle) = next(&mut source).await;
    assert_eq!(message.body.len(), MESSAGE_BYTES_MAX);
    settle(ack_handle, Disposition::Ack).await;
    let (message, ack_handle) = next_delivery(&mut source).await.expect("a delivery");
    let malformed = message.expect_err("it is too large");
    assert_eq!(
        (malformed.message.key.as_str(), malformed.message.body.len()),
        ("large.png", 0)
    );
    assert_eq!(malformed.message.id.len(), 64);
    assert_eq!(
        malformed.text,
        "the file has 1001 bytes, more than the 1000 that `max_message` allows"
    );
    settle(ack_handle, Disposition::Reject(reason(ReasonClass::Malformed))).await;
    assert_eq!(
        names(folder.path().join("dead")),
        ["large.png", "large.png.reason.json"]
    );
}

#[tokio::test]
async fn a_name_that_is_no_text_is_handled_by_its_bytes() {
    let folder = inbox();
    let name = OsStr::from_bytes(b"\xff\xfe.png");
    put(&folder, name, b"abc");
    let mut source = open(&folder);
    let (message, ack_handle) = next(&mut source).await;
    assert_eq!(message.key, "\u{fffd}\u{fffd}.png");
    settle(ack_handle, Disposition::Retry(reason(ReasonClass::Retried))).await;
    let (message, ack_handle) = next(&mut source).await;
    assert_eq!(message.attempt, 2);
    settle(ack_handle, Disposition::Ack).await;
    assert!(folder.path().join("done").join(name).exists());
}

#[tokio::test]
async fn a_watched_folder_yields_what_comes_later() {
    let folder = inbox();
    // So seldom listed that only the watcher can tell in time.
    let mut source = open_with(
        &folder,
        Until::Stopped,
        Timing {
            rescan: 10 * DEADLINE,
            ..quick()
        },
    );
    assert!(
        tokio::time::timeout(Duration::from_millis(50), source.next_file())
            .await
            .is_err()
    );
    put(&folder, ".cat.png", b"abc");
    std::fs::rename(folder.path().join(".cat.png"), folder.path().join("cat.png")).expect("a rename");
    let (message, ack_handle) = next(&mut source).await;
    assert_eq!(message.key, "cat.png");
    settle(ack_handle, Disposition::Ack).await;
}

#[tokio::test]
async fn a_watched_folder_is_listed_now_and_then() {
    let folder = inbox();
    let mut source = open_with(
        &folder,
        Until::Stopped,
        Timing {
            rescan: Duration::from_millis(50),
            ..quick()
        },
    );
    source.scanner.lock().expect("a scanner").opened._watcher = None;
    assert!(
        tokio::time::timeout(Duration::from_millis(20), source.next_file())
            .await
            .is_err()
    );
    put(&folder, "cat.png", b"abc");
    let (message, ack_handle) = next(&mut source).await;
    assert_eq!(message.key, "cat.png");
    settle(ack_handle, Disposition::Ack).await;
}

#[tokio::test]
async fn a_watched_folder_may_go_and_come_back() {
    let folder = inbox();
    let away = inbox();
    let mut source = open_with(
        &folder,
        Until::Stopped,
        Timing {
            rescan: Duration::from_millis(20),
            ..quick()
        },
    );
    std::fs::rename(folder.path(), away.path().join("it")).expect("a rename");
    assert!(
        tokio::time::timeout(Duration::from_millis(100), source.next_file())
            .await
            .is_err()
    );
    std::fs::rename(away.path().join("it"), folder.path()).expect("a rename");
    put(&folder, "cat.png", b"abc");
    let (message, ack_handle) = next(&mut source).await;
    assert_eq!(message.key, "cat.png");
    settle(ack_handle, Disposition::Ack).await;
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_an_error() {
    let folder = inbox();
    let missing = folder.path().join("missing");
    let error = FolderSource::open(&config(&missing, 4), 1, Until::Empty)
        .await
        .expect_err("it is missing");
    assert!(matches!(error, FolderError::Io { action: "open", path, .. } if path == missing));
    std::fs::write(folder.path().join("done"), b"").expect("a file");
    let error = FolderSource::open(&config(folder.path(), 4), 1, Until::Empty)
        .await
        .expect_err("`done` is a file");
    assert!(error.to_string().ends_with("/done`"), "{error}");
}

/// What the watcher told is there in time: the wait for quiet is longer than it needs.
fn watching() -> Timing {
    Timing {
        rescan: Duration::from_millis(50),
        ..quick()
    }
}

#[tokio::test]
async fn a_file_that_is_open_for_writing_is_waited_for_however_long_its_writer_pauses() {
    for is_there_before in [false, true] {
        let folder = inbox();
        let path = folder.path().join("cat.png");
        let create = || {
            let file = File::create(&path).expect("a file");
            // At once as long as it will be, as `fallocate` makes it.
            file.set_len(6).expect("its length");
            std::io::Write::write_all(&mut &file, b"abc").expect("a write");
            file
        };
        let before = is_there_before.then(create);
        let mut source = open_with(&folder, Until::Stopped, watching());
        let file = before.unwrap_or_else(create);
        file.set_modified(SystemTime::now() - Duration::from_secs(60))
            .expect("its time");
        let early = tokio::time::timeout(Duration::from_millis(500), source.next_file()).await;
        assert!(early.is_err(), "taken while it is written");
        std::io::Write::write_all(&mut &file, b"def").expect("a write");
        drop(file);
        let (message, ack_handle) = next(&mut source).await;
        assert_eq!(message.body.as_slice(), b"abcdef");
        settle(ack_handle, Disposition::Ack).await;
    }
}

#[tokio::test]
async fn a_file_that_is_open_under_another_name_is_waited_for_while_others_are_taken() {
    let way = |how: &str, from: &Path, to: &Path| match how {
        "linked" => std::fs::hard_link(from, to).expect("a link"),
        _ => std::fs::rename(from, to).expect("a rename"),
    };
    for (how, is_watched) in [
        ("linked", true),
        ("moved in", true),
        ("renamed", true),
        ("linked", false),
        ("moved in", false),
        ("renamed", false),
    ] {
        let (folder, elsewhere) = (inbox(), inbox());
        let mut source = open_with(&folder, Until::Stopped, watching());
        if !is_watched {
            source.scanner.lock().expect("a scanner").opened._watcher = None;
        }
        // Something was taken and looked for a moment ago.
        put(&folder, "first.png", b"first");
        let (_, ack_handle) = next(&mut source).await;
        settle(ack_handle, Disposition::Ack).await;
        let from = match how {
            "renamed" => folder.path().join("cat.png.part"),
            _ => elsewhere.path().join("other"),
        };
        let writer = File::create(&from).expect("a file");
        std::io::Write::write_all(&mut &writer, b"half").expect("a write");
        writer
            .set_modified(SystemTime::now() - Duration::from_secs(60))
            .expect("its time");
        way(how, &from, &folder.path().join("cat.png"));
        put(&folder, "last.png", b"last");
        let (message, ack_handle) = next(&mut source).await;
        assert_eq!(message.key, "last.png", "{how}, watched: {is_watched}");
        settle(ack_handle, Disposition::Ack).await;
        std::io::Write::write_all(&mut &writer, b" and half").expect("a write");
        drop(writer);
        let (message, ack_handle) = next(&mut source).await;
        assert_eq!(
            message.body.as_slice(),
            b"half and half",
            "{how}, watched: {is_watched}"
        );
        settle(ack_handle, Disposition::Ack).await;
    }
}

#[tokio::test]
async fn a_link_to_a_complete_file_waits_for_nobody() {
    let (folder, elsewhere) = (inbox(), inbox());
    put(&elsewhere, "cat.png", b"abc");
    let mut source = open_with(&folder, Until::Stopped, watching());
    std::fs::hard_link(elsewhere.path().join("cat.png"), folder.path().join("cat.png")).expect("a link");
    let (message, ack_handle) = next(&mut source).await;
    assert_eq!(message.body.as_slice(), b"abc");
    settle(ack_handle, Disposition::Ack).await;
}

#[tokio::test]
async fn a_file_must_not_have_changed_for_as_long_as_the_setting_says() {
    let folder = inbox();
    std::fs::write(folder.path().join("cat.png"), b"abc").expect("a file");
    let began = std::time::Instant::now();
    let settle_for = Duration::from_millis(600);
    let config = FolderSourceConfig {
        settle: settle_for,
        ..config(folder.path(), 4)
    };
    let mut source = FolderSource::open(&config, MESSAGE_BYTES_MAX, Until::Empty)
        .await
        .expect("a source");
    let (_, ack_handle) = next(&mut source).await;
    assert!(
        began.elapsed() >= settle_for - Duration::from_millis(20),
        "{:?}",
        began.elapsed()
    );
    settle(ack_handle, Disposition::Ack).await;
}

#[test]
fn a_file_that_cannot_be_read_stays_where_it_is_and_stops_nobody() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = inbox();
    for name in ["a.png", "b.png"] {
        put(&folder, name, b"abc");
    }
    let denied = folder.path().join("a.png");
    let mode = |mode| std::fs::set_permissions(folder.path().join("a.png"), std::fs::Permissions::from_mode(mode));
    mode(0).expect("its rights");
    let path = folder.path().to_owned();
    without_privileges(move || {
        let open = |until| {
            FolderSource::open_blocking(&config(&path, 4), MESSAGE_BYTES_MAX, until, quick()).expect("a source")
        };
        let step = |source: &FolderSource| source.scanner.lock().expect("a scanner").step();
        let source = open(Until::Empty);
        let Ok(Step::Delivered(delivery)) = step(&source) else {
            panic!("the other file is taken")
        };
        assert_eq!(delivery.0.as_ref().expect("a message").key, "b.png");
        let told = "1 file cannot be read, such as `a.png`: Permission denied (os error 13)";
        assert_eq!(source.attention()().as_deref(), Some(told));
        drop(delivery);
        std::fs::remove_file(path.join("b.png")).expect("the other file");
        let ended = std::iter::repeat_with(|| step(&source)).find(|step| !matches!(step, Ok(Step::Wait(_))));
        let Some(Err(error)) = ended else { panic!("{ended:?}") };
        assert_eq!(error.to_string(), told);
        drop(source);
        assert!(denied.exists() && names(path.join("dead")).is_empty());
        let source = open(Until::Stopped);
        assert!(matches!(step(&source), Ok(Step::Wait(_))));
        std::fs::set_permissions(&denied, std::fs::Permissions::from_mode(0o600)).expect("its rights");
        let until = std::time::Instant::now() + DEADLINE;
        while !matches!(step(&source).expect("a step"), Step::Delivered(_)) {
            assert!(std::time::Instant::now() < until, "it is not tried again");
            std::thread::yield_now();
        }
        assert_eq!(source.attention()(), None);
    });
}
