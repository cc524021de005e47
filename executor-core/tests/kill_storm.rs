//! Processes of the pool, workers and fork server alike, that are killed all the time while many short tasks run: each future
//! resolves once and rightly, no more tasks fail than processes were killed, and nothing is left behind.
//!
//! The part that runs with all tests is small. The whole storm, of two million tasks: `cargo test --release -p executor-core --test
//! kill_storm -- --ignored --nocapture`
#![cfg(target_os = "linux")]

mod pool_kinds;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs::{self, File},
    io::Write,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Mutex, OnceLock, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use executor_core::{Executor, ProcessPoolExecutor, StartMethod, TaskError, TaskFuture, Transport, as_completed};
use pool_kinds::{Kind, on_every_kind_of_pool};

executor_core::test_worker!();

on_every_kind_of_pool!(
    short_tasks_survive_a_storm,
    with_a_retry_a_task_is_lost_by_two_deaths,
    no_task_runs_twice,
    of_a_map_only_the_items_that_ran_are_lost,
);

/// How often something is killed.
const PERIOD: Duration = Duration::from_millis(5);

/// Tasks that have no result yet, at the most.
const WINDOW: usize = 1_000;

/// Each storm counts what this process has, so there is one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// One of so many tasks lasts long enough to be killed in the middle.
const SLOW: u64 = 997;

/// Mostly nothing.
fn work(x: u64) -> u64 {
    if x.is_multiple_of(SLOW) {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(1) {
            std::hint::spin_loop();
        }
    }
    x.wrapping_mul(x) ^ 0x5555
}

/// The work of the tasks of a storm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    /// `work`: most kills hit a worker between two tasks.
    Short,
    /// `noted_work`: most kills hit a worker in the middle of one.
    Noted,
}

/// First notes in a file which task begins in which process, which no kill can undo, and then takes long enough to be killed.
fn noted_work(x: u64) -> u64 {
    static NOTES: OnceLock<File> = OnceLock::new();
    let open = || File::options().append(true).open(std::env::var_os("KILL_STORM_NOTES").unwrap()).unwrap();
    let note = [x.to_le_bytes(), u64::from(std::process::id()).to_le_bytes()].concat();
    let mut notes: &File = NOTES.get_or_init(open);
    notes.write_all(&note).unwrap();
    work(0);
    work(x)
}

/// Follows each task through the notes: with one retry it may be lost only by the deaths of two workers in which it had begun.
///
/// A worker can be killed after it got a task and before it noted so. It is known which processes were killed, and a kill
/// interrupts one task at the most; so each death that is missing in the notes must have a kill that explains no other one.
fn check_losses(notes: &[u8], lost: &BTreeMap<u64, u32>, killed: &BTreeSet<u32>) {
    let mut attempts: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for note in notes.chunks_exact(16) {
        let [x, pid] = [0, 8].map(|at| u64::from_le_bytes(note[at..at + 8].try_into().unwrap()));
        attempts.entry(x).or_default().push(pid as u32);
    }
    let (mut interrupted, mut missing) = (BTreeMap::new(), 0);
    for x in attempts.keys().chain(lost.keys()).copied().collect::<BTreeSet<_>>() {
        let mut pids = attempts.remove(&x).unwrap_or_default();
        match lost.get(&x) {
            Some(last) => {
                if pids.last() != Some(last) {
                    pids.push(*last);
                }
                assert!(pids.len() <= 2, "task {x} was run in {pids:?}");
                missing += 2 - pids.len();
            }
            // The last time it was not interrupted.
            None => drop(pids.pop()),
        }
        for pid in pids {
            assert!(killed.contains(&pid), "task {x} was lost to {pid}, which was not killed");
            let other = interrupted.insert(pid, x);
            assert_eq!(other, None, "the death of {pid} has interrupted task {x} as well");
        }
    }
    let unused = killed.len() - interrupted.len();
    println!("{} kills interrupted a task, {unused} none; {missing} deaths before a note", interrupted.len());
    assert!(missing <= unused, "{missing} deaths of lost tasks by {unused} kills");
}

fn kill(pid: u32) -> bool {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok()
}

/// Kills one process of the pool at random, again and again, while `body` runs; returns which were killed.
fn storm_over<R>(pool: &ProcessPoolExecutor, body: impl FnOnce() -> R) -> (R, BTreeSet<u32>) {
    let (stop, stopped) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let killer = scope.spawn(move || {
            let mut killed = BTreeSet::new();
            let mut random = 88_172_645_463_325_252_u64;
            // The period is the scenario.
            while stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let mut pids = pool.worker_pids();
                pids.extend(pool.fork_server_pid());
                let Some(pid) = pids.get((random >> 33) as usize % pids.len().max(1)) else { continue };
                if kill(*pid) {
                    killed.insert(*pid);
                }
            }
            killed
        });
        let result = body();
        drop(stop);
        (result, killer.join().unwrap())
    })
}

/// The descriptors of this process, its mappings of the pool's memory, and its resident memory (KiB).
#[derive(Debug, Clone, Copy)]
struct Holdings {
    descriptors: usize,
    mappings: usize,
    memory: u64,
}

fn holdings() -> Holdings {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    Holdings {
        descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
        mappings: maps.lines().filter(|line| line.contains("memfd:executor-core")).count(),
        memory: memory.trim().strip_suffix(" kB").unwrap().trim().parse().unwrap(),
    }
}

/// Runs so many tasks through a storm; returns how many were lost, and by how many kills.
fn storm(kind: Kind, load: Load, tasks: u64, retries: u32) -> (u64, u64) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let notes = tempfile::NamedTempFile::new().unwrap();
    let builder = kind.builder().max_workers(4).retry(retries).env("KILL_STORM_NOTES", notes.path());
    let pool = builder.build().unwrap();
    pool.warm_up().unwrap();
    let at_first = holdings();
    let mut early = None;
    let start = Instant::now();
    let (lost_tasks, killed) = storm_over(&pool, || {
        let mut lost = BTreeMap::new();
        let mut settle = |(x, future): (u64, TaskFuture<u64>)| match future.result() {
            Ok(answer) => assert_eq!(answer, work(x)),
            Err(TaskError::WorkerDied { pid, .. }) => drop(lost.insert(x, pid)),
            Err(error) => panic!("task {x}: {error}"),
        };
        let mut window = VecDeque::new();
        for x in 0..tasks {
            if window.len() == WINDOW {
                settle(window.pop_front().unwrap());
            }
            let future = match load {
                Load::Short => pool.submit(work, x),
                Load::Noted => pool.submit(noted_work, x),
            };
            window.push_back((x, future.unwrap()));
            if x == tasks / 4 {
                early = Some(holdings());
            }
        }
        window.into_iter().for_each(&mut settle);
        lost
    });
    let took = start.elapsed();
    let (lost, kills) = (lost_tasks.len() as u64, killed.len() as u64);
    let late = holdings();
    let stats = pool.stats();
    let early = early.unwrap();
    println!(
        "{kind:?}, {load:?}, {retries} retries: {tasks} tasks in {took:?}, {lost} lost by {kills} kills, {stats:?}\n{early:?}\n{late:?}"
    );
    assert!(kills > 0, "a storm");
    assert!(lost <= kills, "{lost} tasks lost by {kills} kills");
    assert_eq!((stats.queued, stats.running, stats.cancelled), (0, 0, 0));
    assert_eq!((stats.done + stats.failed, stats.failed), (tasks, lost));
    if load == Load::Noted {
        check_losses(&fs::read(&notes).unwrap(), &lost_tasks, &killed);
    }
    // Each of four workers has a few, and may be being replaced at this moment.
    assert!(late.descriptors <= early.descriptors + 30, "{early:?} {late:?}");
    assert!(late.memory <= early.memory + (16 << 10), "{early:?} {late:?}");
    pool.warm_up().unwrap();
    // The supervisor reaps the process that was killed last, and then all is as it was.
    while holdings().mappings > at_first.mappings || holdings().descriptors > at_first.descriptors {
        assert!(start.elapsed() < took + Duration::from_secs(30), "{at_first:?} {:?}", holdings());
        assert_eq!(pool.submit(work, 1).unwrap().result(), Ok(work(1)));
    }
    let pids = pool.worker_pids();
    drop(pool);
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "worker {pid} is still there");
    }
    (lost, kills)
}

/// Over a socket a task costs ten times as much.
fn tasks_of(kind: Kind) -> u64 {
    if kind.transport == Transport::Socket { 10_000 } else { 100_000 }
}

fn short_tasks_survive_a_storm(kind: Kind) {
    storm(kind, Load::Short, tasks_of(kind), 0);
}

fn with_a_retry_a_task_is_lost_by_two_deaths(kind: Kind) {
    let (lost, kills) = storm(kind, Load::Noted, 4_000, 1);
    assert!(2 * lost <= kills, "{lost} tasks lost by {kills} kills");
}

/// Notes in a file that it runs: how often it has run before.
fn note(x: u64) -> u8 {
    let path = std::env::var_os("KILL_STORM_NOTES").unwrap();
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut times = [0];
    file.read_exact_at(&mut times, x).unwrap();
    file.write_all_at(&[times[0] + 1], x).unwrap();
    times[0]
}

fn no_task_runs_twice(kind: Kind) {
    const TASKS: u64 = 10_000;
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let notes = folder.path().join("notes");
    fs::write(&notes, vec![0; TASKS as usize]).unwrap();
    let pool = kind.builder().max_workers(4).env("KILL_STORM_NOTES", &notes).build().unwrap();
    let (lost, kills) = storm_over(&pool, || {
        let futures: Vec<_> = (0..TASKS).map(|x| pool.submit(note, x).unwrap()).collect();
        let mut lost = 0;
        for done in as_completed(futures, None) {
            match done.unwrap().result() {
                Ok(before) => assert_eq!(before, 0, "it ran before"),
                Err(TaskError::WorkerDied { .. }) => lost += 1,
                Err(error) => panic!("{error}"),
            }
        }
        lost
    });
    let kills = kills.len() as u64;
    let times = fs::read(notes).unwrap();
    assert!(times.iter().all(|times| *times <= 1));
    let ran = times.iter().map(|times| u64::from(*times)).sum::<u64>();
    assert!(ran >= TASKS - lost && lost <= kills, "{ran} ran, {lost} were lost by {kills} kills");
}

fn of_a_map_only_the_items_that_ran_are_lost(kind: Kind) {
    const ITEMS: u64 = 200_000;
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let pool = kind.builder().max_workers(4).build().unwrap();
    for retries in [0, 1] {
        let pool = if retries == 0 { &pool } else { &kind.builder().max_workers(4).retry(1).build().unwrap() };
        let (lost, kills) = storm_over(pool, || {
            let mut lost = 0;
            for (x, result) in pool.map(work, 0..ITEMS).chunk_size(1000).enumerate() {
                match result {
                    Ok(answer) => assert_eq!(answer, work(x as u64)),
                    Err(TaskError::WorkerDied { .. }) => lost += 1,
                    Err(error) => panic!("item {x}: {error}"),
                }
            }
            lost
        });
        let kills = kills.len() as u64;
        assert!(lost * (retries + 1) <= kills, "{lost} items lost by {kills} kills, {retries} retries");
    }
}

/// Three storms in a row.
fn whole_storm(method: StartMethod) {
    for _ in 0..3 {
        let kind = Kind { transport: Transport::SharedMemory, method };
        for (load, tasks, retries) in
            [(Load::Short, 2_000_000, 0), (Load::Short, 2_000_000, 1), (Load::Noted, 20_000, 1)]
        {
            let (lost, kills) = storm(kind, load, tasks, retries);
            assert!(lost * (u64::from(retries) + 1) <= kills);
        }
    }
}

#[test]
#[ignore = "two million tasks, six times"]
fn the_whole_storm_over_spawned_workers() {
    whole_storm(StartMethod::Spawn);
}

#[test]
#[ignore = "two million tasks, six times"]
fn the_whole_storm_over_forked_workers() {
    whole_storm(StartMethod::ForkServer);
}
