//! How the lives of workers begin and end: by their number of tasks, when they are idle, when they die.

mod gated;
mod pool_kinds;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use executor_core::{
    Executor, OnWorkerDeath, PoolState, ProcessPoolExecutor, SharedBytes, Shutdown, TaskError, TaskOptions,
};
use gated::{Gate, LONG, assert_squares, quick_pool, result, run_until, square, squares, until};
use pool_kinds::{Kind, on_every_kind_of_pool};
use serde::{Deserialize, Serialize, Serializer};

executor_core::test_worker!();

on_every_kind_of_pool!(
    workers_are_not_started_all_at_once,
    a_worker_ends_after_its_tasks,
    idle_workers_leave_and_come_back,
    a_retry_runs_a_task_again_and_no_more_often,
    a_retry_of_a_chunk_runs_what_has_no_answer,
    a_task_that_is_to_be_run_again_has_been_begun,
    a_task_that_is_to_be_run_again_runs_wherever_it_stands,
    workers_that_want_to_be_tried_again_are_not_waited_for_for_ever,
    a_death_breaks_a_strict_pool,
    a_broken_pool_keeps_nothing_back,
    what_a_chunk_has_answered_is_not_lost_with_its_pool,
    a_long_error_of_an_initializer_is_cut_and_told,
    no_more_tasks_run_at_once_than_there_may_be_workers,
    a_stopped_worker_costs_no_more_than_its_own_task,
    a_worker_that_is_stopped_before_it_is_ready_is_replaced,
    what_a_stopped_worker_has_not_begun_goes_to_others,
    an_idle_worker_does_not_wait_in_the_reading_of_its_next_request,
    what_a_stopped_worker_has_not_begun_in_time_is_not_begun,
    a_worker_that_dies_costs_nothing_that_it_has_not_begun,
);

fn kill(pid: u32) {
    signal(pid, "-9");
}

fn signal(pid: u32, signal: &str) {
    assert!(std::process::Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

fn pid_of_worker(_: u64) -> u32 {
    std::process::id()
}

/// How long a submit waits for the lock is not measured; but another thread has had it in between.
fn workers_are_not_started_all_at_once(kind: Kind) {
    const MOST: usize = 24;
    until("the lock is kept until all workers are started", || {
        let pool = Arc::new(kind.builder().max_workers(MOST).build().unwrap());
        let warmed = Arc::clone(&pool);
        let warm_up = std::thread::spawn(move || warmed.warm_up());
        let mut is_seen = false;
        while !warm_up.is_finished() {
            is_seen |= (2..MOST).contains(&pool.stats().workers);
        }
        assert_eq!(warm_up.join().unwrap(), Ok(()));
        is_seen
    });
}

fn a_worker_ends_after_its_tasks(kind: Kind) {
    for workers in [1, 2] {
        let pool = kind.builder().max_workers(workers).max_tasks_per_child(3).build().unwrap();
        let mut tasks = BTreeMap::new();
        for _ in 0..10 {
            *tasks.entry(result(pool.submit(pid_of_worker, 0).unwrap()).unwrap()).or_insert(0) += 1;
        }
        let futures: Vec<_> = (0..20).map(|x| pool.submit(pid_of_worker, x).unwrap()).collect();
        for future in futures {
            *tasks.entry(result(future).unwrap()).or_insert(0) += 1;
        }
        assert!(tasks.values().all(|count| *count <= 3), "{tasks:?}");
        assert_eq!((pool.stats().failed, pool.stats().died), (0, 0));
    }
}

fn idle_workers_leave_and_come_back(kind: Kind) {
    let pool = kind.builder().max_workers(2).idle_timeout(Duration::from_millis(20)).build().unwrap();
    for _ in 0..20 {
        assert_squares(squares(&pool, 3));
        until("idle workers stay", || pool.worker_pids().is_empty());
    }
    assert_eq!((pool.stats().failed, pool.stats().died), (0, 0));
}

/// Notes that it runs, and ends its process where this is not more than the `deaths`th time.
fn die(log: String, deaths: usize) -> usize {
    let runs = fs::read(&log).unwrap_or_default().len() + 1;
    fs::write(log, vec![b'x'; runs]).unwrap();
    if runs <= deaths { std::process::abort() } else { runs }
}

fn a_retry_runs_a_task_again_and_no_more_often(kind: Kind) {
    let pool = quick_pool(kind.builder().retry(1), 1);
    let gate = Gate::new();
    let once = pool.submit(die, (gate.name("once"), 1)).unwrap();
    let twice = pool.submit(die, (gate.name("twice"), 2)).unwrap();
    let behind = squares(&pool, 10);
    assert_eq!(result(once), Ok(2));
    assert!(matches!(result(twice), Err(TaskError::WorkerDied { .. })));
    assert_squares(behind);
    assert_eq!(fs::read(gate.path("twice")).unwrap().len(), 2);
    let stopped = pool.submit_with(
        run_until,
        (gate.name("started0"), gate.name("open")),
        TaskOptions::new().timeout(Duration::from_millis(100)),
    );
    assert!(matches!(result(stopped.unwrap()), Err(TaskError::TimedOut { .. })), "what was stopped is not run again");
}

fn a_retry_of_a_chunk_runs_what_has_no_answer(kind: Kind) {
    fn item(folder: String, x: u64) -> (u64, u64) {
        let log = format!("{folder}item{x}");
        let runs = fs::read(&log).unwrap_or_default().len() as u64 + 1;
        fs::write(log, vec![b'x'; runs as usize]).unwrap();
        if x % 10 == 3 && runs == 1 || x == 25 {
            std::process::abort();
        }
        (x, runs)
    }
    let gate = Gate::new();
    let folder = gate.name("");
    let pool = kind.builder().max_workers(1).retry(1).build().unwrap();
    let items = (0..30).map(|x| (folder.clone(), x));
    let results: Vec<_> = pool.map(|(folder, x): (String, u64)| item(folder, x), items).chunk_size(10).collect();
    for (x, result) in (0..).zip(results) {
        match x {
            25 => assert!(matches!(result, Err(TaskError::WorkerDied { .. }))),
            // The retry of this chunk was used up.
            _ => assert_eq!(result, Ok((x, if x % 10 == 3 { 2 } else { 1 }))),
        }
    }
}

/// The first worker is ready at once, and the others as soon as they may be.
fn hold_successors((first, open): (String, String)) {
    if fs::File::create_new(first).is_err() {
        until("successors are held", || Path::new(&open).exists());
    }
}

/// A caller that is told that a task was cancelled before it started, or has waited for too long, relies on its not having begun.
fn a_task_that_is_to_be_run_again_has_been_begun(kind: Kind) {
    let gate = Gate::new();
    let builder = kind.builder().max_workers(1).retry(1);
    let pool = builder.initializer(hold_successors, (gate.name("first"), gate.name("open"))).build().unwrap();
    pool.warm_up().unwrap();
    let hasty = TaskOptions::new().queue_timeout(Duration::from_secs(1));
    let begun = pool.submit_with(die, (gate.name("begun"), 1), hasty).unwrap();
    until("the worker has died", || pool.stats().died == 1);
    let behind = pool.submit_with(square, 3, hasty).unwrap();
    let queued = pool.submit(square, 3).unwrap();
    // The queue time of the first one was over before.
    assert!(matches!(result(behind), Err(TaskError::Expired { .. })));
    assert!(!begun.done() && begun.running() && !begun.cancel());
    let report = pool.shutdown(Shutdown::CancelQueued, Some(Duration::ZERO));
    assert_eq!((report.cancelled, report.queued), (1, 1));
    assert_eq!(result(queued), Err(TaskError::Cancelled));
    fs::write(gate.path("open"), "").unwrap();
    assert_eq!(result(begun), Ok(2));
}

/// The first two workers are ready at once, and the others as soon as they may be.
fn hold_all_but_two((folder, open): (String, String)) {
    if (0..2).all(|number| fs::File::create_new(format!("{folder}{number}")).is_err()) {
        until("successors are held", || Path::new(&open).exists());
    }
}

/// Tells the process, and ends it once it may, where it has not done so before.
fn tell_and_die(told: String, go: String) -> u32 {
    let runs_again = Path::new(&told).exists();
    fs::write(format!("{told}.new"), std::process::id().to_string()).unwrap();
    fs::rename(format!("{told}.new"), &told).unwrap();
    until("it may go on", || Path::new(&go).exists());
    if runs_again { std::process::id() } else { std::process::abort() }
}

fn a_task_that_is_to_be_run_again_runs_wherever_it_stands(kind: Kind) {
    let gate = Gate::new();
    let builder = kind.builder().max_workers(2).retry(1);
    let pool = builder.initializer(hold_all_but_two, (gate.name("ready"), gate.name("open"))).build().unwrap();
    pool.warm_up().unwrap();
    let begun = pool.submit(tell_and_die, (gate.name("told"), gate.name("go"))).unwrap();
    until("it runs", || gate.path("told").exists());
    let runs_it: u32 = fs::read_to_string(gate.path("told")).unwrap().parse().unwrap();
    let idle = *pool.worker_pids().iter().find(|pid| **pid != runs_it).unwrap();
    stop(idle);
    fs::write(gate.path("go"), "").unwrap();
    until("the worker has died", || pool.stats().died == 1);
    // It is in flight at the one that is stopped, which has not claimed it, and then in the queue again.
    let looks: Vec<bool> = (0..2_000).map(|_| begun.running() && !begun.cancel()).collect();
    fs::write(gate.path("open"), "").unwrap();
    // It may have been killed meanwhile, as one is that is stopped before a request that it has not read.
    let _ = std::process::Command::new("kill").args(["-CONT", &idle.to_string()]).output().unwrap();
    assert!(looks.iter().all(|runs| *runs), "{:?}", looks.iter().position(|runs| !runs));
    assert_ne!(result(begun), Ok(runs_it));
}

/// Ends a worker as one ends that was refused a resource for a moment.
fn ask_to_try_again(pause: Duration) {
    std::thread::sleep(pause);
    std::process::exit(75)
}

fn workers_that_want_to_be_tried_again_are_not_waited_for_for_ever(kind: Kind) {
    // Others that start meanwhile are no workers yet, and one may take long to say so.
    for (workers, pause) in [(2, 0), (2, 20), (1, 600)] {
        let builder = kind.builder().max_workers(workers);
        let pool = builder.initializer(ask_to_try_again, Duration::from_millis(pause)).build().unwrap();
        for future in squares(&pool, 4) {
            assert!(matches!(result(future), Err(TaskError::NoWorker { .. })), "{workers} {pause}");
        }
        assert_eq!(pool.state(), PoolState::Active);
    }
}

fn a_death_breaks_a_strict_pool(kind: Kind) {
    let pool = quick_pool(kind.builder().on_worker_death(OnWorkerDeath::BreakPool), 2);
    let gate = Gate::new();
    let long = gate.close(&pool);
    let dead = pool.submit(|(): ()| -> u64 { std::process::abort() }, ()).unwrap();
    assert!(matches!(result(dead), Err(TaskError::WorkerDied { .. } | TaskError::PoolBroken { .. })));
    assert!(matches!(result(long), Err(TaskError::PoolBroken { .. })));
    assert!(matches!(result(pool.submit(square, 1).unwrap()), Err(TaskError::PoolBroken { .. })));
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
}

/// An item that no worker can be given.
#[derive(Deserialize)]
struct Item(u64);

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == 3 { Err(serde::ser::Error::custom("on purpose")) } else { serializer.serialize_u64(self.0) }
    }
}

fn what_a_chunk_has_answered_is_not_lost_with_its_pool(kind: Kind) {
    let pool = quick_pool(kind.builder().on_worker_death(OnWorkerDeath::BreakPool), 1);
    let item = |Item(x): Item| if x == 1 { std::process::abort() } else { x };
    let results: Vec<_> = pool.map(item, (0..4).map(Item)).chunk_size(4).collect();
    let [done, dead, queued, bad] = &results[..] else { panic!("{results:?}") };
    assert_eq!(*done, Ok(0));
    assert!(matches!(dead, Err(TaskError::WorkerDied { .. })), "{dead:?}");
    assert!(matches!(queued, Err(TaskError::PoolBroken { .. })), "{queued:?}");
    assert!(matches!(bad, Err(TaskError::Encode { .. })), "{bad:?}");
}

fn a_long_error_of_an_initializer_is_cut_and_told(kind: Kind) {
    let complain = |length: usize| Err::<(), _>("\u{e9}".repeat(length));
    for length in [3, 9 << 20] {
        let builder = || kind.builder().max_workers(1);
        for builder in [builder().initializer(complain, length), builder().preload(complain, length)] {
            let pool = builder.build().unwrap();
            let error = result(pool.submit(square, 1).unwrap()).unwrap_err();
            let TaskError::InitializerFailed { cause } = &error else { panic!("{error:.200?}") };
            assert_eq!(cause.to_string().chars().count(), length.min(32 * 1024));
        }
    }
}

fn a_broken_pool_keeps_nothing_back(kind: Kind) {
    let gate = Gate::new();
    let initializer = |broken: String| if Path::new(&broken).exists() { Err("broken") } else { Ok(()) };
    let pool = quick_pool(kind.builder().initializer(initializer, gate.name("broken")), 2);
    let long = [gate.submit(&pool, 0), gate.submit(&pool, 1)];
    (0..2).for_each(|number| gate.wait_until_it_runs(number));
    let behind = squares(&pool, 20);
    fs::write(gate.path("broken"), "").unwrap();
    // The successor of the first one breaks the pool, and the second one leaves what is in flight at it.
    let pids = pool.worker_pids();
    kill(pids[0]);
    until("the pool is not broken", || pool.try_submit(square, 1).unwrap().done());
    kill(pids[1]);
    for future in long {
        assert!(matches!(result(future), Err(TaskError::WorkerDied { .. })));
    }
    for future in behind {
        assert!(matches!(result(future), Err(TaskError::InitializerFailed { .. })));
    }
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
}

/// Says that it runs; nothing but SIGKILL ends it before there is a file.
fn ignore_sigterm(files: (String, String)) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _context = runtime.enter();
    let _handled = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
    run_until(files)
}

fn no_more_tasks_run_at_once_than_there_may_be_workers(kind: Kind) {
    let look = |pool: &ProcessPoolExecutor, most: usize| {
        until("too few tasks run", || pool.stats().running == most);
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(200) {
            assert!(pool.stats().running <= most);
            // Those that are to take the place of others when these have done what they have.
            assert!(pool.worker_pids().len() <= 2 * most);
            std::thread::yield_now();
        }
    };
    for most in [1, 2] {
        let pool = kind.builder().max_workers(most).max_tasks_per_child(1).build().unwrap();
        let gate = Gate::new();
        let futures: Vec<_> = (0..6).map(|number| gate.submit(&pool, number)).collect();
        look(&pool, most);
        gate.open();
        futures.into_iter().for_each(|future| assert_eq!(result(future), Ok(7)));
        assert_eq!(pool.stats().died, 0);

        // Tasks that are told to stop, and do not.
        let pool = kind.builder().max_workers(most).grace(LONG).build().unwrap();
        let gate = Gate::new();
        let limit = TaskOptions::new().timeout(Duration::from_millis(50));
        let task = |number| (gate.name(&format!("started{number}")), gate.name("open"));
        let stubborn: Vec<_> =
            (0..4).map(|number| pool.submit_with(ignore_sigterm, task(number), limit).unwrap()).collect();
        look(&pool, most);
        gate.open();
        stubborn.into_iter().for_each(|future| drop(result(future)));
        assert_eq!(result(pool.submit(square, 3).unwrap()), Ok(9));
    }
}

/// Stops a process, and waits until all its threads have noticed.
fn stop(pid: u32) {
    signal(pid, "-STOP");
    let is_stopped = |task: fs::DirEntry| fs::read_to_string(task.path().join("stat")).unwrap().contains(") T ");
    until("it goes on", || fs::read_dir(format!("/proc/{pid}/task")).unwrap().all(|task| is_stopped(task.unwrap())));
}

fn a_stopped_worker_costs_no_more_than_its_own_task(kind: Kind) {
    let limit = TaskOptions::new().timeout(Duration::from_millis(100));
    let pool = quick_pool(kind.builder(), 1);
    // While it is idle: its first task may be begun by another one, or not at all.
    stop(pool.worker_pids()[0]);
    let first = result(pool.submit_with(square, 3, limit).unwrap());
    assert!(matches!(first, Ok(9) | Err(TaskError::TimedOut { .. })), "{first:?}");
    assert_squares(squares(&pool, 3));

    // A caller kills the task. The pool may still have the first worker, which is about to be gone.
    stop(result(pool.submit(pid_of_worker, 0).unwrap()).unwrap());
    let killed = pool.submit(square, 3).unwrap();
    assert!(killed.kill());
    assert_eq!(result(killed), Err(TaskError::Cancelled));
    assert_squares(squares(&pool, 3));

    // In the middle of a task. SIGTERM reaches it although it is stopped.
    let gate = Gate::new();
    let pool = kind.builder().max_workers(1).grace(Duration::from_secs(3600)).build().unwrap();
    let running = gate.close(&pool);
    stop(pool.worker_pids()[0]);
    assert!(running.kill());
    assert_eq!(result(running), Err(TaskError::Cancelled));
    assert_squares(squares(&pool, 3));
}

fn begin_when_there_is(file: String) {
    until("there is no such file", || Path::new(&file).exists());
}

fn a_worker_that_is_stopped_before_it_is_ready_is_replaced(kind: Kind) {
    let gate = Gate::new();
    let builder = kind.builder().max_workers(1).startup_timeout(Duration::from_secs(2));
    let pool = builder.initializer(begin_when_there_is, gate.name("open")).build().unwrap();
    let future = pool.submit(square, 3).unwrap();
    until("no worker has been started", || !pool.worker_pids().is_empty());
    stop(pool.worker_pids()[0]);
    gate.open();
    assert_eq!(result(future), Ok(9));
    assert_eq!(pool.state(), PoolState::Active);
}

fn what_a_stopped_worker_has_not_begun_goes_to_others(kind: Kind) {
    let pid = |pool: &ProcessPoolExecutor| result(pool.submit(pid_of_worker, 0).unwrap()).unwrap();
    for workers in [1, 2] {
        let pool = quick_pool(kind.builder().on_worker_death(OnWorkerDeath::BreakPool), workers);
        stop(pid(&pool));
        assert_squares(squares(&pool, 5));
        // Longer than a socket is, and than what is not copied.
        stop(pid(&pool));
        let text = "x".repeat(8 << 20);
        assert_eq!(result(pool.submit(length, text.clone()).unwrap()), Ok(text.len()));
        // The time limit is over before the supervisor looks.
        stop(pid(&pool));
        let limit = TaskOptions::new().timeout(Duration::from_millis(20));
        let limited = result(pool.submit_with(square, 3, limit).unwrap());
        // A new worker may take longer than that to wake up.
        assert!(matches!(limited, Ok(9) | Err(TaskError::TimedOut { .. })), "{limited:?}");
        // What else it is told does not hide that it has read nothing.
        let forgotten = SharedBytes::from(vec![1; 1 << 20]);
        assert_eq!(result(pool.submit(shared_length, forgotten.clone()).unwrap()), Ok(1 << 20));
        stop(pid(&pool));
        let first = pool.submit(square, 3).unwrap();
        drop(forgotten);
        assert_eq!(result(first), Ok(9));
        assert_eq!(pool.stats().died, 0);
    }
}

/// What each thread of a process waits in: the first number of its line is that of the system call.
fn system_calls(pid: u32) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let call = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("syscall")).unwrap_or_default();
    threads.map(|thread| call(thread.unwrap())).collect()
}

/// A stop and a request may come at the same time. A worker that waits in the reading has then read it, and stops with it.
fn an_idle_worker_does_not_wait_in_the_reading_of_its_next_request(kind: Kind) {
    // recvfrom and recvmsg; all but the oldest architectures have the latter numbers.
    let reading = if cfg!(target_arch = "x86_64") { ["45 ", "47 "] } else { ["207 ", "212 "] };
    let pool = quick_pool(kind.builder(), 1);
    let pid = result(pool.submit(pid_of_worker, 0).unwrap()).unwrap();
    until("a worker does not become idle", || {
        let calls = system_calls(pid);
        !calls.is_empty() && calls.iter().all(|call| !call.starts_with("running"))
    });
    let calls = system_calls(pid);
    assert!(!calls.iter().any(|call| reading.iter().any(|number| call.starts_with(number))), "{calls:?}");
    assert_squares(squares(&pool, 3));
}

/// Over a socket it cannot be taken back before the worker is dead, which is later than the task may wait.
fn what_a_stopped_worker_has_not_begun_in_time_is_not_begun(kind: Kind) {
    let gate = Gate::new();
    let pool = quick_pool(kind.builder(), 1);
    stop(result(pool.submit(pid_of_worker, 0).unwrap()).unwrap());
    let hasty = TaskOptions::new().queue_timeout(Duration::from_millis(10));
    let late = pool.submit_with(die, (gate.name("late"), 0), hasty).unwrap();
    // What has not been read does not run: a state is never left for an earlier one.
    assert!(!late.running());
    assert_eq!(pool.stats().running, 0);
    match result(late) {
        Err(TaskError::Expired { waited }) => assert!(waited >= Duration::from_millis(10)),
        other => panic!("{other:?}"),
    }
    assert_eq!(result(pool.submit(square, 3).unwrap()), Ok(9));
    assert!(!gate.path("late").exists());
    assert_eq!((pool.stats().died, pool.stats().failed), (0, 1));
}

fn length(text: String) -> usize {
    text.len()
}

fn shared_length(bytes: SharedBytes) -> usize {
    bytes.len()
}

fn a_worker_that_dies_costs_nothing_that_it_has_not_begun(kind: Kind) {
    let pool = quick_pool(kind.builder(), 1);
    for round in 1..=5 {
        let pid = result(pool.submit(pid_of_worker, 0).unwrap()).unwrap();
        stop(pid);
        let first = pool.submit(square, 3).unwrap();
        kill(pid);
        assert_eq!(result(first), Ok(9));
        until("a death is counted", || pool.stats().died == round);
    }
    assert_eq!(pool.stats().failed, 0);
}
