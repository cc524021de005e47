//! The ends of threads, workers and the program, where pools are used or printed text is written, and a file that changes meanwhile.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use executor_core::{CancelToken, Executor, ProcessPoolExecutor, SharedBytes, StartMethod};

use crate::{
    exit, kinds,
    pool_kinds::{Kind, on_every_kind_of_pool},
    program, square,
};

on_every_kind_of_pool!(the_destructor_of_a_thread_local_may_submit,);

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
    // By another program: a file that this process has open for writing, also in a child that another test forks, cannot be started.
    let copied = Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&copy).status().unwrap();
    assert!(copied.success());
    let mut command = Command::new(copy);
    command.args(["ends::program_whose_file_is_touched", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn print_into(file: PathBuf) {
    let file = fs::File::create(file).unwrap();
    // SAFETY: both are open.
    assert_eq!(unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&file), 1) }, 1);
    // Without a line's end it stays in a buffer.
    print!("[loaded]");
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
    let output = program("ends::program_with_an_exit_handler").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("exit: true"), "{text}");
}
