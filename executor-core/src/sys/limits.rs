//! How much memory a process may have, how it says that it was refused some, and how much of it is really its own.
//!
//! On stable Rust nothing of a library's runs when an allocation is refused: `handle_alloc_error` prints a line and calls
//! `abort`. So the worker has a handler for SIGABRT that finds out whether it was that. It says yes when
//!
//! - the stack of the thread that aborts has a return address inside `handle_alloc_error`. That function never returns, so
//!   its return addresses are on a stack only while it runs there; or
//! - the last error that the C library told this thread of is ENOMEM. That is how C and C++ code sees a refused allocation,
//!   and the program where `handle_alloc_error` has been inlined away. Between refusal and abort std makes no call that fails,
//!   unless it prints a backtrace, which is why this alone would not do.
//!
//! Neither is true of a plain `abort`. A task that is refused memory, is told so (`try_reserve`), and aborts because of it is
//! taken for what it is.

use std::{
    io, mem,
    os::fd::{AsRawFd, OwnedFd},
    ptr,
    sync::OnceLock,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// From now on this process may have `bytes` of private memory that can be written to, beyond what it has now, and no more than it
/// might have before. Requests beyond the limit are refused: `malloc`, `mmap`, the stack of a new thread.
pub(crate) fn set_data_limit(bytes: u64) -> io::Result<()> {
    let limit = data_size()?.saturating_add(bytes);
    // A limit that the program has is there for a reason, and few may raise it.
    let within = |before: Option<u64>| Some(before.map_or(limit, |before| before.min(limit)));
    let Rlimit { current, maximum } = getrlimit(Resource::Data);
    Ok(setrlimit(Resource::Data, Rlimit { current: within(current), maximum: within(maximum) })?)
}

/// The memory that counts against `RLIMIT_DATA`.
fn data_size() -> io::Result<u64> {
    kilobytes(&std::fs::read_to_string("/proc/self/status")?, "VmData:")
}

/// The memory of this process, counting only its share of what it shares with others (PSS).
pub(crate) fn proportional_set_size() -> io::Result<u64> {
    // Not by its number, under which a `/proc` of another pid namespace shows another process.
    kilobytes(&std::fs::read_to_string("/proc/self/smaps_rollup")?, "Pss:")
}

/// The bytes in a line such as `VmData:  123 kB`.
fn kilobytes(text: &str, name: &str) -> io::Result<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix("kB")?.trim().parse().ok());
    value.map(|value: u64| value.saturating_mul(1024)).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The data of the handler: all of it is made before the handler is installed, and never changes.
struct Handler {
    socket: OwnedFd,
    marker: &'static [u8],
    previous: libc::sigaction,
    /// Of the process whose socket it is. A copy that a task has made says nothing there.
    generation: u64,
}

static HANDLER: OnceLock<Handler> = OnceLock::new();

/// From now on, when this process aborts because it was refused memory, it sends `marker` to `socket` first. An abort for any
/// other reason sends nothing. Either way the process then ends as it would have.
pub(crate) fn install_out_of_memory_handler(socket: OwnedFd, marker: &'static [u8]) -> io::Result<()> {
    let mut previous = mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a null action changes nothing, and the old one is written to memory of its type.
    let outcome = unsafe { libc::sigaction(libc::SIGABRT, ptr::null(), previous.as_mut_ptr()) };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has filled it.
    let previous = unsafe { previous.assume_init() };
    if HANDLER.set(Handler { socket, marker, previous, generation: super::generation() }).is_err() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    // SAFETY: for this plain C structure zero is a valid value: no flags, no signals, the default action.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = on_abort as *const () as usize;
    // Not SA_ONSTACK: the handler looks at the stack that it was called on.
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: the handler has the type that SA_SIGINFO asks for, and does nothing that a signal handler may not.
    let outcome = unsafe { libc::sigaction(libc::SIGABRT, &raw const action, ptr::null_mut()) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Memory that this thread was refused before does not count any more.
pub(crate) fn forget_refused_allocations() {
    // SAFETY: the C library gives the address of this thread's own variable.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: it is valid, and only this thread uses it.
    unsafe { errno.write(0) };
}

/// Only system calls and loads of what never changes: it may interrupt anything.
extern "C" fn on_abort(signal: libc::c_int, info: *const libc::siginfo_t, _context: *const libc::c_void) {
    // SAFETY: the C library gives the address of this thread's own variable.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: it is valid, and only this thread uses it.
    let error = unsafe { errno.read() };
    if let Some(handler) = HANDLER.get() {
        let is_own = handler.generation == super::generation();
        if is_own && is_of_this_process(info) && (error == libc::ENOMEM || is_in_alloc_error(info.addr())) {
            let (bytes, flags) = (handler.marker, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
            // SAFETY: the bytes are valid, and the socket is open for as long as the process lives.
            let _ = unsafe { libc::send(handler.socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
        }
        // SAFETY: this is the action that was there before, as the system has told it.
        unsafe { libc::sigaction(libc::SIGABRT, &raw const handler.previous, ptr::null_mut()) };
        // The signal is blocked while its handler runs, so this one comes when it returns, and does what it has always done.
        // SAFETY: has no requirements.
        unsafe { libc::raise(signal) };
    }
    // SAFETY: it is valid, and only this thread uses it.
    unsafe { errno.write(error) };
}

/// Whether the signal is an `abort` and not the `kill` of another process.
fn is_of_this_process(info: *const libc::siginfo_t) -> bool {
    // SAFETY: the kernel hands the handler a valid one.
    let info = unsafe { &*info };
    // SAFETY: signals that are sent with `tgkill` have a sender, and other kinds are not asked.
    let sender = || unsafe { info.si_pid() };
    // SAFETY: has no requirements.
    info.si_code == libc::SI_TKILL && sender() == unsafe { libc::getpid() }
}

/// Whether `handle_alloc_error` runs on the stack from `start` upwards.
///
/// The memory is read by a system call, because the stack may end before the search does.
fn is_in_alloc_error(start: usize) -> bool {
    /// The kernel's frame for the handler comes first, and with large vector registers takes up to 12 KiB.
    const DEPTH: usize = 32 * 1024;
    const PAGE: usize = 4096;
    /// The function does nothing but call another one, so the address that this one would return to comes soon.
    const SIZE: usize = if cfg!(target_arch = "x86_64") { 24 } else { 32 };

    let function = std::alloc::handle_alloc_error as *const () as usize;
    let start = start.next_multiple_of(size_of::<usize>());
    let mut address = start;
    let mut words = [0_usize; PAGE / size_of::<usize>()];
    while address < start.saturating_add(DEPTH) {
        // To the end of the page: the next one may not be there.
        let length = PAGE - address % PAGE;
        let local = libc::iovec { iov_base: words.as_mut_ptr().cast(), iov_len: length };
        let remote = libc::iovec { iov_base: ptr::without_provenance_mut(address), iov_len: length };
        // SAFETY: has no requirements.
        let pid = unsafe { libc::getpid() };
        // SAFETY: `local` lies within `words`, where every bit pattern is a value; what cannot be read at `remote` is an error.
        let read = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
        let Ok(read) = usize::try_from(read) else { return false };
        let read = &words[..(read / size_of::<usize>()).min(words.len())];
        if read.iter().any(|word| (1..=SIZE).contains(&word.wrapping_sub(function))) {
            return true;
        }
        if read.is_empty() {
            return false;
        }
        address += length;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_the_kernels_tables() {
        assert_eq!(kilobytes("VmPeak:\t  5 kB\nVmData:\t  12 kB\n", "VmData:").unwrap(), 12 << 10);
        assert!(kilobytes("VmPeak:\t  5 kB\n", "VmData:").is_err());
        assert!(data_size().unwrap() > 64 << 10);
    }

    #[test]
    fn what_is_touched_counts() {
        let before = proportional_set_size().unwrap();
        let bytes = std::hint::black_box(vec![1_u8; 64 << 20]);
        let after = proportional_set_size().unwrap();
        assert!(after > before + (48 << 20), "{before} {after}");
        drop(bytes);
    }

    #[test]
    fn a_stack_without_a_refused_allocation_is_told_apart() {
        let here = 0_u8;
        assert!(!is_in_alloc_error((&raw const here).addr()));
        // An address inside of the function, as a call from there leaves one.
        let word = std::hint::black_box(std::alloc::handle_alloc_error as *const () as usize + 10);
        assert!(is_in_alloc_error((&raw const word).addr()));
    }
}
