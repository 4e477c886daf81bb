//! What to do where the machine refuses something. Knows no file.

use std::error::Error;
use std::io;

use rustix::io::Errno;

/// The hint for an error that says nothing about the request: the machine, or a limit of this process, has no room for
/// more.
pub fn scarcity(error: &io::Error) -> Option<&'static str> {
    match Errno::from_io_error(error)? {
        Errno::MFILE => Some(
            "this process has reached its limit of open files: raise it (`ulimit -n`, `LimitNOFILE=` of systemd) and try again",
        ),
        Errno::NFILE => Some(
            "the machine has reached its limit of open files: raise `fs.file-max`, or stop the processes that hold them",
        ),
        Errno::NOMEM => Some("no memory is left: free some, or raise the limit of the control group"),
        Errno::AGAIN => Some(
            "the limit of processes or threads is reached: raise it (`ulimit -u`, `TasksMax=` of systemd) and try again",
        ),
        Errno::IO => Some("the disk fails: see the kernel's log"),
        _ => None,
    }
}

/// As [`scarcity`], of whatever an error comes from.
pub fn scarcity_behind(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(advice) = error.downcast_ref::<io::Error>().and_then(scarcity) {
            return Some(advice);
        }
        cause = error.source();
    }
    None
}
