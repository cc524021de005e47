use executor_core::{Executor, SerialExecutor};

fn main() {
    let factor = 3;
    let _ = SerialExecutor::new().submit(move |x: u64| x * factor, 14);
}
