//! Workers that fail while they start: initializers, preloads, time limits and signals.

use std::{
    fs,
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use executor_core::{Executor, PoolState, SharedBytes, StartMethod, TaskError, partial};

use crate::{
    pool_kinds::{Kind, on_every_kind_of_pool},
    square, wait_until_exists,
};

on_every_kind_of_pool!(
    warm_up_ends_where_workers_leave_soon,
    warm_up_ends_where_workers_die_before_the_last_one_is_ready,
    a_failing_initializer_is_the_cause_that_all_tasks_get,
    a_worker_that_never_answers_is_given_up,
    an_initializer_that_ends_its_process_is_named,
    signals_to_processes_that_start_do_not_end_the_pool,
    a_good_initializer_has_run_before_the_first_task,
    an_initializer_and_a_preload_get_large_configurations,
);

fn warm_up_ends_where_workers_leave_soon(kind: Kind) {
    let pool = kind.builder().max_workers(4).idle_timeout(Duration::from_nanos(1)).build().unwrap();
    for x in 0..3 {
        pool.warm_up().unwrap();
        assert_eq!(pool.submit(square, x).unwrap().result(), Ok(x * x));
    }
}

/// Returns when no other worker is there any more, and lets this one live a little longer.
fn be_alone_for_a_moment(path: String) {
    let file = fs::File::create(path).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    thread::spawn(move || {
        // Long enough to become ready.
        thread::sleep(Duration::from_millis(30));
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
        drop(file);
    });
}

fn warm_up_ends_where_workers_die_before_the_last_one_is_ready(kind: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let lock = folder.path().join("lock").to_str().unwrap().to_owned();
    let builder = kind.builder().max_workers(2).startup_timeout(Duration::from_millis(700));
    let pool = Arc::new(builder.initializer(be_alone_for_a_moment, lock).build().unwrap());
    let (ended, end) = mpsc::channel();
    let warmed = Arc::clone(&pool);
    thread::spawn(move || ended.send(warmed.warm_up()));
    match end.recv_timeout(Duration::from_secs(20)) {
        Ok(Err(TaskError::NoWorker { cause })) => assert!(cause.to_string().contains("before all 2"), "{cause}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(pool.state(), PoolState::Active);
}

/// Each of them gets SIGTERM once, as from `kill` or `pkill`, until so many have.
fn terminate(mut pids: impl FnMut() -> Vec<u32>, count: usize) {
    let (start, mut ended) = (Instant::now(), Vec::new());
    while ended.len() < count {
        assert!(start.elapsed() < Duration::from_secs(10), "no other one is started after {ended:?}");
        for pid in pids() {
            if !ended.contains(&pid) {
                let process = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
                let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
                ended.push(pid);
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn signals_to_processes_that_start_do_not_end_the_pool(kind: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let names = ["preload", "initializer"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    let wait_for = |path: String| wait_until_exists(Path::new(&path));
    let builder = kind.builder().max_workers(1).preload(wait_for, names[0].clone());
    let pool = builder.initializer(wait_for, names[1].clone()).build().unwrap();
    let future = pool.submit(square, 7).unwrap();
    if kind.method == StartMethod::ForkServer {
        terminate(|| pool.fork_server_pid().into_iter().collect(), 5);
    }
    fs::write(&names[0], "").unwrap();
    terminate(|| pool.worker_pids(), 5);
    fs::write(&names[1], "").unwrap();
    assert_eq!(future.result(), Ok(49));
}

fn a_failing_initializer_is_the_cause_that_all_tasks_get(kind: Kind) {
    let builder = kind.builder().max_workers(1);
    let pool =
        builder.initializer(|name: String| -> Result<(), String> { Err(format!("no {name}")) }, "disk".to_owned());
    let pool = pool.build().unwrap();
    for _ in 0..2 {
        match pool.submit(square, 1).unwrap().result() {
            Err(TaskError::InitializerFailed { cause }) => assert!(cause.to_string().contains("no disk"), "{cause}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(pool.warm_up().is_err());
}

fn a_worker_that_never_answers_is_given_up(kind: Kind) {
    let pool = kind
        .builder()
        .max_workers(1)
        .startup_timeout(Duration::from_millis(200))
        .initializer(
            |(): ()| -> () {
                loop {
                    std::thread::park();
                }
            },
            (),
        )
        .build()
        .unwrap();
    match pool.submit(square, 1).unwrap().result() {
        Err(TaskError::NoWorker { cause }) => assert!(cause.to_string().contains("longer startup_timeout"), "{cause}"),
        other => panic!("{other:?}"),
    }
}

/// Which are shared where a task has them.
fn an_initializer_and_a_preload_get_large_configurations(kind: Kind) {
    #[expect(clippy::ptr_arg, reason = "what is bound is a vector")]
    fn vector(_: u64, bytes: &Vec<u8>) {
        assert!(bytes.len() == 100_000 && bytes.iter().all(|byte| *byte == 1));
    }
    fn shared(_: u64, (text, bytes): &(String, SharedBytes)) {
        assert!(text == "both" && bytes.len() == 100_000 && bytes.iter().all(|byte| *byte == 1));
    }
    let bytes = vec![1_u8; 100_000];
    let both = || ("both".to_owned(), SharedBytes::from(bytes.clone()));
    // That it has been encoded for tasks changes nothing.
    let (vector, shared) = (partial(vector, bytes.clone()), partial(shared, both()));
    let pool = kind.builder().max_workers(1).build().unwrap();
    assert_eq!(pool.submit(vector.clone(), 0).unwrap().result(), Ok(()));
    assert_eq!(pool.submit(shared.clone(), 0).unwrap().result(), Ok(()));
    let builder = || kind.builder().max_workers(1);
    let mut builders = vec![builder().initializer(vector.clone(), 0), builder().initializer(shared.clone(), 0)];
    if kind.method == StartMethod::ForkServer {
        builders.extend([builder().preload(vector, 0), builder().preload(shared, 0)]);
    }
    for (place, builder) in builders.into_iter().enumerate() {
        let pool = builder.build().unwrap();
        assert_eq!(pool.submit(|x: u64| x + 1, 1).unwrap().result(), Ok(2), "{place}");
    }
}

fn an_initializer_that_ends_its_process_is_named(kind: Kind) {
    let pool = kind.builder().max_workers(1).initializer(|(): ()| -> () { std::process::exit(4) }, ()).build().unwrap();
    match pool.submit(square, 1).unwrap().result() {
        Err(TaskError::NoWorker { cause }) => {
            assert!(cause.to_string().contains("(exit code 4): does the initializer"), "{cause}");
        }
        other => panic!("{other:?}"),
    }
}

fn a_good_initializer_has_run_before_the_first_task(kind: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let pool = kind
        .builder()
        .max_workers(1)
        .env("EXECUTOR_CORE_TEST", "seen")
        .current_dir(folder.path())
        .initializer(|text: String| fs::write("initialized", text).unwrap(), "yes".to_owned())
        .build()
        .unwrap();
    let look = |(): ()| (fs::read_to_string("initialized").unwrap(), std::env::var("EXECUTOR_CORE_TEST").unwrap());
    assert_eq!(pool.submit(look, ()).unwrap().result(), Ok(("yes".to_owned(), "seen".to_owned())));
}
