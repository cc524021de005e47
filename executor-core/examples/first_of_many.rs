//! Takes the first result of many tasks and cancels the rest: `wait` with `FirstCompleted`, `cancel`, and a callback on each
//! future.
//!
//! ```sh
//! cargo run -p executor-core --example first_of_many
//! ```

use std::{error::Error, sync::mpsc, thread, time::Duration};

use executor_core::{Executor, ProcessPoolExecutor, ReturnWhen, ThreadPoolExecutor, wait};

fn slow_function(number: u64) -> u64 {
    thread::sleep(Duration::from_millis(50 + 25 * number));
    number
}

fn run(executor: &impl Executor) -> Result<(), Box<dyn Error>> {
    let futures: Vec<_> = (0..10).map(|i| executor.submit(slow_function, i)).collect::<Result<_, _>>()?;

    // Called for each task once, whether it ends by itself or by being cancelled.
    let (sender, endings) = mpsc::channel();
    for future in &futures {
        let sender = sender.clone();
        future.add_done_callback(move |completed| {
            // The receiver is gone if the example failed; then the message is of no use.
            let _ = sender.send(completed);
        });
    }
    drop(sender);

    let waited = wait(futures, None, ReturnWhen::FirstCompleted);
    let fastest = waited.done.into_iter().next().ok_or("wait returned without a future that is done")?;
    println!("  the fastest is {}", fastest.result()?);

    // `cancel` does not stop what runs already (`kill` does, in processes): it says which is the case.
    let cancelled = waited.not_done.iter().filter(|future| future.cancel()).count();
    println!("  {cancelled} of the other {} were cancelled before they began", waited.not_done.len());

    // The callbacks own the senders, so this ends when the last task has.
    println!("  {} tasks called back", endings.iter().count());
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    executor_core::init();

    println!("in threads:");
    run(&ThreadPoolExecutor::new(3)?)?;
    println!("in processes:");
    run(&ProcessPoolExecutor::new(3)?)?;
    Ok(())
}
