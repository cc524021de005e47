//! Workers that violate the protocol beside their answers, with bytes, frames and files: each fails its own tasks and nothing else,
//! over every transport.
#![cfg(target_os = "linux")]

mod pool_kinds;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{IoSlice, pipe},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use executor_core::{Executor, SharedBytes, Shutdown, TaskError, TaskFuture};
use pool_kinds::{Kind, on_every_kind_of_pool};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

executor_core::test_worker!();

on_every_kind_of_pool!(a_protocol_violation_costs_the_tasks_of_its_worker);

/// For what must happen: a test that waits longer has failed.
const LONG: Duration = Duration::from_secs(60);

/// A worker's socket to its parent.
fn control_socket() -> OwnedFd {
    let entries = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap());
    let is_socket = |path| fs::read_link(path).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"));
    let entry = entries.into_iter().find(|entry| is_socket(entry.path())).unwrap();
    let number: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
    // SAFETY: the process has it open until it ends.
    unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned().unwrap()
}

fn next(random: &mut u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random >> 11
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 1).to_le_bytes()[..], &[kind], body].concat()
}

/// Sends what violates the protocol, as the seed says.
fn violate_protocol(seed: u64) -> u32 {
    let mut random = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let socket = control_socket();
    let send = |bytes: &[u8], files: &[BorrowedFd<'_>]| {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(files.is_empty() || ancillary.push(SendAncillaryMessage::ScmRights(files)));
        // The parent may have hung up, or read nothing any more.
        let _ = sendmsg(&socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    };
    let null = File::open("/dev/null").unwrap();
    let (reader, _writer) = pipe().unwrap();
    for _ in 0..40 {
        let kind = (next(&mut random) % 40) as u8;
        let body: Vec<u8> = (0..next(&mut random) % 60).map(|_| next(&mut random) as u8).collect();
        match seed % 6 {
            0 => send(&body, &[]),
            1 => send(&u32::MAX.to_le_bytes(), &[]),
            2 => send(&frame(kind, &body), &[]),
            3 => send(&frame(kind, &body), &[null.as_fd(), reader.as_fd()]),
            // More than there is room for in one message, beside frames of every kind.
            4 => (0..40).for_each(|kind| send(&frame(kind, &[]), &[null.as_fd(); 20])),
            // Half a frame, and a file.
            _ => send(&1000_u32.to_le_bytes()[..2], &[reader.as_fd()]),
        }
    }
    std::process::id()
}

fn work(x: u64) -> (u64, SharedBytes) {
    (x * x, SharedBytes::with_len(if x.is_multiple_of(10) { 70_000 } else { 10 }, |bytes| bytes.fill(x as u8)))
}

fn is_right(x: u64, (square, bytes): &(u64, SharedBytes)) -> bool {
    *square == x * x && bytes.iter().all(|byte| *byte == x as u8)
}

fn result<T: Send + 'static>(future: TaskFuture<T>) -> Result<T, TaskError> {
    match future.result_timeout(LONG) {
        Ok(result) => result,
        Err(future) => panic!("no result: {future:?}"),
    }
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn a_protocol_violation_costs_the_tasks_of_its_worker(kind: Kind) {
    // It counts the process's descriptors.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // Whatever stays for the program's lifetime is there now.
    let first = kind.builder().max_workers(1).build().unwrap();
    assert!(is_right(10, &first.submit(work, 10).unwrap().result().unwrap()));
    drop(first);
    let before = descriptors();
    // A worker that has begun a frame and not ended it can send no answer any more: only its time limit tells.
    let builder = kind.builder().max_workers(3).grace(Duration::ZERO).task_timeout(Duration::from_millis(500));
    let pool = builder.build().unwrap();
    pool.warm_up().unwrap();
    let (mut liars, mut dead) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..60 {
        let liar = pool.submit(violate_protocol, seed).unwrap();
        let futures: Vec<_> = (0..40).map(|x| (x, pool.submit(work, x).unwrap())).collect();
        match result(liar) {
            Ok(pid) => drop(liars.insert(pid)),
            Err(TaskError::WorkerDied { pid, .. }) => drop(liars.insert(pid)),
            // Its answer was changed by what it has sent.
            Err(error) => assert!(matches!(error, TaskError::Decode { .. } | TaskError::TimedOut { .. }), "{error:?}"),
        }
        for (x, future) in futures {
            match result(future) {
                Ok(answer) => assert!(is_right(x, &answer), "task {x} of round {seed}"),
                Err(TaskError::WorkerDied { pid, .. }) => drop(dead.insert(pid)),
                // An answer of a worker that had violated the protocol and was not found out before.
                Err(error @ (TaskError::Decode { .. } | TaskError::TimedOut { .. })) => drop(error),
                Err(error) => panic!("task {x} of round {seed}: {error:?}"),
            }
        }
    }
    println!("{kind:?}: {} liars, {} of them died with a task", liars.len(), dead.len());
    assert!(dead.is_subset(&liars), "{dead:?} {liars:?}");
    assert!(liars.len() > 10, "they are found out");
    // New workers, which send none.
    while !pool.worker_pids().iter().all(|pid| !liars.contains(pid)) {
        let exit = |(): ()| -> () { std::process::exit(0) };
        assert!(result(pool.submit(exit, ()).unwrap()).is_err());
    }
    for x in 0..100 {
        assert!(is_right(x, &result(pool.submit(work, x).unwrap()).unwrap()));
    }
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
    drop(pool);
    // The files that the workers have sent are closed by a thread that no other one waits for.
    let start = Instant::now();
    while descriptors() > before {
        assert!(start.elapsed() < LONG, "{} descriptors, and there were {before}", descriptors());
        std::thread::yield_now();
    }
}
