//! Real files, changed as editors, `cp`, `mv` and people do: each change is reported, with the system's watcher alone
//! and without it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;

/// No step of these tests takes a tenth of it on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// Nothing comes within this: several times the quiet and the pause between looks.
const NOTHING: Duration = Duration::from_millis(800);

/// The ways to notice changes.
#[derive(Debug, Clone, Copy)]
enum How {
    /// The system's watcher, and no look without it.
    Hints,
    /// Looks alone.
    Polls,
}

const BOTH: [How; 2] = [How::Hints, How::Polls];

/// A moment after which nothing was written.
fn nothing_since() -> SystemTime {
    SystemTime::now() + Duration::from_secs(86_400)
}

fn start(how: How, paths: Vec<PathBuf>) -> FileWatcher {
    let default = Timing::default();
    match how {
        How::Hints => {
            let poll = Duration::from_secs(3_600);
            let timing = Timing { poll, ..default };
            FileWatcher::start(paths, nothing_since(), timing, watched)
        }
        How::Polls => {
            let poll = Duration::from_millis(50);
            let timing = Timing { poll, ..default };
            FileWatcher::start(paths, nothing_since(), timing, |_| Folders::polled())
        }
    }
}

/// The reports of `watch`, from another task.
fn listen(mut watch: FileWatcher) -> mpsc::Receiver<()> {
    let (on_event, told) = mpsc::channel(64);
    tokio::spawn(async move {
        loop {
            watch.changed().await;
            if on_event.send(()).await.is_err() {
                return;
            }
        }
    });
    told
}

async fn expect_reported(told: &mut mpsc::Receiver<()>, what: &str) {
    timeout(DEADLINE, told.recv())
        .await
        .unwrap_or_else(|_| panic!("nothing was told: {what}"));
}

async fn expect_nothing(told: &mut mpsc::Receiver<()>, what: &str) {
    assert!(timeout(NOTHING, told.recv()).await.is_err(), "told for nothing: {what}");
}

/// Makes a folder as a user has it, watches what a file there would name, changes something, and waits for the report.
async fn check(what: &str, change: impl Fn(&Path)) {
    tokio::join!(
        check_how(How::Hints, what, &change),
        check_how(How::Polls, what, &change)
    );
}

async fn check_how(how: How, what: &str, change: &impl Fn(&Path)) {
    let folder = home();
    let root = folder.path();
    let paths = [
        "plugins.toml",
        "plugins/a.wasm",
        "linked.wasm",
        "current/b.wasm",
        "model",
        "new/c.wasm",
    ];
    let mut told = listen(start(how, paths.iter().map(|path| root.join(path)).collect()));
    change(root);
    let what = format!("{what} ({how:?})");
    expect_reported(&mut told, &what).await;
    // A busy machine may report a slow change twice; it ends all the same.
    while timeout(NOTHING, told.recv()).await.is_ok() {}
    fs::write(root.join("plugins.toml"), "after that").unwrap();
    expect_reported(&mut told, &format!("a write after: {what}")).await;
}

fn home() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for inner in ["plugins", "store/1", "store/2", "model/samples"] {
        fs::create_dir_all(root.join(inner)).unwrap();
    }
    for file in [
        "plugins.toml",
        "other.toml",
        "plugins/a.wasm",
        "store/a.wasm",
        "store/other.wasm",
        "store/1/b.wasm",
        "store/2/b.wasm",
        "model/model.toml",
        "model/samples/1.png",
    ] {
        fs::write(root.join(file), file).unwrap();
    }
    symlink("store/a.wasm", root.join("linked.wasm")).unwrap();
    symlink("store/1", root.join("current")).unwrap();
    folder
}

#[tokio::test]
async fn files_that_are_written_are_told() {
    tokio::join!(
        check("a write in place", |root| {
            fs::write(root.join("plugins.toml"), "new").unwrap()
        }),
        check("a write of what was there", |root| {
            fs::write(root.join("plugins.toml"), "plugins.toml").unwrap();
        }),
        check("an append", |root| {
            let file = fs::File::options().append(true).open(root.join("plugins/a.wasm"));
            file.unwrap().write_all(b"more").unwrap();
        }),
        check("truncated, then written", |root| {
            let mut file = fs::File::create(root.join("plugins/a.wasm")).unwrap();
            file.sync_all().unwrap();
            file.write_all(b"new").unwrap();
        }),
        check("a copy with the old time", |root| {
            let path = root.join("plugins/a.wasm");
            let modified = fs::metadata(&path).unwrap().modified().unwrap();
            fs::write(&path, "PLUGINS/A.WASM").unwrap();
            fs::File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(modified)
                .unwrap();
        }),
    );
}

#[tokio::test]
async fn files_that_are_moved_into_place_are_told() {
    tokio::join!(
        check("a temporary file renamed over", |root| {
            fs::write(root.join(".plugins.toml.swp"), "new").unwrap();
            fs::rename(root.join(".plugins.toml.swp"), root.join("plugins.toml")).unwrap();
        }),
        check("renamed to a backup, then made", |root| {
            fs::rename(root.join("plugins.toml"), root.join("plugins.toml~")).unwrap();
            fs::write(root.join("plugins.toml"), "new").unwrap();
        }),
        check("moved over from another folder", |root| {
            fs::rename(root.join("store/other.wasm"), root.join("plugins/a.wasm")).unwrap();
        }),
        check("deleted, and made again", |root| {
            fs::remove_file(root.join("plugins/a.wasm")).unwrap();
            fs::write(root.join("plugins/a.wasm"), "plugins/a.wasm").unwrap();
        }),
        check("deleted", |root| fs::remove_file(root.join("plugins/a.wasm")).unwrap()),
        check("made where there was none, with its folder", |root| {
            fs::create_dir(root.join("new")).unwrap();
            fs::write(root.join("new/c.wasm"), "c").unwrap();
        }),
    );
}

#[tokio::test]
async fn what_a_link_leads_to_is_told() {
    tokio::join!(
        check("the file behind a link written", |root| {
            fs::write(root.join("store/a.wasm"), "new").unwrap();
        }),
        check("a link switched", |root| {
            symlink("store/other.wasm", root.join("next")).unwrap();
            fs::rename(root.join("next"), root.join("linked.wasm")).unwrap();
        }),
        check("a link on the way switched", |root| {
            symlink("store/2", root.join("next")).unwrap();
            fs::rename(root.join("next"), root.join("current")).unwrap();
        }),
        check("a link removed and made", |root| {
            fs::remove_file(root.join("current")).unwrap();
            symlink("store/2", root.join("current")).unwrap();
        }),
    );
}

#[tokio::test]
async fn folders_that_change_are_told() {
    tokio::join!(
        check("a file of a model", |root| {
            fs::write(root.join("model/model.toml"), "new").unwrap()
        }),
        check("a new file of a model", |root| {
            fs::write(root.join("model/weights"), "new").unwrap()
        }),
        check("a sample of a model", |root| {
            fs::write(root.join("model/samples/1.png"), "new").unwrap()
        }),
        check("a model replaced whole", |root| {
            fs::create_dir(root.join("model.new")).unwrap();
            fs::write(root.join("model.new/model.toml"), "model/model.toml").unwrap();
            fs::rename(root.join("model"), root.join("model.old")).unwrap();
            fs::rename(root.join("model.new"), root.join("model")).unwrap();
        }),
        check("the folder of a plugin replaced whole", |root| {
            fs::create_dir(root.join("plugins.new")).unwrap();
            fs::write(root.join("plugins.new/a.wasm"), "plugins/a.wasm").unwrap();
            fs::rename(root.join("plugins"), root.join("plugins.old")).unwrap();
            fs::rename(root.join("plugins.new"), root.join("plugins")).unwrap();
        }),
    );
}

#[tokio::test]
async fn a_folder_that_was_replaced_is_watched_like_the_first() {
    for how in BOTH {
        let folder = home();
        let root = folder.path();
        let mut told = listen(start(how, vec![root.join("plugins/a.wasm")]));
        for round in 0..3 {
            fs::rename(root.join("plugins"), root.join(format!("old-{round}"))).unwrap();
            fs::create_dir(root.join("plugins")).unwrap();
            expect_reported(&mut told, &format!("gone in round {round} ({how:?})")).await;
            while timeout(NOTHING, told.recv()).await.is_ok() {}
            fs::write(root.join("plugins/a.wasm"), "new").unwrap();
            expect_reported(&mut told, &format!("written in round {round} ({how:?})")).await;
        }
    }
}

#[tokio::test]
async fn what_is_read_or_not_named_is_not_told() {
    for how in BOTH {
        let folder = home();
        let root = folder.path();
        let mut told = listen(start(how, vec![root.join("plugins.toml"), root.join("model")]));
        fs::write(root.join("other.toml"), "new").unwrap();
        fs::write(root.join("plugins/a.wasm"), "new").unwrap();
        fs::read(root.join("plugins.toml")).unwrap();
        fs::read_dir(root.join("model")).unwrap().for_each(drop);
        expect_nothing(&mut told, &format!("{how:?}")).await;
    }
}

#[tokio::test]
async fn after_the_last_write_of_a_slow_writer_one_change_is_told() {
    for how in BOTH {
        let folder = home();
        let path = folder.path().join("plugins/a.wasm");
        let mut told = listen(start(how, vec![path.clone()]));
        let mut file = fs::File::create(&path).unwrap();
        for _ in 0..10 {
            file.write_all(b"a part").unwrap();
            // Shorter than the quiet period; a busy machine may stretch it, and then the report is early.
            let early = timeout(Duration::from_millis(100), told.recv()).await;
            assert!(early.is_err() || early == Ok(Some(())));
        }
        file.write_all(b"the end").unwrap();
        drop(file);
        expect_reported(&mut told, &format!("{how:?}")).await;
        expect_nothing(&mut told, &format!("{how:?}")).await;
    }
}

#[tokio::test]
async fn a_writer_without_an_end_is_told_all_the_same() {
    let folder = home();
    let path = folder.path().join("plugins/a.wasm");
    let mut told = listen(start(How::Hints, vec![path.clone()]));
    let begin = Instant::now();
    let mut n_writes = 0;
    while timeout(Duration::from_millis(50), told.recv()).await.is_err() {
        n_writes += 1;
        fs::write(&path, format!("{n_writes}")).unwrap();
        assert!(begin.elapsed() < DEADLINE, "nothing was told of {n_writes} writes");
    }
}

#[tokio::test]
async fn a_change_is_told_after_a_wait_was_given_up() {
    for how in BOTH {
        let folder = home();
        let path = folder.path().join("plugins.toml");
        let mut watch = start(how, vec![path.clone()]);
        fs::write(&path, "new").unwrap();
        // Given up at every step of the way: each wait is too short for the quiet.
        let begin = Instant::now();
        while timeout(Duration::from_millis(7), watch.changed()).await.is_err() {
            assert!(begin.elapsed() < DEADLINE, "nothing was told ({how:?})");
        }
        let more = timeout(NOTHING, watch.changed()).await;
        assert!(more.is_err(), "told twice ({how:?})");
    }
}

#[tokio::test]
async fn other_paths_forget_no_change_of_those_that_stay() {
    for how in BOTH {
        let folder = home();
        let root = folder.path();
        let (stays, goes, comes) = (
            root.join("plugins.toml"),
            root.join("plugins/a.wasm"),
            root.join("store/a.wasm"),
        );
        let mut watch = start(how, vec![stays.clone(), goes.clone()]);
        fs::write(&stays, "new").unwrap();
        watch.set(vec![stays, comes.clone()], nothing_since());
        let mut told = listen(watch);
        expect_reported(&mut told, &format!("changed before ({how:?})")).await;
        while timeout(NOTHING, told.recv()).await.is_ok() {}
        fs::write(&goes, "new").unwrap();
        expect_nothing(&mut told, &format!("not watched any more ({how:?})")).await;
        fs::write(&comes, "new").unwrap();
        expect_reported(&mut told, &format!("watched since ({how:?})")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_is_told_after_the_quiet_and_at_the_latest_after_five_seconds() {
    let timing = Timing::default();
    let begin = Instant::now();
    let at = |ms| begin + Duration::from_millis(ms);
    for (last, expected) in [
        (0, 300),
        (250, 550),
        (4_600, 4_900),
        (4_700, 5_000),
        (4_999, 5_000),
        (9_000, 5_000),
    ] {
        let unsettled = PendingChange {
            first: begin,
            last: at(last),
        };
        assert_eq!(unsettled.due_at(&timing), at(expected), "last change after {last} ms");
    }
}

/// A host reads its files, compiles for seconds, and only then begins to watch: whoever saved meanwhile is not to wait for ever.
#[tokio::test]
async fn what_was_written_while_the_paths_were_read_is_a_change() {
    for how in BOTH {
        let folder = home();
        let root = folder.path();
        let (old, new) = (root.join("plugins.toml"), root.join("plugins/a.wasm"));
        let check = async |watch: FileWatcher, is_change: bool, case: &str| {
            let mut told = listen(watch);
            match is_change {
                true => expect_reported(&mut told, &format!("{case} ({how:?})")).await,
                false => expect_nothing(&mut told, &format!("{case} ({how:?})")).await,
            }
        };
        let since = SystemTime::now();
        fs::write(&new, "saved meanwhile").unwrap();
        let mut watch = start(how, vec![old.clone()]);
        watch.set(vec![old.clone(), new.clone()], since);
        check(watch, true, "written since").await;
        let mut watch = start(how, vec![old.clone()]);
        watch.set(vec![old.clone(), new.clone()], nothing_since());
        check(watch, false, "written before").await;
        let mut watch = start(how, vec![old.clone()]);
        watch.set(vec![old, root.join("plugins")], since);
        check(watch, true, "in a folder, written since").await;
    }
}
