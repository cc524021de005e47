//! The promises of the start methods: a preload that runs once and is shared, and nothing that a fork can break.
#![cfg(target_os = "linux")]

mod pool_kinds;

use std::{
    collections::BTreeSet,
    fs,
    sync::{Mutex, OnceLock, mpsc},
    time::{Duration, Instant},
};

use executor_core::{
    CancelToken, Executor, ProcessPoolBuilder, SharedBytes, StartMethod, TaskError, TaskOptions, ThreadPoolExecutor,
};
use pool_kinds::{Kind, on_every_kind_of_pool};

executor_core::test_worker!();

on_every_kind_of_pool!(
    over every transport;
    a_preload_runs_once_and_its_memory_is_shared,
    a_spawned_worker_runs_the_preload_by_itself,
    an_initializer_runs_after_the_preload_and_in_every_worker,
    a_failing_preload_breaks_the_pool,
    a_preload_that_ends_its_process_is_given_up,
    a_preload_that_takes_too_long_is_given_up,
    a_preload_may_use_threads_but_not_leave_them,
    a_preload_may_use_pools_with_time_limits_and_callbacks,
    tasks_of_forked_workers_may_lock_allocate_start_threads_and_programs,
    a_token_reaches_preload_and_tasks,
    a_worker_holds_nothing_of_other_workers,
    a_fork_server_that_is_stopped_holds_up_no_task,
    a_fork_server_that_is_stopped_before_it_is_ready_is_replaced,
    what_two_preloads_have_made_is_not_mixed_up,
);

static TABLE: OnceLock<Vec<u64>> = OnceLock::new();
static LOCK: Mutex<u64> = Mutex::new(0);

const LONG: Duration = Duration::from_secs(60);

fn builder(kind: Kind, workers: usize) -> ProcessPoolBuilder {
    Kind { method: StartMethod::ForkServer, ..kind }.builder().max_workers(workers)
}

/// Notes in a file that it has run, and fills the table.
fn fill_table(log: String, size: u64) {
    let runs = fs::read_to_string(&log).unwrap_or_default();
    fs::write(log, format!("{runs}x")).unwrap();
    TABLE.set((0..size).collect()).unwrap();
}

fn look_up(index: u64) -> u64 {
    TABLE.get().unwrap()[index as usize]
}

fn parent_of(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn kill(pid: u32) {
    assert!(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

fn a_preload_runs_once_and_its_memory_is_shared(kind: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    // 32 MiB.
    let pool = builder(kind, 3).preload(fill_table, (log.to_str().unwrap().to_owned(), 4 << 20)).build().unwrap();
    pool.warm_up().unwrap();
    assert_eq!(pool.map(look_up, 1000..2000).into_vec().unwrap(), (1000..2000).collect::<Vec<_>>());
    for pid in pool.worker_pids() {
        assert_eq!(parent_of(pid), std::process::id(), "workers are children of the program itself");
        let map = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let private = map.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).unwrap();
        let private: u64 = private.trim().strip_suffix(" kB").unwrap().trim().parse().unwrap();
        assert!(private < 16 << 10, "{private} kB of its own");
    }
    assert_eq!(fs::read_to_string(&log).unwrap(), "x");
    // A worker that dies gets a successor from the same fork server, and the preload does not run again.
    assert!(pool.submit(|(): ()| -> () { std::process::abort() }, ()).unwrap().result().is_err());
    assert_eq!(pool.map(look_up, 0..10).into_vec().unwrap().len(), 10);
    assert_eq!(fs::read_to_string(&log).unwrap(), "x");
    // A fork server that dies is started again when the next worker is needed.
    kill(pool.fork_server_pid().unwrap());
    for _ in 0..3 {
        assert!(pool.submit(|(): ()| -> () { std::process::abort() }, ()).unwrap().result().is_err());
    }
    pool.warm_up().unwrap();
    assert_eq!(pool.map(look_up, 0..10).into_vec().unwrap().len(), 10);
    assert_eq!(fs::read_to_string(&log).unwrap(), "xx");
}

fn a_spawned_worker_runs_the_preload_by_itself(kind: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log").to_str().unwrap().to_owned();
    let pool = Kind { method: StartMethod::Spawn, ..kind }
        .builder()
        .max_workers(1)
        .preload(fill_table, (log.clone(), 10))
        .build()
        .unwrap();
    assert_eq!(pool.submit(look_up, 7).unwrap().result(), Ok(7));
    assert_eq!(fs::read_to_string(log).unwrap(), "x");
    assert_eq!(pool.fork_server_pid(), None);
}

fn an_initializer_runs_after_the_preload_and_in_every_worker(kind: Kind) {
    let pool = builder(kind, 2).preload(|(): ()| *LOCK.lock().unwrap() += 1, ());
    let pool = pool.initializer(|(): ()| *LOCK.lock().unwrap() += 10, ()).build().unwrap();
    pool.warm_up().unwrap();
    for seen in pool.map(|_: u64| *LOCK.lock().unwrap(), 0..20).chunk_size(1) {
        assert_eq!(seen, Ok(11));
    }
}

fn a_failing_preload_breaks_the_pool(kind: Kind) {
    let failing = builder(kind, 1).preload(|(): ()| Err::<(), _>("no disk"), ()).build().unwrap();
    let panicking = builder(kind, 1).preload(|(): ()| -> () { panic!("no disk") }, ()).build().unwrap();
    for pool in [failing, panicking] {
        match pool.submit(look_up, 1).unwrap().result() {
            Err(TaskError::InitializerFailed { cause }) => assert!(cause.to_string().contains("no disk"), "{cause}"),
            other => panic!("{other:?}"),
        }
        assert!(pool.warm_up().is_err());
        assert_eq!(pool.fork_server_pid(), None);
    }
}

fn a_preload_that_ends_its_process_is_given_up(kind: Kind) {
    let pool = builder(kind, 1).preload(|(): ()| -> () { std::process::exit(7) }, ()).build().unwrap();
    match pool.submit(look_up, 1).unwrap().result() {
        Err(TaskError::NoWorker { cause }) => {
            assert!(cause.to_string().contains("(exit code 7): does the preload end it?"), "{cause}");
        }
        other => panic!("{other:?}"),
    }
}

fn a_preload_that_takes_too_long_is_given_up(kind: Kind) {
    let pool = builder(kind, 1).startup_timeout(Duration::from_millis(200));
    let pool = pool
        .preload(
            |(): ()| -> () {
                loop {
                    std::thread::park();
                }
            },
            (),
        )
        .build()
        .unwrap();
    let future = pool.submit(look_up, 1).unwrap();
    // The pool can be used meanwhile: no thread waits for the fork server with the pool's lock.
    let start = Instant::now();
    assert_eq!(pool.stats().queued, 1);
    assert!(start.elapsed() < Duration::from_millis(150));
    match future.result() {
        Err(TaskError::NoWorker { cause }) => assert!(cause.to_string().contains("longer startup_timeout"), "{cause}"),
        other => panic!("{other:?}"),
    }
}

fn a_preload_may_use_threads_but_not_leave_them(kind: Kind) {
    let joins = |(): ()| {
        let threads: Vec<_> = (0..8).map(|_| std::thread::spawn(|| *LOCK.lock().unwrap() += 1)).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    };
    let pool = builder(kind, 1).preload(joins, ()).build().unwrap();
    assert_eq!(pool.submit(|(): ()| *LOCK.lock().unwrap(), ()).unwrap().result(), Ok(8));
    let leaves = |(): ()| {
        std::thread::spawn(|| {
            loop {
                std::thread::park();
            }
        });
    };
    let pool = builder(kind, 1).preload(leaves, ()).build().unwrap();
    match pool.submit(look_up, 1).unwrap().result() {
        Err(TaskError::InitializerFailed { cause }) => assert!(cause.to_string().contains("threads"), "{cause}"),
        other => panic!("{other:?}"),
    }
}

/// The threads of this crate that keep time limits and run callbacks are not the preload's to end.
fn a_preload_may_use_pools_with_time_limits_and_callbacks(kind: Kind) {
    let limits = || {
        let pool = ThreadPoolExecutor::new(2).unwrap();
        let options = TaskOptions::new().timeout(LONG).queue_timeout(LONG);
        let futures: Vec<_> = (0..4).map(|x: u64| pool.submit_with(|x: u64| x + 1, x, options).unwrap()).collect();
        let (called, calls) = mpsc::channel();
        for future in &futures {
            let called = called.clone();
            future.add_done_callback(move |_| called.send(()).unwrap());
        }
        drop(called);
        assert_eq!(calls.iter().count(), 4);
        // A limit that is over, too.
        let late = pool.submit_with(|(): ()| (), (), TaskOptions::new().queue_timeout(Duration::ZERO)).unwrap();
        assert!(matches!(late.result(), Ok(()) | Err(TaskError::Expired { .. })));
        *LOCK.lock().unwrap() += futures.into_iter().map(|future| future.result().unwrap()).sum::<u64>();
        *LOCK.lock().unwrap()
    };
    let preload = move |(): ()| _ = limits();
    let pool = builder(kind, 2).preload(preload, ()).build().unwrap();
    // In a worker that was forked there are such threads again.
    let sum = pool.submit(move |(): ()| limits(), ()).unwrap().result();
    assert_eq!(sum, Ok(20));
    assert_eq!(fs::read_dir(format!("/proc/{}/task", pool.fork_server_pid().unwrap())).unwrap().count(), 2);
}

fn tasks_of_forked_workers_may_lock_allocate_start_threads_and_programs(kind: Kind) {
    let pool = builder(kind, 2).preload(|(): ()| *LOCK.lock().unwrap() += 1, ()).build().unwrap();
    let busy = |x: u64| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(move || {
                    println!("{x}");
                    *LOCK.lock().unwrap() += vec![x; 10_000].iter().sum::<u64>();
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let output = std::process::Command::new("echo").arg(x.to_string()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for (x, echo) in pool.map(busy, 0..20).enumerate() {
        assert_eq!(echo.unwrap(), format!("{x}\n"));
    }
}

fn a_token_reaches_preload_and_tasks(kind: Kind) {
    let token = CancelToken::new();
    token.cancel();
    let pool = builder(kind, 1)
        .preload(|token: CancelToken| *LOCK.lock().unwrap() = token.is_cancelled().into(), token.clone());
    let pool = pool.build().unwrap();
    let look = |token: CancelToken| (*LOCK.lock().unwrap(), token.is_cancelled());
    assert_eq!(pool.submit(look, token).unwrap().result(), Ok((1, true)));
}

fn a_worker_holds_nothing_of_other_workers(kind: Kind) {
    let pool = builder(kind, 3).build().unwrap();
    pool.warm_up().unwrap();
    let mut seen = BTreeSet::new();
    for pid in pool.worker_pids().into_iter().chain(pool.fork_server_pid()) {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let links = files.filter_map(|file| fs::read_link(file.unwrap().path()).ok());
        // A descriptor for the tasks and one for the watch are of the same socket.
        let sockets: BTreeSet<_> = links.filter(|link| link.to_string_lossy().starts_with("socket:")).collect();
        assert_eq!(sockets.len(), 1, "{pid}: {sockets:?}");
        assert!(seen.insert(sockets), "a socket is in two processes");
    }
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

fn a_fork_server_that_is_stopped_holds_up_no_task(kind: Kind) {
    let pool = builder(kind, 2).build().unwrap();
    let mut deaths = 0;
    // On a machine that is very busy the fork server may be given up before the tasks are done: then once more.
    let was_seen = (0..10).any(|_| {
        pool.warm_up().unwrap();
        let server = pool.fork_server_pid().unwrap();
        signal(server, rustix::process::Signal::STOP);
        kill(pool.worker_pids()[0]);
        deaths += 1;
        // From then on the fork server has been asked for another one.
        while pool.stats().died < deaths {
            std::thread::yield_now();
        }
        for x in 0..20 {
            assert_eq!(pool.submit(|x: u64| x + 1, x).unwrap().result(), Ok(x + 1));
        }
        let future = pool.submit(|x: u64| x, 7).unwrap();
        future.cancel();
        pool.fork_server_pid() == Some(server)
    });
    assert!(was_seen, "the other worker runs tasks while the fork server does not answer");
    // It is replaced.
    pool.warm_up().unwrap();
    assert_eq!(pool.worker_pids().len(), 2);
}

fn begin_when_there_is(file: String) {
    while !std::path::Path::new(&file).exists() {
        std::thread::yield_now();
    }
}

fn a_fork_server_that_is_stopped_before_it_is_ready_is_replaced(kind: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("begin");
    let builder = builder(kind, 1).startup_timeout(Duration::from_secs(2));
    let pool = builder.preload(begin_when_there_is, file.to_str().unwrap().to_owned()).build().unwrap();
    let future = pool.submit(|x: u64| x + 1, 1).unwrap();
    let server = loop {
        match pool.fork_server_pid() {
            Some(server) => break server,
            None => std::thread::yield_now(),
        }
    };
    signal(server, rustix::process::Signal::STOP);
    fs::write(&file, "").unwrap();
    assert_eq!(future.result(), Ok(2));
    assert_ne!(pool.fork_server_pid(), Some(server));
}

static PIECE: OnceLock<SharedBytes> = OnceLock::new();

/// A value that differs in each fork server.
fn fill_piece(_: ()) {
    let own = std::process::id().to_le_bytes();
    PIECE
        .set(SharedBytes::with_len(100_000, |bytes| bytes.chunks_mut(4).for_each(|chunk| chunk.copy_from_slice(&own))))
        .unwrap();
}

/// The segment, and the bytes with which it begins here.
fn piece_or_end(index: u8) -> ([u8; 4], SharedBytes) {
    if index == 3 {
        std::process::abort();
    }
    let piece = PIECE.get().unwrap();
    (piece[..4].try_into().unwrap(), piece.clone())
}

/// A chunk that two workers answer, each forked from a fork server of its own.
fn what_two_preloads_have_made_is_not_mixed_up(kind: Kind) {
    let pool = builder(kind, 1).preload(fill_piece, ()).build().unwrap();
    pool.warm_up().unwrap();
    kill(pool.fork_server_pid().unwrap());
    let results: Vec<_> = pool.map(piece_or_end, 0..6).chunk_size(6).collect();
    let mut seen = BTreeSet::new();
    for (index, result) in results.into_iter().enumerate().filter(|(index, _)| *index != 3) {
        let (begin, piece) = result.unwrap();
        assert_eq!(piece[..4], begin, "item {index}");
        seen.insert(begin);
    }
    assert_eq!(seen.len(), 2, "both fork servers had a part in it");
}
