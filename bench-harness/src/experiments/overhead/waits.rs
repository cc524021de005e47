//! The longest wait of a task in a stream of mixed lengths, against that of an ideal queue, from which the next free worker takes
//! the oldest task.

use std::{
    thread,
    time::{Duration, SystemTime},
};

use executor_core::{Executor, ProcessPoolExecutor, ThreadPoolExecutor, Transport};
use reports::{model::Reason, overhead::Unit};
use workloads::Random;

use super::{
    Sizes,
    measurement::{Probe, Reading, Subject},
};
use crate::{error::chain, stats::nanos};

pub(super) const RATIO: &str = "longest wait / ideal queue's";
pub(super) const SOCKET_RATIO: &str = "longest wait / ideal queue's, over sockets";
const WAIT: &str = "longest wait";
const SOCKET_WAIT: &str = "longest wait, over sockets";

/// Pairs of n and a length in microseconds: one task in n has this length. Tasks sleep, so that the queue is measured and not the
/// cores.
const LENGTHS: [(u64, u64); 3] = [(16, 10_000), (8, 1000), (3, 100)];

/// Tasks come in bursts of this size, as often as keeps the workers busy for this share of the time. With a share of 100%, the
/// overhead of each task would add up to a wait of its own.
const TASKS_PER_BURST: u32 = 100;
const LOAD_PERCENT: u64 = 70;

pub(super) fn measure(probe: &Probe) -> Result<Vec<Reading>, Reason> {
    let read = |streams: Vec<Stream>, ratio, wait| {
        let ratios = streams.iter().map(|stream| stream.longest / stream.ideal).collect();
        let waits = streams.iter().map(|stream| stream.longest).collect();
        [
            Reading::new(probe.subject, ratio, Unit::Ratio, ratios).with_note("tasks sleep for 0 to 10 ms"),
            Reading::new(probe.subject, wait, Unit::Nanoseconds, waits).into_detail(),
        ]
    };
    let build = |transport| {
        let pool = ProcessPoolExecutor::builder().max_workers(probe.workers).transport(transport).build();
        let pool = pool.map_err(|error| chain(&error))?;
        pool.warm_up().map_err(|error| chain(&error))?;
        Ok::<_, String>(pool)
    };
    if probe.subject == Subject::THREAD {
        let pool = ThreadPoolExecutor::new(probe.workers).map_err(|error| chain(&error))?;
        return Ok(read(streams(&pool, probe)?, RATIO, WAIT).into());
    }
    let own = streams(&build(Transport::default())?, probe)?;
    let sockets = streams(&build(Transport::Socket)?, probe)?;
    Ok([read(own, RATIO, WAIT), read(sockets, SOCKET_RATIO, SOCKET_WAIT)].into_iter().flatten().collect())
}

/// Nanoseconds by a clock that all processes share.
fn clock() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, nanos)
}

/// Sleeps, and returns the times of its start and its end.
fn nap(micros: u64) -> (u64, u64) {
    let begun = clock();
    if micros > 0 {
        thread::sleep(Duration::from_micros(micros));
    }
    (begun, clock())
}

/// Longest waits, in nanoseconds: the measured one, and that of an ideal queue with the same tasks.
struct Stream {
    longest: f64,
    ideal: f64,
}

fn streams(pool: &impl Executor, probe: &Probe) -> Result<Vec<Stream>, Reason> {
    let Sizes { rounds, round_ms, .. } = probe.sizes;
    let mut random = Random::new(probe.seed);
    (0..rounds).map(|_| stream(pool, probe.workers, Duration::from_millis(round_ms.into()) * 4, &mut random)).collect()
}

fn length(random: &mut Random) -> u64 {
    LENGTHS.iter().find(|(one_in, _)| random.next_u64().is_multiple_of(*one_in)).map_or(0, |(_, micros)| *micros)
}

fn stream(pool: &impl Executor, workers: usize, duration: Duration, random: &mut Random) -> Result<Stream, Reason> {
    let (begun, mut tasks, mut work) = (clock(), Vec::new(), 0);
    while clock() - begun < nanos(duration) {
        for _ in 0..TASKS_PER_BURST {
            let micros = length(random);
            work += micros * 1000 / workers as u64;
            let future = pool.submit(nap, micros).map_err(|error| chain(&error))?;
            tasks.push((clock(), future));
        }
        thread::sleep(Duration::from_nanos((begun + work * 100 / LOAD_PERCENT).saturating_sub(clock())));
    }
    let mut runs = Vec::with_capacity(tasks.len());
    for (came, future) in tasks {
        let (begun, ended) = future.result().map_err(|error| chain(&error))?;
        runs.push((came, begun, ended));
    }
    let longest = runs.iter().map(|(came, begun, _)| begun.saturating_sub(*came)).max().unwrap_or(0);
    let ideal = ideal_wait(&runs, workers);
    if ideal == 0 {
        return Err("no task has waited".into());
    }
    Ok(Stream { longest: longest as f64, ideal: ideal as f64 })
}

/// The longest wait of an ideal queue: the next free worker takes the oldest task, and each task takes as long as it did.
fn ideal_wait(runs: &[(u64, u64, u64)], workers: usize) -> u64 {
    let mut free = vec![0; workers.max(1)];
    let mut longest = 0;
    for (came, begun, ended) in runs {
        free.sort_unstable();
        let start = free[0].max(*came);
        longest = longest.max(start - came);
        free[0] = start + (ended - begun);
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ideal_queue_gives_the_first_task_to_the_first_free_worker() {
        // Two at once for 10 and 3, then one that waits for the second of them, and one that comes when no other waits.
        let runs = [(0, 0, 10), (0, 5, 8), (1, 100, 101), (20, 20, 21)];
        assert_eq!(ideal_wait(&runs, 2), 2);
        assert_eq!(ideal_wait(&runs, 1), 12);
    }

    #[test]
    fn all_lengths_occur() {
        let mut random = Random::new(1);
        let lengths: std::collections::BTreeSet<u64> = (0..1000).map(|_| length(&mut random)).collect();
        assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [0, 100, 1000, 10_000]);
    }
}
