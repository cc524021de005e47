//! What workers inherit from the program, its system and its terminal, and what they leave behind.
//!
//! Tests that change the whole process run in programs of their own: tests that other tests start.
#![cfg(target_os = "linux")]

mod pool_kinds;

use std::{
    fs,
    io::{Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use executor_core::{
    CancelToken, Executor, PoolState, ProcessPoolBuilder, ProcessPoolExecutor, SharedBytes, Shutdown, StartMethod,
    TaskError, TaskOptions, Transport,
};
use pool_kinds::{Kind, on_every_kind_of_pool};
use rustix::{
    process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit, setrlimit},
    time::{ClockId, clock_gettime},
};

executor_core::test_worker!();

on_every_kind_of_pool!(
    what_a_task_has_started_ends_with_it,
    what_a_task_has_started_ends_with_its_worker,
    what_a_task_has_started_may_live_on,
    a_program_that_a_task_starts_is_no_worker,
    a_task_has_no_terminal,
    the_destructor_of_a_thread_local_may_submit,
    a_worker_that_may_open_nothing_more_lives_on,
);

fn kinds() -> impl Iterator<Item = Kind> {
    let transports = [Transport::SharedMemory, Transport::Socket];
    let with = |method| move |transport| Kind { transport, method };
    transports.map(with(StartMethod::Spawn)).into_iter().chain(transports.map(with(StartMethod::ForkServer)))
}

/// Runs a test of this file as a program.
fn program(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    command
}

fn succeeds(name: &str) {
    let output = program(name).stdin(Stdio::null()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
}

fn square(x: u64) -> u64 {
    x * x
}

/// Whether the process is there and more than a zombie.
fn is_alive(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// Its signal was sent before the event that the caller has seen, and the kernel acts on it soon.
fn ends_soon(pid: u32) -> bool {
    let start = Instant::now();
    while is_alive(pid) {
        if start.elapsed() > Duration::from_secs(60) {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

/// Starts something that ignores SIGTERM and never ends, and tells of it in a file.
#[expect(clippy::zombie_processes, reason = "it is to outlive its worker")]
fn start_a_child(file: &Path) {
    let mut child = Command::new("/bin/sh");
    child.args(["-c", "trap '' TERM; echo ready; exec sleep 1000"]).stdout(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let mut ready = [0; 5];
    child.stdout.take().unwrap().read_exact(&mut ready).unwrap();
    fs::write(file.with_extension("new"), child.id().to_string()).unwrap();
    fs::rename(file.with_extension("new"), file).unwrap();
}

fn start_a_child_and_hang(file: PathBuf) {
    start_a_child(&file);
    loop {
        std::thread::park();
    }
}

fn start_a_child_and_return(file: PathBuf) {
    start_a_child(&file);
}

fn start_a_child_and_abort(file: PathBuf) {
    start_a_child(&file);
    std::process::abort();
}

fn child_in(file: &Path) -> u32 {
    loop {
        if let Ok(text) = fs::read_to_string(file) {
            fs::remove_file(file).unwrap();
            return text.parse().unwrap();
        }
        std::thread::yield_now();
    }
}

fn one_worker(kind: Kind) -> ProcessPoolBuilder {
    kind.builder().max_workers(1).grace(Duration::from_secs(20))
}

fn what_a_task_has_started_ends_with_it(kind: Kind) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("child");
    let pool = one_worker(kind).build().unwrap();
    // Killed by its future.
    let task = pool.submit(start_a_child_and_hang, file.clone()).unwrap();
    let child = child_in(&file);
    assert!(is_alive(child) && task.kill());
    assert_eq!(task.result(), Err(TaskError::Cancelled));
    assert!(ends_soon(child));
    // By its time limit.
    let limit = TaskOptions::new().timeout(Duration::from_millis(500));
    let task = pool.submit_with(start_a_child_and_hang, file.clone(), limit).unwrap();
    assert!(matches!(task.result(), Err(TaskError::TimedOut { .. })));
    // The limit may have come before the child.
    if file.exists() {
        assert!(ends_soon(child_in(&file)));
    }
    // By its own crash.
    let task = pool.submit(start_a_child_and_abort, file.clone()).unwrap();
    assert!(matches!(task.result(), Err(TaskError::WorkerDied { .. })));
    assert!(ends_soon(child_in(&file)));
    // By the end of the pool.
    let task = pool.submit(start_a_child_and_hang, file.clone()).unwrap();
    let child = child_in(&file);
    pool.shutdown(Shutdown::Kill, None);
    assert_eq!(task.result(), Err(TaskError::ShutDown));
    assert!(ends_soon(child));
}

fn what_a_task_has_started_ends_with_its_worker(kind: Kind) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("child");
    let pool = one_worker(kind).build().unwrap();
    pool.submit(start_a_child_and_return, file.clone()).unwrap().result().unwrap();
    let child = child_in(&file);
    assert_eq!(pool.submit(square, 5).unwrap().result(), Ok(25));
    assert!(is_alive(child), "its worker is there");
    drop(pool);
    assert!(ends_soon(child));
}

fn what_a_task_has_started_may_live_on(kind: Kind) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("child");
    let pool = one_worker(kind).kill_process_group(false).build().unwrap();
    let task = pool.submit(start_a_child_and_hang, file.clone()).unwrap();
    let child = child_in(&file);
    assert!(task.kill());
    assert_eq!(task.result(), Err(TaskError::Cancelled));
    drop(pool);
    assert!(is_alive(child));
    let pid = rustix::process::Pid::from_raw(child.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// A program that may be taken for a worker.
/// As programs do that are not to open files any more.
fn open_nothing_more(_: ()) -> u32 {
    setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..getrlimit(Resource::Nofile) }).unwrap();
    std::process::id()
}

fn a_worker_that_may_open_nothing_more_lives_on(kind: Kind) {
    let pool = one_worker(kind).build().unwrap();
    let pid = pool.submit(open_nothing_more, ()).unwrap().result().unwrap();
    let signal = |signal| kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
    for _ in 0..3 {
        // A thread that sleeps there begins to sleep once more.
        signal(Signal::STOP);
        while !fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") T ") {}
        signal(Signal::CONT);
        for x in 0..100 {
            assert_eq!(pool.submit(square, x).unwrap().result(), Ok(x * x));
        }
    }
    assert_eq!(pool.worker_pids(), [pid], "it has ended");
    drop(pool);
    assert!(ends_soon(pid));
}

#[test]
#[ignore = "changes the user of its process"]
fn program_that_changes_its_user() {
    for kind in kinds() {
        let pool = one_worker(kind).grace(Duration::from_millis(10)).build().unwrap();
        pool.warm_up().unwrap();
        let [real, effective, saved] = [65_534, 65_534, 0];
        // SAFETY: has no requirements.
        if unsafe { libc::setresuid(real, effective, saved) } != 0 {
            // The process is an ordinary user's, which cannot become another one.
            return;
        }
        let options = TaskOptions::new().timeout(Duration::from_millis(50));
        let late = pool.submit_with(never_return, (), options).unwrap();
        let late = late.result_timeout(Duration::from_secs(60)).expect("it is ended");
        assert!(matches!(late, Err(TaskError::TimedOut { .. })), "{late:?}");
        // SAFETY: has no requirements.
        assert_eq!(unsafe { libc::setresuid(0, 0, 0) }, 0);
        assert_eq!(pool.submit(square, 3).unwrap().result(), Ok(9));
    }
}

#[test]
fn a_program_that_changes_its_user_can_end_its_workers() {
    succeeds("program_that_changes_its_user");
}

/// Sets the limit of threads of the process that starts the workers of this pool, which they inherit.
fn set_most_threads(server: Option<u32>, most: Option<u64>) {
    let server = server.map(|pid| Pid::from_raw(pid.cast_signed()).unwrap());
    prlimit(server, Resource::Nproc, Rlimit { current: most, ..getrlimit(Resource::Nproc) }).unwrap();
}

#[test]
#[ignore = "changes the user and the limits of its process"]
fn program_whose_workers_have_no_threads() {
    // No other process has this user, and it has no privileges.
    // SAFETY: has no requirements.
    if unsafe { libc::setresuid(61_423, 61_423, 61_423) } != 0 {
        // The process is an ordinary user's, which cannot become another one.
        return;
    }
    let threads = |pid: u32| fs::read_dir(format!("/proc/{pid}/task")).unwrap().count() as u64;
    for kind in kinds() {
        let pool = one_worker(kind).build().unwrap();
        pool.warm_up().unwrap();
        let server = pool.fork_server_pid();
        // For the process of a worker, and for no thread of it.
        set_most_threads(server, Some(threads(std::process::id()) + server.map_or(0, threads) + 1));
        assert!(matches!(pool.submit(exit, ()).unwrap().result(), Err(TaskError::WorkerDied { .. })));
        let early = pool.submit(square, 3).unwrap().result_timeout(Duration::from_secs(60)).expect("it ends");
        assert!(matches!(early, Err(TaskError::NoWorker { .. })), "{kind:?}, {early:?}");
        assert_eq!(pool.state(), PoolState::Active, "{kind:?}");
        assert!(matches!(pool.warm_up(), Err(TaskError::NoWorker { .. })));
        assert_eq!(pool.fork_server_pid(), server);
        set_most_threads(server, getrlimit(Resource::Nproc).maximum);
        assert_eq!(pool.submit(square, 3).unwrap().result(), Ok(9));
    }
}

#[test]
fn workers_that_get_no_thread_for_a_moment_do_not_break_the_pool() {
    succeeds("program_whose_workers_have_no_threads");
}

#[test]
#[ignore = "changes the limits of its process"]
fn program_that_may_open_nothing_more() {
    for kind in kinds() {
        let limit = getrlimit(Resource::Nofile);
        let pool = one_worker(kind).build().unwrap();
        pool.warm_up().unwrap();
        open_nothing_more(());
        assert_eq!(pool.submit(square, 3).unwrap().result(), Ok(9));
        let spent = || Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap();
        let before = spent();
        std::thread::sleep(Duration::from_millis(200));
        let taken = spent() - before;
        assert!(taken < Duration::from_millis(100), "{taken:?} of processor time for nothing");
        // The death of a worker is noticed.
        assert!(matches!(pool.submit(exit, ()).unwrap().result(), Err(TaskError::WorkerDied { .. })));
        setrlimit(Resource::Nofile, limit).unwrap();
        assert_eq!(pool.submit(square, 4).unwrap().result(), Ok(16));
    }
}

#[test]
fn a_program_that_may_open_nothing_more_waits_all_the_same() {
    succeeds("program_that_may_open_nothing_more");
}

#[test]
#[ignore = "runs as the child of another test"]
fn program_that_begins_with_init() {
    executor_core::init();
    println!("this is no worker");
}

fn start_with_sockets(_: ()) -> Vec<String> {
    let (open, other) = UnixStream::pair().unwrap();
    let (hung_up, closed) = UnixStream::pair().unwrap();
    drop(closed);
    let (mut talks, told) = UnixStream::pair().unwrap();
    talks.write_all(&[b'a'; 100]).unwrap();
    let says = |socket: UnixStream| {
        let output = program("program_that_begins_with_init").stdin(OwnedFd::from(socket)).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.contains("this is no worker") { "fine".to_owned() } else { format!("{output:?}") }
    };
    let all = vec![says(open), says(hung_up), says(told)];
    drop((other, talks));
    all
}

fn a_program_that_a_task_starts_is_no_worker(kind: Kind) {
    let pool = kind.builder().max_workers(1).build().unwrap();
    assert_eq!(pool.submit(start_with_sockets, ()).unwrap().result().unwrap(), ["fine", "fine", "fine"]);
}

/// The lines of `/proc/<pid>/status` about blocked and ignored signals: of the worker, and of a process that its task starts.
fn signals(_: ()) -> [u64; 4] {
    let own = fs::read_to_string("/proc/thread-self/status").unwrap();
    let child = Command::new("/bin/cat").arg("/proc/self/status").output().unwrap();
    let child = String::from_utf8(child.stdout).unwrap();
    let number = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        // Without the two that the C library keeps for itself.
        u64::from_str_radix(line.trim(), 16).unwrap() & !(0b11 << 31)
    };
    [number(&own, "SigBlk:"), number(&own, "SigIgn:"), number(&child, "SigBlk:"), number(&child, "SigIgn:")]
}

fn never_return(_: ()) {
    loop {
        std::thread::park();
    }
}

#[test]
#[ignore = "runs as the child of another test"]
fn program_that_blocks_and_ignores_signals() {
    let bit = |signal: i32| 1_u64 << (signal - 1);
    // The dispositions of the process that has started the tests are handed on: `nohup`, or a shell's `&`.
    let told = signals(())[1] & (bit(libc::SIGINT) | bit(libc::SIGQUIT) | bit(libc::SIGXFSZ));
    // SAFETY: an empty set is made, filled, and blocked in this thread and those that it starts.
    let mut set = unsafe { std::mem::zeroed::<libc::sigset_t>() };
    // SAFETY: the set is valid.
    unsafe { libc::sigfillset(&raw mut set) };
    // SAFETY: the set is valid, and no old one is asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    for signal in [libc::SIGTERM, libc::SIGCHLD, libc::SIGUSR1, libc::SIGALRM, libc::SIGHUP] {
        // SAFETY: ignoring a signal has no requirements.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    for kind in kinds() {
        let pool = kind.builder().max_workers(1).grace(Duration::from_secs(600)).build().unwrap();
        let [blocked, ignored, childs_blocked, childs_ignored] = pool.submit(signals, ()).unwrap().result().unwrap();
        assert_eq!((blocked, childs_blocked), (0, 0), "{kind:?}");
        // SIGPIPE is ignored by Rust's runtime, and SIGHUP was perhaps ignored by the process that has started the program.
        assert_eq!(ignored, told | bit(libc::SIGHUP) | bit(libc::SIGPIPE), "{kind:?}");
        // Rust's runtime gives children the usual SIGPIPE.
        assert_eq!(childs_ignored, told | bit(libc::SIGHUP), "{kind:?}");
        let task = pool.submit(never_return, ()).unwrap();
        while !task.running() {
            std::thread::yield_now();
        }
        // SIGTERM ends it: no thread waits for the grace time.
        assert!(task.kill());
        let outcome = task.result_timeout(Duration::from_secs(60));
        if outcome.is_err() {
            pool.kill_workers();
        }
        assert_eq!(outcome.ok(), Some(Err(TaskError::Cancelled)), "{kind:?}");
    }
}

#[test]
fn a_worker_is_not_deaf_because_its_program_is() {
    succeeds("program_that_blocks_and_ignores_signals");
}

/// A task does what stops a process in the background of a terminal.
fn use_the_terminal(_: ()) -> bool {
    let tty = fs::File::options().read(true).write(true).open("/dev/tty");
    eprintln!("a task has written this");
    tty.is_err()
}

fn a_task_has_no_terminal(kind: Kind) {
    // The terminal in which the tests are run, if there is one.
    let pool = kind.builder().max_workers(1).build().unwrap();
    assert_eq!(pool.submit(use_the_terminal, ()).unwrap().result(), Ok(true));
}

#[test]
#[ignore = "runs as the child of another test"]
fn program_with_a_terminal() {
    rustix::process::setsid().unwrap();
    // SAFETY: the call opens a new terminal.
    let master = unsafe { libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC) };
    assert!(master >= 0);
    // SAFETY: it is open.
    assert_eq!(unsafe { libc::grantpt(master) }, 0);
    // SAFETY: it is open.
    assert_eq!(unsafe { libc::unlockpt(master) }, 0);
    let mut name = [0_u8; 64];
    // SAFETY: the buffer is as long as it says.
    assert_eq!(unsafe { libc::ptsname_r(master, name.as_mut_ptr().cast(), name.len()) }, 0);
    let name = std::ffi::CStr::from_bytes_until_nul(&name).unwrap().to_str().unwrap();
    // The first terminal that the leader of a session opens is its own; what it starts writes there.
    let terminal = fs::File::options().read(true).write(true).open(name).unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&terminal);
    // SAFETY: for this plain C structure zero is a valid value.
    let mut modes = unsafe { std::mem::zeroed::<libc::termios>() };
    // SAFETY: the modes are written to memory of their type.
    assert_eq!(unsafe { libc::tcgetattr(fd, &raw mut modes) }, 0);
    modes.c_lflag |= libc::TOSTOP;
    // SAFETY: the modes are those of this terminal, but for one bit.
    assert_eq!(unsafe { libc::tcsetattr(fd, libc::TCSANOW, &raw const modes) }, 0);
    // SAFETY: both are open.
    assert!(unsafe { libc::dup2(fd, 2) } == 2 && fs::File::open("/dev/tty").is_ok());
    for kind in kinds() {
        let pool = kind.builder().max_workers(1).build().unwrap();
        let outcome = pool.submit(use_the_terminal, ()).unwrap().result_timeout(Duration::from_secs(60));
        if outcome.is_err() {
            pool.kill_workers();
        }
        // It would be written to the terminal, which no process reads.
        if outcome.ok() != Some(Ok(true)) {
            std::process::exit(7);
        }
    }
}

#[test]
fn a_task_is_not_stopped_by_the_programs_terminal() {
    succeeds("program_with_a_terminal");
}

#[test]
#[ignore = "runs as the child of another test"]
fn program_whose_file_is_touched() {
    for kind in kinds() {
        let pool = kind.builder().max_workers(1).max_tasks_per_child(1).build().unwrap();
        for x in 0..4 {
            assert_eq!(pool.submit(square, x).unwrap().result(), Ok(x * x), "{kind:?}");
            let file = fs::File::open(std::env::current_exe().unwrap()).unwrap();
            file.set_modified(std::time::SystemTime::now() + Duration::from_secs(x)).unwrap();
        }
    }
}

#[test]
fn a_program_whose_file_is_touched_is_the_same_build() {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let mut command = Command::new(copy);
    command.args(["program_whose_file_is_touched", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn print_into(file: PathBuf) {
    let file = fs::File::create(file).unwrap();
    // SAFETY: both are open.
    assert_eq!(unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&file), 1) }, 1);
    // Without a line's end it stays in a buffer.
    print!("[loaded]");
}

/// A worker that ends by itself, and so writes what is in its buffers.
fn exit(_: ()) {
    std::process::exit(0);
}

#[test]
fn what_a_preload_has_printed_is_printed_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("output");
    let pool = ProcessPoolExecutor::builder().start_method(StartMethod::ForkServer).max_workers(1);
    let pool = pool.preload(print_into, file.clone()).build().unwrap();
    for _ in 0..3 {
        assert!(pool.submit(exit, ()).unwrap().result().is_err());
    }
    drop(pool);
    assert_eq!(fs::read_to_string(file).unwrap(), "[loaded]");
}

thread_local! {
    static LATE: std::cell::RefCell<Option<Late>> = const { std::cell::RefCell::new(None) };
}

/// Uses a pool when it is dropped.
struct Late(std::sync::Arc<ProcessPoolExecutor>, std::sync::mpsc::Sender<u64>);

impl Late {
    fn use_pool(pool: &ProcessPoolExecutor) -> u64 {
        let bytes = SharedBytes::with_len(1 << 20, |bytes| bytes.fill(1));
        let one = pool.submit(square, 3).unwrap().result().unwrap();
        let many: u64 = pool.map(square, 0..4).map(Result::unwrap).sum();
        one + many + pool.submit(length, (bytes, CancelToken::new())).unwrap().result().unwrap()
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        self.1.send(Self::use_pool(&self.0)).unwrap();
    }
}

fn length((bytes, token): (SharedBytes, CancelToken)) -> u64 {
    u64::from(token.is_cancelled()) + bytes.len() as u64
}

const USED: u64 = 9 + 14 + (1 << 20);

fn the_destructor_of_a_thread_local_may_submit(kind: Kind) {
    let pool = std::sync::Arc::new(kind.builder().max_workers(1).build().unwrap());
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        LATE.set(Some(Late(pool.clone(), sender)));
        // Those that were used first end last.
        Late::use_pool(&pool)
    });
    assert_eq!(receiver.recv(), Ok(USED));
    assert_eq!(thread.join().unwrap(), USED);
}

static POOL: std::sync::OnceLock<ProcessPoolExecutor> = std::sync::OnceLock::new();

extern "C" fn at_exit() {
    println!("exit: {}", Late::use_pool(POOL.get().unwrap()) == USED);
}

#[test]
#[ignore = "runs as the child of another test"]
fn program_with_an_exit_handler() {
    let pool = POOL.get_or_init(|| ProcessPoolExecutor::new(1).unwrap());
    assert_eq!(Late::use_pool(pool), USED);
    // SAFETY: the function may run at the end of the process.
    assert_eq!(unsafe { libc::atexit(at_exit) }, 0);
    std::process::exit(0);
}

#[test]
fn an_exit_handler_may_submit() {
    let output = program("program_with_an_exit_handler").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("exit: true"), "{text}");
}
