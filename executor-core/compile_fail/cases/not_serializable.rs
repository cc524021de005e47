use executor_core::{Executor, SerialExecutor};

struct Plain;

fn take(_: Plain) -> u64 {
    1
}

fn main() {
    let _ = SerialExecutor::new().submit(take, Plain);
}
