//! An executor of your own: everything that is written for [`Executor`] runs on it. `executor.rs` is the executor.

mod executor;

use executor_core::{Executor, TaskError, as_completed};

fn square(x: u64) -> u64 {
    x * x
}

/// Written for any executor.
fn sum_of_squares(executor: &impl Executor) -> Result<u64, TaskError> {
    executor.map(square, 0..100).chunk_size(10).sum()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let executor = executor::ThreadPerTask::new(4);
    println!("the sum is {}", sum_of_squares(&executor)?);
    let futures = [executor.submit(square, 2)?, executor.submit(square, 3)?];
    for done in as_completed(futures, None) {
        println!("and {}", done?.result()?);
    }
    Ok(())
}
