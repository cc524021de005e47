//! [`ThreadPoolExecutor`]: a pool of threads that start on demand, leave when idle, and are joined at the end.

mod builder;
mod pool;

pub use builder::{InitializerResult, ThreadPoolBuilder};
pub use pool::{ThreadPoolCore, ThreadPoolExecutor};
