//! Three limits: on a wait, which gives the future back and does nothing to the task (`result_timeout`); by hand on a task
//! that runs (`kill`); and on a task from its start (`TaskOptions::timeout`). Only processes can enforce the last two.
//!
//! ```sh
//! cargo run -p executor-core --example timeout
//! ```

use std::{
    error::Error,
    thread,
    time::{Duration, Instant},
};

use executor_core::{Executor, ProcessPoolExecutor, TaskError, TaskOptions, ThreadPoolExecutor};

fn potentially_slow_function(milliseconds: u64) -> u64 {
    thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

fn run(executor: &impl Executor) -> Result<(), Box<dyn Error>> {
    // Lets the first worker start, so that what is measured below is the task.
    executor.submit(potentially_slow_function, 0)?.result()?;

    let future = executor.submit(potentially_slow_function, 300)?;
    match future.result_timeout(Duration::from_millis(50)) {
        Ok(result) => println!("  done in time: {}", result?),
        Err(future) if future.cancel() => println!("  it had not begun, and will not"),
        Err(future) => {
            println!("  the function takes too long, and cancel() cannot stop what runs");
            println!("  but the future is still good: {}", future.result()?);
        }
    }
    Ok(())
}

/// In a thread nothing can stop a task that hangs; a worker process is ended and replaced.
fn stop_what_hangs(pool: &ProcessPoolExecutor) -> Result<(), Box<dyn Error>> {
    const AN_HOUR: u64 = 60 * 60 * 1000;

    let start = Instant::now();
    let future = pool.submit(potentially_slow_function, AN_HOUR)?;
    match future.result_timeout(Duration::from_millis(50)) {
        Ok(result) => println!("  done in time: {}", result?),
        Err(future) => {
            println!("  kill() says {}", future.kill());
            match future.result() {
                Err(error @ TaskError::Cancelled) => println!("  {error} after {:.0?}", start.elapsed()),
                other => println!("  the task ended by itself: {other:?}"),
            }
        }
    }

    let limit = TaskOptions::new().timeout(Duration::from_millis(50));
    match pool.submit_with(potentially_slow_function, AN_HOUR, limit)?.result() {
        Err(error @ TaskError::TimedOut { .. }) => println!("  {error}"),
        other => println!("  the task ended by itself: {other:?}"),
    }

    println!("  the pool goes on: {}", pool.submit(potentially_slow_function, 1)?.result()?);
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    executor_core::init();

    println!("in threads:");
    run(&ThreadPoolExecutor::new(1)?)?;
    println!("in processes:");
    let pool = ProcessPoolExecutor::new(1)?;
    run(&pool)?;
    println!("tasks that hang, in processes:");
    stop_what_hangs(&pool)
}
