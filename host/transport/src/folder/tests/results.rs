//! What results are called, and what they replace.

use super::super::files::Temporary;
use super::*;

fn envelope(id: &str) -> Envelope {
    Envelope {
        message_id: id.to_owned(),
        ..Envelope::default()
    }
}

#[tokio::test]
async fn a_result_that_is_delivered_again_replaces_itself() {
    let folder = inbox();
    let out = folder.path().join("out");
    prepare(&out).await.expect("a folder");
    for body in [b"1", b"2"] {
        deliver(&out, "cat.png.json", body, &envelope("0123456789abcdef0123"))
            .await
            .expect("a delivered result");
    }
    assert_eq!(names(&out), ["cat.png.json", "cat.png.json.envelope.json"]);
    assert_eq!(read_dir(&out).expect("a folder").count(), 2, "a temporary file stays");
    assert_eq!(std::fs::read(out.join("cat.png.json")).expect("a result"), b"2");
    let text = std::fs::read(out.join("cat.png.json.envelope.json")).expect("an envelope");
    let envelope: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(envelope["message_id"], "0123456789abcdef0123");
}

#[tokio::test]
async fn a_folder_of_results_that_vanished_is_not_made_again_but_waited_for() {
    let folder = inbox();
    let out = folder.path().join("disk/out");
    prepare(&out).await.expect("a folder");
    // An unmounted disk, and a folder that was deleted.
    for gone in [folder.path().join("disk"), out.clone()] {
        std::fs::remove_dir_all(gone).expect("a folder");
        let refused = deliver(&out, "cat.png.json", b"1", &envelope("id")).await;
        assert!(
            matches!(&refused, Err(FolderError::ResultFolderGone { path }) if *path == out),
            "{refused:?}"
        );
        assert!(!out.exists());
        std::fs::create_dir_all(&out).expect("a folder");
        deliver(&out, "cat.png.json", b"1", &envelope("id"))
            .await
            .expect("a delivered result");
    }
}

#[tokio::test]
async fn a_folder_for_results_is_made_and_swept() {
    let folder = inbox();
    let out = folder.path().join("new/out");
    prepare(&out).await.expect("a folder");
    for name in [".millrace-left", ".foreign"] {
        File::create(out.join(name)).expect("a file");
    }
    // What somebody writes now is locked.
    let written = Temporary::write(&out, b"whole").expect("a file");
    prepare(&out).await.expect("a folder");
    written.place_new(&out.join("result")).expect("a result");
    let mut left: Vec<_> = read_dir(&out)
        .expect("a folder")
        .map(|it| it.expect("an entry").file_name())
        .collect();
    left.sort();
    assert_eq!(left, [".foreign", "result"]);
    std::fs::write(folder.path().join("file"), b"").expect("a file");
    assert!(prepare(&folder.path().join("file")).await.is_err());
}

#[tokio::test]
async fn a_result_does_not_replace_another_or_a_foreign_file() {
    let folder = inbox();
    put(&folder, "dog.png.json", b"foreign");
    for _ in 0..2 {
        for (name, id) in [
            ("cat.png.json", "aaaaaaaaaaaaaaaaaaaa"),
            ("cat.png.json", "bbbb"),
            ("dog.png.json", "cccc"),
        ] {
            deliver(folder.path(), name, id.as_bytes(), &envelope(id))
                .await
                .expect("a delivered result");
        }
    }
    let mut found: Vec<_> = names(&folder);
    found.retain(|it| !it.ends_with(".envelope.json"));
    assert_eq!(
        found,
        ["cat.png.bbbb.json", "cat.png.json", "dog.png.cccc.json", "dog.png.json"]
    );
    let bodies = found
        .iter()
        .map(|it| std::fs::read_to_string(folder.path().join(it)).expect("a file"));
    assert_eq!(
        bodies.collect::<Vec<_>>(),
        ["bbbb", "aaaaaaaaaaaaaaaaaaaa", "cccc", "foreign"]
    );
}

#[tokio::test]
async fn results_whose_ids_begin_alike_have_names_of_their_own() {
    let folder = inbox();
    let ids = ["0123456789abcdef00", "0123456789abcdef01", "0123456789abcdef02"];
    for _ in 0..2 {
        for id in ids {
            deliver(folder.path(), "cat.png.json", id.as_bytes(), &envelope(id))
                .await
                .expect("a delivered result");
        }
    }
    let mut found = names(&folder);
    found.retain(|it| !it.ends_with(".envelope.json"));
    assert_eq!(
        found,
        [
            "cat.png.0123456789abcdef.json",
            "cat.png.0123456789abcdef02.json",
            "cat.png.json"
        ]
    );
    assert_eq!(
        read_dir(&folder).expect("a folder").count(),
        6,
        "a temporary file stays"
    );
}

#[tokio::test]
async fn files_of_equal_content_are_messages_of_their_own() {
    let folder = inbox();
    let names = [&b"a b.png"[..], b"a:b.png", b"a_b.png", b"\xfe.png", b"\xff.png"].map(OsStr::from_bytes);
    for name in names {
        put(&folder, name, b"abc");
    }
    let mut source = open(&folder);
    let mut files = Vec::new();
    while let Some((message, ack_handle)) = next_delivery(&mut source).await {
        files.extend(message.expect("a message").file);
        settle(ack_handle, Disposition::Ack).await;
    }
    assert_eq!(files, names);
}

#[tokio::test]
async fn a_name_that_leaves_the_folder_is_refused() {
    let folder = inbox();
    for name in [
        "",
        ".",
        "..",
        ".hidden",
        "../x",
        "a/b",
        "a\\b",
        "/etc/x",
        "a\nb",
        "a\0b",
        &"n".repeat(250),
    ] {
        let refused = deliver(folder.path(), name, b"x", &envelope("id")).await;
        assert!(matches!(refused, Err(FolderError::ResultName { .. })), "{name:?}");
    }
    assert_eq!(read_dir(&folder).expect("a folder").count(), 0);
}

#[test]
fn result_names() {
    let json = Some("application/json");
    let check = |key: Option<&str>, index: usize, content_type: Option<&str>, expected: &str| {
        let name = result_name(key, index, content_type, "f00d");
        assert_eq!(name, expected, "{key:?}");
        assert!(is_plain_name(&name));
    };
    check(Some("cat.png"), 0, json, "cat.png.json");
    check(Some("cat.png"), 1, json, "cat.png.1.json");
    check(Some("cat.png"), 0, Some("Text/Plain; charset=utf-8"), "cat.png.txt");
    check(Some("cat.png"), 0, Some("application/vnd.x+json"), "cat.png.json");
    check(Some("cat.png"), 0, Some("../../x"), "cat.png.bin");
    check(Some("cat.png"), 0, None, "cat.png.bin");
    check(None, 0, json, "f00d.json");
    // Hostile keys.
    check(Some(""), 0, json, "f00d.json");
    check(Some(".."), 0, json, "f00d.json");
    check(Some("../../etc/passwd"), 0, json, "etc_passwd.json");
    check(Some("/etc/passwd"), 0, json, "etc_passwd.json");
    check(Some("C:\\x.png"), 0, json, "C__x.png.json");
    check(Some(".hidden"), 0, json, "hidden.json");
    check(Some("a\0b\nc\u{202e}d"), 0, json, "a_b_c_d.json");
    check(Some("Größe 1.png"), 0, json, "Gr__e_1.png.json");
    check(Some("\u{fffd}\u{fffd}"), 0, json, "f00d.json");
    check(Some("CON"), 0, json, "f00d.json");
    check(Some("com1.png"), 0, json, "f00d.json");
    check(Some("cat.png.json.envelope"), 0, json, "f00d.json");
    // Nothing safe but the extension.
    check(Some("\u{65e5}\u{672c}.png"), 0, json, "f00d.json");
    check(Some("~.png"), 1, json, "f00d.1.json");
    check(Some("..png"), 0, json, "f00d.json");
    check(Some("\u{65e5}1.png"), 0, json, "1.png.json");
    check(Some("cat.png.ENVELOPE"), 0, json, "f00d.json");
    check(
        Some(&"n".repeat(100_000)),
        0,
        json,
        &format!("{}.json", "n".repeat(160)),
    );
    assert_eq!(result_name(None, 0, json, "../.."), "result.json");
}
