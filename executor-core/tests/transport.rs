//! Messages between the program and its workers arrive, or are the end of the worker that sent them: kicks, requests that fill the
//! ring, answers of workers that have died, floods, and files that are slow to close.
//!
//! All of this program runs with SIGPIPE at its default, as command line tools do: a write to a worker that is gone must not
//! end it.
#![cfg(target_os = "linux")]

mod pool_kinds;

use std::{
    fs::{self, File, OpenOptions},
    io::{IoSlice, Write},
    mem::MaybeUninit,
    net::{TcpListener, TcpStream},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    process::{self, Command},
    sync::{Once, mpsc},
    time::{Duration, Instant},
};

use executor_core::{
    CancelToken, Executor, ProcessPoolExecutor, SharedBytes, Shutdown, TaskError, TaskFuture, Transport, partial,
};
use pool_kinds::{Kind, on_every_kind_of_pool};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::{Deserialize, Serialize};

executor_core::test_worker!();

on_every_kind_of_pool!(
    a_worker_that_is_gone_sends_no_signal,
    an_answer_with_many_segments_is_read_from_a_dead_worker,
    that_memory_was_refused_is_read_behind_many_segments,
    a_flood_of_contents_is_the_end_of_its_sender,
    a_flood_of_other_frames_is_the_end_of_its_sender,
    a_long_frame_that_is_never_sent_is_not_waited_for,
    each_answer_is_told_of_while_long_ones_are_read,
    no_thread_waits_while_a_file_of_a_worker_is_closed,
    no_thread_waits_for_a_worker_that_takes_long_to_end,
);

/// For what must happen: a test that waits longer has failed.
const LONG: Duration = Duration::from_secs(60);

fn result<T: Send + 'static>(future: TaskFuture<T>) -> Result<T, TaskError> {
    match future.result_timeout(LONG) {
        Ok(result) => result,
        Err(future) => panic!("no result: {future:?}"),
    }
}

fn square(x: u64) -> u64 {
    x * x
}

/// SIGPIPE ends this process.
fn restore_sigpipe() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the default action is no handler that could do anything wrong.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    });
}

/// A pool of this kind, whose tasks are known to be short: several of them are in flight at a worker.
fn warm_pool(kind: Kind, workers: usize) -> ProcessPoolExecutor {
    restore_sigpipe();
    let pool = kind.builder().max_workers(workers).build().unwrap();
    for x in 0..200 {
        assert_eq!(result(pool.submit(square, x).unwrap()), Ok(x * x));
    }
    pool
}

fn a_worker_that_is_gone_sends_no_signal(kind: Kind) {
    restore_sigpipe();
    let pool = kind.builder().max_workers(1).retry(5).build().unwrap();
    for round in 0..150 {
        assert_eq!(result(pool.submit(square, 3).unwrap()), Ok(9));
        let pid = rustix::process::Pid::from_raw(pool.worker_pids()[0].cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        // It dies somewhere in the middle of what follows.
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(round * 7 % 600) {}
        let length = |text: String| text.len();
        assert_eq!(result(pool.submit(length, "x".repeat(100_000)).unwrap()), Ok(100_000));
    }
}

/// Stops this program for a moment, in which its workers go on, as Ctrl-Z and `fg` do.
fn sleep_like_the_dead() {
    let script = format!("kill -STOP {0}; sleep 1; kill -CONT {0}", process::id());
    assert!(Command::new("sh").args(["-c", &script]).spawn().unwrap().wait().unwrap().success());
}

fn note(path: &Path) -> usize {
    OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(b"x").unwrap();
    fs::read(path).unwrap().len()
}

/// Answers with many segments, and dies soon after that.
fn answer_and_die((path, pieces): (std::path::PathBuf, usize)) -> Vec<SharedBytes> {
    note(&path);
    std::thread::sleep(Duration::from_millis(100));
    std::thread::spawn(|| {
        // Long enough for the answer, also on a machine that is busy.
        std::thread::sleep(Duration::from_millis(500));
        process::abort();
    });
    (0..pieces).map(|piece| SharedBytes::with_len(1 << 16, |bytes| bytes.fill(piece as u8))).collect()
}

fn an_answer_with_many_segments_is_read_from_a_dead_worker(kind: Kind) {
    for (retries, pieces) in [(0, 8), (1, 200)] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("note");
        restore_sigpipe();
        let pool = kind.builder().max_workers(1).retry(retries).build().unwrap();
        pool.warm_up().unwrap();
        let future = pool.submit(answer_and_die, (path.clone(), pieces)).unwrap();
        while !path.exists() {
            std::thread::yield_now();
        }
        sleep_like_the_dead();
        let answer = result(future).unwrap();
        assert_eq!(answer.len(), pieces);
        assert!(answer.iter().enumerate().all(|(piece, bytes)| bytes.iter().all(|byte| *byte == piece as u8)));
        assert_eq!(fs::read(&path).unwrap().len(), 1, "it ran once, since it was answered");
    }
}

fn that_memory_was_refused_is_read_behind_many_segments(kind: Kind) {
    /// Sends this many files before it asks for more memory than it may have.
    fn send_files_and_grow(path: std::path::PathBuf) -> usize {
        note(&path);
        std::thread::sleep(Duration::from_millis(100));
        let socket = control_socket();
        for _ in 0..100 {
            send(&socket, &frame(FILE, &[]), &[memory().as_fd()]);
        }
        vec![1_u8; 1 << 30].len()
    }
    restore_sigpipe();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("note");
    let pool = kind.builder().max_workers(1).memory_limit(256 << 20).build().unwrap();
    pool.warm_up().unwrap();
    let future = pool.submit(send_files_and_grow, path.clone()).unwrap();
    while !path.exists() {
        std::thread::yield_now();
    }
    sleep_like_the_dead();
    assert_eq!(result(future), Err(TaskError::MemoryLimit));
}

const GROWN: u8 = 23;
const FILE: u8 = 24;
const DATA: u8 = 32;

/// A worker's socket to its parent.
fn control_socket() -> OwnedFd {
    let entries = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap());
    let is_socket = |path| fs::read_link(path).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"));
    let entry = entries.into_iter().find(|entry| is_socket(entry.path())).unwrap();
    let number: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
    // SAFETY: the process has it open until it ends.
    unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned().unwrap()
}

fn memory() -> OwnedFd {
    rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap()
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 1).to_le_bytes()[..], &[kind], body].concat()
}

/// Sends all of it; `false` when the parent has hung up.
fn send(socket: &OwnedFd, mut bytes: &[u8], files: &[BorrowedFd<'_>]) -> bool {
    let mut files = files;
    while !bytes.is_empty() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(files.is_empty() || ancillary.push(SendAncillaryMessage::ScmRights(files)));
        match sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(count) => bytes = &bytes[count..],
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
        files = &[];
    }
    true
}

/// Bytes of memory that this program has.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<usize>().unwrap() << 10
}

/// Sends such frames until the parent closes the connection, at most 4 GiB.
fn flood((kind, length): (u8, usize)) -> bool {
    let socket = control_socket();
    let frame = frame(kind, &vec![7; length]);
    for _ in 0..(4 << 30) / frame.len() {
        if !send(&socket, &frame, &[]) {
            // SIGKILL is on its way.
            std::thread::sleep(LONG);
        }
    }
    true
}

/// The parent gives up a worker before it has received this much.
const ENOUGH: usize = 512 << 20;

fn flood_is_the_end(kind: Kind, frames: (u8, usize)) {
    let pool = warm_pool(kind, 2);
    let before = resident();
    let future = pool.submit(flood, frames).unwrap();
    let start = Instant::now();
    let mut most = 0;
    while !future.done() {
        // Others go on.
        assert_eq!(result(pool.submit(square, 5).unwrap()), Ok(25));
        most = most.max(resident().saturating_sub(before));
        assert!(most < ENOUGH, "{most} bytes after {:?}", start.elapsed());
        assert!(start.elapsed() < LONG, "it is found out");
    }
    assert!(matches!(future.result(), Err(TaskError::WorkerDied { .. })));
    assert_eq!(result(pool.submit(square, 6).unwrap()), Ok(36));
}

fn a_flood_of_contents_is_the_end_of_its_sender(kind: Kind) {
    flood_is_the_end(kind, (DATA, 60_000));
    flood_is_the_end(kind, (DATA, 8 << 20));
}

fn a_flood_of_other_frames_is_the_end_of_its_sender(kind: Kind) {
    flood_is_the_end(kind, (GROWN, 0));
    flood_is_the_end(kind, (77, 60_000));
}

/// Announces a frame of a kind that is always short as a long one, and sends it for as long as it may.
fn a_long_frame_that_is_never_sent_is_not_waited_for(kind: Kind) {
    flood_is_the_end(kind, (GROWN, 900 << 20));
}

/// A connection whose close waits for as long as 40 seconds, because what was written to it is not read.
fn slow_to_close(port: u16) -> OwnedFd {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nonblocking(true).unwrap();
    while stream.write(&[7; 1 << 16]).is_ok() {}
    stream.set_nonblocking(false).unwrap();
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::from_secs(40))).unwrap();
    stream.into()
}

/// Where the parent comes across such a file.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Way {
    /// Beside a frame that violates the protocol.
    BadFrame,
    /// It is in the socket when its sender dies, behind what the parent reads.
    Unread,
    /// It is never asked for.
    Unasked,
}

fn send_slow_file((port, way): (u16, Way)) -> u32 {
    let socket = control_socket();
    let file = slow_to_close(port);
    match way {
        Way::BadFrame => send(&socket, &frame(99, &[]), &[file.as_fd()]),
        Way::Unread => send(&socket, &frame(99, &[]), &[]) && send(&socket, &frame(FILE, &[]), &[file.as_fd()]),
        Way::Unasked => send(&socket, &frame(FILE, &[]), &[file.as_fd()]),
    };
    process::exit(3);
}

fn no_thread_waits_while_a_file_of_a_worker_is_closed(kind: Kind) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let pool = warm_pool(kind, 2);
    let start = Instant::now();
    for way in [Way::BadFrame, Way::Unread, Way::Unasked] {
        let future = pool.submit(send_slow_file, (port, way)).unwrap();
        while !future.done() {
            assert_eq!(result(pool.submit(square, 5).unwrap()), Ok(25));
        }
        let outcome = future.result();
        assert!(matches!(outcome, Err(TaskError::WorkerDied { .. })), "{way:?}: {outcome:?}");
        assert_eq!(result(pool.submit(square, 6).unwrap()), Ok(36));
    }
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
    drop(pool);
    assert!(start.elapsed() < Duration::from_secs(30), "a thread has waited: {:?}", start.elapsed());
}

/// Traces a process as a debugger does: when it has ended, no other process can reap it before this one has. Not for ever.
fn trace((pid, directory): (i32, std::path::PathBuf)) -> bool {
    // SAFETY: the call reads and writes no memory of this process.
    let seized = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) };
    if seized != 0 {
        return false;
    }
    File::create(directory.join("traced")).unwrap();
    let start = Instant::now();
    while !directory.join("let go").exists() && start.elapsed() < LONG / 4 {
        std::thread::sleep(Duration::from_millis(1));
    }
    // SAFETY: no status is written.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) };
    true
}

/// Where a debugger or a device holds up the end of a worker, or the system has much memory to take back.
fn no_thread_waits_for_a_worker_that_takes_long_to_end(kind: Kind) {
    fn run_for_ever(path: std::path::PathBuf) {
        fs::write(&path, process::id().to_string()).unwrap();
        fs::rename(&path, path.with_extension("pid")).unwrap();
        loop {
            std::thread::sleep(LONG);
        }
    }
    let tracers = kind.builder().max_workers(1).build().unwrap();
    for (workers, is_stopped) in [(1, false), (2, false), (1, true), (2, true)] {
        let directory = tempfile::tempdir().unwrap();
        restore_sigpipe();
        let pool = kind.builder().max_workers(workers).grace(Duration::ZERO).build().unwrap();
        let held = pool.submit(run_for_ever, directory.path().join("new")).unwrap();
        let note = directory.path().join("new.pid");
        while !note.exists() {
            std::thread::yield_now();
        }
        let pid: i32 = fs::read_to_string(note).unwrap().parse().unwrap();
        let tracer = tracers.submit(trace, (pid, directory.path().to_owned())).unwrap();
        while !directory.path().join("traced").exists() {
            if tracer.done() {
                assert_eq!(result(tracer), Ok(false));
                println!("this system lets no process trace another");
                return;
            }
        }
        if is_stopped {
            assert!(held.kill());
        } else {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
        // Others go on, more than one reading of the socket and one look at the clock.
        for _ in 0..20 {
            assert_eq!(result(pool.submit(square, 5).unwrap()), Ok(25));
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!held.done(), "its last answer may come until its process is gone");
        let late = pool.submit(|(): ()| std::thread::sleep(LONG), ()).unwrap();
        assert!(late.kill(), "{late:?}");
        assert_eq!(result(late), Err(TaskError::Cancelled));
        assert!(!held.done(), "a thread has waited for the one that takes long");
        File::create(directory.path().join("let go")).unwrap();
        let outcome = result(held);
        if is_stopped {
            assert_eq!(outcome, Err(TaskError::Cancelled));
        } else {
            let exit = executor_core::WorkerExit::Signal(9);
            assert_eq!(outcome, Err(TaskError::WorkerDied { pid: pid.cast_unsigned(), exit }));
        }
        assert_eq!(result(tracer), Ok(true));
        assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
    }
}

fn each_answer_is_told_of_while_long_ones_are_read(kind: Kind) {
    fn big(length: usize) -> Vec<u8> {
        vec![7; length]
    }
    fn wait_for(token: CancelToken) {
        while !token.is_cancelled() {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    let pool = warm_pool(kind, 1);
    let start = Instant::now();
    let mut rounds = 0;
    // As long as a test may take; more rounds find more.
    while start.elapsed() < Duration::from_secs(2) {
        rounds += 1;
        for x in 0..60 {
            result(pool.submit(square, x).unwrap()).unwrap();
        }
        let token = CancelToken::new();
        let (sender, receiver) = mpsc::channel();
        let large: Vec<_> = (0..8).map(|_| pool.submit(big, 190 << 10).unwrap()).collect();
        let small = pool.submit(square, 3).unwrap();
        small.add_done_callback(move |_| sender.send(()).unwrap());
        // Ends when `small` is known to have ended.
        let last = pool.submit(wait_for, token.clone()).unwrap();
        assert!(receiver.recv_timeout(LONG).is_ok(), "an answer lies unread in round {rounds}");
        token.cancel();
        result(last).unwrap();
        assert!(large.into_iter().all(|future| result(future).unwrap().len() == 190 << 10));
    }
}

/// A text, all letters of it the same, and segments of shared memory.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Big {
    text: String,
    pieces: Vec<SharedBytes>,
}

fn is_all(text: &str, letter: u8) -> bool {
    text.bytes().all(|byte| byte == letter)
}

/// The longest definition and the longest argument that fit into a ring, with as many segments before them as there may be, and
/// everything full behind them.
#[test]
fn what_comes_before_a_request_has_room_as_well() {
    fn both(argument: Big, bound: &Big) -> (bool, bool, usize) {
        let pieces = argument.pieces.len() + bound.pieces.len();
        (is_all(&argument.text, b'a'), is_all(&bound.text, b'c'), pieces)
    }
    fn hold((text, path): (String, std::path::PathBuf)) -> bool {
        while !path.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        is_all(&text, b'h')
    }
    fn eat(text: String) -> (usize, bool) {
        (text.len(), is_all(&text, b'e'))
    }
    let kind = Kind { transport: Transport::SharedMemory, method: executor_core::StartMethod::ForkServer };
    let pieces: Vec<SharedBytes> =
        (0..240).map(|piece| SharedBytes::with_len(1 << 16, |bytes| bytes.fill(piece as u8))).collect();
    // Where in the ring it comes makes a difference.
    for (squares, shift) in [(300, 18), (200, 3), (250, 40)] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("go");
        let pool = warm_pool(kind, 1);
        for x in 200..squares {
            assert_eq!(result(pool.submit(square, x).unwrap()), Ok(x * x));
        }
        for _ in 0..shift {
            assert_eq!(result(pool.submit(eat, "e".repeat(2990)).unwrap()), Ok((2990, true)));
        }
        let config = Big { text: "c".repeat(64_500), pieces: pieces[..120].to_vec() };
        let argument = Big { text: "a".repeat(64_600), pieces: pieces[120..].to_vec() };
        let first = pool.submit(hold, ("h".repeat(65_200), path.clone())).unwrap();
        let second = pool.submit(partial(both, config), argument).unwrap();
        let behind: Vec<_> = (0..40).map(|_| pool.submit(eat, "e".repeat(60_000)).unwrap()).collect();
        File::create(&path).unwrap();
        assert_eq!(result(first), Ok(true));
        assert_eq!(result(second), Ok((true, true, 240)));
        for future in behind {
            assert_eq!(result(future), Ok((60_000, true)));
        }
        assert_eq!(pool.stats().died, 0);
    }
}
