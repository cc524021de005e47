use executor_core::{Executor, SerialExecutor};

fn square(x: u64) -> u64 {
    x * x
}

fn main() {
    let _ = SerialExecutor::new().submit(square(14), 14);
}
