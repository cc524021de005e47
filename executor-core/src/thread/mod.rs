//! [`ThreadPoolExecutor`]: a pool of threads that start on demand, leave when idle, and are joined at the end.

mod builder;
mod capacity;
#[expect(unsafe_code, reason = "workers write answers in place, and borrow the input of a caller that waits for them")]
mod collect;
mod executor;
#[expect(unsafe_code, reason = "owns tasks through atomic pointers")]
mod front;
mod membership;
mod pool;
mod queue;
#[expect(unsafe_code, reason = "tasks of a scope borrow from a frame that waits for them")]
mod scope;
mod sleep;
mod state;
mod threads;
#[expect(unsafe_code, reason = "a worker's thread keeps a pointer to its worker, which lives in its frame")]
mod worker;
mod worker_shared;

#[cfg(feature = "rayon")]
pub(crate) use builder::LEAST_STACK;
pub use builder::ThreadPoolBuilder;
pub use executor::{ClosureHandle, ThreadPoolExecutor, ThreadPoolHandle};
#[cfg(feature = "rayon")]
pub(crate) use queue::prepare_deques;
pub use scope::Scope;
pub use state::with_worker_state;
