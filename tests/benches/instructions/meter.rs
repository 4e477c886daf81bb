//! What is counted: instructions by callgrind, which this program runs under, and allocations by itself. The only file of
//! the tests with unsafe code: it speaks to valgrind, and it is an allocator.
#![expect(
    unsafe_code,
    reason = "an allocator, and the instructions that valgrind takes as requests"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};

/// The name that the main thread gets; the system's is that of its program, which is valgrind.
pub(crate) const MAIN: &str = "main";

/// The system's allocator, with a count.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;
static TIMES: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// Requests of valgrind and of callgrind, by the numbers in their headers: `VALGRIND_USERREQ_TOOL_BASE('C', 'T')` and so on.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Request {
    Monitor = 0x1202,
    Start = 0x4354_0004,
    Stop = 0x4354_0005,
}

/// Begins to count; all threads should be idle.
pub(crate) fn begin() {
    request(Request::Start, 0);
    // By the monitor: the request of this name is for the thread alone that makes it.
    monitor(c"zero");
    TIMES.store(0, Ordering::SeqCst);
    BYTES.store(0, Ordering::SeqCst);
}

/// Ends it: callgrind writes a file for each thread under the name, and valgrind lists the threads in its log. Gives the rest in
/// a line for [`Callgrind::dump`](crate::valgrind::Callgrind::dump): allocations, their bytes, and the names of the threads.
///
/// # Errors
/// When the name has a zero, or the threads cannot be listed.
pub(crate) fn end(name: &str) -> Result<String> {
    let (times, bytes) = (TIMES.load(Ordering::SeqCst), BYTES.load(Ordering::SeqCst));
    monitor(&CString::new(format!("dump {name}"))?);
    request(Request::Stop, 0);
    monitor(c"v.info scheduler");
    Ok(format!("{times}\t{bytes}\t{}", threads()?))
}

/// The system's number and the name of each thread of this process.
fn threads() -> Result<String> {
    let mut threads = Vec::new();
    for thread in std::fs::read_dir("/proc/self/task").context("the threads of this process")? {
        let thread = thread?;
        let id = thread.file_name().to_string_lossy().into_owned();
        let name = match id == std::process::id().to_string() {
            true => MAIN.to_owned(),
            false => std::fs::read_to_string(thread.path().join("comm"))?,
        };
        threads.push(format!("{id}={}", name.trim()));
    }
    Ok(threads.join("\t"))
}

fn monitor(command: &CStr) {
    request(Request::Monitor, command.as_ptr().addr() as u64);
}

/// Tells valgrind something; does nothing where the program does not run under it.
#[cfg(target_arch = "x86_64")]
fn request(request: Request, argument: u64) {
    let words = [request as u64, argument, 0, 0, 0, 0];
    // SAFETY: the rotations add up to 128 bits, which leaves `rdi` as it was, and the exchange is of a register with
    // itself. Valgrind knows the sequence, reads the six words at `rax`, and writes its answer into `rdx`.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") words.as_ptr(),
            inout("rdx") 0_u64 => _,
        );
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn request(_: Request, _: u64) {}

fn count(bytes: usize) {
    TIMES.fetch_add(1, Ordering::Relaxed);
    BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
}

// SAFETY: everything is left to the system's allocator, whose contract is the same.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}
