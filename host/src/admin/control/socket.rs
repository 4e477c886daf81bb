//! A socket for one user: its path, its folder, its rights, and that no other process serves there. Knows no request.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::Mode;
use sha2::{Digest as _, Sha256};
use tokio::net::{UnixListener, UnixSocket, UnixStream};

use super::super::AdminError;

/// The longest path that the system takes for a socket: 108 bytes with the zero at the end.
const PATH_MAX_BYTES: usize = 107;

/// Connections that wait to be taken.
const BACKLOG: u32 = 64;

/// How often a path that others take and leave at the same time is tried.
const TRIES: usize = 8;

/// The socket's place, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    path: PathBuf,
    // Invariant: device and number of our own socket; another host may have taken the path since.
    file: (u64, u64),
}

impl Claim {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let is_ours = std::fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.file);
        if is_ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, socket = %self.path.display(), "cannot remove the control socket");
        }
    }
}

/// Where the host that runs a file is asked, where the file says nothing: the socket that is there, or else where it would
/// be. A socket that another user may have put there is none.
///
/// # Errors
/// When the path of the file cannot be used.
pub fn find_socket(config: &Path) -> io::Result<PathBuf> {
    let paths = paths(config)?;
    find(&paths).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn find(paths: &[PathBuf]) -> Option<&PathBuf> {
    let is_there = |path: &&PathBuf| path.exists() && path.parent().is_some_and(|folder| check_private(folder).is_ok());
    paths.iter().find(is_there).or(paths.first())
}

/// Where the socket of the host that runs a file may be: the first is where it is put, the others are where it may have
/// been put by a host with another environment.
pub(super) fn paths(config: &Path) -> io::Result<Vec<PathBuf>> {
    let name = format!("{}.sock", name_of(config)?);
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let folders = folders(runtime, &std::env::temp_dir(), rustix::process::geteuid().as_raw());
    Ok(folders.into_iter().map(|folder| folder.join(&name)).collect())
}

/// The same for every way to write the path. Links are not followed: one that is switched to another version of the file
/// must not lead away from the host.
fn name_of(config: &Path) -> io::Result<String> {
    let mut plain = PathBuf::new();
    for component in std::path::absolute(config)?.components() {
        match component {
            Component::ParentDir => drop(plain.pop()),
            component => plain.push(component),
        }
    }
    let digest = Sha256::digest(plain.as_os_str().as_bytes());
    Ok(digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect())
}

fn folders(runtime: Option<PathBuf>, temp: &Path, uid: u32) -> Vec<PathBuf> {
    // `su` may hand down the runtime folder of another user.
    let is_ours = |folder: &PathBuf| {
        folder.is_absolute() && std::fs::metadata(folder).is_ok_and(|found| found.is_dir() && found.uid() == uid)
    };
    let system = PathBuf::from(format!("/run/user/{uid}"));
    let mut folders: Vec<PathBuf> = runtime.into_iter().chain([system]).filter(is_ours).collect();
    folders.dedup();
    for folder in &mut folders {
        folder.push("millrace");
    }
    folders.push(temp.join(format!("millrace-{uid}")));
    folders
}

/// Makes the socket's folder where it is missing, for us alone.
pub(super) fn make_folder(path: &Path) -> Result<&Path, AdminError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|source| AdminError::ControlSocket {
            path: path.to_owned(),
            source,
        })?;
    Ok(folder)
}

/// Whether no other user can put anything into a folder, or reach into it.
pub(super) fn check_private(folder: &Path) -> Result<(), AdminError> {
    let is_private = std::fs::symlink_metadata(folder).is_ok_and(|found| {
        found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o077 == 0
    });
    match is_private {
        true => Ok(()),
        false => Err(AdminError::Exposed {
            folder: folder.to_owned(),
        }),
    }
}

/// Listens at a path, for this user alone. Replaces a socket at which nothing answers.
pub(super) async fn listen(path: &Path) -> Result<(UnixListener, Claim), AdminError> {
    let fail = |source| AdminError::ControlSocket {
        path: path.to_owned(),
        source,
    };
    // Made beside its place and moved there when it answers: who finds it and is not answered may remove it.
    let beside = Beside::of(path);
    let (length, beside_length) = (path.as_os_str().len(), beside.old.as_os_str().len());
    if length.max(beside_length) > PATH_MAX_BYTES {
        return Err(AdminError::TooLong {
            path: path.to_owned(),
            max: PATH_MAX_BYTES.saturating_sub(beside_length.saturating_sub(length)),
        });
    }
    let listener = bind(&beside.fresh).map_err(fail)?;
    let found = std::fs::symlink_metadata(&beside.fresh).map_err(fail)?;
    claim(path, &beside).await?;
    let claim = Claim {
        path: path.to_owned(),
        file: (found.dev(), found.ino()),
    };
    Ok((listener, claim))
}

/// Names of our own in the socket's folder, for the moment in which it takes its place.
struct Beside {
    fresh: PathBuf,
    old: PathBuf,
}

impl Beside {
    fn of(path: &Path) -> Self {
        let mark: String = uuid::Uuid::new_v4().simple().to_string().chars().take(8).collect();
        Self {
            fresh: path.with_file_name(format!(".{mark}")),
            old: path.with_file_name(format!(".{mark}-")),
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        for path in [&self.fresh, &self.old] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, file = %path.display(), "cannot remove a temporary file");
                }
                _ => {}
            }
        }
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    let socket = UnixSocket::new_stream()?;
    // Linux takes the rights of the socket for those of its file, so that there is no moment at which others may connect,
    // whatever the process's umask.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(path)?;
    socket.listen(BACKLOG)
}

/// Gives a listening socket its place, unless another process answers there.
async fn claim(path: &Path, beside: &Beside) -> Result<(), AdminError> {
    let fail = |source| AdminError::ControlSocket {
        path: path.to_owned(),
        source,
    };
    for _ in 0..TRIES {
        // A link and no rename: it replaces nothing.
        match std::fs::hard_link(&beside.fresh, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            linked => return linked.map_err(fail),
        }
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => return Err(AdminError::NoSocket { path: path.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(fail(error)),
            Ok(_) => {}
        }
        if is_served(path).await.map_err(fail)? {
            return Err(AdminError::InUse { path: path.to_owned() });
        }
        // Between the look and now another host may have taken the place, so it is taken away first, and looked at again.
        match std::fs::rename(path, &beside.old) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            renamed => renamed.map_err(fail)?,
        }
        if is_served(&beside.old).await.map_err(fail)? {
            std::fs::hard_link(&beside.old, path).map_err(fail)?;
            return Err(AdminError::InUse { path: path.to_owned() });
        }
    }
    Err(AdminError::InUse { path: path.to_owned() })
}

/// Whether a process listens at a socket. One whose queue is full lives, too.
async fn is_served(path: &Path) -> io::Result<bool> {
    match UnixStream::connect(path).await {
        Ok(_) => Ok(true),
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => Ok(false),
            io::ErrorKind::WouldBlock => Ok(true),
            _ => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn every_way_to_write_a_path_names_the_same_socket() {
        let here = std::env::current_dir().unwrap();
        let name = |path: &Path| name_of(path).unwrap();
        let expected = name(&here.join("a/plugins.toml"));
        assert_eq!(expected.len(), 12);
        for path in ["a/plugins.toml", "./a/plugins.toml", "b/../a/./plugins.toml"] {
            assert_eq!(name(Path::new(path)), expected, "{path}");
        }
        assert_ne!(name(Path::new("b/plugins.toml")), expected);
    }

    #[test]
    fn a_link_that_is_switched_does_not_lead_away_from_the_host() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("plugins.toml");
        std::os::unix::fs::symlink("one.toml", &link).unwrap();
        let before = name_of(&link).unwrap();
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("two.toml", &link).unwrap();
        assert_eq!(name_of(&link).unwrap(), before);
    }

    #[test]
    fn a_runtime_folder_of_somebody_else_is_left_alone() {
        let (ours, temp) = (tempfile::tempdir().unwrap(), Path::new("/nowhere"));
        let uid = rustix::process::geteuid().as_raw();
        let in_runtime = ours.path().join("millrace");
        let last = PathBuf::from(format!("/nowhere/millrace-{uid}"));
        let found = folders(Some(ours.path().to_owned()), temp, uid);
        assert_eq!((found.first(), found.last()), (Some(&in_runtime), Some(&last)));
        // A user who has no folder in /run/user, and is not the owner of ours.
        let stranger = folders(Some(ours.path().to_owned()), temp, 4_242_424);
        assert_eq!(stranger, [PathBuf::from("/nowhere/millrace-4242424")]);
        for unusable in ["relative", "/not/there"] {
            assert!(!folders(Some(unusable.into()), temp, uid).contains(&Path::new(unusable).join("millrace")));
        }
    }

    #[tokio::test]
    async fn the_socket_and_its_folder_are_for_us_alone_and_go_when_the_host_goes() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("new/folder/c.sock");
        let folder = make_folder(&path).unwrap();
        check_private(folder).unwrap();
        let (listener, claim) = listen(&path).await.unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(folder), mode(&path)), (0o700, 0o600));
        assert_eq!(
            std::fs::read_dir(folder).unwrap().count(),
            1,
            "nothing but the socket is left"
        );
        drop((listener, claim));
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_is_open_to_others_is_refused() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("millrace");
        let path = folder.join("c.sock");
        make_folder(&path).unwrap();
        check_private(&folder).unwrap();
        for mode in [0o755, 0o710, 0o702] {
            std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode)).unwrap();
            assert!(
                matches!(check_private(&folder), Err(AdminError::Exposed { .. })),
                "{mode:o}"
            );
        }
        // Another user could switch a link.
        let link = outer.path().join("link");
        std::os::unix::fs::symlink(outer.path(), &link).unwrap();
        assert!(matches!(check_private(&link), Err(AdminError::Exposed { .. })));
        assert!(check_private(Path::new("/")).is_err());
    }

    #[test]
    fn a_socket_that_somebody_else_may_have_put_there_is_not_found() {
        let outer = tempfile::tempdir().unwrap();
        let paths = ["a/c.sock", "b/c.sock"].map(|path| outer.path().join(path));
        assert_eq!(find(&paths), Some(&paths[0]), "where it would be");
        let folder = make_folder(&paths[1]).unwrap();
        std::fs::write(&paths[1], "").unwrap();
        assert_eq!(find(&paths), Some(&paths[1]));
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find(&paths), Some(&paths[0]));
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "its host was killed");
        let (listener, claim) = listen(&path).await.unwrap();
        assert!(is_served(&path).await.unwrap());
        let second = listen(&path).await;
        assert!(matches!(second, Err(AdminError::InUse { .. })), "{second:?}");
        assert!(is_served(&path).await.unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        drop((listener, claim));
    }

    #[tokio::test]
    async fn a_socket_that_another_host_put_there_since_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.sock");
        let first = listen(&path).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let second = listen(&path).await.unwrap();
        drop(first);
        assert!(is_served(&path).await.unwrap());
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plugins.toml");
        std::fs::write(&path, "precious").unwrap();
        let refused = listen(&path).await;
        assert!(matches!(refused, Err(AdminError::NoSocket { .. })), "{refused:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_path_that_no_socket_can_have_is_told_with_its_length() {
        let of_length = |length: usize| PathBuf::from(format!("/{}/control.sock", "x".repeat(length - 14)));
        let refused = listen(&of_length(108)).await.expect_err("too long").to_string();
        assert!(
            refused.starts_with("the path of the control socket has 108 bytes, more than the 107 allowed: `/xxx"),
            "{refused}"
        );
        // One that fits is looked for.
        let missing = listen(&of_length(107)).await;
        assert!(matches!(missing, Err(AdminError::ControlSocket { .. })), "{missing:?}");
    }
}
