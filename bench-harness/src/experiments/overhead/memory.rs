//! The cost of a task that waits in a queue: memory, file descriptors, and the time to submit it.
//!
//! All workers are kept busy by tasks that wait, so that the others stay queued. The figure is the growth of this process.
//! It includes pages that are shared with workers, and not the caller's own list of futures.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use executor_core::{Executor, Shutdown, TaskFuture};
use reports::{model::Reason, overhead::Unit};

use super::{
    contenders::echo,
    measurement::{Probe, Reading, Subject},
};
use crate::{
    error::chain,
    executors::{Kind, Visit, with_pool},
    runner::counters::{available_memory, resident_memory},
    stats,
};

pub(super) const PER_TASK: &str = "memory per queued task";
/// The same without the argument, which waits with the task.
pub(super) const BEYOND_ARGUMENT: &str = "memory beyond the argument";
/// The same without the closure, which holds the argument, and without the space for the result.
pub(super) const BEYOND_BOTH: &str = "memory beyond closure and result";
pub(super) const FILES: &str = "fds per queued task";
pub(super) const SUBMIT: &str = "submit, last tenth / first tenth";
pub(super) const GROWTH: &str = "memory, second half / first half";

const WORD: f64 = size_of::<u64>() as f64;

/// More memory than any queued task takes: so many tasks are queued that the machine does not swap.
const AT_MOST: u64 = 512;

static RELEASE: AtomicBool = AtomicBool::new(false);

/// Keeps a worker busy without using its CPU. In a worker process it never ends: the worker is killed.
fn hold() {
    // ORDERING: the flag publishes no other data.
    while !RELEASE.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(1));
    }
}

pub(super) fn measure(probe: &Probe) -> Result<Vec<Reading>, Reason> {
    with(probe, Queue { probe: *probe, count: probe.sizes.queued })
}

pub(super) fn measure_depth(probe: &Probe) -> Result<Vec<Reading>, Reason> {
    let fits = available_memory().map_or(u64::MAX, |bytes| bytes / 2 / AT_MOST);
    let count = u64::from(probe.sizes.depth).min(fits) as u32 / (TENTHS * BATCH) * TENTHS * BATCH;
    with(probe, Depth { probe: *probe, count })
}

fn with<V: Visit<Output = Result<Vec<Reading>, Reason>>>(probe: &Probe, visit: V) -> V::Output {
    let Subject::Lab(kind) = probe.subject else { return Err("has no queue that can be inspected".into()) };
    with_pool(kind, probe.workers, visit).map_err(|error| chain(&error))?
}

/// Runs `measure` while every worker is busy.
fn while_busy<E: Executor, T>(executor: &E, measure: impl FnOnce() -> Result<T, Reason>) -> Result<T, Reason> {
    let workers = executor.max_workers();
    let held: Vec<_> = (0..workers).filter_map(|_| executor.submit(hold, ()).ok()).collect();
    let start = Instant::now();
    while executor.stats().running < workers {
        if start.elapsed() > Duration::from_secs(10) {
            return Err(format!("after 10 s, {} of {workers} workers run a task", executor.stats().running).into());
        }
        thread::sleep(Duration::from_millis(1));
    }
    let outcome = measure();
    // ORDERING: the flag publishes no other data.
    RELEASE.store(true, Ordering::Relaxed);
    executor.shutdown(Shutdown::Kill, Some(Duration::from_secs(10)));
    drop(held);
    outcome
}

fn open_files() -> Result<usize, Reason> {
    fs::read_dir("/proc/self/fd").map(Iterator::count).map_err(|error| format!("/proc/self/fd: {error}").into())
}

fn memory() -> Result<f64, Reason> {
    let bytes = resident_memory().ok_or("this system does not report the memory of a process: needs /proc")?;
    Ok(bytes as f64)
}

fn submit<E: Executor>(executor: &E, into: &mut Vec<TaskFuture<u64>>, count: u32) -> Result<(), Reason> {
    for number in 0..count {
        into.push(executor.submit(echo, number.into()).map_err(|error| chain(&error))?);
    }
    Ok(())
}

struct Queue {
    probe: Probe,
    count: u32,
}

impl Visit for Queue {
    type Output = Result<Vec<Reading>, Reason>;

    fn visit<E: Executor + Sync>(self, executor: &E, _: &dyn Fn() -> Vec<u32>) -> Self::Output {
        let subject = self.probe.subject;
        let count = f64::from(self.count);
        let mut futures = Vec::with_capacity(self.count as usize);
        let (bytes, files) = while_busy(executor, || {
            let (memory_before, files_before) = (memory()?, open_files()?);
            submit(executor, &mut futures, self.count)?;
            let list = count * size_of::<TaskFuture<u64>>() as f64;
            let files = open_files()?.saturating_sub(files_before) as f64;
            Ok(((memory()? - memory_before - list) / count, files / count))
        })?;
        let (beyond, without) =
            if subject == Subject::Lab(Kind::Process) { (BEYOND_ARGUMENT, WORD) } else { (BEYOND_BOTH, 2.0 * WORD) };
        let reading = |name, unit, value| Reading::new(subject, name, unit, vec![value]);
        let note = format!("{} tasks u64 -> u64, malloc's rounding included", self.count);
        Ok(vec![
            reading(PER_TASK, Unit::Bytes, bytes).with_note(note),
            reading(beyond, Unit::Bytes, bytes - without),
            reading(FILES, Unit::Count, files),
        ])
    }
}

const TENTHS: u32 = 10;
/// Number of submits that are timed together: they are short against a time slice of the scheduler.
const BATCH: u32 = 1000;
const SLOWEST: &str = "slowest 1000 submits";

struct Depth {
    probe: Probe,
    count: u32,
}

impl Visit for Depth {
    type Output = Result<Vec<Reading>, Reason>;

    fn visit<E: Executor + Sync>(self, executor: &E, _: &dyn Fn() -> Vec<u32>) -> Self::Output {
        let subject = self.probe.subject;
        let each = self.count / TENTHS;
        let mut futures = Vec::with_capacity(self.count as usize);
        let (times, slowest, sizes) = while_busy(executor, || {
            let mut sizes = vec![memory()?];
            let (mut times, mut slowest) = (Vec::new(), 0.0);
            for _ in 0..TENTHS {
                let mut batches = Vec::with_capacity((each / BATCH) as usize);
                for _ in 0..each / BATCH {
                    let start = Instant::now();
                    submit(executor, &mut futures, BATCH)?;
                    batches.push(start.elapsed().as_nanos() as f64 / f64::from(BATCH));
                }
                // The median batch counts: a batch in which another program had the core says nothing about the queue.
                times.push(stats::median(&batches));
                slowest = batches.into_iter().fold(slowest, f64::max);
                sizes.push(memory()?);
            }
            Ok((times, slowest, sizes))
        })?;
        let (slower, growth) = (times[9] / times[0], (sizes[10] - sizes[5]) / (sizes[5] - sizes[0]));
        let reading = |name, unit, value| Reading::new(subject, name, unit, vec![value]);
        let mut readings = vec![
            reading(SUBMIT, Unit::Ratio, slower).with_note(format!("{} tasks queued", self.count)),
            reading(GROWTH, Unit::Ratio, growth),
            // Interruptions by other programs show here as well, so that there is no target for it.
            reading(SLOWEST, Unit::Nanoseconds, slowest * f64::from(BATCH)),
        ];
        for (tenth, time) in times.into_iter().enumerate() {
            let name = format!("submit, tenth {}", tenth + 1);
            readings.push(Reading::new(subject, name, Unit::Nanoseconds, vec![time]).into_detail());
        }
        Ok(readings)
    }
}
