//! Tasks that stop when they are told to: `CancelToken`, which works in threads and in worker processes alike. `cancel` on
//! a future only keeps a task from starting; a task that looks at a token can be stopped half-way, and still has a result.
//!
//! ```sh
//! cargo run -p executor-core --example interruptible
//! ```

use std::{error::Error, time::Duration};

use executor_core::{CancelToken, Executor, ProcessPoolExecutor, ReturnWhen, ThreadPoolExecutor, wait};

/// Counts primes from `from` on until it is interrupted: there are enough numbers for centuries.
fn count_primes(from: u64, token: CancelToken) -> u64 {
    (from..).take_while(|_| !token.is_cancelled()).filter(|&number| is_prime(number)).count() as u64
}

fn is_prime(number: u64) -> bool {
    number >= 2
        && (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| !number.is_multiple_of(divisor))
}

fn run(executor: &impl Executor) -> Result<(), Box<dyn Error>> {
    // A token for each task, and one above them for both.
    let all = CancelToken::new();
    let (small_numbers, large_numbers) = (all.child(), all.child());
    let small = executor.submit(count_primes, (0, small_numbers.clone()))?;
    let large = executor.submit(count_primes, (1_000_000_000, large_numbers))?;

    // Neither ends by itself, so this waits for as long as it may.
    wait([&small, &large], Some(Duration::from_millis(150)), ReturnWhen::FirstCompleted);
    small_numbers.cancel();
    println!("  interrupted one: {} small primes; the other runs: {}", small.result()?, large.running());

    all.cancel();
    println!("  interrupted all: {} large primes", large.result()?);
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
