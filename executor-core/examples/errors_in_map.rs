//! Errors of items in a map: each error is its item's own (`map`), the first one ends everything (`try_map`), and a panic is an
//! error like any other.
//!
//! ```sh
//! cargo run -p executor-core --example errors_in_map
//! ```

use std::error::Error;

use executor_core::{Executor, ProcessPoolExecutor, TaskError, ThreadPoolExecutor, TryMapError};

fn might_fail(x: i64) -> Result<i64, String> {
    if x < 0 { Err(format!("negative values not allowed: {x}")) } else { Ok(x * 2) }
}

fn might_panic(x: i64) -> i64 {
    assert!(x >= 0, "negative values not allowed: {x}");
    x * 2
}

fn run(executor: &impl Executor) -> Result<(), Box<dyn Error>> {
    let data = [1, -2, 3];

    // An iteration in Python ends with the first exception. Here it goes on.
    println!("  map:");
    for result in executor.map(might_fail, data) {
        match result? {
            Ok(value) => println!("    {value}"),
            Err(error) => println!("    error: {error}"),
        }
    }

    println!("  map, when the task panics:");
    for result in executor.map(might_panic, data) {
        match result {
            Ok(value) => println!("    {value}"),
            Err(TaskError::Panicked { message, .. }) => println!("    panic: {message}"),
            Err(other) => return Err(other.into()),
        }
    }

    println!("  try_map:");
    for result in executor.try_map(might_fail, data) {
        match result {
            Ok(value) => println!("    {value}"),
            Err(TryMapError::Output(error)) => println!("    error, and the end: {error}"),
            Err(TryMapError::Task(error)) => return Err(error.into()),
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    executor_core::init();

    println!("in threads:");
    run(&ThreadPoolExecutor::new(2)?)?;
    println!("in processes:");
    run(&ProcessPoolExecutor::new(2)?)?;
    Ok(())
}
