use executor_core::{Executor, SerialExecutor};

fn square(x: u64) -> u64 {
    x * x
}

fn main() {
    let pointer: fn(u64) -> u64 = square;
    let _ = SerialExecutor::new().submit(pointer, 14);
}
