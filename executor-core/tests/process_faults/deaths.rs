//! Tasks that end their worker, that are stopped, or that run for too long, and what a pool leaves behind.

use std::{
    fs,
    path::Path,
    sync::{Mutex, mpsc},
    time::{Duration, Instant},
};

use executor_core::{
    BuildError, CancelToken, Executor, Observer, ProcessPoolExecutor, ReturnWhen, SubmitError, TaskError, TaskOptions,
    ThreadPoolExecutor, WorkerExit, wait,
};

use crate::{
    exit_of, pool,
    pool_kinds::{Kind, on_every_kind_of_pool},
    run_for_ever, square, wait_until_exists,
};

on_every_kind_of_pool!(
    abort_costs_one_task_and_tells_the_signal,
    exit_costs_one_task_and_tells_the_code,
    stack_overflow_costs_one_task,
    sigkill_from_outside_costs_the_running_task,
    a_time_limit_stops_one_task_and_the_pool_goes_on,
    kill_stops_a_running_task_and_cancel_does_not,
    a_task_that_kill_says_it_stops_is_cancelled_even_if_it_was_about_to_end,
    a_submit_with_a_time_for_space_does_not_wait_longer,
    a_token_stops_a_task_in_another_process,
    a_token_that_comes_back_is_below_the_one_that_was_sent,
    a_task_may_use_threads_but_no_process_pool,
    kill_at_shutdown_resolves_everything,
    workers_that_die_as_soon_as_they_are_ready_are_not_started_without_end,
    nothing_is_left_behind,
);

/// Runs a task that ends its worker; the tasks before and after it must not notice.
fn death<F: Fn(u64) -> u64 + Copy + Send + Sync + 'static>(kind: Kind, deadly: F) -> WorkerExit {
    let pool = pool(kind, 1);
    let before = pool.submit(square, 3).unwrap();
    let dead = pool.submit(deadly, 1).unwrap();
    let after = pool.submit(square, 4).unwrap();
    assert_eq!((before.result(), after.result()), (Ok(9), Ok(16)));
    // The next worker does not wait until this one is reaped, and counted.
    let exit = exit_of(dead.result().unwrap_err());
    assert_eq!(pool.stats().died, 1);
    exit
}

fn abort_costs_one_task_and_tells_the_signal(kind: Kind) {
    assert_eq!(death(kind, |_: u64| -> u64 { std::process::abort() }), WorkerExit::Signal(6));
}

fn exit_costs_one_task_and_tells_the_code(kind: Kind) {
    assert_eq!(death(kind, |_: u64| -> u64 { std::process::exit(3) }), WorkerExit::Code(3));
}

fn stack_overflow_costs_one_task(kind: Kind) {
    fn dig(depth: u64) -> u64 {
        let space = std::hint::black_box([depth; 1000]);
        if depth == u64::MAX { 0 } else { dig(depth + 1) + space[(depth % 1000) as usize] }
    }
    assert!(matches!(death(kind, dig), WorkerExit::Signal(6 | 11)));
}

fn sigkill_from_outside_costs_the_running_task(kind: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let started = folder.path().join("started");
    let pool = pool(kind, 1);
    let running = pool.submit(run_for_ever, started.to_str().unwrap().to_owned()).unwrap();
    let queued = pool.submit(square, 5).unwrap();
    wait_until_exists(&started);
    assert!(running.running() && !queued.running());
    let pid = pool.worker_pids()[0];
    assert!(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    let error = running.result().unwrap_err();
    assert!(matches!(error, TaskError::WorkerDied { pid: dead, .. } if dead == pid), "{error}");
    assert_eq!(exit_of(error), WorkerExit::Signal(9));
    assert_eq!(queued.result(), Ok(25));
}

fn a_time_limit_stops_one_task_and_the_pool_goes_on(kind: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let started = folder.path().join("started");
    let pool = pool(kind, 1);
    let limit = TaskOptions::new().timeout(Duration::from_millis(100));
    let endless = pool.submit_with(run_for_ever, started.to_str().unwrap().to_owned(), limit).unwrap();
    let next = pool.submit(square, 6).unwrap();
    match endless.result() {
        Err(TaskError::TimedOut { ran_for }) => assert!(ran_for >= Duration::from_millis(100)),
        other => panic!("{other:?}"),
    }
    assert_eq!(next.result(), Ok(36));
}

fn a_task_that_kill_says_it_stops_is_cancelled_even_if_it_was_about_to_end(kind: Kind) {
    let pool = kind.builder().max_workers(1).grace(Duration::from_secs(60)).build().unwrap();
    for x in 0..60 {
        let future = pool.submit(square, x).unwrap();
        // Sooner or later in its life.
        for _ in 0..x * 100 {
            std::hint::spin_loop();
        }
        let killed = future.kill();
        let expected = if killed { Err(TaskError::Cancelled) } else { Ok(x * x) };
        assert_eq!(future.result(), expected, "{x}");
    }
}

fn a_submit_with_a_time_for_space_does_not_wait_longer(kind: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let started = folder.path().join("started");
    let pool = kind.builder().max_workers(1).queue_capacity(1).grace(Duration::ZERO).build().unwrap();
    let endless = pool.submit(run_for_ever, started.to_str().unwrap().to_owned()).unwrap();
    wait_until_exists(&started);
    let queued = pool.submit(square, 3).unwrap();
    let refused = pool.submit_timeout(square, 4, Duration::from_millis(5));
    assert!(matches!(refused, Err(SubmitError::Full)), "{refused:?}");
    assert!(endless.kill());
    assert_eq!(queued.result(), Ok(9));
    assert_eq!(pool.submit_timeout(square, 5, Duration::from_secs(60)).unwrap().result(), Ok(25));
}

fn kill_stops_a_running_task_and_cancel_does_not(kind: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let started = folder.path().join("started");
    let pool = pool(kind, 1);
    let endless = pool.submit(run_for_ever, started.to_str().unwrap().to_owned()).unwrap();
    let queued = pool.submit(square, 7).unwrap();
    wait_until_exists(&started);
    assert!(!endless.cancel(), "it runs");
    assert!(queued.cancel() && queued.done());
    assert!(endless.kill());
    assert_eq!(endless.result(), Err(TaskError::Cancelled));
    assert_eq!(queued.result(), Err(TaskError::Cancelled));
    assert_eq!(pool.submit(square, 8).unwrap().result(), Ok(64));
}

fn a_token_stops_a_task_in_another_process(kind: Kind) {
    fn count(started: String, token: CancelToken) -> bool {
        fs::write(started, "").unwrap();
        while !token.is_cancelled() {
            std::hint::spin_loop();
        }
        true
    }
    let folder = tempfile::tempdir().unwrap();
    let started = folder.path().join("started");
    let pool = pool(kind, 1);
    let root = CancelToken::new();
    let future = pool.submit(count, (started.to_str().unwrap().to_owned(), root.child())).unwrap();
    wait_until_exists(&started);
    root.cancel();
    assert_eq!(future.result(), Ok(true));
    // Sent after the cancellation, and known as cancelled from the start.
    assert_eq!(pool.submit(|token: CancelToken| token.is_cancelled(), root).unwrap().result(), Ok(true));
    assert_eq!(pool.submit(|token: CancelToken| token.is_cancelled(), CancelToken::new()).unwrap().result(), Ok(false));
}

fn give_back(token: CancelToken) -> CancelToken {
    token
}

fn is_cancelled(token: CancelToken) -> bool {
    token.is_cancelled()
}

/// It is as if the task had made a token below its own one in the program.
fn a_token_that_comes_back_is_below_the_one_that_was_sent(kind: Kind) {
    let pool = pool(kind, 1);
    let seen = |token: &CancelToken| pool.submit(is_cancelled, token.clone()).unwrap().result().unwrap();
    let token = CancelToken::new();
    let [own, from_above, late] = [(); 3].map(|()| pool.submit(give_back, token.clone()).unwrap().result().unwrap());
    let below = own.child();
    own.cancel();
    assert_eq!([&own, &below, &token, &from_above].map(CancelToken::is_cancelled), [true, true, false, false]);
    assert_eq!([&own, &below, &token, &from_above].map(seen), [true, true, false, false]);
    assert!(!seen(&from_above.child()));
    token.cancel();
    assert_eq!([&from_above, &late, &late.child()].map(CancelToken::is_cancelled), [true; 3]);
    assert_eq!([&from_above, &late, &late.child()].map(seen), [true; 3]);
    // The token that was sent is gone when its copy comes back, or soon after.
    let alone = pool.submit(give_back, CancelToken::new()).unwrap().result().unwrap();
    assert!(!alone.is_cancelled() && !seen(&alone));
    alone.cancel();
    assert!(alone.is_cancelled() && seen(&alone));
}

fn a_task_may_use_threads_but_no_process_pool(kind: Kind) {
    let pool = pool(kind, 1);
    let threads = |x: u64| ThreadPoolExecutor::new(2).unwrap().submit(square, x).unwrap().result().unwrap();
    assert_eq!(pool.submit(threads, 9).unwrap().result(), Ok(81));
    let processes = |(): ()| matches!(ProcessPoolExecutor::new(1), Err(BuildError::InsideWorker));
    assert_eq!(pool.submit(processes, ()).unwrap().result(), Ok(true));
}

fn kill_at_shutdown_resolves_everything(kind: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let started = folder.path().join("started");
    let pool = pool(kind, 1);
    let running = pool.submit(run_for_ever, started.to_str().unwrap().to_owned()).unwrap();
    let queued = pool.submit(square, 1).unwrap();
    wait_until_exists(&started);
    let report = pool.kill_workers();
    assert_eq!((report.killed, report.cancelled, report.is_complete()), (1, 1, true));
    assert_eq!(running.result(), Err(TaskError::ShutDown));
    assert_eq!((pool.stats().failed, pool.stats().cancelled), (1, 1));
    let waited = wait([queued], None, ReturnWhen::AllCompleted);
    assert!(waited.done[0].cancelled());
}

#[cfg(target_os = "linux")]
fn nothing_is_left_behind(kind: Kind) {
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let once = || {
        let pool = pool(kind, 3);
        pool.warm_up().unwrap();
        let pids = pool.worker_pids();
        assert_eq!(pool.map(square, 0..10).into_vec().unwrap().len(), 10);
        drop(pool);
        pids
    };
    once();
    let before = descriptors();
    for _ in 0..10 {
        for pid in once() {
            assert!(!Path::new(&format!("/proc/{pid}")).exists(), "worker {pid} is still there");
        }
    }
    // Other tests of this binary open some of their own meanwhile; ten leaking pools would have left sixty.
    assert!(descriptors() < before + 50, "{} descriptors, {before} before", descriptors());
}

/// Says that a worker is ready.
struct Ready(Mutex<mpsc::Sender<()>>);

impl Observer for Ready {
    fn worker_started(&self) {
        let _ = self.0.lock().unwrap().send(());
    }
}

fn workers_that_die_as_soon_as_they_are_ready_are_not_started_without_end(kind: Kind) {
    const STORM: Duration = Duration::from_secs(3);
    let (sender, ready) = mpsc::channel();
    let pool = kind.builder().max_workers(2).observer(Ready(Mutex::new(sender))).build().unwrap();
    std::thread::scope(|scope| {
        // Its outcome depends on who is faster.
        let warm_up = scope.spawn(|| pool.warm_up());
        let start = Instant::now();
        while start.elapsed() < STORM {
            if ready.recv_timeout(STORM / 10).is_err() {
                continue;
            }
            for pid in pool.worker_pids() {
                let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        // Twelve rests of two workers, and those before the first one.
        let died = pool.stats().died;
        assert!((4..60).contains(&died), "{died} workers have died");
        assert_eq!(pool.submit(square, 3).unwrap().result(), Ok(9));
        let _ = warm_up.join().unwrap();
    });
}
