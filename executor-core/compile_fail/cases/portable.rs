use executor_core::{Executor, SerialExecutor};

fn square(x: u64) -> u64 {
    x * x
}

fn main() {
    let executor = SerialExecutor::new();
    assert_eq!(executor.submit(square, 3).unwrap().result(), Ok(9));
    assert_eq!(executor.submit(|a: u64, b: u64| a + b, (1, 2)).unwrap().result(), Ok(3));
}
