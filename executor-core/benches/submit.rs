//! The cost of one task: submitted and waited for alone, and among a thousand. Beside each executor, what a program would build by
//! hand instead: a queue and a channel for the answer.
//!
//! All pools have two workers, and all tasks do next to nothing, so that what is measured is everything else.

use std::{hint::black_box, thread};

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
#[cfg(feature = "rayon")]
use executor_core::RayonExecutor;
use executor_core::{Executor, ProcessPoolExecutor, SerialExecutor, ThreadPoolExecutor};

const WORKERS: usize = 2;
const MANY: u64 = 1000;

fn increment(x: u64) -> u64 {
    x + 1
}

type Group<'a> = BenchmarkGroup<'a, WallTime>;
type Answer = oneshot::Receiver<u64>;

/// Measures one way of running `increment` elsewhere, in both shapes. Fails loudly: the time of an error means nothing.
#[expect(clippy::expect_used, reason = "a benchmark has no caller to return an error to")]
fn measure<T>(group: &mut Group<'_>, name: &str, submit: impl Fn(u64) -> T, receive: impl Fn(T) -> Option<u64>) {
    let answer = |pending| receive(pending).expect("every task has a result");
    group.throughput(Throughput::Elements(1));
    group.bench_function(format!("{name}/round_trip"), |b| b.iter(|| answer(submit(black_box(1)))));
    group.throughput(Throughput::Elements(MANY));
    group.bench_function(format!("{name}/submit_{MANY}_then_collect"), |b| {
        b.iter(|| {
            let pending: Vec<T> = (0..MANY).map(&submit).collect();
            pending.into_iter().map(answer).sum::<u64>()
        });
    });
}

fn executor(group: &mut Group<'_>, name: &str, executor: &impl Executor) {
    measure(group, name, |x| executor.submit(increment, x), |future| future.ok()?.result().ok());
}

/// `execute` runs a closure somewhere; the answer comes back over a channel for one value.
fn by_hand(group: &mut Group<'_>, name: &str, execute: impl Fn(Box<dyn FnOnce() + Send>)) {
    let submit = |x| -> Answer {
        let (sender, receiver) = oneshot::channel();
        execute(Box::new(move || {
            // It fails only when the receiver of the answer is gone.
            let _ = sender.send(increment(x));
        }));
        receiver
    };
    measure(group, name, submit, |receiver| receiver.recv().ok());
}

fn submit(c: &mut Criterion) -> Result<(), Box<dyn std::error::Error>> {
    let mut group = c.benchmark_group("submit");
    executor(&mut group, "serial", &SerialExecutor::new());
    executor(&mut group, "thread", &ThreadPoolExecutor::new(WORKERS)?);
    #[cfg(feature = "rayon")]
    executor(&mut group, "rayon", &RayonExecutor::builder().max_workers(WORKERS).build()?);
    let processes = ProcessPoolExecutor::new(WORKERS)?;
    processes.warm_up()?;
    executor(&mut group, "process", &processes);
    drop(processes);

    let (sender, receiver) = crossbeam_channel::unbounded::<Box<dyn FnOnce() + Send>>();
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| {
            let receiver = receiver.clone();
            thread::spawn(move || receiver.iter().for_each(|task| task()))
        })
        .collect();
    by_hand(&mut group, "crossbeam_channel+oneshot", |task| {
        // The workers listen until the sender is gone; if they were not, the answer would be missing, and say so.
        let _ = sender.send(task);
    });
    drop(sender);
    for worker in workers {
        worker.join().map_err(|_| "a worker thread panicked")?;
    }

    let pool = threadpool::ThreadPool::new(WORKERS);
    by_hand(&mut group, "threadpool+oneshot", |task| pool.execute(task));
    pool.join();

    let pool = rayon::ThreadPoolBuilder::new().num_threads(WORKERS).build()?;
    by_hand(&mut group, "rayon_spawn+oneshot", |task| pool.spawn(task));

    group.finish();
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    executor_core::init();
    let mut criterion = Criterion::default().configure_from_args();
    submit(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}
