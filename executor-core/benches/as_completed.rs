//! The cost of a completion for a thread that waits for many futures, and that it does not grow with their number: the time per
//! element is to stay the same from 10 futures to 10 000.
//!
//! `promises` is `as_completed` alone: the futures are resolved by this thread, half of them before the wait begins.
//! `threads` is the whole way from a pool, beside a channel that its tasks write to (`channel`).

use std::sync::mpsc;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use executor_core::{Executor, Promise, TaskFuture, ThreadPoolExecutor, as_completed};

const WORKERS: usize = 2;
const COUNTS: [u64; 4] = [10, 100, 1000, 10_000];

fn increment(x: u64) -> u64 {
    x + 1
}

/// Waits for all. Fails loudly: the time of an error means nothing.
#[expect(clippy::expect_used, reason = "a benchmark has no caller to return an error to")]
fn drain(futures: impl IntoIterator<Item = TaskFuture<u64>>) -> u64 {
    as_completed(futures, None)
        .map(|done| done.expect("there is no time limit").result().expect("every task has a result"))
        .sum()
}

fn promises(count: u64) -> (Vec<Promise<u64>>, Vec<TaskFuture<u64>>) {
    (0..count).map(|_| Promise::new()).unzip()
}

/// Resolves them all; no other code does, so none of them can be done already.
fn resolve(promises: impl IntoIterator<Item = Promise<u64>>) {
    for promise in promises {
        let _ = promise.set_result(1);
    }
}

fn completions(c: &mut Criterion) -> Result<(), Box<dyn std::error::Error>> {
    let mut group = c.benchmark_group("as_completed");

    for count in COUNTS {
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::new("promises", count), |b| {
            b.iter_batched(
                || promises(count),
                |(mut promises, futures)| {
                    let later = promises.split_off(promises.len() / 2);
                    resolve(promises);
                    let waiting = as_completed(futures, None);
                    resolve(later);
                    waiting.flatten().count()
                },
                BatchSize::SmallInput,
            );
        });
    }

    let pool = ThreadPoolExecutor::new(WORKERS)?;
    for count in COUNTS {
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::new("threads", count), |b| {
            b.iter(|| drain((0..count).flat_map(|x| pool.submit(increment, x))));
        });
        group.bench_function(BenchmarkId::new("channel", count), |b| {
            b.iter(|| {
                let (sender, receiver) = mpsc::channel();
                for x in 0..count {
                    let sender = sender.clone();
                    // The future is not needed: the channel says when the task is done.
                    drop(pool.spawn(move || sender.send(increment(x))));
                }
                drop(sender);
                receiver.iter().sum::<u64>()
            });
        });
    }

    group.finish();
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    executor_core::init();
    let mut criterion = Criterion::default().configure_from_args();
    completions(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}
