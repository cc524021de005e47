//! `fork` without `exec`, by the program and by its tasks: a copy gets errors, and harms neither the program nor its workers.
#![cfg(target_os = "linux")]

mod pool_kinds;

use std::{
    io::{Read, Write},
    sync::atomic::{AtomicI32, Ordering},
    time::Duration,
};

use executor_core::{
    CancelToken, Executor, ProcessPoolExecutor, ReturnWhen, SharedBytes, Shutdown, SubmitError, TaskError, TaskFuture,
    TaskState, ThreadPoolExecutor, as_completed, partial, wait,
};
use pool_kinds::{Kind, on_every_kind_of_pool};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeTuple};

executor_core::test_worker!();

on_every_kind_of_pool!(
    what_a_copy_submits_is_refused_and_the_answers_are_the_programs,
    what_was_under_way_ends_with_an_error_in_a_copy,
    a_copy_drops_and_shuts_down_without_a_trace,
    a_copy_has_pools_of_its_own,
    a_task_that_forks_answers_once,
    a_copy_writes_nothing_into_the_answer,
    a_copy_that_is_made_where_a_value_is_read_ends_there,
    a_copy_that_is_made_where_a_result_is_written_cannot_write_it,
    a_copy_of_a_worker_sees_that_a_token_is_cancelled,
    an_initializer_that_forks_is_one_initializer,
    a_token_that_a_copy_cancels_is_cancelled_there,
    shared_bytes_never_change,
    a_copy_does_not_wait_for_bytes_that_the_program_was_sharing,
    the_tree_of_a_token_is_the_same_in_copies,
);

fn square(x: u64) -> u64 {
    x * x
}

fn never_return(_: ()) {
    loop {
        std::thread::park();
    }
}

/// Forks: 0 in the copy, which a signal ends if it hangs.
fn fork() -> i32 {
    // SAFETY: the copy takes no lock of the harness, and ends by `end`.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        // SAFETY: has no requirements.
        unsafe { libc::alarm(60) };
    }
    pid
}

/// The end of a copy, which cannot print: its exit code says which of its assertions is the first that has failed.
fn end(claims: &[bool]) -> ! {
    let wrong = claims.iter().position(|claim| !claim).map_or(0, |place| place + 1);
    // SAFETY: ends the copy.
    unsafe { libc::_exit(wrong.try_into().unwrap()) }
}

/// What a copy has said at its end, or by which signal it ended.
fn end_of(copy: i32) -> Result<i32, i32> {
    let mut status = 0;
    // SAFETY: the status is written to a number of ours.
    assert_eq!(unsafe { libc::waitpid(copy, &raw mut status, 0) }, copy);
    if libc::WIFEXITED(status) { Ok(libc::WEXITSTATUS(status)) } else { Err(libc::WTERMSIG(status)) }
}

fn what_a_copy_submits_is_refused_and_the_answers_are_the_programs(kind: Kind) {
    let pool = kind.builder().max_workers(1).build().unwrap();
    assert_eq!(pool.map(square, 0..300).chunk_size(1).map(Result::unwrap).count(), 300);
    let running = pool.submit(square, 1).unwrap();
    let copy = fork();
    if copy == 0 {
        end(&[
            matches!(pool.submit(square, 1000), Err(SubmitError::ShutDown)),
            matches!(pool.try_submit(square, 1000), Err(SubmitError::ShutDown)),
            pool.submit_many(square, 0..10).is_err(),
            pool.map(square, 0..10).collect::<Vec<_>>() == [Err(TaskError::ShutDown)],
            pool.warm_up() == Err(TaskError::Forked),
        ]);
    }
    assert_eq!(end_of(copy), Ok(0));
    let futures: Vec<_> = (2..6).map(|x| pool.submit(square, x).unwrap()).collect();
    let answers: Vec<_> = futures.into_iter().map(TaskFuture::result).collect();
    assert_eq!(answers, [Ok(4), Ok(9), Ok(16), Ok(25)]);
    assert_eq!(running.result(), Ok(1));
}

fn what_was_under_way_ends_with_an_error_in_a_copy(kind: Kind) {
    let pool = kind.builder().max_workers(1).build().unwrap();
    let done = pool.submit(square, 3).unwrap();
    assert!(done.wait_timeout(Duration::from_secs(60)));
    let running = pool.submit(never_return, ()).unwrap();
    while !running.running() {
        std::thread::yield_now();
    }
    let queued: Vec<_> = (0..4).map(|x| pool.submit(square, x).unwrap()).collect();
    let mut set = as_completed(queued.iter().take(2), None);
    let mut map = pool.map(square, 0..4).start();
    let copy = fork();
    if copy == 0 {
        let (sender, receiver) = std::sync::mpsc::channel();
        queued[3].add_done_callback(move |completed| sender.send(completed.failed()).unwrap());
        end(&[
            done.result() == Ok(9),
            !running.cancel() && !running.kill() && running.state() == TaskState::Failed,
            running.result() == Err(TaskError::Forked),
            !queued[2].cancel() && queued[2].done() && !queued[2].running(),
            set.by_ref().flatten().count() == 2,
            map.next() == Some(Err(TaskError::Forked)),
            wait(&queued, None, ReturnWhen::AllCompleted).done.len() == 4,
            !wait(&queued, None, ReturnWhen::FirstError).done.is_empty(),
            receiver.recv_timeout(Duration::from_secs(30)) == Ok(true),
        ]);
    }
    assert_eq!(end_of(copy), Ok(0));
    drop(set);
    assert!(running.kill());
    assert_eq!(queued.into_iter().map(TaskFuture::result).collect::<Vec<_>>(), [Ok(0), Ok(1), Ok(4), Ok(9)]);
    assert_eq!(map.map(Result::unwrap).collect::<Vec<_>>(), [0, 1, 4, 9]);
}

fn a_copy_drops_and_shuts_down_without_a_trace(kind: Kind) {
    let pool = kind.builder().max_workers(2).build().unwrap();
    pool.warm_up().unwrap();
    let running = pool.submit(never_return, ()).unwrap();
    while !running.running() {
        std::thread::yield_now();
    }
    let pids = pool.worker_pids();
    let copy = fork();
    if copy == 0 {
        pool.shutdown(Shutdown::Kill, None);
        pool.kill_workers();
        drop(running);
        drop(pool);
        end(&[]);
    }
    assert_eq!(end_of(copy), Ok(0));
    assert_eq!(pool.submit(square, 7).unwrap().result(), Ok(49));
    assert!(running.running());
    assert_eq!(pool.worker_pids(), pids);
    assert_eq!(pool.stats().died, 0);
    pool.kill_workers();
}

fn a_copy_has_pools_of_its_own(kind: Kind) {
    let pool = kind.builder().max_workers(1).build().unwrap();
    assert_eq!(pool.submit(square, 2).unwrap().result(), Ok(4));
    let copy = fork();
    if copy == 0 {
        let own = kind.builder().max_workers(1).build();
        let Ok(own) = own else { end(&[false]) };
        let squares: Vec<_> = own.map(square, 0..100).flatten().collect();
        let limited = own.submit_with(never_return, (), executor_core::TaskOptions::new().timeout(Duration::ZERO));
        let limited = limited.unwrap().result();
        drop(own);
        let threads = ThreadPoolExecutor::new(2).unwrap();
        let sum: u64 = threads.map(square, 0..4).flatten().sum();
        drop(threads);
        end(&[squares.len() == 100, matches!(limited, Err(TaskError::TimedOut { .. })), sum == 14]);
    }
    assert_eq!(end_of(copy), Ok(0));
    assert_eq!(pool.submit(square, 3).unwrap().result(), Ok(9));
}

/// Says which process answers. The copy returns from the task as well, or panics there.
fn fork_and_return(panics: bool) -> u32 {
    // SAFETY: the copy does nothing but return.
    let pid = unsafe { libc::fork() };
    assert!(pid > 0 || !panics, "the copy panics");
    if pid > 0 {
        // SAFETY: the status of a child is of no interest.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    }
    std::process::id()
}

fn a_task_that_forks_answers_once(kind: Kind) {
    let pool = kind.builder().max_workers(1).build().unwrap();
    pool.warm_up().unwrap();
    let own = pool.worker_pids()[0];
    for round in 0..20 {
        assert_eq!(pool.submit(fork_and_return, round % 2 == 1).unwrap().result(), Ok(own));
        assert_eq!(pool.submit(square, round).unwrap().result(), Ok(round * round));
    }
    let all: Vec<_> = pool.map(fork_and_return, [false, true, false, true]).chunk_size(4).collect();
    assert_eq!(all, [Ok(own), Ok(own), Ok(own), Ok(own)]);
    assert_eq!(pool.stats().died, 0);
}

/// What `fork` has said, which is something else in the copy. The copy is gone before the second half is written.
#[derive(Debug, PartialEq, Deserialize)]
struct Said(bool, bool);

struct Says(i32);

impl Serialize for Says {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_copy = self.0 == 0;
        let mut both = serializer.serialize_tuple(2)?;
        both.serialize_element(&is_copy)?;
        if !is_copy {
            // SAFETY: the status of a child is of no interest.
            unsafe { libc::waitpid(self.0, std::ptr::null_mut(), 0) };
        }
        both.serialize_element(&is_copy)?;
        both.end()
    }
}

/// A value that travels as [`Says`] and arrives as [`Said`].
#[derive(Deserialize)]
#[serde(from = "Said")]
struct Both(Result<Says, Said>);

impl From<Said> for Both {
    fn from(said: Said) -> Self {
        Self(Err(said))
    }
}

impl Serialize for Both {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Ok(says) => says.serialize(serializer),
            Err(_) => Err(serde::ser::Error::custom("it has arrived")),
        }
    }
}

fn fork_and_say(panics: bool) -> Both {
    // SAFETY: the copy does nothing but return.
    let pid = unsafe { libc::fork() };
    assert!(pid > 0 || !panics, "the copy panics");
    Both(Ok(Says(pid)))
}

/// The copy has the memory in which the answer is written.
fn a_copy_writes_nothing_into_the_answer(kind: Kind) {
    let pool = kind.builder().max_workers(1).build().unwrap();
    let said = |both: Result<Both, TaskError>| both.unwrap().0.err();
    for panics in [false, true] {
        assert_eq!(said(pool.submit(fork_and_say, panics).unwrap().result()), Some(Said(false, false)));
    }
    for both in pool.map(fork_and_say, [false, true, false, true]).chunk_size(4) {
        assert_eq!(said(both), Some(Said(false, false)));
    }
    assert_eq!(pool.stats().died, 0);
}

/// Forks where it is read by a worker, and then, in the copy, ends as `reads` says. The worker goes on when the copy is gone.
#[derive(Serialize)]
struct ForksWhenRead {
    log: String,
    reads: bool,
}

impl<'de> Deserialize<'de> for ForksWhenRead {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (log, reads): (String, bool) = Deserialize::deserialize(deserializer)?;
        if executor_core::in_worker() {
            let copy = fork();
            if copy == 0 && !reads {
                return Err(serde::de::Error::custom("the copy cannot read it"));
            }
            if copy > 0 && end_of(copy) != Ok(0) {
                return Err(serde::de::Error::custom("the copy was not ended"));
            }
        }
        Ok(Self { log, reads })
    }
}

fn note(forks: ForksWhenRead) {
    std::fs::OpenOptions::new().append(true).create(true).open(forks.log).unwrap().write_all(b"x").unwrap();
}

fn note_here((): (), forks: &ForksWhenRead) {
    note(ForksWhenRead { log: forks.log.clone(), reads: forks.reads });
}

/// A value's `Deserialize` is the user's code as well: what it forks does not run the task, and answers nothing.
fn a_copy_that_is_made_where_a_value_is_read_ends_there(kind: Kind) {
    for reads in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let forks = || ForksWhenRead { log: log.to_str().unwrap().to_owned(), reads };
        let pool = kind.builder().max_workers(1).initializer(note, forks()).build().unwrap();
        assert_eq!(pool.submit(note, forks()).unwrap().result(), Ok(()));
        assert_eq!(pool.map(note, [forks(), forks()]).chunk_size(2).into_vec(), Ok(vec![(); 2]));
        assert_eq!(pool.submit(partial(note_here, forks()), ()).unwrap().result(), Ok(()));
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "xxxxx", "{reads}");
        let pool = kind.builder().max_workers(1).initializer(partial(note_here, forks()), ()).build().unwrap();
        assert_eq!(pool.warm_up(), Ok(()));
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "xxxxxx", "{reads}");
        assert_eq!(pool.stats().died, 0);
    }
}

static COPY: AtomicI32 = AtomicI32::new(0);

/// Forks where it is written, between two halves. The copy waits until there is a file, and writes something else.
#[derive(Deserialize)]
#[serde(from = "Said")]
struct ForksWhenWritten(Result<String, Said>);

impl From<Said> for ForksWhenWritten {
    fn from(said: Said) -> Self {
        Self(Err(said))
    }
}

impl Serialize for ForksWhenWritten {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut both = serializer.serialize_tuple(2)?;
        both.serialize_element(&false)?;
        let mut is_copy = false;
        if let Ok(file) = &self.0 {
            let copy = fork();
            COPY.store(copy, Ordering::Relaxed);
            is_copy = copy == 0;
            while is_copy && !std::path::Path::new(file).exists() {
                std::thread::yield_now();
            }
        }
        both.serialize_element(&is_copy)?;
        both.end()
    }
}

fn write_twice((number, file): (u32, String)) -> ForksWhenWritten {
    if number == 0 {
        return ForksWhenWritten(Ok(file));
    }
    // What was written first is still where it was written.
    std::fs::write(file, "").unwrap();
    let _ = end_of(COPY.load(Ordering::Relaxed));
    ForksWhenWritten(Err(Said(false, false)))
}

/// A result's `Serialize` has not returned when the copy goes on.
fn a_copy_that_is_made_where_a_result_is_written_cannot_write_it(kind: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("go_on").to_str().unwrap().to_owned();
    let pool = kind.builder().max_workers(1).build().unwrap();
    let items = [0, 1].map(|number| (number, file.clone()));
    for written in pool.map(write_twice, items).chunk_size(2) {
        assert_eq!(written.unwrap().0, Err(Said(false, false)));
    }
    assert_eq!(pool.stats().died, 0);
}

fn fork_and_watch((token, file): (CancelToken, String)) -> Result<i32, i32> {
    let copy = fork();
    if copy == 0 {
        while !token.is_cancelled() {
            std::thread::yield_now();
        }
        end(&[token.child().is_cancelled()]);
    }
    std::fs::write(file, "").unwrap();
    end_of(copy)
}

/// Below a task there may be others that do its work.
fn a_copy_of_a_worker_sees_that_a_token_is_cancelled(kind: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("forked");
    let pool = kind.builder().max_workers(1).build().unwrap();
    let token = CancelToken::new();
    let task = pool.submit(fork_and_watch, (token.clone(), file.to_str().unwrap().to_owned())).unwrap();
    while !file.exists() {
        std::thread::yield_now();
    }
    token.cancel();
    assert_eq!(task.result(), Ok(Ok(0)));
}

fn fork_in_an_initializer(_: ()) {
    fork_and_return(false);
}

fn an_initializer_that_forks_is_one_initializer(kind: Kind) {
    let pool = kind.builder().max_workers(1).initializer(fork_in_an_initializer, ());
    let pool = pool.preload(fork_in_an_initializer, ()).build().unwrap();
    assert_eq!(pool.submit(square, 3).unwrap().result(), Ok(9));
    assert_eq!((pool.stats().died, pool.stats().respawned), (0, 0));
}

fn wait_for(token: CancelToken) {
    while !token.is_cancelled() {
        std::thread::yield_now();
    }
}

fn a_token_that_a_copy_cancels_is_cancelled_there(kind: Kind) {
    let pool = kind.builder().max_workers(1).build().unwrap();
    let token = CancelToken::new();
    let task = pool.submit(wait_for, token.clone()).unwrap();
    while !task.running() {
        std::thread::yield_now();
    }
    let copy = fork();
    if copy == 0 {
        token.cancel();
        let own = kind.builder().max_workers(1).build().unwrap();
        // It is sent to the copy's own worker, which sees that it is cancelled.
        let told = own.submit(wait_for, token).unwrap().result() == Ok(());
        drop(own);
        end(&[told]);
    }
    assert_eq!(end_of(copy), Ok(0));
    assert!(!task.wait_timeout(Duration::from_millis(300)), "the program has not cancelled it");
    token.cancel();
    assert_eq!(task.result(), Ok(()));
}

fn sum(bytes: SharedBytes) -> u64 {
    bytes.iter().copied().map(u64::from).sum()
}

fn shared(byte: u8) -> SharedBytes {
    SharedBytes::with_len(1 << 20, |bytes| bytes.fill(byte))
}

fn fork_with(bytes: SharedBytes) -> u64 {
    fork_and_return(false);
    sum(bytes)
}

fn shared_bytes_never_change(kind: Kind) {
    let pool = kind.builder().max_workers(1).build().unwrap();
    let is_all = |bytes: &SharedBytes, byte: u8| bytes.iter().all(|other| *other == byte);
    let bytes = shared(7);
    assert_eq!(pool.submit(sum, bytes.clone()).unwrap().result(), Ok(7 << 20));
    let (mut heard, mut told) = std::os::unix::net::UnixStream::pair().unwrap();
    let copy = fork();
    if copy == 0 {
        let kept = bytes.clone();
        drop(bytes);
        let others: Vec<_> = (20..30).map(shared).collect();
        // Until the program has dropped its own and used the memory again, if it did.
        let mut byte = [0];
        let read = heard.read_exact(&mut byte).is_ok();
        let own = kind.builder().max_workers(1).build().unwrap();
        let sent = own.submit(sum, kept.clone()).unwrap().result() == Ok(7 << 20);
        drop(own);
        end(&[read, is_all(&kept, 7), sent, others.iter().zip(20..).all(|(bytes, byte)| is_all(bytes, byte))]);
    }
    drop(bytes);
    let others: Vec<_> = (9..14).map(shared).collect();
    for (bytes, byte) in others.iter().zip(9..) {
        assert_eq!(pool.submit(fork_with, bytes.clone()).unwrap().result(), Ok(byte << 20));
    }
    told.write_all(&[1]).unwrap();
    assert_eq!(end_of(copy), Ok(0));
    assert!(others.iter().zip(9..).all(|(bytes, byte)| is_all(bytes, byte)));
}

/// Says when it is about to be encoded.
struct Announced(std::sync::mpsc::Sender<()>, SharedBytes);

impl Serialize for Announced {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.send(()).unwrap();
        self.1.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Announced {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(std::sync::mpsc::channel().0, SharedBytes::deserialize(deserializer)?))
    }
}

fn length_of(announced: Announced) -> usize {
    announced.1.len()
}

/// The same for tokens, while other threads add to the tree and cancel in it.
#[test]
fn no_token_is_waited_for_in_a_copy() {
    let token = CancelToken::new();
    let below = token.child().child();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    token.child().cancel();
                }
            });
        }
        for _ in 0..300 {
            let copy = fork();
            if copy == 0 {
                let later = below.child();
                let before = [token.is_cancelled(), below.is_cancelled(), later.is_cancelled()] == [false; 3];
                token.cancel();
                let after = [&token, &below, &later, &below.child()].map(CancelToken::is_cancelled) == [true; 4];
                end(&[before, after]);
            }
            let outcome = end_of(copy);
            over.store(outcome != Ok(0), std::sync::atomic::Ordering::Relaxed);
            assert_eq!(outcome, Ok(0));
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(!token.is_cancelled() && !below.is_cancelled());
}

/// Tokens of the program, in a copy and in a copy of that: the tree is what it was, and so for their workers.
fn the_tree_of_a_token_is_the_same_in_copies(kind: Kind) {
    let root = CancelToken::new();
    let middle = root.child();
    let leaf = middle.child();
    let other = root.child();
    let copy = fork();
    if copy == 0 {
        let inner = fork();
        if inner == 0 {
            let own = kind.builder().max_workers(1).build().unwrap();
            let task = own.submit(wait_for, leaf.clone()).unwrap();
            let new = leaf.child();
            let none = [&root, &middle, &leaf, &other, &new].map(CancelToken::is_cancelled) == [false; 5];
            root.cancel();
            let told = task.result() == Ok(());
            drop(own);
            end(&[none, told, [&root, &middle, &leaf, &other, &new].map(CancelToken::is_cancelled) == [true; 5]]);
        }
        let inner = end_of(inner) == Ok(0);
        let own = kind.builder().max_workers(1).build().unwrap();
        let task = own.submit(wait_for, leaf.clone()).unwrap();
        middle.cancel();
        let told = task.result() == Ok(());
        drop(own);
        let cancelled = [&root, &middle, &leaf, &other].map(CancelToken::is_cancelled);
        end(&[inner, told, cancelled == [false, true, true, false]]);
    }
    assert_eq!(end_of(copy), Ok(0));
    assert_eq!([&root, &middle, &leaf, &other].map(CancelToken::is_cancelled), [false; 4]);
}

/// Bytes of a vector are copied to where workers see them when they are first sent, which takes a while.
fn a_copy_does_not_wait_for_bytes_that_the_program_was_sharing(kind: Kind) {
    const LENGTH: usize = 64 << 20;
    let pool = kind.builder().max_workers(1).build().unwrap();
    pool.warm_up().unwrap();
    let bytes = SharedBytes::from(vec![1; LENGTH]);
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let own = Announced(sender.clone(), bytes.clone());
        let submits = scope.spawn(|| pool.submit(length_of, own).unwrap().result());
        receiver.recv().unwrap();
        // One of these is in the middle of it.
        let copies = [0; 2].map(|_| {
            let copy = fork();
            if copy == 0 {
                let own = kind.builder().max_workers(1).build().unwrap();
                // The program's channel may have been locked by the other thread in the moment of the fork.
                let (announces, _announced) = std::sync::mpsc::channel();
                let sent = own.submit(length_of, Announced(announces, bytes.clone())).unwrap().result();
                drop(own);
                end(&[sent == Ok(LENGTH)]);
            }
            copy
        });
        assert_eq!(copies.map(end_of), [Ok(0); 2]);
        assert_eq!(submits.join().unwrap(), Ok(LENGTH));
    });
}

/// The same for pools whose tasks run in this process.
macro_rules! in_process {
    ($name:ident, $pool:expr) => {
        #[test]
        fn $name() {
            let pool = $pool;
            let (sender, receiver) = std::sync::mpsc::channel::<()>();
            let running = pool.spawn(move || receiver.recv().is_ok()).unwrap();
            while !running.running() {
                std::thread::yield_now();
            }
            let queued = pool.spawn(|| 7).unwrap();
            let copy = fork();
            if copy == 0 {
                let claims = [
                    matches!(pool.spawn(|| 1), Err(SubmitError::ShutDown)),
                    matches!(pool.submit(square, 1), Err(SubmitError::ShutDown)),
                    matches!(pool.map(square, 0..4).into_vec(), Err(TaskError::ShutDown)),
                    pool.stats() == executor_core::Stats::default(),
                    !queued.cancel() && queued.result() == Err(TaskError::Forked),
                    running.result() == Err(TaskError::Forked),
                    pool.shutdown(Shutdown::Drain, None) == executor_core::ShutdownReport::default(),
                ];
                drop(pool);
                end(&claims);
            }
            assert_eq!(end_of(copy), Ok(0));
            sender.send(()).unwrap();
            assert_eq!((running.result(), queued.result()), (Ok(true), Ok(7)));
            // A task that forks: the copy ends when it returns.
            let own = std::process::id();
            for round in 0..10 {
                let task = pool.spawn(move || fork_and_return(round % 2 == 1)).unwrap();
                assert_eq!(task.result(), Ok(own));
            }
        }
    };
}

in_process!(a_copy_keeps_away_from_a_thread_pool, ThreadPoolExecutor::new(1).unwrap());
#[cfg(feature = "rayon")]
in_process!(
    a_copy_keeps_away_from_rayons_threads,
    executor_core::RayonExecutor::builder().max_workers(1).build().unwrap()
);

#[test]
fn a_scope_does_not_wait_in_a_copy() {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let mut copy = 1;
    let outcome = pool.scope(|scope| {
        scope.spawn(move || receiver.recv().unwrap()).unwrap();
        copy = fork();
        if copy > 0 {
            sender.send(()).unwrap();
        }
    });
    if copy == 0 {
        end(&[outcome == Err(TaskError::Forked)]);
    }
    assert_eq!(outcome, Ok(()));
    assert_eq!(end_of(copy), Ok(0));
}

/// The program may also fork while other threads are in the middle of everything.
#[test]
fn no_lock_is_waited_for_in_a_copy() {
    let process = ProcessPoolExecutor::builder().max_workers(1).build().unwrap();
    let threads = ThreadPoolExecutor::new(2).unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    let future = threads.submit(square, 2).unwrap();
                    future.add_done_callback(|_| ());
                    assert_eq!(process.submit(square, 3).unwrap().result(), Ok(9));
                    assert_eq!(future.result(), Ok(4));
                }
            });
        }
        for _ in 0..100 {
            let future = process.submit(square, 5).unwrap();
            let copy = fork();
            if copy == 0 {
                let lost = process.submit(square, 1).is_err() && threads.submit(square, 1).is_err();
                let answer = match future.state() {
                    TaskState::Finished => Ok(25),
                    _ => Err(TaskError::Forked),
                };
                let own = ThreadPoolExecutor::new(1).unwrap();
                let (sender, receiver) = std::sync::mpsc::channel();
                own.submit(square, 6).unwrap().on_result(move |result| sender.send(result).unwrap());
                let called = receiver.recv_timeout(Duration::from_secs(30)) == Ok(Ok(36));
                drop(own);
                end(&[lost, future.result() == answer, called]);
            }
            let outcome = end_of(copy);
            over.store(outcome != Ok(0), std::sync::atomic::Ordering::Relaxed);
            assert_eq!(outcome, Ok(0));
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
