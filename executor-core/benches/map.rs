//! The cost of an item of a map, when the work on it costs nothing: ten thousand cheap items per executor, beside rayon's
//! `par_iter` and a plain iterator. The use of chunks is seen in the pair `chunks_by_time` and `chunks_of_100`.

use std::hint::black_box;

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
#[cfg(feature = "rayon")]
use executor_core::RayonExecutor;
use executor_core::{Executor, ProcessPoolExecutor, SerialExecutor, TaskError, ThreadPoolExecutor};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

const WORKERS: usize = 2;
const ITEMS: u64 = 10_000;

fn cheap(x: u64) -> u64 {
    x.wrapping_mul(x).rotate_left(7) ^ x
}

type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// Fails loudly: the time of an error means nothing.
#[expect(clippy::expect_used, reason = "a benchmark has no caller to return an error to")]
fn results(mapped: Result<Vec<u64>, TaskError>) -> Vec<u64> {
    mapped.expect("every item has a result")
}

fn executor(group: &mut Group<'_>, name: &str, executor: &impl Executor) {
    group.bench_function(format!("{name}/chunks_by_time"), |b| {
        b.iter(|| results(executor.map(cheap, 0..black_box(ITEMS)).into_vec()));
    });
    group.bench_function(format!("{name}/chunks_of_100"), |b| {
        b.iter(|| results(executor.map(cheap, 0..black_box(ITEMS)).chunk_size(100).into_vec()));
    });
}

fn map(c: &mut Criterion) -> Result<(), Box<dyn std::error::Error>> {
    let mut group = c.benchmark_group("map");
    group.throughput(Throughput::Elements(ITEMS));
    executor(&mut group, "serial", &SerialExecutor::new());
    executor(&mut group, "thread", &ThreadPoolExecutor::new(WORKERS)?);
    #[cfg(feature = "rayon")]
    executor(&mut group, "rayon", &RayonExecutor::builder().max_workers(WORKERS).build()?);
    let processes = ProcessPoolExecutor::new(WORKERS)?;
    processes.warm_up()?;
    executor(&mut group, "process", &processes);
    drop(processes);

    let items: Vec<u64> = (0..ITEMS).collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(WORKERS).build()?;
    group.bench_function("rayon_par_iter", |b| {
        b.iter(|| pool.install(|| black_box(&items).par_iter().map(|&x| cheap(x)).collect::<Vec<_>>()));
    });
    group.bench_function("iterator", |b| {
        b.iter(|| black_box(&items).iter().map(|&x| cheap(x)).collect::<Vec<_>>());
    });

    group.finish();
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    executor_core::init();
    let mut criterion = Criterion::default().configure_from_args();
    map(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}
