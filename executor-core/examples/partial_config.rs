//! A configuration that all items share: `partial` binds it to the function, and each worker gets it once.
//!
//! ```sh
//! cargo run -p executor-core --example partial_config
//! ```

use std::error::Error;

use executor_core::{Executor, ProcessPoolExecutor, ThreadPoolExecutor, partial};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Config {
    multiplier: u64,
}

fn process_with_config(item: u64, config: &Config) -> u64 {
    item * config.multiplier
}

fn run(executor: &impl Executor) -> Result<(), Box<dyn Error>> {
    let config = Config { multiplier: 3 };
    let data = [1, 2, 3, 4, 5];

    // Wrong: this closure captures `config`, and a worker process could not be told what it captured. It does not build,
    // and the message says what to do instead.
    // let results = executor.map(move |item: u64| process_with_config(item, &config), data);

    let results = executor.map(partial(process_with_config, config), data).into_vec()?;
    println!("  {results:?}");
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    executor_core::init();

    println!("in threads:");
    run(&ThreadPoolExecutor::builder().build()?)?; // without max_workers the machine decides
    println!("in processes:");
    run(&ProcessPoolExecutor::builder().build()?)?;
    Ok(())
}
