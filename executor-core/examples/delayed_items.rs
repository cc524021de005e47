//! Results in the order in which they are done, each beside the item that it belongs to: `as_completed` over pairs. One item fails,
//! which does not affect the others.
//!
//! ```sh
//! cargo run -p executor-core --example delayed_items
//! ```

use std::{error::Error, thread, time::Duration};

use executor_core::{Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Item {
    id: u32,
    value: u32,
    delay: Duration,
}

fn process_item(item: Item) -> Result<(u32, u32), String> {
    thread::sleep(item.delay);
    let doubled = item.value.checked_mul(2).ok_or_else(|| format!("{} is too large to double", item.value))?;
    Ok((item.id, doubled))
}

fn run(executor: &impl Executor, items: &[Item]) -> Result<(), Box<dyn Error>> {
    let mut futures = Vec::new();
    for item in items {
        // A pair of anything and a future can be waited for like the future itself, so no map from future to item is needed.
        futures.push((item, executor.submit(process_item, item.clone())?));
    }

    for done in as_completed(futures, None) {
        let (item, future) = done?;
        match future.result() {
            Ok(Ok((id, value))) => println!("  item {id}: {value}"),
            Ok(Err(error)) => println!("  item {} failed: {error}", item.id),
            // A panic, a dead worker process, a value that cannot be encoded: failures that the task itself could not report.
            Err(error) => println!("  item {} has no result: {error}", item.id),
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    executor_core::init();

    let items = [
        Item { id: 1, value: 10, delay: Duration::from_millis(250) },
        Item { id: 2, value: 20, delay: Duration::from_millis(50) },
        Item { id: 3, value: 30, delay: Duration::from_millis(150) },
        Item { id: 4, value: u32::MAX, delay: Duration::from_millis(100) },
    ];

    println!("in threads:");
    run(&ThreadPoolExecutor::new(4)?, &items)?;
    println!("in processes:");
    run(&ProcessPoolExecutor::new(4)?, &items)?;
    Ok(())
}
