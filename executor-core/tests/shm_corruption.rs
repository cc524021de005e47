//! Workers that overwrite all memory of the pool that they can write to, all the time: the parent neither crashes nor hangs, and
//! the answers of other workers are right.
#![cfg(target_os = "linux")]

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

use executor_core::{Executor, ProcessPoolExecutor, Shutdown, StartMethod, TaskError, TaskFuture, Transport};
use serde::{Deserialize, Serialize};

executor_core::test_worker!();

/// For what must happen: a test that waits longer has failed.
const LONG: Duration = Duration::from_secs(60);

/// Which part of its mapping a worker overwrites. The words at the beginning are the first thing that the parent finds to be wrong,
/// so they are left alone where something else is to be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Part {
    Everything,
    Words,
    Claims,
    Ring,
}

const PARTS: [Part; 4] = [Part::Everything, Part::Words, Part::Claims, Part::Ring];

/// Where the pool's memory is in this process, where it may be written to.
fn writable_memory() -> Vec<(usize, usize)> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let ours = maps.lines().filter(|line| line.contains("memfd:executor-core") && line.contains("rw-s"));
    ours.map(|line| {
        let (begin, end) = line.split_whitespace().next().unwrap().split_once('-').unwrap();
        (usize::from_str_radix(begin, 16).unwrap(), usize::from_str_radix(end, 16).unwrap())
    })
    .collect()
}

/// Overwrites a part of the pool's memory in this process until the process ends.
fn scribble_for_ever(part: Part, mut random: u64) {
    let memory = writable_memory();
    loop {
        for (begin, end) in &memory {
            let (first, last) = match part {
                Part::Everything => (*begin, *end),
                Part::Words => (*begin, begin + 4096),
                Part::Claims => (begin + 4096, begin + 3 * 4096),
                Part::Ring => (begin + 3 * 4096, *end),
            };
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let place = first + (random as usize % ((last - first) / 8)) * 8;
            // Anything, or something that looks more like what belongs there.
            let value = match random >> 61 {
                0..4 => random.rotate_left(31),
                4 => 0,
                5 => random >> 45 & 0xffff,
                _ => (random >> 40 & 0xff) << 32 | random >> 45 & 0xff,
            };
            let word = std::ptr::with_exposed_provenance_mut::<u64>(place);
            // SAFETY: the place is aligned and in a mapping that may be written to and that this process never unmaps. Other
            // processes use it as well, which is what is tried here: they must tolerate that.
            unsafe { word.write_volatile(value) };
        }
    }
}

/// Begins to scribble, from a thread, and tells in which process.
fn begin_to_scribble((part, seed): (Part, u64)) -> u32 {
    assert!(!writable_memory().is_empty(), "there is something to overwrite");
    std::thread::spawn(move || scribble_for_ever(part, seed | 1));
    std::process::id()
}

/// An answer that shows whose it is, and that it is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Signed {
    answer: u64,
    pid: u32,
    signature: u64,
}

fn sign(x: u64, answer: u64, pid: u32) -> u64 {
    let mixed = [x, answer, pid.into()]
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, part| (hash ^ part).wrapping_mul(0x0100_0000_01b3).rotate_left(29));
    mixed ^ mixed >> 32
}

fn work(x: u64) -> Signed {
    let (answer, pid) = (x * x + 1, std::process::id());
    Signed { answer, pid, signature: sign(x, answer, pid) }
}

fn result<T: Send + 'static>(future: TaskFuture<T>) -> Result<T, TaskError> {
    match future.result_timeout(LONG) {
        Ok(result) => result,
        Err(future) => panic!("no result: {future:?}"),
    }
}

fn scribble_over(method: StartMethod) {
    let start = Instant::now();
    // A worker that does not wake up any more has only its time limit to be noticed by.
    let builder = || {
        ProcessPoolExecutor::builder()
            .transport(Transport::SharedMemory)
            .start_method(method)
            .max_workers(4)
            .grace(Duration::ZERO)
    };
    let pool = builder().task_timeout(Duration::from_secs(1)).build().unwrap();
    let other_pool: ProcessPoolExecutor = builder().build().unwrap();
    pool.warm_up().unwrap();
    let mut scribblers = BTreeSet::new();
    let (mut right, mut wrong, mut lost) = (0, 0, 0);
    for round in 0..40_u64 {
        let part = PARTS[round as usize % PARTS.len()];
        let scribbler = pool.submit(begin_to_scribble, (part, round.wrapping_mul(0x9e37_79b9_7f4a_7c15))).unwrap();
        let futures: Vec<_> = (0..200).map(|x| (x, pool.submit(work, x).unwrap())).collect();
        let chunks = pool.map(work, 0..200).chunk_size(20).start();
        let others = other_pool.map(work, 0..200).chunk_size(7).start();
        let mut answers: Vec<_> = futures.into_iter().map(|(x, future)| (x, result(future))).collect();
        answers.extend((0..200).zip(chunks));
        scribblers.extend(result(scribbler));
        for (x, answer) in answers {
            match answer {
                Ok(signed) if signed.signature == sign(x, signed.answer, signed.pid) => {
                    assert_eq!(signed.answer, x * x + 1);
                    right += u64::from(!scribblers.contains(&signed.pid));
                }
                // It was overwritten. A worker that does not scribble gives no such answer.
                Ok(_) | Err(TaskError::Decode { .. }) => wrong += 1,
                Err(TaskError::WorkerDied { .. } | TaskError::TimedOut { .. }) => lost += 1,
                // The bytes of an error can be overwritten as well.
                Err(_) => wrong += 1,
            }
        }
        for (x, answer) in (0..200).zip(others) {
            assert_eq!(answer.map(|signed| signed.answer), Ok(x * x + 1), "a pool in which no worker scribbles");
        }
    }
    println!("{right} right, {wrong} overwritten, {lost} lost, {} scribblers, {:?}", scribblers.len(), start.elapsed());
    assert!(right > 0 && scribblers.len() > PARTS.len());
    assert!(right > wrong + lost, "one of four workers scribbles, and is replaced when it is noticed");
    assert!(pool.shutdown(Shutdown::Kill, Some(LONG)).is_complete());
    assert!(other_pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
}

#[test]
fn spawned_workers_may_scribble_over_their_memory() {
    scribble_over(StartMethod::Spawn);
}

#[test]
fn forked_workers_may_scribble_over_their_memory() {
    scribble_over(StartMethod::ForkServer);
}
