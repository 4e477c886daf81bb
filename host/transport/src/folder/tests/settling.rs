//! How a claim ends: done, dead, back, or tried again.

use globset::Glob;

use super::*;

#[tokio::test]
async fn a_file_is_a_message_and_ends_in_done() {
    let folder = inbox();
    put(&folder, "cat.png", b"abc");
    let mut source = open(&folder);
    let (message, ack_handle) = next(&mut source).await;
    assert_eq!(
        message.id,
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert_eq!(message.key, "cat.png");
    assert_eq!(
        message.source,
        folder.path().file_name().expect("a name").to_string_lossy()
    );
    assert_eq!(message.content_type.as_deref(), Some("image/png"));
    assert_eq!((message.attempt, message.redelivered), (1, false));
    assert_eq!(
        (message.body.to_vec(), message.correlation_id, message.reply_to),
        (b"abc".to_vec(), None, None)
    );
    assert_eq!(names(&folder), Vec::<String>::new());
    assert_eq!(claimed(&folder).len(), 1);
    assert_eq!(source.backlog()(), 1);

    settle(ack_handle, Disposition::Ack).await;
    assert_eq!(names(folder.path().join("done")), ["cat.png"]);
    assert!(next_delivery(&mut source).await.is_none());
    assert_eq!(source.backlog()(), 0);
    drop(source);
    assert_eq!(
        read_dir(folder.path().join(".millrace")).expect("a folder").count(),
        0,
        "a home stays"
    );
}

#[tokio::test]
async fn only_finished_visible_plain_files_that_match_are_messages() {
    let folder = inbox();
    for name in [".hidden.png", "a.png.part", "a.tmp", "b.png.envelope.json", "note.txt"] {
        put(&folder, name, b"x");
    }
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link.png")).expect("a symlink");
    std::fs::create_dir(folder.path().join("folder.png")).expect("a folder");
    let pipe = folder.path().join("pipe.png");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .expect("a pipe");
    put(&folder, "c.png", b"x");
    let mut config = config(folder.path(), 4);
    let patterns = ["*.{png,part,tmp,json}", ".*"].map(|pattern| Glob::new(pattern).expect("a pattern"));
    config.pattern = Globs::new(patterns).expect("patterns");
    let mut source = FolderSource::open_blocking(&config, MESSAGE_BYTES_MAX, Until::Empty, quick()).expect("a source");
    let (message, ack_handle) = next(&mut source).await;
    assert_eq!(message.key, "c.png");
    settle(ack_handle, Disposition::Ack).await;
    assert!(next_delivery(&mut source).await.is_none());
    assert_eq!(
        names(&folder),
        [
            "a.png.part",
            "a.tmp",
            "b.png.envelope.json",
            "link.png",
            "note.txt",
            "pipe.png"
        ]
    );
}

#[tokio::test]
async fn a_rejected_file_ends_in_dead_with_its_reason_beside_it() {
    let folder = inbox();
    put(&folder, "cat.png", b"abc");
    let mut source = open(&folder);
    let (_, ack_handle) = next(&mut source).await;
    let envelope = Envelope {
        message_id: "dead-1".to_owned(),
        correlation_id: "input-1".to_owned(),
        content_type: Some("image/png".to_owned()),
        headers: [("x-millrace-stage".into(), "preprocess".to_owned())].into(),
    };
    let rejected = Disposition::Reject(reason(ReasonClass::Refused));
    end_with(ack_handle, &rejected, &envelope, &hold())
        .await
        .expect("a settled message");
    assert_eq!(names(folder.path().join("dead")), ["cat.png", "cat.png.reason.json"]);
    let text = std::fs::read(folder.path().join("dead/cat.png.reason.json")).expect("a reason");
    let dead_letter: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(
        dead_letter,
        serde_json::json!({
            "file": "cat.png", "attempt": 3, "stage": "preprocess", "class": "refused", "text": "no picture",
            "envelope": {
                "message_id": "dead-1", "correlation_id": "input-1", "content_type": "image/png",
                "headers": { "x-millrace-stage": "preprocess" },
            },
        })
    );
    assert!(next_delivery(&mut source).await.is_none());
    assert_eq!(claimed(&folder), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn nothing_that_was_settled_is_overwritten() {
    let folder = inbox();
    let long = format!("{}.png", "n".repeat(251));
    let mut source = open(&folder);
    for (name, body) in [
        ("cat.png", b"1"),
        ("cat.png", b"2"),
        ("cat.png", b"3"),
        (&long, b"4"),
        (&long, b"5"),
    ] {
        for ending in [Disposition::Ack, Disposition::Reject(reason(ReasonClass::Trap))] {
            put(&folder, name, body);
            let (_, ack_handle) = next(&mut source).await;
            settle(ack_handle, ending).await;
        }
    }
    for (kind, n_reasons) in [("done", 0), ("dead", 5)] {
        let names = names(folder.path().join(kind));
        let (reasons, files): (Vec<_>, Vec<_>) = names.iter().partition(|it| it.ends_with(".reason.json"));
        assert_eq!((files.len(), reasons.len()), (5, n_reasons), "{names:?}");
        let mut bodies: Vec<_> = files
            .iter()
            .map(|it| std::fs::read(folder.path().join(kind).join(it)).expect("a file"))
            .collect();
        bodies.sort();
        assert_eq!(bodies.concat(), b"12345");
        assert!(
            files.iter().all(|it| it.ends_with(".png") && it.len() <= 255),
            "{files:?}"
        );
        assert!(
            reasons
                .iter()
                .all(|it| files.iter().any(|file| format!("{file}.reason.json") == **it))
        );
    }
}

#[tokio::test]
async fn a_returned_file_goes_back_as_it_was() {
    let folder = inbox();
    put(&folder, "cat.png", b"abc");
    let mut source = open(&folder);
    let (_, ack_handle) = next(&mut source).await;
    settle(ack_handle, Disposition::Return).await;
    drop(source);
    assert_eq!(names(&folder), ["cat.png"]);
    let (message, ack_handle) = next(&mut open(&folder)).await;
    assert_eq!((message.attempt, message.redelivered), (1, false));
    settle(ack_handle, Disposition::Ack).await;
}

#[tokio::test]
async fn a_returned_file_does_not_replace_one_that_came_since() {
    let folder = inbox();
    put(&folder, "cat.png", b"old");
    let mut source = open(&folder);
    let (_, ack_handle) = next(&mut source).await;
    put(&folder, "cat.png", b"new");
    settle(ack_handle, Disposition::Return).await;
    let mut bodies = Vec::new();
    while let Some((message, ack_handle)) = next_delivery(&mut source).await {
        bodies.push(message.expect("a message").body.to_vec());
        settle(ack_handle, Disposition::Ack).await;
    }
    bodies.sort();
    assert_eq!(bodies, [b"new", b"old"]);
    assert_eq!(names(folder.path().join("done")).len(), 2);
}

#[tokio::test]
async fn a_retry_comes_back_with_its_attempt_raised_also_after_a_restart() {
    let folder = inbox();
    put(&folder, "cat.png", b"abc");
    let mut source = open(&folder);
    for attempt in 1..=3 {
        let (message, ack_handle) = next(&mut source).await;
        assert_eq!((message.attempt, message.redelivered), (attempt, false));
        settle(ack_handle, Disposition::Retry(reason(ReasonClass::Retried))).await;
    }
    drop(source);
    assert_eq!(names(&folder), Vec::<String>::new());

    let mut source = open(&folder);
    let (message, ack_handle) = next(&mut source).await;
    assert_eq!((message.attempt, message.redelivered), (4, false));
    settle(ack_handle, Disposition::Return).await;
    drop(source);
    let mut source = open(&folder);
    let (message, ack_handle) = next(&mut source).await;
    assert_eq!(
        (message.attempt, message.redelivered),
        (4, false),
        "a return keeps the count"
    );
    settle(ack_handle, Disposition::Ack).await;
    assert!(next_delivery(&mut source).await.is_none());
    assert_eq!(names(folder.path().join("done")), ["cat.png"]);
}

#[tokio::test]
async fn a_retry_waits_for_its_delay() {
    let folder = inbox();
    put(&folder, "cat.png", b"abc");
    let delay = Duration::from_millis(300);
    let mut source = open_with(
        &folder,
        Until::Empty,
        Timing {
            retry: delay,
            ..quick()
        },
    );
    let (_, ack_handle) = next(&mut source).await;
    let began = std::time::Instant::now();
    settle(ack_handle, Disposition::Retry(reason(ReasonClass::Retried))).await;
    let (_, ack_handle) = next(&mut source).await;
    assert!(began.elapsed() >= delay);
    settle(ack_handle, Disposition::Ack).await;
}

#[test]
fn delays_double_up_to_a_bound() {
    let delays = [2, 3, 4, 7, 8, u32::MAX].map(|attempt| Timing::default().retry_delay(attempt).as_secs());
    assert_eq!(delays, [1, 2, 4, 30, 30, 30]);
}

/// Adds to a file that a host has in flight, as a writer does that had it open.
fn append(folder: &TempDir, body: &[u8]) {
    let path = claimed(folder).pop().expect("a claimed file");
    let mut file = File::options().append(true).open(path).expect("the file");
    std::io::Write::write_all(&mut file, body).expect("a write");
}

#[tokio::test]
async fn what_grew_after_it_was_read_is_read_again_before_it_is_buried() {
    let folder = inbox();
    put(&folder, "cat.png", b"half");
    let mut source = open(&folder);
    let (message, ack_handle) = next(&mut source).await;
    append(&folder, b" and half");
    let rejected = Disposition::Reject(reason(ReasonClass::Refused));
    let settled = end(ack_handle, &rejected, &hold()).await.expect("no error");
    assert_eq!(settled, Settled::Returned);
    let (again, ack_handle) = next(&mut source).await;
    assert_eq!((again.body.as_slice(), again.attempt), (b"half and half".as_slice(), 1));
    assert_ne!(again.id, message.id);
    // Now it is what was read.
    assert_eq!(
        end(ack_handle, &rejected, &hold()).await.expect("no error"),
        Settled::Done
    );
    assert_eq!(names(folder.path().join("dead")), ["cat.png", "cat.png.reason.json"]);
}

#[tokio::test]
async fn what_was_too_large_and_became_smaller_is_read_again() {
    let folder = inbox();
    put(&folder, "cat.png", &[0; MESSAGE_BYTES_MAX + 1]);
    let mut source = open(&folder);
    let (_, ack_handle) = next_delivery(&mut source).await.expect("a delivery");
    let path = claimed(&folder).pop().expect("a claimed file");
    File::options()
        .write(true)
        .open(path)
        .and_then(|file| file.set_len(3))
        .expect("its length");
    let rejected = Disposition::Reject(reason(ReasonClass::Malformed));
    let settled = end(ack_handle, &rejected, &hold()).await.expect("no error");
    assert_eq!(settled, Settled::Returned);
    let (message, ack_handle) = next(&mut source).await;
    assert_eq!(message.body.len(), 3);
    settle(ack_handle, Disposition::Ack).await;
}

#[tokio::test]
async fn a_file_that_is_still_open_for_writing_is_not_buried() {
    // Under the name that it had, under another, or under none any more.
    for link in [None, Some(true), Some(false)] {
        let (folder, elsewhere) = (inbox(), inbox());
        put(&folder, "cat.png", b"half");
        let other = elsewhere.path().join("other");
        std::fs::hard_link(folder.path().join("cat.png"), &other).expect("a link");
        let mut source = open(&folder);
        let (_, ack_handle) = next(&mut source).await;
        // Right before, nobody had any file open.
        assert!(!source.shared.writers.holds(&other));
        let path = match link {
            None => claimed(&folder).pop().expect("a claimed file"),
            Some(_) => other.clone(),
        };
        let writer = File::options().append(true).open(path).expect("the file");
        if link != Some(true) {
            std::fs::remove_file(&other).expect("a link less");
        }
        let rejected = Disposition::Reject(reason(ReasonClass::Refused));
        let settled = end(ack_handle, &rejected, &hold()).await.expect("no error");
        assert_eq!(settled, Settled::Returned, "{link:?}");
        std::io::Write::write_all(&mut &writer, b" and half").expect("a write");
        drop(writer);
        let (again, ack_handle) = next(&mut source).await;
        assert_eq!(again.body.as_slice(), b"half and half");
        settle(ack_handle, Disposition::Ack).await;
    }
}

#[tokio::test]
async fn results_of_half_a_file_are_followed_by_those_of_the_whole_and_a_touch_changes_nothing() {
    let folder = inbox();
    put(&folder, "cat.png", b"half");
    let mut source = open(&folder);
    let (_, ack_handle) = next(&mut source).await;
    append(&folder, b" and half");
    let settled = end(ack_handle, &Disposition::Ack, &hold()).await.expect("no error");
    assert_eq!(settled, Settled::Returned);
    let (again, ack_handle) = next(&mut source).await;
    assert_eq!(again.body.as_slice(), b"half and half");
    let path = claimed(&folder).pop().expect("a claimed file");
    let touched = File::options().write(true).open(path).expect("the file");
    touched.set_modified(SystemTime::now()).expect("its time");
    let settled = end(ack_handle, &Disposition::Ack, &hold()).await.expect("no error");
    assert_eq!(settled, Settled::Done);
    assert!(next_delivery(&mut source).await.is_none());
    assert_eq!(names(folder.path().join("done")), ["cat.png"]);
}

#[tokio::test]
async fn what_cannot_be_moved_is_held_by_name_until_it_can() {
    for (place, disposition) in [
        ("done", Disposition::Ack),
        ("dead", Disposition::Reject(reason(ReasonClass::Refused))),
    ] {
        let folder = inbox();
        put(&folder, "cat.png", b"abc");
        let mut source = open(&folder);
        let (_, ack_handle) = next(&mut source).await;
        // As a full or read-only disk does it.
        let path = folder.path().join(place);
        std::fs::remove_dir(&path).expect("an empty folder");
        std::fs::write(&path, b"").expect("a file in its place");
        let hold = hold();
        let settling = tokio::spawn({
            let hold = hold.clone();
            async move { end(ack_handle, &disposition, &hold).await }
        });
        let until = tokio::time::Instant::now() + DEADLINE;
        while hold.n_held() == 0 {
            assert!(tokio::time::Instant::now() < until, "nothing is held");
            tokio::task::yield_now().await;
        }
        let what = hold.holding().expect("something held").what;
        assert!(what.contains(&format!("/{place}`: ")), "{what}");
        std::fs::remove_file(&path).expect("the file in its place");
        let settled = settling.await.expect("a task").expect("no error");
        assert_eq!((settled, hold.n_held()), (Settled::Done, 0), "{place}");
        assert!(path.join("cat.png").exists());
        assert!(next_delivery(&mut source).await.is_none());
    }
}

#[tokio::test]
async fn what_is_held_when_the_drain_ends_goes_back_and_is_no_suspect() {
    let folder = inbox();
    put(&folder, "cat.png", b"abc");
    let mut source = open(&folder);
    let (_, ack_handle) = next(&mut source).await;
    let path = folder.path().join("done");
    std::fs::remove_dir(&path).expect("an empty folder");
    std::fs::write(&path, b"").expect("a file in its place");
    let cut = CancellationToken::new();
    cut.cancel();
    let hold = Hold::new("tests", cut, Duration::from_secs(3));
    let settled = end(ack_handle, &Disposition::Ack, &hold).await.expect("no error");
    assert_eq!(settled, Settled::Returned);
    std::fs::remove_file(&path).expect("the file in its place");
    let (message, ack_handle) = next(&mut source).await;
    assert!(!message.redelivered);
    settle(ack_handle, Disposition::Ack).await;
    assert!(next_delivery(&mut source).await.is_none());
}
