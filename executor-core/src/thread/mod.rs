//! [`ThreadPoolExecutor`]: a pool of threads that start on demand, leave when idle, and are joined at the end.

mod builder;
mod executor;
#[expect(unsafe_code, reason = "owns tasks through atomic pointers")]
mod front;
#[expect(unsafe_code, reason = "workers write answers in place, and borrow the input of a caller that waits for them")]
mod gather;
mod idle;
mod member;
mod membership;
mod pool;
mod queue;
#[expect(unsafe_code, reason = "tasks of a scope borrow from a frame that waits for them")]
mod scope;
mod space;
mod state;
#[expect(unsafe_code, reason = "a worker's thread keeps a pointer to its worker, which lives in its frame")]
mod worker;

#[cfg(feature = "rayon")]
pub(crate) use builder::LEAST_STACK;
pub use builder::ThreadPoolBuilder;
pub use executor::{ClosureCore, ThreadPoolCore, ThreadPoolExecutor};
pub use scope::Scope;
pub use state::with_worker_state;
