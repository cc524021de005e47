//! A worker's memory limit: a refused allocation costs the task that asked for it, and is told apart from other aborts.
#![cfg(target_os = "linux")]

mod pool_kinds;

use executor_core::{Executor, PoolState, ProcessPoolBuilder, TaskError, WorkerExit};
use pool_kinds::{Kind, on_every_kind_of_pool};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

executor_core::test_worker!();

const MIB: u64 = 1 << 20;

/// A kind of pool, and whether std prints a backtrace when it aborts: then it makes many calls in between.
#[derive(Clone, Copy)]
struct Limited(Kind, bool);

fn limited(kind: Kind) -> Limited {
    Limited(kind, false)
}

fn limited_with_backtrace(kind: Kind) -> Limited {
    Limited(kind, true)
}

macro_rules! on_every_kind {
    ($($scenario:ident),* $(,)?) => {
        mod without_backtrace {
            use super::*;

            on_every_kind_of_pool!(from crate::limited; $($scenario),*);
        }
        mod with_backtrace {
            use super::*;

            on_every_kind_of_pool!(from crate::limited_with_backtrace; $($scenario),*);
        }
    };
}

on_every_kind!(
    reaching_the_limit_costs_that_task,
    asking_for_far_too_much_costs_that_task,
    the_limit_holds_for_a_tasks_threads,
    a_plain_abort_is_none_of_it,
    a_refusal_that_a_task_copes_with_ends_no_worker,
    of_a_chunk_only_the_item_that_was_refused_is_lost,
    an_initializer_that_reaches_the_limit_breaks_the_pool,
);

fn builder(Limited(kind, backtrace): Limited) -> ProcessPoolBuilder {
    let builder = kind.builder().env("RUST_BACKTRACE", if backtrace { "1" } else { "0" });
    builder.max_workers(1).memory_limit(64 * MIB)
}

mod steps {
    use super::*;

    // A fork server that may open no file would not fork.
    pool_kinds::on_this_kind_of_pool!(
        rings,
        SharedMemory,
        Spawn,
        std::convert::identity,
        a_step_of_a_start_that_fails_for_a_moment_is_tried_again
    );
    pool_kinds::on_this_kind_of_pool!(
        sockets,
        Socket,
        Spawn,
        std::convert::identity,
        a_step_of_a_start_that_fails_for_a_moment_is_tried_again
    );
}

/// From now on this process may open no file, if there is one of this name; takes that away, if it is not to stay.
fn use_up_files((name, stays): (String, bool)) {
    let is_there = if stays { std::fs::exists(name).unwrap() } else { std::fs::remove_file(name).is_ok() };
    if is_there {
        // The standard streams and the socket.
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(4), ..limit }).unwrap();
    }
}

/// The limit is set by the worker itself, which needs a file for that.
fn a_step_of_a_start_that_fails_for_a_moment_is_tried_again(kind: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("no files").to_str().unwrap().to_owned();
    let pool = |stays| {
        std::fs::write(&name, "").unwrap();
        builder(limited(kind)).preload(use_up_files, (name.clone(), stays)).build().unwrap()
    };
    assert_eq!(pool(false).submit(take, 8 * MIB).unwrap().result(), Ok(128));
    // What lasts too long costs the tasks that wait, says which step it is, and is not remembered.
    let pool = pool(true);
    match pool.submit(take, 8 * MIB).unwrap().result() {
        Err(TaskError::NoWorker { cause }) => assert!(cause.to_string().contains("limit its memory"), "{cause}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(pool.state(), PoolState::Active);
    std::fs::remove_file(&name).unwrap();
    assert_eq!(pool.submit(take, 8 * MIB).unwrap().result(), Ok(128));
}

/// Takes so much in pieces of 64 KiB.
fn take(bytes: u64) -> u64 {
    let pieces: Vec<Vec<u8>> = (0..bytes / (64 << 10)).map(|_| std::hint::black_box(vec![1; 64 << 10])).collect();
    pieces.len() as u64
}

fn abort(_: u64) -> u64 {
    std::process::abort()
}

fn reaching_the_limit_costs_that_task(limited: Limited) {
    let pool = builder(limited).build().unwrap();
    let futures: Vec<_> = [8, 32, 128, 16].map(|mib| pool.submit(take, mib * MIB).unwrap()).into();
    let results: Vec<_> = futures.into_iter().map(|future| future.result()).collect();
    assert_eq!(results, [Ok(128), Ok(512), Err(TaskError::MemoryLimit), Ok(256)]);
    assert_eq!((pool.stats().died, pool.stats().respawned), (1, 1));
}

fn asking_for_far_too_much_costs_that_task(limited: Limited) {
    let pool = builder(limited).build().unwrap();
    let ask = |bytes: u64| std::hint::black_box(Vec::<u8>::with_capacity(bytes as usize)).capacity();
    assert_eq!(pool.submit(ask, 1 << 45).unwrap().result(), Err(TaskError::MemoryLimit));
    assert_eq!(pool.submit(ask, 65 * MIB).unwrap().result(), Err(TaskError::MemoryLimit));
    assert_eq!(pool.submit(ask, MIB).unwrap().result(), Ok(1 << 20));
}

fn the_limit_holds_for_a_tasks_threads(limited: Limited) {
    let pool = builder(limited).build().unwrap();
    let thread = |bytes: u64| std::thread::spawn(move || take(bytes)).join().unwrap();
    assert_eq!(pool.submit(thread, 128 * MIB).unwrap().result(), Err(TaskError::MemoryLimit));
    assert_eq!(pool.submit(thread, 8 * MIB).unwrap().result(), Ok(128));
    let refused = |(): ()| std::thread::Builder::new().stack_size(1 << 30).spawn(|| ()).is_err();
    assert_eq!(pool.submit(refused, ()).unwrap().result(), Ok(true));
}

fn a_plain_abort_is_none_of_it(limited: Limited) {
    let pool = builder(limited).build().unwrap();
    for _ in 0..3 {
        assert_eq!(pool.submit(take, 8 * MIB).unwrap().result(), Ok(128));
        let error = pool.submit(abort, 0).unwrap().result().unwrap_err();
        assert!(matches!(error, TaskError::WorkerDied { exit: WorkerExit::Signal(6), .. }), "{error}");
    }
}

fn a_refusal_that_a_task_copes_with_ends_no_worker(limited: Limited) {
    let pool = builder(limited).build().unwrap();
    let cope = |bytes: u64| Vec::<u8>::new().try_reserve_exact(bytes as usize).is_err();
    assert_eq!(pool.submit(cope, 128 * MIB).unwrap().result(), Ok(true));
    let error = pool.submit(abort, 0).unwrap().result().unwrap_err();
    assert!(matches!(error, TaskError::WorkerDied { exit: WorkerExit::Signal(6), .. }), "{error}");
}

fn of_a_chunk_only_the_item_that_was_refused_is_lost(limited: Limited) {
    let pool = builder(limited).build().unwrap();
    let results: Vec<_> = pool.map(take, [1, 2, 128, 4].map(|mib| mib * MIB)).chunk_size(4).collect();
    assert_eq!(results, [Ok(16), Ok(32), Err(TaskError::MemoryLimit), Ok(64)]);
}

fn an_initializer_that_reaches_the_limit_breaks_the_pool(limited: Limited) {
    let pool = builder(limited).initializer(|bytes: u64| assert!(take(bytes) > 0), 128 * MIB).build().unwrap();
    match pool.submit(take, 0).unwrap().result() {
        Err(TaskError::InitializerFailed { cause }) => assert!(cause.to_string().contains("memory limit"), "{cause}"),
        other => panic!("{other:?}"),
    }
    // Code and data that are loaded before do not count.
    let pool =
        builder(limited).preload(|bytes: u64| std::mem::forget(vec![1_u8; bytes as usize]), 128 * MIB).build().unwrap();
    assert_eq!(pool.submit(take, 8 * MIB).unwrap().result(), Ok(128));
}
