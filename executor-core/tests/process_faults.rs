//! Failures of a worker process: each fails one task, and no other one.

mod pool_kinds;

use std::{
    fs,
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use executor_core::{
    BuildError, CancelToken, Executor, PoolState, ProcessPoolExecutor, ReturnWhen, SharedBytes, StartMethod,
    SubmitError, TaskError, TaskOptions, ThreadPoolExecutor, WorkerExit, partial, wait,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

use pool_kinds::{Kind, on_every_kind_of_pool};

executor_core::test_worker!();

on_every_kind_of_pool!(
    abort_costs_one_task_and_tells_the_signal,
    exit_costs_one_task_and_tells_the_code,
    stack_overflow_costs_one_task,
    sigkill_from_outside_costs_the_running_task,
    a_time_limit_stops_one_task_and_the_pool_goes_on,
    a_time_limit_is_for_each_item_of_a_chunk,
    kill_stops_a_running_task_and_cancel_does_not,
    a_task_that_kill_says_it_stops_is_cancelled_even_if_it_was_about_to_end,
    a_submit_with_a_time_for_space_does_not_wait_longer,
    warm_up_ends_where_workers_leave_soon,
    warm_up_ends_where_workers_die_before_the_last_one_is_ready,
    values_that_cannot_travel_cost_their_own_task,
    of_a_chunk_only_the_item_that_was_running_is_lost,
    a_chunk_with_items_that_cannot_be_encoded_or_panic_keeps_the_others,
    a_chunk_with_results_that_cannot_be_decoded_keeps_the_others,
    a_failing_initializer_is_the_cause_that_all_tasks_get,
    a_worker_that_never_answers_is_given_up,
    an_initializer_that_ends_its_process_is_named,
    signals_to_processes_that_start_do_not_end_the_pool,
    a_good_initializer_has_run_before_the_first_task,
    an_initializer_and_a_preload_get_large_configurations,
    a_token_stops_a_task_in_another_process,
    a_task_may_use_threads_but_no_process_pool,
    large_values_travel_both_ways,
    more_configurations_than_a_worker_keeps,
    kill_at_shutdown_resolves_everything,
    nothing_is_left_behind,
);

fn pool(kind: Kind, workers: usize) -> ProcessPoolExecutor {
    kind.builder().max_workers(workers).grace(Duration::from_millis(200)).build().unwrap()
}

fn square(x: u64) -> u64 {
    x * x
}

/// Says that it runs by making a file, and then does so for ever.
fn run_for_ever(started: String) {
    fs::write(started, "").unwrap();
    loop {
        std::thread::park();
    }
}

/// Waits for the file of `run_for_ever`: there is no other event between the two processes.
fn wait_until_exists(path: &Path) {
    let start = Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < Duration::from_secs(30), "the task has not started");
        std::thread::yield_now();
    }
}

/// Encodes into as many bytes as it is told, and reads any number.
struct Bulk(usize);

impl Serialize for Bulk {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&vec![0; self.0])
    }
}

impl<'de> Deserialize<'de> for Bulk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(<&[u8]>::deserialize(deserializer)?.len()))
    }
}

/// On one kind of pool only: it takes a gibibyte or two.
#[test]
fn values_that_are_too_long_cost_only_themselves() {
    const LONGEST: usize = 512 << 20;
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let reason = |outcome: Result<usize, TaskError>| match outcome {
        Err(TaskError::Encode { what, cause }) => format!("{what}: {cause}"),
        other => format!("{other:?}"),
    };
    let sizes: Vec<_> = pool.map(Bulk, [1, LONGEST + 1, 2]).chunk_size(3).map(|bulk| bulk.map(|bulk| bulk.0)).collect();
    assert_eq!((&sizes[0], &sizes[2]), (&Ok(1), &Ok(2)));
    assert_eq!(reason(sizes[1].clone()), "result: it is longer than 512 MiB: use SharedBytes::with_len");
    let single = pool.submit(Bulk, LONGEST + 1).unwrap().result().map(|bulk| bulk.0);
    assert_eq!(reason(single), "result: it is longer than 512 MiB: use SharedBytes::with_len");

    let length = |bulk: Bulk| bulk.0;
    let items = [1, LONGEST / 2, LONGEST / 2, LONGEST + 1, 2].map(Bulk);
    let lengths: Vec<_> = pool.map(length, items).chunk_size(5).collect();
    assert_eq!((&lengths[0], &lengths[1], &lengths[4]), (&Ok(1), &Ok(LONGEST / 2), &Ok(2)));
    assert_eq!(reason(lengths[2].clone()), "argument: its chunk is longer than 512 MiB: set a smaller chunk_size");
    assert_eq!(reason(lengths[3].clone()), "argument: it is longer than 512 MiB: use SharedBytes");
    assert_eq!(pool.stats().died, 0);
}

fn exit_of(error: TaskError) -> WorkerExit {
    match error {
        TaskError::WorkerDied { exit, .. } => exit,
        other => panic!("{other}"),
    }
}

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

fn a_time_limit_is_for_each_item_of_a_chunk(kind: Kind) {
    // The items before the endless one take longer than the limit together, and none of them does.
    let limit = Duration::from_millis(800);
    let pool = kind.builder().max_workers(1).grace(Duration::ZERO).task_timeout(limit).build().unwrap();
    let work = |item: u64| {
        std::thread::sleep(Duration::from_millis(200));
        if item == 5 {
            loop {
                std::thread::park();
            }
        }
        item
    };
    let results: Vec<_> = pool.map(work, 0..8).chunk_size(8).collect();
    for (item, result) in results.into_iter().enumerate() {
        match result {
            Err(TaskError::TimedOut { ran_for }) if item == 5 => assert!(ran_for >= limit),
            other => assert_eq!(other, Ok(item as u64)),
        }
    }
    assert_eq!(pool.stats().died, 0);
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

/// Cannot be written (0), cannot be read back (1), panics when it is read (9), or is none of this.
#[derive(Debug, PartialEq)]
struct Odd(u8);

impl Serialize for Odd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == 0 { Err(S::Error::custom("will not be written")) } else { serializer.serialize_u8(self.0) }
    }
}

impl<'de> Deserialize<'de> for Odd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            1 => Err(D::Error::custom("will not be read")),
            9 => panic!("nine"),
            other => Ok(Self(other)),
        }
    }
}

fn values_that_cannot_travel_cost_their_own_task(kind: Kind) {
    let pool = pool(kind, 1);
    let result = |kind: u8| pool.submit(|kind: u8| Odd(kind), kind).unwrap().result();
    let argument = |kind: u8| pool.submit(|odd: Odd| odd.0, Odd(kind)).unwrap().result();
    assert!(matches!(result(0), Err(TaskError::Encode { what, .. }) if what == "result"));
    assert!(matches!(result(1), Err(TaskError::Decode { what, .. }) if what == "result"));
    assert_eq!(result(2), Ok(Odd(2)));
    assert!(matches!(argument(0), Err(TaskError::Encode { what, .. }) if what == "argument"));
    assert!(matches!(argument(1), Err(TaskError::Decode { what, .. }) if what == "argument"));
    assert_eq!(argument(2), Ok(2));
    assert_eq!(pool.stats().died, 0, "nothing of this harms a worker");
}

fn of_a_chunk_only_the_item_that_was_running_is_lost(kind: Kind) {
    let pool = pool(kind, 2);
    let results: Vec<_> =
        pool.map(|x: u64| if x == 13 { std::process::abort() } else { x * 2 }, 0..40).chunk_size(10).collect();
    for (x, result) in results.into_iter().enumerate() {
        if x == 13 {
            assert_eq!(exit_of(result.unwrap_err()), WorkerExit::Signal(6));
        } else {
            assert_eq!(result, Ok(2 * x as u64));
        }
    }
}

fn a_chunk_with_items_that_cannot_be_encoded_or_panic_keeps_the_others(kind: Kind) {
    let pool = pool(kind, 1);
    let items = [2, 0, 3, 1, 4].map(Odd);
    let results: Vec<_> =
        pool.map(|odd: Odd| if odd.0 == 3 { panic!("three") } else { odd.0 }, items).chunk_size(5).collect();
    assert_eq!((&results[0], &results[4]), (&Ok(2), &Ok(4)));
    assert!(matches!(results[1], Err(TaskError::Encode { .. })));
    assert!(matches!(&results[2], Err(TaskError::Panicked { message, .. }) if message == "three"));
    assert!(matches!(results[3], Err(TaskError::Decode { .. })));
}

fn a_chunk_with_results_that_cannot_be_decoded_keeps_the_others(kind: Kind) {
    let pool = pool(kind, 1);
    let results: Vec<_> = pool.map(|kind: u8| Odd(kind), [2, 1, 3, 9, 0, 4]).chunk_size(6).collect();
    assert!(matches!(&results[1], Err(TaskError::Decode { what, .. }) if what == "result"));
    assert!(
        matches!(&results[3], Err(TaskError::Decode { what, cause }) if what == "result" && cause.to_string().contains("nine"))
    );
    assert!(matches!(&results[4], Err(TaskError::Encode { what, .. }) if what == "result"));
    assert_eq!([0, 2, 5].map(|index: usize| results[index].as_ref()), [Ok(&Odd(2)), Ok(&Odd(3)), Ok(&Odd(4))]);
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

fn a_task_may_use_threads_but_no_process_pool(kind: Kind) {
    let pool = pool(kind, 1);
    let threads = |x: u64| ThreadPoolExecutor::new(2).unwrap().submit(square, x).unwrap().result().unwrap();
    assert_eq!(pool.submit(threads, 9).unwrap().result(), Ok(81));
    let processes = |(): ()| matches!(ProcessPoolExecutor::new(1), Err(BuildError::InsideWorker));
    assert_eq!(pool.submit(processes, ()).unwrap().result(), Ok(true));
}

fn large_values_travel_both_ways(kind: Kind) {
    let pool = pool(kind, 2);
    let reverse = |mut bytes: Vec<u8>| {
        bytes.reverse();
        bytes
    };
    let bytes: Vec<u8> = (0..8 << 20).map(|index| index as u8).collect();
    let futures: Vec<_> = (0..3).map(|_| pool.submit(reverse, bytes.clone()).unwrap()).collect();
    let expected: Vec<u8> = bytes.iter().rev().copied().collect();
    for future in futures {
        assert!(future.result().unwrap() == expected);
    }
}

fn more_configurations_than_a_worker_keeps(kind: Kind) {
    fn add(x: u64, config: &u64) -> u64 {
        x + config
    }
    let pool = pool(kind, 1);
    let partials: Vec<_> = (0..150).map(|config| partial(add, config)).collect();
    for round in 0..2 {
        for (config, partial) in partials.iter().enumerate() {
            let answer = pool.submit(partial.clone(), round).unwrap().result();
            assert_eq!(answer, Ok(round + config as u64));
        }
    }
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
