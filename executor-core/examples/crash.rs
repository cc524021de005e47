//! A task that crashes fails alone. A panic is caught wherever the task runs. An abort, which nothing can catch, takes a worker
//! process with it; the pool starts another, and all other tasks have their results.
//!
//! ```sh
//! cargo run -p executor-core --example crash
//! ```

use std::{error::Error, process};

use executor_core::{Executor, ProcessPoolExecutor, TaskError, ThreadPoolExecutor};

fn half_or_panic(x: u64) -> u64 {
    assert!(x.is_multiple_of(2), "{x} has no half");
    x / 2
}

/// This is not for threads: there it would end this program.
fn half_or_abort(x: u64) -> u64 {
    if !x.is_multiple_of(2) {
        process::abort();
    }
    x / 2
}

fn show(results: impl Iterator<Item = Result<u64, TaskError>>) {
    for result in results {
        match result {
            Ok(half) => println!("  {half}"),
            Err(error) => println!("  {error}"),
        }
    }
}

fn run(executor: &impl Executor) {
    show(executor.map(half_or_panic, [2, 4, 5, 6]));
}

fn main() -> Result<(), Box<dyn Error>> {
    executor_core::init();

    println!("a panic in threads:");
    run(&ThreadPoolExecutor::new(2)?);
    println!("a panic in processes:");
    let pool = ProcessPoolExecutor::new(2)?;
    run(&pool);

    println!("an abort in processes:");
    // All four travel together: even so the item that aborts is the only one that is lost.
    show(pool.map(half_or_abort, [2, 4, 5, 6]).chunk_size(4));
    println!("  workers that died: {}", pool.stats().died);
    Ok(())
}
